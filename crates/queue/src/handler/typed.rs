use std::future::Future;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use steadfast_domain::{InvalidField, RawJson};

use super::{Failure, Finish, JobContext, JobHandler, Unfinished, payload};

/// Runs the jobs of one kind, whose payload and result are types.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use steadfast_queue::{Handlers, JobContext, TypedHandler, Unfinished};
///
/// struct Greet;
///
/// #[derive(Deserialize)]
/// struct Person {
///     name: String,
/// }
///
/// #[derive(Serialize)]
/// struct Greeting {
///     text: String,
/// }
///
/// impl TypedHandler for Greet {
///     const KIND: &'static str = "greet";
///     type Payload = Person;
///     type Output = Greeting;
///
///     async fn run(&self, person: Person, _context: JobContext) -> Result<Greeting, Unfinished> {
///         Ok(Greeting { text: format!("Hello, {}!", person.name) })
///     }
/// }
///
/// let handlers = Handlers::new().with_typed(Greet);
/// ```
///
/// A handler that can go on where it stopped keeps its place in a checkpoint:
///
/// ```
/// # use steadfast_queue::{Failure, JobContext, TypedHandler, Unfinished};
/// # struct Import;
/// # enum ImportError { Busy }
/// # async fn import_page(page: u64) -> Result<bool, ImportError> { Ok(page == 9) }
/// impl From<ImportError> for Failure {
///     fn from(error: ImportError) -> Self {
///         match error {
///             ImportError::Busy => Failure::retryable("busy", "the source is busy"),
///         }
///     }
/// }
///
/// impl TypedHandler for Import {
/// #   const KIND: &'static str = "import";
/// #   type Payload = ();
///     type Output = ();
///
///     async fn run(&self, _: (), context: JobContext) -> Result<(), Unfinished> {
///         let mut page: u64 = context.last_checkpoint()?.unwrap_or(0);
///         while import_page(page).await? {
///             page += 1;
///             context.yield_if_stopped(&page)?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait TypedHandler: Send + Sync + 'static {
    /// The kind's name: 1 to 64 bytes of `[a-z0-9._-]`. [`Typed`] goes by another one.
    const KIND: &'static str;

    /// What is submitted. A payload that is not one is refused at its submit with 422 `invalid_job` and a pointer to
    /// the first fault. Whether unknown fields are faults is this type's choice (`#[serde(deny_unknown_fields)]`).
    type Payload: DeserializeOwned + Send;

    /// What a completed job shows as its `result`: at most
    /// [`RESULT_BYTES_MAX`](steadfast_domain::limits::RESULT_BYTES_MAX) bytes of JSON, else the job is `dead` with code
    /// `result_too_large`.
    type Output: Serialize;

    /// Checks at the submit what types do not say; faults are answered 422 `invalid_job`. Must be quick, pure and free
    /// of I/O: it runs before every commit. The pointer of a fault begins with `#/payload`.
    fn check(&self, payload: &Self::Payload) -> Result<(), Vec<InvalidField>> {
        let _ = payload;
        Ok(())
    }

    /// Runs one attempt, as [`JobHandler::run`] does.
    fn run(
        &self,
        payload: Self::Payload,
        context: JobContext,
    ) -> impl Future<Output = Result<Self::Output, Unfinished>> + Send;
}

/// A typed handler as a [`JobHandler`], for kinds whose name is not known when they are compiled.
#[derive(Debug, Clone)]
pub struct Typed<H>(pub H);

#[async_trait]
impl<H: TypedHandler> JobHandler for Typed<H> {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        let payload = payload::read(payload).map_err(|fault| vec![fault])?;
        self.0.check(&payload)
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        let payload = payload::read(context.payload()).map_err(misplaced)?;
        match self.0.run(payload, context).await {
            Ok(output) => completed(&output),
            Err(Unfinished::Yield { checkpoint }) => Ok(Finish::Yield { checkpoint }),
            Err(Unfinished::Failed(failure)) => Err(failure),
        }
    }
}

/// It fitted when it was submitted: another version of the program took it. Retryable, since the attempt may be the
/// older one's in a rolling deploy.
fn misplaced(fault: InvalidField) -> Failure {
    Failure::retryable("invalid_payload", fault.to_string())
}

/// Completed with this result; with none when it is `null`, as that of `()` is.
fn completed<T: Serialize>(output: &T) -> Result<Finish, Failure> {
    let result = RawJson::encode(output)
        .map_err(|invalid| Failure::permanent("invalid_result", format!("the result is {invalid}")))?;
    Ok(Finish::Completed(Some(result).filter(|result| result.as_str() != "null")))
}
