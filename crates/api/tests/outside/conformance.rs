//! Holds every answer that a test gets against the server's own OpenAPI document: that its status, its headers,
//! its media type and its problem code are described. The members of documents are held against their schemas by
//! the tests of `wire`.

use std::sync::LazyLock;

use serde_json::Value;
use steadfast_testkit::raw::RawAnswer;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(steadfast_api::openapi_document()).unwrap());

/// Checks the answer to a request of this method at this path, which may have a query.
#[track_caller]
pub(crate) fn check(method: &str, path: &str, answer: &RawAnswer) {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let place = format!("{method} {path}: {}", answer.status);
    let response = match operation(method, path) {
        Some(operation) => {
            let response = operation["responses"].get(answer.status.to_string());
            response.unwrap_or_else(|| panic!("{place} is not described"))
        }
        None if answer.status == 405 => &DOCUMENT["components"]["responses"]["method_not_allowed"],
        None => {
            assert!(matches!(answer.status, 403 | 404), "{place}");
            return;
        }
    };
    for (name, header) in response["headers"].as_object().into_iter().flatten() {
        assert!(header["required"] != true || answer.header(name).is_some(), "{place} has no {name}");
    }
    check_body(response, answer, &place);
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object()?;
    let item = paths.get(path).or_else(|| {
        let mut templates = paths.iter().filter(|(template, _)| template.contains('{'));
        templates.find(|(template, _)| fits(template, path)).map(|(_, item)| item)
    });
    item?.get(method.to_lowercase())
}

fn fits(template: &str, path: &str) -> bool {
    let (names, parts): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
    let mut pairs = names.iter().zip(&parts);
    names.len() == parts.len() && pairs.all(|(name, part)| name.starts_with('{') || name == part)
}

fn check_body(response: &Value, answer: &RawAnswer, place: &str) {
    let Some(content) = response["content"].as_object() else {
        assert!(answer.body.is_empty(), "{place} has a body");
        return;
    };
    let declared = answer.header("content-type").unwrap_or_else(|| panic!("{place} has no type"));
    let media_type = declared.split(';').next().unwrap();
    let described = content.get(media_type).unwrap_or_else(|| panic!("{place} has the type {declared}"));
    if let Some(codes) = described["schema"]["properties"]["code"]["enum"].as_array() {
        let code = &answer.json()["code"];
        assert!(codes.contains(code), "{place} has the code {code}");
    }
}
