use reqwest::Url;
use steadfast_domain::JobState;

/// Which jobs a list is to hold; the default is all of them, in pages of the server's size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Of this queue.
    pub queue: Option<String>,
    /// In this state.
    pub state: Option<JobState>,
    /// Of this kind.
    pub kind: Option<String>,
    /// With this tag: key and value.
    pub tag: Option<(String, String)>,
    /// Jobs on one page: 1 to 1,000, 50 unless said otherwise.
    pub limit: Option<usize>,
    /// The page after the one that gave this as its `next_cursor`.
    pub cursor: Option<String>,
}

impl JobFilter {
    pub(crate) fn append_to(&self, url: &mut Url) {
        let tag = self.tag.as_ref().map(|(key, value)| format!("{key}:{value}"));
        let parameters = [
            ("queue", self.queue.clone()),
            ("state", self.state.map(|state| state.as_str().to_owned())),
            ("kind", self.kind.clone()),
            ("tag", tag),
            ("limit", self.limit.map(|limit| limit.to_string())),
            ("cursor", self.cursor.clone()),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        url.query_pairs_mut().extend_pairs(given);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_given_is_asked_for_and_values_are_escaped() {
        let mut url = Url::parse("http://a/v1/jobs").unwrap();
        let filter = JobFilter {
            state: Some(JobState::Dead),
            tag: Some(("customer".into(), "a&b".into())),
            ..JobFilter::default()
        };
        filter.append_to(&mut url);
        assert_eq!(url.query(), Some("state=dead&tag=customer%3Aa%26b"));
    }
}
