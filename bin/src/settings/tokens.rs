//! The token file: who may do what.
//!
//! An error names the file, the entry and what is allowed, and repeats no value but valid names: somebody may have
//! put a token where its hash belongs.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

use steadfast_api::{Grant, Scope, Scopes, TokenHash, Tokens};
use steadfast_domain::{Tenant, TokenName};
use toml::{Table, Value};

use super::file::line_at;
use crate::reload::{Contents, Seen, Unreadable};

/// The one key of the file: its tables are the tokens.
const TOKEN: &str = "token";
/// The keys of a token's table, as an error lists them.
const KEYS: &str = "name, tenant, scopes and sha256";
/// Characters of an unknown key that an error repeats; a token has more.
const SHOWN_KEY_CHARS_MAX: usize = 32;

/// A token file that was read.
#[derive(Debug, Clone)]
pub(crate) struct TokenFile {
    pub(crate) path: PathBuf,
    /// What was read.
    pub(crate) in_force: Seen,
    pub(crate) tokens: Tokens,
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: std::io::Error,
    },
    /// It is not TOML.
    #[error("{}: line {line}: not TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Why not, without a word of what stands there.
        reason: String,
    },
    /// Something in it is not allowed.
    #[error("{}: {place}: {allowed}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Which entry, and which of its keys.
        place: String,
        /// What is allowed there.
        allowed: String,
    },
}

/// What is wrong, and where in the file.
struct Wrong {
    place: String,
    allowed: String,
}

/// Which entry of the file an error is about.
struct Entry<'a> {
    number: usize,
    name: Option<&'a TokenName>,
}

impl TokenFile {
    /// Reads the file.
    pub(super) fn read(path: &Path) -> Result<Self, TokenFileError> {
        let path = path.to_owned();
        let contents = Contents::read(std::slice::from_ref(&path))
            .map_err(|Unreadable { path, reason }| TokenFileError::Unreadable { path, reason })?;
        let tokens = Self::tokens_in(&path, &contents)?;
        Ok(Self { path, in_force: contents.seen(), tokens })
    }

    /// The tokens in the file's content.
    pub(crate) fn tokens_in(path: &Path, contents: &Contents) -> Result<Tokens, TokenFileError> {
        let wrong =
            |Wrong { place, allowed }| TokenFileError::Wrong { path: path.to_owned(), place, allowed };
        let bytes = contents.each().next().unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|error| TokenFileError::Syntax {
            path: path.to_owned(),
            line: line_at(bytes, error.valid_up_to()),
            reason: "not UTF-8".to_owned(),
        })?;
        let table = text.parse::<Table>().map_err(|error| TokenFileError::Syntax {
            path: path.to_owned(),
            line: line_at(bytes, error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        tokens(table).map_err(wrong)
    }
}

fn tokens(mut file: Table) -> Result<Tokens, Wrong> {
    let entries = file.remove(TOKEN);
    if let Some(key) = file.keys().next() {
        return Err(Wrong::new(shown_key(key), "the file has tables [[token]] and nothing else"));
    }
    let Some(Value::Array(entries)) = entries else {
        return Err(Wrong::new(TOKEN, "the file needs a table [[token]] for each token; there is none"));
    };
    let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
    let read = entries.into_iter().zip(1..).map(|(entry, number)| {
        let (hash, grant) = token(number, entry)?;
        let entry = Entry { number, name: Some(&grant.name) };
        if !names.insert(grant.name.clone()) {
            return Err(
                entry.wrong("name", "each token has a name of its own, and an entry above has this one")
            );
        }
        if !hashes.insert(hash) {
            return Err(entry.wrong("sha256", "each token has one entry, and an entry above has this hash"));
        }
        Ok((hash, grant))
    });
    read.collect()
}

/// Reads one entry.
fn token(number: usize, entry: Value) -> Result<(TokenHash, Grant), Wrong> {
    let unnamed = Entry { number, name: None };
    let Value::Table(mut table) = entry else {
        return Err(unnamed.wrong("", &format!("a table with {KEYS}")));
    };
    let text = |value: Option<Value>| value.and_then(|value| value.as_str().map(str::to_owned));
    let name = text(table.remove("name")).and_then(|name| TokenName::new(&name).ok());
    let name =
        name.ok_or_else(|| unnamed.wrong("name", "1 to 64 characters of a-z, 0-9, '.', '_' and '-'"))?;
    let entry = Entry { number, name: Some(&name) };

    let tenant = table.remove("tenant").map(|tenant| text(Some(tenant)));
    let tenant = tenant.map(|tenant| tenant.filter(|tenant| !tenant.is_empty()));
    let tenant = match tenant {
        None => Some(Tenant::default()),
        Some(tenant) => tenant.and_then(|tenant| Tenant::new(&tenant).ok()),
    };
    let tenant = tenant.ok_or_else(|| {
        entry.wrong("tenant", "1 to 64 characters of a-z, 0-9, '.', '_' and '-', or no such key")
    })?;
    let scopes = scopes(table.remove("scopes")).ok_or_else(|| {
        entry.wrong(
            "scopes",
            "a list of one or more of \"submit\", \"read\", \"work\" and \"admin\", each once",
        )
    })?;
    let hash = text(table.remove("sha256")).and_then(|hex| TokenHash::from_hex(&hex));
    let hash = hash.ok_or_else(|| {
        entry.wrong(
            "sha256",
            "64 hexadecimal digits, as `steadfast token` writes them; never the token itself",
        )
    })?;
    match table.keys().next() {
        Some(key) => Err(entry.wrong(shown_key(key), &format!("there is no such key; there are {KEYS}"))),
        None => Ok((hash, Grant { name, tenant, scopes })),
    }
}

fn scopes(value: Option<Value>) -> Option<Scopes> {
    let Value::Array(names) = value? else { return None };
    let scopes: Vec<Scope> = names.iter().map(|name| Scope::parse(name.as_str()?)).collect::<Option<_>>()?;
    let set: Scopes = scopes.iter().copied().collect();
    (!scopes.is_empty() && set.iter().count() == scopes.len()).then_some(set)
}

/// A key that is none, unless it could be a token.
fn shown_key(key: &str) -> &str {
    if key.chars().count() <= SHOWN_KEY_CHARS_MAX { key } else { "a key" }
}

impl Wrong {
    fn new(place: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { place: place.into(), allowed: allowed.into() }
    }
}

impl Entry<'_> {
    fn wrong(&self, key: &str, allowed: &str) -> Wrong {
        let place = if key.is_empty() { self.to_string() } else { format!("{self}: {key}") };
        Wrong::new(place, allowed)
    }
}

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name {
            Some(name) => write!(f, "token {} ({name})", self.number),
            None => write!(f, "token {}", self.number),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const SECRET: &str = "sf_ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0";

    fn read(text: &str) -> Result<Tokens, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        std::fs::write(&path, text).unwrap();
        TokenFile::read(&path).map(|file| file.tokens).map_err(|error| error.to_string())
    }

