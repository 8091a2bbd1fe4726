//! Entries of a token file.

use sha2::{Digest, Sha256};

/// Every scope that there is.
pub const ALL_SCOPES: [&str; 4] = ["submit", "read", "work", "admin"];

/// The entry by which a token file lets in whoever has `token`.
pub fn token_entry(name: &str, scopes: &[&str], token: &str) -> String {
    let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[token]]\nname = {name:?}\nscopes = {scopes:?}\nsha256 = \"{hash}\"\n")
}
