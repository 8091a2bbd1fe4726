//! The bodies that are submitted: about 200 bytes, a kind and a payload of a few fields.

/// A payload as a client would send it.
macro_rules! payload {
    () => {
        concat!(
            r#"{"order":"5b2f6f0e-7c1d-4d6b-9a5e-0c8f5a3d2b11","customer":184467,"#,
            r#""currency":"EUR","total":129.95,"note":"leave at the door"}"#
        )
    };
}

/// The payload alone.
pub(super) const PAYLOAD: &str = payload!();

/// A job that does not become due in a run: it waits for a day. What a submit costs is then not mixed with
/// what running the job costs.
pub(super) const LATER: &str = concat!(r#"{"kind":"echo","delay_ms":86400000,"payload":"#, payload!(), "}");

/// The same job, to be run at once.
pub(super) const NOW: &str = concat!(r#"{"kind":"echo","payload":"#, payload!(), "}");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_about_two_hundred_bytes() {
        for body in [LATER, NOW] {
            assert!((150..=250).contains(&body.len()), "{}", body.len());
            assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
        }
    }
}
