//! One look at `/metrics`, as numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use steadfast_testkit::raw::{RawAnswer, RawConnection};

/// Everything that one answer of `/metrics` said.
#[derive(Debug, Clone)]
pub(crate) struct Scrape {
    pub(crate) text: String,
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scrape {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let text = String::from_utf8(get(address).await.body).expect("text");
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(Sample::parse).collect();
        Self { text, samples }
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// The sum over the series of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> i64 {
        let has = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|found| found == value))
        };
        self.samples.iter().filter(has).map(|sample| sample.value as i64).sum()
    }

    /// Whether this is one of its lines.
    pub(crate) fn has_line(&self, line: &str) -> bool {
        self.text.lines().any(|found| found == line)
    }
}

impl Sample {
    /// `name{label="value",…} number`. No label of ours has a quote, a comma or a brace in it.
    fn parse(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').expect("a name and a value");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels =
            labels.strip_suffix('}').expect("labels end").split(',').filter(|label| !label.is_empty());
        let pair = |label: &str| {
            let (name, value) = label.split_once('=').expect("a label has a value");
            (name.to_owned(), value.trim_matches('"').to_owned())
        };
        let value = value.parse().expect("a number");
        Self { name: name.to_owned(), labels: labels.map(pair).collect(), value }
    }
}

/// The answer of `GET /metrics`.
pub(crate) async fn get(address: SocketAddr) -> RawAnswer {
    let mut connection = RawConnection::open(address).await.expect("a connection");
    connection.get("/metrics").await.expect("sent");
    let answer = connection.answer().await.expect("an answer");
    assert_eq!(answer.status, 200);
    answer
}
