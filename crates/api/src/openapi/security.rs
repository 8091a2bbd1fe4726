//! Tokens and their scopes in the OpenAPI document.

use serde_json::{Value, json};

use crate::access::Needs;

/// What the document calls a token.
const BEARER: &str = "bearer";

/// The one way in which a request says who sends it.
pub(super) fn schemes() -> Value {
    json!({
        BEARER: {
            "type": "http",
            "scheme": "bearer",
            "description": "A token of the server's token file. Each operation names the scope it needs; none implies \
                            another. A server without a token file needs none.",
        },
    })
}

/// Which tokens do for an operation; none of them where nothing is needed.
pub(super) fn of(needs: Needs) -> Value {
    let Some(scope) = needs.scope() else { return json!([]) };
    let token = json!({ BEARER: [scope.as_str()] });
    match needs {
        // Whoever is on the server's machine needs none.
        Needs::AdminOrLocal => json!([token, {}]),
        _ => json!([token]),
    }
}
