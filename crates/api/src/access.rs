//! Who may do what: the scopes there are, the tokens that have them, and which of these are in force.
//!
//! A token is looked up by its SHA-256: the server stores no token, and how long a look takes says nothing of those
//! it knows (ADR 0025).

mod bearer;
mod guard;
mod in_force;
mod place;

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use arc_swap::{ArcSwapOption, Guard};
use sha2::{Digest, Sha256};
use steadfast_domain::{Tenant, TokenName};
use tokio::sync::watch;

pub(crate) use guard::{Guarded, Needs, tenant_of};
pub(crate) use in_force::InForce;

/// What a token may be good for. None implies another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Bring jobs, cancel them, and open ended ones again.
    Submit,
    /// Look at jobs, queues and metrics, and follow events.
    Read,
    /// Take jobs from pull queues, keep them and settle them.
    Work,
    /// Pause and resume queues, and drain the server.
    Admin,
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

/// What a token gives to whoever has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// What people call the token.
    pub name: TokenName,
    /// Whose its idempotency keys and unique keys are.
    pub tenant: Tenant,
    /// What it is good for.
    pub scopes: Scopes,
}

/// The SHA-256 of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// Takes a [`TokenHash`] for what it is, instead of hashing it again. Who looks for tokens that collide may do so as
/// long as they like: those in the map are not theirs to choose.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

/// The tokens a server knows, by their hashes.
#[derive(Debug, Clone, Default)]
pub struct Tokens(HashMap<TokenHash, Arc<Known>, BuildHasherDefault<AlreadyHashed>>);

/// A grant, and how long it is in force.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) grant: Grant,
    /// False once it is taken back: what goes on for its sake hears of that.
    in_force: watch::Sender<bool>,
}

/// The tokens in force, for all who ask. Without any, everything is open to everybody.
#[derive(Debug, Clone, Default)]
pub struct Access(Arc<ArcSwapOption<Tokens>>);

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Submit, Self::Read, Self::Work, Self::Admin];

    /// Its name in token files and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Work => "work",
            Self::Admin => "admin",
        }
    }

    /// The scope of that name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Scopes {
    /// Whether this one is among them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl TokenHash {
    /// The hash of a token as it is presented.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The hash that 64 hexadecimal digits write.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl Hasher for AlreadyHashed {
    fn write(&mut self, hash: &[u8]) {
        if let Some(first) = hash.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Tokens {
    /// What each of them gives, by name.
    pub fn grants(&self) -> Vec<&Grant> {
        let mut grants: Vec<&Grant> = self.0.values().map(|known| &known.grant).collect();
        grants.sort_by(|a, b| a.name.cmp(&b.name));
        grants
    }

    /// What is known of a token.
    fn known(&self, token: &[u8]) -> Option<&Arc<Known>> {
        self.0.get(&TokenHash::of(token))
    }

    /// These, of which those that give the same as before go on as they are.
    fn after(mut self, before: &Self) -> Self {
        for (hash, known) in &mut self.0 {
            if let Some(same) = before.0.get(hash).filter(|before| before.grant == known.grant) {
                *known = Arc::clone(same);
            }
        }
        self
    }
}

impl FromIterator<(TokenHash, Grant)> for Tokens {
    fn from_iter<I: IntoIterator<Item = (TokenHash, Grant)>>(tokens: I) -> Self {
        let known = |grant| Arc::new(Known { grant, in_force: watch::channel(true).0 });
        Self(tokens.into_iter().map(|(hash, grant)| (hash, known(grant))).collect())
    }
}

impl Access {
    /// To nobody without one of these tokens.
    pub fn by(tokens: Tokens) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(tokens)))
    }

    /// From now on these tokens are the ones in force. Streams that a token opened which is not among them, or gives
    /// something else now, end.
    pub fn replace(&self, tokens: Tokens) {
        let before = self.0.load_full();
        let tokens = Arc::new(match &before {
            Some(before) => tokens.after(before),
            None => tokens,
        });
        self.0.store(Some(Arc::clone(&tokens)));
        for (hash, known) in before.iter().flat_map(|before| &before.0) {
            // Requests may hold it for long yet.
            if !tokens.0.get(hash).is_some_and(|now| Arc::ptr_eq(now, known)) {
                known.in_force.send_replace(false);
            }
        }
    }

    /// The tokens in force now; without any, none is needed.
    fn in_force(&self) -> Guard<Option<Arc<Tokens>>> {
        self.0.load()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scope: Scope) -> Grant {
        Grant {
            name: TokenName::new("t").unwrap(),
            tenant: Tenant::default(),
            scopes: Scopes::from_iter([scope]),
        }
    }

    fn tokens(entries: &[(&str, Scope)]) -> Tokens {
        entries.iter().map(|(token, scope)| (TokenHash::of(token.as_bytes()), grant(*scope))).collect()
    }

    #[test]
    fn a_hash_reads_back_and_nothing_else_is_one() {
        let hash = TokenHash::of(b"abc");
        let hex = hash.to_string();
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(TokenHash::from_hex(&hex), Some(hash));
        assert_eq!(TokenHash::from_hex(&hex.to_uppercase()), Some(hash));
        for bad in ["", &hex[1..], &format!("{hex}0"), &hex.replace('b', "g"), &hex.replacen("ba", "é", 1)] {
            assert_eq!(TokenHash::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn no_scope_implies_another() {
        for scope in Scope::ALL {
            let scopes = Scopes::from_iter([scope]);
            assert_eq!(scopes.iter().collect::<Vec<_>>(), [scope]);
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
        }
        assert_eq!(Scopes::from_iter(Scope::ALL).iter().count(), Scope::ALL.len());
    }

    #[test]
    fn what_a_reload_leaves_as_it_was_stays_in_force_and_the_rest_ends() {
        let access =
            Access::by(tokens(&[("same", Scope::Read), ("gone", Scope::Read), ("less", Scope::Read)]));
        let known = |token: &str| access.in_force().as_ref()?.known(token.as_bytes()).cloned();
        let watched = ["same", "gone", "less"].map(|token| known(token).unwrap().in_force.subscribe());
        access.replace(tokens(&[("same", Scope::Read), ("less", Scope::Submit), ("new", Scope::Read)]));
        assert_eq!(watched.map(|watched| watched.has_changed().is_ok()), [true, false, false]);
        assert!(known("gone").is_none() && known("new").is_some());
    }
}
