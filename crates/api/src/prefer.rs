use std::time::Duration;

use http::HeaderMap;
use steadfast_domain::limits;

/// For how long the client would like to wait for the job's end: `Prefer: wait=N`, in whole seconds (RFC
/// 7240, section 4.3), at most [`limits::WAIT_MAX`]. What is not understood is ignored, as the standard has it.
pub(crate) fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let seconds = values.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        let wait = name.trim().eq_ignore_ascii_case("wait");
        wait.then(|| value.trim().trim_matches('"').parse::<u64>().ok()).flatten()
    })?;
    Some(Duration::from_secs(seconds).min(limits::WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn wait(value: &'static str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert("prefer", HeaderValue::from_static(value));
        wait_of(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn finds_the_wait_among_preferences() {
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, Wait = \"7\"; x=1"), Some(7));
        assert_eq!(wait("wait=999"), Some(30));
        assert_eq!(wait("wait=soon"), None);
        assert_eq!(wait("return=minimal"), None);
    }
}
