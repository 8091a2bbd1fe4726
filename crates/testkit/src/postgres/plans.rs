//! How PostgreSQL ran the statements of a session, from what its `auto_explain` logs.

use std::future::{Future, ready};

use serde_json::Value;

use super::Cluster;
use crate::eventually::eventually;

/// Parameters of a URL that make the server log each statement's plan as it was run, in JSON.
const EXPLAINED: &str = "options=-c%20session_preload_libraries%3Dauto_explain\
    %20-c%20auto_explain.log_min_duration%3D0%20-c%20auto_explain.log_analyze%3Don\
    %20-c%20auto_explain.log_buffers%3Don%20-c%20auto_explain.log_format%3Djson";

/// The plans of some statements. Those that look at no table are left out, since a store sends some (`pg_notify`)
/// when it has the time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plans {
    /// Each plan's nodes with their indexes and tables, the inner ones in brackets.
    pub shapes: Vec<String>,
    /// Pages that they looked at, in memory or not.
    pub pages: u64,
}

/// A store's URL with a schema, whose statements' plans are logged.
pub fn explained(url: &str) -> String {
    format!("{url}&{EXPLAINED}")
}

impl Cluster {
    /// Does something, and returns with it the plans that were logged meanwhile, by [`explained`] sessions.
    pub async fn plans_of<T>(&self, work: impl Future<Output = T>) -> (T, Plans) {
        let before = self.log_until_now().await.len();
        let done = work.await;
        (done, Plans::in_log(&self.log_until_now().await[before..]))
    }

    /// The log, with all that was logged before this call: once a line that is logged now is there, it is.
    async fn log_until_now(&self) -> String {
        let mark = format!("mark {:032x}", rand::random::<u128>());
        self.sql(&format!("DO $$ BEGIN RAISE LOG '{mark}'; END $$")).await;
        eventually("the mark is in PostgreSQL's log", || {
            let log = self.log();
            ready(log.contains(&mark).then_some(log))
        })
        .await
    }
}

impl Plans {
    /// Documents whose lines begin with a tab, each behind a line that ends with `plan:`.
    fn in_log(log: &str) -> Self {
        let (mut shapes, mut pages) = (Vec::new(), 0);
        for entry in log.split("plan:\n").skip(1) {
            let document: String = entry.lines().take_while(|line| line.starts_with('\t')).collect();
            let logged: Value = serde_json::from_str(&document).expect("auto_explain logs JSON");
            let plan = &logged["Plan"];
            if plan["Node Type"] == "Result" && plan["Plans"].is_null() {
                continue;
            }
            shapes.push(shape(plan));
            let counts = ["Shared Hit Blocks", "Shared Read Blocks"].map(|name| plan[name].as_u64());
            pages += counts.into_iter().flatten().sum::<u64>();
        }
        Self { shapes, pages }
    }
}

fn shape(plan: &Value) -> String {
    let words = ["Node Type", "Index Name", "Relation Name"].map(|name| plan[name].as_str());
    let mut text = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let inner: Vec<String> = plan["Plans"].as_array().into_iter().flatten().map(shape).collect();
    if !inner.is_empty() {
        text += &format!(" [{}]", inner.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_found_between_other_lines() {
        let log = "LOG:  something\nLOG:  duration: 0.1 ms  plan:\n\t{\n\t  \"Query Text\": \"SELECT 1\",\n\
                   \t  \"Plan\": {\"Node Type\": \"Limit\", \"Shared Hit Blocks\": 3, \"Shared Read Blocks\": 4,\n\
                   \t    \"Plans\": [{\"Node Type\": \"Index Scan\", \"Index Name\": \"i\", \
                   \"Relation Name\": \"t\", \"Shared Hit Blocks\": 3}]}\n\t}\nLOG:  more\n\
                   LOG:  duration: 0.1 ms  plan:\n\t{\"Plan\": {\"Node Type\": \"Result\", \
                   \"Shared Hit Blocks\": 9}}\n";
        let expected = Plans { shapes: vec!["Limit [Index Scan i t]".to_owned()], pages: 7 };
        assert_eq!(Plans::in_log(log), expected);
        assert_eq!(Plans::in_log("LOG:  nothing"), Plans { shapes: Vec::new(), pages: 0 });
    }
}
