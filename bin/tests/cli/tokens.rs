use std::net::SocketAddr;

use serde_json::json;
use steadfast_api::TokenHash;

use crate::given::{document, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_without_a_server_and_never_twice() {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let line = "token billing --scope read --scope submit --tenant acme";
    let made = document(nowhere, line).await;
    let token = made["token"].as_str().expect("a text");
    let (prefix, secret) = token.split_at(3);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(prefix == "sf_" && secret.len() == 43 && secret.bytes().all(is_plain), "{token}");
    assert_eq!(made["sha256"], TokenHash::of(token.as_bytes()).to_string());
    assert_eq!((&made["name"], &made["tenant"]), (&json!("billing"), &json!("acme")));
    assert_eq!(made["scopes"], json!(["submit", "read"]));
    assert!(!made["entry"].as_str().expect("a text").contains(secret));
    assert_ne!(document(nowhere, line).await["token"], made["token"]);

    let printed = text(nowhere, "token ops --scope admin").await;
    let token = printed.lines().find(|line| line.starts_with("sf_")).expect("the token");
    let hash = TokenHash::of(token.as_bytes());
    let entry = format!("[[token]]\nname = \"ops\"\nscopes = [\"admin\"]\nsha256 = \"{hash}\"");
    assert!(printed.trim_end().ends_with(&entry), "{printed}");
}
