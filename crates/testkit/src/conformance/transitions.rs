//! The table of transitions: every one happens, and nothing else does.

use std::time::Duration;

use steadfast_domain::{Event, Fence, JobId, JobState, NewJob, Start, Timestamp};
use steadfast_queue::store::{ClaimId, End};

use super::Bench;
use super::expiry::before_a_deadline;
use super::subject::{LONG, Subject, completed, dead, hand_back, of_kind, retry, want_kinds};

/// A job in some state, and the newest claim of it, if it ever had one.
struct Placed {
    id: JobId,
    claim: ClaimId,
}

/// What is tried on a job of each state, but for expiry, which is a matter of time.
const TRIED: [Event; 7] =
    [Event::Claim, Event::Complete, Event::Retry, Event::Die, Event::HandBack, Event::Cancel, Event::Reopen];

/// From every state, every event leads where the table says, or changes nothing.
pub async fn from_every_state_every_event_does_what_the_table_says(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for state in JobState::ALL {
        for event in TRIED {
            let kind = format!("{}-{event:?}", state.as_str()).to_lowercase();
            let placed = place(&store, &kind, state, None).await.expect("no deadline");
            let before = store.job(placed.id).await;
            happen(&store, &kind, &placed, event).await;
            let after = store.job(placed.id).await;
            // A cancel of a running attempt waits for its end.
            let asked = (state, event) == (JobState::Processing, Event::Cancel);
            let allowed = state.after(event).filter(|_| !asked);
            assert_eq!(after.state, allowed.unwrap_or(state), "{state:?} {event:?}");
            let durable = allowed.is_some() && event != Event::Claim;
            let version = if durable { before.version.next() } else { before.version };
            assert_eq!(after.version, version, "{state:?} {event:?}");
            if asked {
                store.end(placed.claim, End::Cancelled).await;
                assert_eq!(Some(store.state(placed.id).await), state.after(event));
            }
        }
    }
}

/// Past its deadline, a job of every state expires or stays, as the table says.
pub async fn from_every_state_a_passed_deadline_does_what_the_table_says(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut placed = Vec::new();
    let mut last = store.now().await;
    for state in JobState::ALL {
        let mut attempt = 0;
        let (deadline, id) = before_a_deadline(&store, async |deadline, _| {
            attempt += 1;
            let kind = format!("{}-{attempt}", state.as_str());
            Some((deadline, place(&store, &kind, state, Some(deadline)).await?.id))
        })
        .await;
        last = last.max(deadline);
        placed.push((state, id));
    }
    store.until_past(last).await;
    store.upkeep().await;
    for (state, id) in placed {
        let expected = state.after(Event::Expire).unwrap_or(state);
        assert_eq!(store.state(id).await, expected, "{state:?}");
    }
}

/// Makes a job of this kind in this state. `None` when its deadline came first.
async fn place(store: &Subject, kind: &str, state: JobState, deadline: Option<Timestamp>) -> Option<Placed> {
    let start = if state == JobState::Scheduled { Start::After(LONG) } else { Start::Now };
    let past = (state == JobState::Expired).then_some(store.now().await);
    let job = store.submit(NewJob { start, deadline: past.or(deadline), ..of_kind(kind) }).await;
    let mut claim = ClaimId { job: job.id, fence: Fence(1) };
    let end = match state {
        JobState::Scheduled | JobState::Queued => None,
        JobState::Expired => {
            store.until_state(job.id, state).await;
            None
        }
        JobState::Cancelled => {
            store.cancel(job.id).await;
            None
        }
        JobState::Processing | JobState::Retryable | JobState::Completed | JobState::Dead => {
            claim = store.claim_from(vec![want_kinds("default", &[kind])], 1).await.pop()?.id;
            match state {
                JobState::Retryable => Some(retry(LONG)),
                JobState::Completed => Some(completed()),
                JobState::Dead => Some(dead()),
                _ => None,
            }
        }
    };
    if let Some(end) = end {
        store.end(claim, end).await;
    }
    (store.state(job.id).await == state).then_some(Placed { id: job.id, claim })
}

/// Makes the event happen to the job as far as anybody outside can.
async fn happen(store: &Subject, kind: &str, placed: &Placed, event: Event) {
    let end = match event {
        Event::Complete => completed(),
        Event::Retry => retry(LONG),
        Event::Die => dead(),
        Event::HandBack => hand_back(Duration::ZERO),
        Event::Claim => {
            store.claim_from(vec![want_kinds("default", &[kind])], 1).await;
            return;
        }
        Event::Cancel => {
            store.cancel(placed.id).await;
            return;
        }
        Event::Reopen => {
            // Refused where the table has no such change, which is what the caller looks at.
            let _ = store.reopen(placed.id).await;
            return;
        }
        Event::Expire => unreachable!("expiry is a matter of time"),
    };
    // A lost claim's end changes nothing, which is what the caller looks at.
    let _ = store.settle(placed.claim, end).await;
}
