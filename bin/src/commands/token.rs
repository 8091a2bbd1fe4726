use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rand::TryRngCore;
use rand::rngs::OsRng;
use serde::Serialize;
use steadfast_api::{Scope, TokenHash};
use steadfast_domain::{Tenant, TokenName};

use super::failure::Failure;
use super::output::{self, Format, OutputArgs};

/// Begins every token, so that one that lies about is known for what it is.
const PREFIX: &str = "sf_";
/// Random bytes of a token: more than can be guessed, so that a plain hash is enough to keep it by. Written out they fit
/// into one block of SHA-256.
const RANDOM_BYTES: usize = 32;

const EXAMPLES: &str = "\
It needs no server: the entry becomes part of the file that --token-file names, and the server takes it within seconds. \
The token is printed this once and kept nowhere; whoever is to use it sets STEADFAST_TOKEN to it.

Examples:
  steadfast token billing --scope submit --scope read
  steadfast token ops --scope read --scope admin --output json | jq -r .entry >> tokens.toml";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TokenArgs {
    /// What people call it: in the token file, and nowhere else
    name: TokenName,
    /// What it is good for; more than one as --scope submit --scope read. None implies another
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_parser = scopes())]
    scopes: Vec<Scope>,
    /// Whose its idempotency keys and unique keys are; tokens without a tenant share theirs
    #[arg(long)]
    tenant: Option<Tenant>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A new token, and what the server is to know of it.
#[derive(Debug, Serialize)]
struct Made<'a> {
    token: String,
    name: &'a str,
    tenant: Option<&'a str>,
    scopes: Vec<&'static str>,
    sha256: String,
    entry: String,
}

/// Makes a token and prints it with its entry for the token file.
pub(crate) fn run(args: &TokenArgs) -> Result<(), Failure> {
    let mut secret = [0; RANDOM_BYTES];
    OsRng.try_fill_bytes(&mut secret).map_err(Failure::failed)?;
    let made = Made::of(args, secret);
    match args.output.format() {
        Format::Text => output::print(made),
        Format::Json => output::print_json(&made),
    }
}

fn scopes() -> impl TypedValueParser<Value = Scope> {
    let names = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str));
    names.try_map(|name| Scope::parse(&name).ok_or("there is no such scope"))
}

impl<'a> Made<'a> {
    fn of(args: &'a TokenArgs, secret: [u8; RANDOM_BYTES]) -> Self {
        let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(secret));
        let tenant = args.tenant.as_ref().map(Tenant::as_str).filter(|tenant| !tenant.is_empty());
        let scopes = Scope::ALL.into_iter().filter(|scope| args.scopes.contains(scope));
        let scopes: Vec<&str> = scopes.map(Scope::as_str).collect();
        let sha256 = TokenHash::of(token.as_bytes()).to_string();
        // None of these has a character that TOML would need escaped.
        let tenant_line = tenant.map(|tenant| format!("tenant = \"{tenant}\"\n")).unwrap_or_default();
        let entry = format!(
            "[[token]]\nname = \"{}\"\n{tenant_line}scopes = {scopes:?}\nsha256 = \"{sha256}\"\n",
            args.name
        );
        Self { token, name: args.name.as_str(), tenant, scopes, sha256, entry }
    }
}

impl fmt::Display for Made<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "The token, shown this once; whoever is to use it sets STEADFAST_TOKEN to it:\n")?;
        writeln!(f, "{}\n\nIts entry for the token file:\n\n{}", self.token, self.entry.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::settings::{Loaded, SettingsArgs};

    use super::*;

    #[test]
    fn the_entry_is_one_that_the_server_takes() {
        let args = TokenArgs {
            name: TokenName::new("billing").unwrap(),
            scopes: vec![Scope::Read, Scope::Submit, Scope::Read],
            tenant: Some(Tenant::new("acme").unwrap()),
            output: OutputArgs::default(),
        };
        let made = Made::of(&args, [7; RANDOM_BYTES]);
        assert_eq!(made.token, format!("sf_{}Bwc", "BwcH".repeat(10)));
        assert!(!made.entry.contains(&made.token));

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.toml");
        fs::write(&path, &made.entry).unwrap();
        let environment = |name: &str| (name == "STEADFAST_TOKEN_FILE").then(|| path.clone().into());
        let loaded = Loaded::from_sources(&SettingsArgs::default(), environment).unwrap();
        let tokens = loaded.token_file.unwrap().tokens;
        let shown: Vec<String> = tokens
            .grants()
            .iter()
            .map(|grant| format!("{} {} {:?}", grant.name, grant.tenant, grant.scopes))
            .collect();
        assert_eq!(shown, ["billing acme {Submit, Read}"]);
    }
}
