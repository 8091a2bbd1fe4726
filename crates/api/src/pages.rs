//! The pages for people: what a problem code means, and where to go from `/`.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use steadfast_wire::ErrorCode;

use crate::app::App;
use crate::parameters::{PathText, text_of};
use crate::problem::Refused;

/// `GET /problems/{code}`.
pub(crate) async fn problem(path: PathText) -> Result<Html<String>, Refused> {
    let name = text_of(path, "code")?;
    let Some(code) = ErrorCode::parse(&name) else {
        return Err(Refused::new(ErrorCode::NotFound, "there is no problem code of this name"));
    };
    let retry = if code.retryable() { "may do better later" } else { "will not do better later" };
    Ok(page(
        code.title(),
        &format!(
            "<p>Code <code>{}</code>, status {}. The same request {retry}, unless an answer's \
             <code>retryable</code> says otherwise.</p>\n<p>{}</p>\n<p><a href=\"/\">Steadfast</a></p>",
            code.as_str(),
            code.status(),
            escaped(code.description()),
        ),
    ))
}

/// `GET /`.
pub(crate) async fn home(State(app): State<Arc<App>>) -> Html<String> {
    let mut problems = String::new();
    for code in ErrorCode::ALL {
        let name = code.as_str();
        // Writing into a String cannot fail.
        let _ = writeln!(problems, "<li><a href=\"/problems/{name}\"><code>{name}</code></a></li>");
    }
    let metrics = match app.config.has_admin_listener {
        true => "",
        false => "<li><a href=\"/metrics\">Metrics</a></li>\n",
    };
    page(
        "Steadfast",
        &format!(
            "<p>Version {}, phase <strong>{}</strong>.</p>\n<ul>\n\
             <li><a href=\"/v1/jobs\">Jobs</a></li>\n\
             <li><a href=\"/v1/queues\">Queues</a></li>\n\
             <li><a href=\"/healthz\">Health</a>, <a href=\"/readyz\">readiness</a></li>\n\
             {metrics}\
             <li><a href=\"/openapi.json\">OpenAPI document</a></li>\n</ul>\n\
             <p>What an error's code means:</p>\n<ul>\n{problems}</ul>",
            env!("CARGO_PKG_VERSION"),
            app.phases.current().as_str(),
        ),
    )
}

fn page(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title></head>\n\
         <body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    ))
}

/// Text of ours within HTML: descriptions have backticks, which become code.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for (index, part) in text.split('`').enumerate() {
        if index > 0 {
            html.push_str(if index % 2 == 1 { "<code>" } else { "</code>" });
        }
        html.push_str(&part.replace('&', "&amp;").replace('<', "&lt;"));
    }
    html
}
