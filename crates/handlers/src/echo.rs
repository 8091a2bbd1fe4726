use async_trait::async_trait;
use steadfast_domain::{InvalidField, RawJson, limits};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};

/// Completes with its payload, any JSON value, as the result.
pub(crate) struct Echo;

#[async_trait]
impl JobHandler for Echo {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        let (bytes, bytes_max) = (payload.len_bytes(), limits::RESULT_BYTES_MAX);
        if bytes > bytes_max {
            let detail = format!("{bytes} bytes are too many: it becomes the result, at most {bytes_max}");
            return Err(vec![InvalidField::new("#/payload", detail)]);
        }
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        Ok(Finish::Completed(Some(context.payload().clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_no_result_can_hold_is_refused() {
        let text = |bytes: usize| RawJson::parse(&format!("\"{}\"", "x".repeat(bytes - 2))).unwrap();
        assert_eq!(Echo.check(&text(limits::RESULT_BYTES_MAX)), Ok(()));
        let faults = Echo.check(&text(limits::RESULT_BYTES_MAX + 1)).unwrap_err();
        assert_eq!(faults[0].pointer, "#/payload");
    }
}
