use std::time::Duration;

use steadfast_domain::{Job, JobId};
use tokio::time::Instant;

use crate::app::{App, Services};
use crate::limits::HeldSlot;
use crate::problem::Refused;

/// Waits until the job is terminal, `wait` is over or the server drains, and reads it then. `None` when there
/// is no such job. The caller has no place any more: what only waits does no work.
pub(crate) async fn hold(
    app: &App,
    services: &Services,
    id: JobId,
    wait: Duration,
    slot: HeldSlot,
) -> Result<Option<Job>, Refused> {
    let until = Instant::now() + wait;
    let waited = services.hub.wait_terminal(id, until, &app.phases);
    let job = tokio::time::timeout_at(until + app.config.request_timeout, waited).await;
    drop(slot);
    job.map_err(|_| Refused::timed_out())?.map_err(Refused::from)
}