    fn entry(keys: &str) -> String {
        format!("[[token]]\nname = \"a\"\nscopes = [\"read\"]\nsha256 = \"{HASH}\"\n{keys}\n")
    }

    #[test]
    fn each_entry_gives_its_scopes_to_its_tenant() {
        let other = HASH.replace('b', "c").to_uppercase();
        let text = format!(
            "{}[[token]]\nname = \"b\"\ntenant = \"acme\"\nscopes = [\"work\", \"admin\"]\nsha256 = \"{other}\"",
            entry("")
        );
        let tokens = read(&text).unwrap();
        let shown: Vec<String> = tokens
            .grants()
            .iter()
            .map(|grant| format!("{} {:?} {:?}", grant.name, grant.tenant, grant.scopes))
            .collect();
        assert_eq!(shown, ["a \"\" {Read}", "b \"acme\" {Work, Admin}"]);
    }

    #[test]
    fn an_error_names_the_file_the_entry_and_what_is_allowed_and_repeats_no_secret() {
        let name = entry("");
        for (text, parts) in [
            (String::new(), ["token", "a table [[token]] for each token"]),
            ("token = []\nother = 1".to_owned(), ["other", "nothing else"]),
            ("[token]".to_owned(), ["token", "[[token]]"]),
            ("token = [1]".to_owned(), ["token 1", "name, tenant, scopes and sha256"]),
            ("\n\ntoken = sf_x".to_owned(), ["line 3", "not TOML"]),
            (format!("[[token]]\nname = {SECRET}"), ["line 2", "not TOML"]),
            (format!("[[token]]\n{SECRET}"), ["line 2", "not TOML"]),
            (format!("[[token]]\nname = \"{SECRET}\""), ["token 1: name", "1 to 64 characters"]),
            (name.replace("\"a\"", "\"A\""), ["token 1: name", "a-z"]),
            (name.replace(HASH, SECRET), ["token 1 (a): sha256", "never the token itself"]),
            (name.replace(HASH, &HASH.replace('b', "g")), ["token 1 (a): sha256", "64 hexadecimal digits"]),
            (name.replace("\"read\"", ""), ["token 1 (a): scopes", "\"submit\", \"read\""]),
            (name.replace("read", SECRET), ["token 1 (a): scopes", "\"work\" and \"admin\""]),
            (name.replace("\"read\"", "\"read\", \"read\""), ["token 1 (a): scopes", "each once"]),
            (entry("tenant = \"\""), ["token 1 (a): tenant", "or no such key"]),
            (entry(&format!("tenant = \"{SECRET}\"")), ["token 1 (a): tenant", "or no such key"]),
            (entry(&format!("token = \"{SECRET}\"")), ["token 1 (a): token", "no such key"]),
            (entry(&format!("{SECRET} = 1")), ["token 1 (a): a key", "no such key"]),
            (format!("{name}{name}"), ["token 2 (a): name", "an entry above"]),
            (format!("{name}{}", name.replace("\"a\"", "\"b\"")), ["token 2 (b): sha256", "an entry above"]),
        ] {
            let error = read(&text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains("tokens.toml: "), "{error}");
            assert!(parts.iter().all(|part| error.contains(part)), "{parts:?}: {error}");
            assert!(!error.contains(&SECRET[3..]), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_no_text_or_not_there_is_named() {
        let error = TokenFile::read(Path::new("/no/such/tokens.toml")).unwrap_err().to_string();
        assert!(error.starts_with("/no/such/tokens.toml: "), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        std::fs::write(&path, b"# a\n\xff").unwrap();
        let error = TokenFile::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("line 2: not TOML: not UTF-8"), "{error}");
    }
}
