//! All that is known of a store.

use std::collections::BTreeMap;

use steadfast_domain::{JobId, NewJob, Start};
use steadfast_queue::store::{Cancel, ClaimId, IdempotencyKey, ListQuery};

use super::call::{Answer, Call};
use super::judge::Made;
use super::known::{Known, place_of};
use super::step::{Act, KINDS, Span, Spec, Token};
use crate::conformance::subject::{Subject, batch_key, key, of_kind, unique};
use crate::conformance::versions::assert_history;

/// Why an answer cannot be, in words.
pub(super) type Disagreement = String;

/// What the answers so far tell.
#[derive(Debug, Clone, Default)]
pub(super) struct World {
    pub(super) jobs: BTreeMap<JobId, Known>,
    /// Every claim ever answered.
    pub(super) claims: Vec<ClaimId>,
    /// Idempotency keys, with the jobs their submissions were answered with.
    pub(super) keys: Vec<(IdempotencyKey, Vec<JobId>)>,
    pub(super) paused: bool,
}

impl World {
    /// The call that the act means now; `None` while there is nothing to do it to.
    pub(super) async fn call(&self, act: &Act, store: &Subject) -> Option<Call> {
        Some(match act {
            Act::Submit(specs, token) => {
                let now = store.now().await;
                let job = |spec: &Spec| NewJob { deadline: spec.late.then_some(now), ..new_job(spec) };
                let jobs: Vec<NewJob> = specs.iter().map(job).collect();
                let key = token.as_ref().map(|token| key_of(token, jobs.len()));
                Call::Submit { jobs, key }
            }
            Act::Claim { by, kinds, max, lease } => {
                let kinds = (0..KINDS).filter(|kind| kinds & (1 << kind) != 0).map(kind_of).collect();
                Call::Claim { by: *by, kinds, max: *max, lease: *lease }
            }
            Act::Settle { claim, end } => Call::Settle { claim: *pick(&self.claims, *claim)?, end: *end },
            Act::Renew { claim, lease } => {
                let claim = *pick(&self.claims, *claim)?;
                let of_worker = self.jobs[&claim.job].held.is_some_and(|held| held.of_worker);
                Call::Renew { claim, lease: if of_worker { *lease } else { Span::Long } }
            }
            Act::Cancel(job) => Call::Cancel(self.pick_job(*job)?),
            Act::Reopen(job) => Call::Reopen(self.pick_job(*job)?),
            Act::Pause(paused) => Call::Pause(*paused),
        })
    }

    /// Holds every stored job against what is known, and takes from it what was open.
    pub(super) async fn agree(&mut self, store: &Subject) -> Result<(), Disagreement> {
        let stored = store.stored().await;
        if stored != self.jobs.len() {
            return Err(format!("{stored} jobs are stored, and {} were accepted", self.jobs.len()));
        }
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        let read = store.seam().get(&ids).await.expect("reads");
        for (known, job) in self.jobs.values_mut().zip(read) {
            let job = job.ok_or_else(|| format!("it is not stored: {known:#?}"))?;
            assert_history(&job);
            let is = known.may_be().into_iter().find(|known| known.is(&job));
            *known = is.ok_or_else(|| format!("the job is stored as {job:#?}\nand was {known:#?}"))?;
            if known.waits() {
                known.place = Some(place_of(&job));
            }
        }
        let paused = store.queue("default").await.paused;
        if paused == self.paused { Ok(()) } else { Err(format!("paused: {paused}")) }
    }

    /// What is known if the two calls, made at once, happened in this order.
    pub(super) async fn after_both(
        &self,
        first: Made<'_>,
        second: Made<'_>,
        store: &Subject,
    ) -> Result<Self, Disagreement> {
        let mut world = self.clone();
        world.judge(first, Some(second))?;
        world.judge(second, Some(first))?;
        world.agree(store).await?;
        Ok(world)
    }

    /// Takes it that what the call may have done is what the store says now. The caller of it is gone.
    pub(super) async fn recover(&mut self, call: Call, store: &Subject) -> Result<(), Disagreement> {
        let mut told = Vec::new();
        for answer in self.answers_there_may_have_been(&call, store).await {
            let mut world = self.clone();
            let agreed = match answer {
                Some(answer) => world.judge((&call, &answer), None),
                None => Ok(()),
            };
            match agreed {
                Ok(()) => match world.agree(store).await {
                    Ok(()) => {
                        *self = world;
                        return Ok(());
                    }
                    Err(error) => told.push(error),
                },
                Err(error) => told.push(error),
            }
        }
        Err(told.join("\nand if it happened: "))
    }

    /// The answers that would leave what is stored now; the first is that nothing happened.
    async fn answers_there_may_have_been(&self, call: &Call, store: &Subject) -> Vec<Option<Answer>> {
        let mut answers = vec![None];
        match call {
            Call::Submit { .. } => {
                let mut new = store.list(ListQuery::default()).await;
                new.retain(|job| !self.jobs.contains_key(&job.id));
                new.sort_by_key(|job| job.id);
                answers.push(Some(Answer::submitted(new)));
            }
            Call::Settle { claim: ClaimId { job: id, .. }, .. } | Call::Cancel(id) | Call::Reopen(id) => {
                let next = self.jobs[id].version.next();
                let job = store.job(*id).await;
                let change = job.history.into_iter().find(|change| change.version == next);
                answers.extend(change.map(|change| Answer::changed(call, change)));
                if matches!(call, Call::Cancel(_)) {
                    answers.push(Some(Answer::Cancel(Cancel::Requested)));
                }
            }
            Call::Pause(_) => answers.push(Some(Answer::Pause)),
            Call::Claim { .. } | Call::Renew { .. } => {}
        }
        answers
    }

    /// The process is gone: nobody speaks for what it held.
    pub(super) fn lose_process(&mut self) {
        for held in self.jobs.values_mut().filter_map(|known| known.held.as_mut()) {
            held.orphan |= !held.of_worker;
        }
    }

    /// Every brief time has passed, and housekeeping is done.
    pub(super) fn pass_time(&mut self) {
        for known in self.jobs.values_mut() {
            *known = known.after_brief_times();
        }
    }

    fn pick_job(&self, index: u8) -> Option<JobId> {
        let ids: Vec<JobId> = self.jobs.keys().copied().collect();
        pick(&ids, index).copied()
    }
}

fn pick<T>(from: &[T], index: u8) -> Option<&T> {
    from.get(usize::from(index) % from.len().max(1))
}

fn new_job(spec: &Spec) -> NewJob {
    let job = of_kind(&kind_of(spec.kind));
    let start = match spec.start {
        Span::None => Start::Now,
        later => Start::After(later.duration()),
    };
    let unique_key = spec.unique.and_then(|name| unique(&format!("u{name}")).unique_key);
    NewJob { priority: spec.priority, start, unique_key, ..job }
}

fn kind_of(kind: u8) -> String {
    format!("k{kind}")
}

fn key_of(token: &Token, jobs: usize) -> IdempotencyKey {
    let name = format!("key{}", token.name);
    if jobs == 1 { key(&name, token.body) } else { batch_key(&name, token.body) }
}
