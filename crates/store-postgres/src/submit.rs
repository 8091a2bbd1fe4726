use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::sync::Arc;

use futures_util::future::{join3, join4};
use steadfast_domain::{Job, NewJob, QueueName, Tenant, UniqueKey};
use steadfast_queue::store::{How, IdempotencyKey, Refusal, StoreError, Submission, SubmitError, Submitted};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::changes::Changes;
use crate::error::{Failure, Fault};
use crate::jobs::state_waiting;
use crate::keys::{self, Answered, hash, key_hash};
use crate::lane::{Command, Serve, Ticket};
use crate::read;
use crate::room::{self, Load, Room};
use crate::row::uuid;
use crate::session::{Session, Sql};
use crate::shared::Shared;
use crate::tallies::{ALL, Counted};
use crate::writer::{Begin, Begun, Group, Outcome, Writer};

/// One submission that waits for its transaction.
#[derive(Debug)]
pub(crate) struct Submit {
    pub(crate) submission: Submission,
    pub(crate) ticket: Ticket,
    pub(crate) answer: oneshot::Sender<Answer>,
}

pub(crate) type Answer = Result<Vec<Submitted>, SubmitError>;

impl Command for Submit {
    fn weight(&self) -> usize {
        self.submission.jobs.len()
    }

    fn bytes(&self) -> usize {
        self.submission.jobs.iter().map(|job| job.payload.len_bytes()).sum()
    }
}

/// One connection that accepts submissions.
pub(crate) struct Submitting {
    pub(crate) writer: Writer,
    pub(crate) shared: Arc<Shared>,
    /// The room that this connection's seat had left, as far as it knows.
    pub(crate) left: HashMap<String, Load>,
}

impl Serve for Submitting {
    type Command = Submit;

    async fn serve(&mut self, batch: Vec<Submit>) {
        let now = Instant::now();
        let (mut begun, mut late) = (Vec::with_capacity(batch.len()), Vec::new());
        for submit in batch {
            if submit.submission.give_up_at <= now {
                late.push(submit);
            } else if submit.ticket.begin() {
                begun.push(submit);
            }
        }
        for submit in late {
            // Its caller may be gone, here as with every other answer.
            let _ = submit.answer.send(Err(StoreError::TimedOut.into()));
        }
        let mut groups = vec![begun];
        while let Some(submits) = groups.pop().filter(|submits| !submits.is_empty()) {
            groups.extend(self.together(submits).await);
        }
    }

    fn writer(&mut self) -> Option<&mut Writer> {
        Some(&mut self.writer)
    }

    async fn close(self) {
        self.writer.close().await;
    }
}

impl Submitting {
    /// Runs submissions in one transaction. Data that is not accepted comes back in halves, until it is alone.
    async fn together(&mut self, submits: Vec<Submit>) -> Vec<Vec<Submit>> {
        let mut batch = Batch::new(submits, &self.shared, &self.left);
        match self.writer.run(&mut batch).await {
            Outcome::Committed { .. } => {
                self.left.extend(mem::take(&mut batch.left));
                batch.answer();
            }
            Outcome::Failed(failure) if failure.fault() == Fault::Data && batch.submits.len() > 1 => {
                let mut submits = batch.submits;
                let rest = submits.split_off(submits.len() / 2);
                return vec![rest, submits];
            }
            Outcome::Failed(failure) => {
                self.left.clear();
                batch.fail(&failure);
            }
            Outcome::Unknown => {
                self.left.clear();
                batch.leave_open();
            }
        }
        Vec::new()
    }
}

/// Submissions that share a transaction.
struct Batch<'a> {
    submits: Vec<Submit>,
    /// The answers, in order, while they are not committed.
    staged: Vec<Answer>,
    shared: &'a Shared,
    queues: BTreeSet<String>,
    /// Scopes of which every seat's room is needed.
    dry: BTreeSet<String>,
    left: HashMap<String, Load>,
}

/// What is stored of what a batch asks for.
struct Found {
    keys: HashMap<Uuid, Answered>,
    uniques: HashMap<Uuid, Uuid>,
    jobs: HashMap<Uuid, Job>,
}

/// What becomes of one submitted job.
enum Part {
    New(Option<Uuid>),
    /// A live job has its unique key.
    Live(Uuid),
    /// An earlier job of the same submission has its unique key.
    SameAs(usize),
}

impl<'a> Batch<'a> {
    fn new(submits: Vec<Submit>, shared: &'a Shared, left: &HashMap<String, Load>) -> Self {
        let mut needed = BTreeMap::<String, Load>::new();
        for job in submits.iter().flat_map(|submit| &submit.submission.jobs) {
            for scope in [ALL, job.queue.as_str()] {
                let load = needed.entry(scope.to_owned()).or_default();
                load.jobs += 1;
                load.bytes += job.payload.len_bytes() as i64;
            }
        }
        let is_short = |(scope, needed): &(&String, &Load)| {
            left.get(*scope).is_some_and(|left| left.jobs < needed.jobs || left.bytes < needed.bytes)
        };
        let dry = needed.iter().filter(is_short).map(|(scope, _)| scope.clone()).collect();
        let queues = needed.into_keys().filter(|scope| scope != ALL).collect();
        Self { submits, staged: Vec::new(), shared, queues, dry, left: HashMap::new() }
    }

    fn answer(self) {
        for (submit, answer) in self.submits.into_iter().zip(self.staged) {
            let _ = submit.answer.send(answer);
        }
    }

    fn fail(self, failure: &Failure) {
        for submit in self.submits {
            let _ = submit.answer.send(Err(failure.to_store_error().into()));
        }
    }

    /// Says of what would have been made that it is not known whether it was.
    fn leave_open(self) {
        for (submit, answer) in self.submits.into_iter().zip(self.staged) {
            let made = |answer: &Vec<Submitted>| answer.iter().any(|job| job.how == How::Accepted);
            let answer = match answer {
                Ok(jobs) if made(&jobs) => {
                    let ids = jobs.iter().map(|submitted| submitted.job.id).collect();
                    Err(StoreError::Unknown { ids }.into())
                }
                other => other,
            };
            let _ = submit.answer.send(answer);
        }
    }

    /// What room there is, locked, and the time.
    async fn room(&self, begin: Begin<'_>) -> Result<(Room, Begun), Failure> {
        let (session, seat) = (begin.session, begin.seat);
        if self.dry.is_empty() {
            let (room, now) = Room::own(session, seat, &self.queues).await?;
            return Ok((room, Begun { now }));
        }
        let (locked, capacities, begun) = join3(
            Room::lock(session, seat, &self.queues, &self.dry, self.shared.locks.room),
            Room::capacities(session, &self.queues),
            begin.begun(),
        )
        .await;
        let (locked, capacities) = (locked?, capacities?);
        Ok((Room::new(seat, &self.dry, &capacities, &locked)?, begun?))
    }

    /// Idempotency key, then unique keys, then room; nothing is counted before all have agreed.
    fn decide_one(
        &mut self,
        index: usize,
        found: &mut Found,
        room: &Room,
        begun: &Begun,
        changes: &mut Changes,
    ) -> Result<Answer, Failure> {
        let Submission { jobs, key, .. } = &self.submits[index].submission;
        let key = key.as_ref().map(|key| (key, key_hash(key)));
        if let Some((key, hash)) = key
            && let Some(answered) = found.keys.get(&hash)
        {
            return Ok(replay(key, answered, &found.jobs));
        }
        let mut parts = Vec::with_capacity(jobs.len());
        let mut first_with = HashMap::new();
        let mut needed = BTreeMap::<QueueName, Load>::new();
        for (place, job) in jobs.iter().enumerate() {
            if !room.has(&job.queue) {
                return Ok(Err(Refusal::QueueNotFound { queue: job.queue.clone() }.into()));
            }
            let unique = job.unique_key.as_ref().map(|key| unique_hash(&job.tenant, &job.queue, key));
            if let Some(hash) = unique {
                if let Some(live) = found.uniques.get(&hash) {
                    parts.push(Part::Live(*live));
                    continue;
                }
                if let Some(first) = first_with.get(&hash) {
                    parts.push(Part::SameAs(*first));
                    continue;
                }
                first_with.insert(hash, place);
            }
            let load = needed.entry(job.queue.clone()).or_default();
            load.jobs += 1;
            load.bytes += job.payload.len_bytes() as i64;
            parts.push(Part::New(unique));
        }
        if let Err(refusal) = room.fits(&needed, &changes.tallies, &mut self.dry)? {
            return Ok(Err(refusal.into()));
        }
        let submission = &self.submits[index].submission;
        make(submission, parts, key, found, self.shared, begun, changes).map(Ok)
    }
}

impl Group for Batch<'_> {
    fn weight(&self) -> usize {
        self.submits.iter().map(Submit::weight).sum()
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let session = begin.session;
        let submissions = || self.submits.iter().map(|submit| &submit.submission);
        let mut key_hashes: Vec<Uuid> = submissions().filter_map(|s| s.key.as_ref().map(key_hash)).collect();
        key_hashes.sort_unstable();
        let mut unique_hashes: Vec<Uuid> = submissions().flat_map(|s| &s.jobs).filter_map(hash_of).collect();
        unique_hashes.sort_unstable();
        let (begins, room, keys, uniques) = join4(
            begin.begin(),
            self.room(begin),
            keys::find(session, &key_hashes),
            find_uniques(session, &unique_hashes),
        )
        .await;
        begins?;
        let (room, begun) = room?;
        let mut found = Found { keys: keys?, uniques: uniques?, jobs: HashMap::new() };
        found.read_jobs(session, &begun).await?;

        let mut changes = Changes::default();
        self.staged.clear();
        for index in 0..self.submits.len() {
            let answer = self.decide_one(index, &mut found, &room, &begun, &mut changes)?;
            self.staged.push(answer);
        }
        if !changes.is_empty() {
            room.spread(&mut changes.tallies, &mut changes.spread);
        }
        self.left = room.left(&changes.tallies);
        Ok((begun, changes))
    }
}

impl Found {
    /// Reads the jobs that answers are made of.
    async fn read_jobs(&mut self, session: &Session, begun: &Begun) -> Result<(), Failure> {
        let answered = self.keys.values().flat_map(|answered| &answered.jobs);
        let mut ids: Vec<Uuid> = answered.chain(self.uniques.values()).copied().collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(());
        }
        for stored in read::whole(session, &ids).await? {
            let job = stored.into_job(begun.now);
            self.jobs.insert(uuid(job.id), job);
        }
        // One that has ended since its key was found, or is gone, has freed it: whoever gets that job for an answer
        // would believe that its work is still to be done.
        let lives = |job: &Uuid| self.jobs.get(job).is_some_and(|job| !job.state.is_terminal());
        self.uniques.retain(|_, job| lives(job));
        Ok(())
    }
}

fn replay(key: &IdempotencyKey, answered: &Answered, jobs: &HashMap<Uuid, Job>) -> Answer {
    if answered.fingerprint != key.fingerprint {
        return Err(Refusal::KeyMismatch.into());
    }
    let stored = answered.jobs.iter().filter_map(|id| jobs.get(id));
    Ok(stored.map(|job| Submitted { job: job.clone(), how: How::Replayed }).collect())
}

/// Makes what is new, and the key with it. A submission whose every job was there before leaves nothing behind,
/// its key included: else repeating it under new keys would fill the store without ever needing room.
fn make(
    submission: &Submission,
    parts: Vec<Part>,
    key: Option<(&IdempotencyKey, Uuid)>,
    found: &mut Found,
    shared: &Shared,
    begun: &Begun,
    changes: &mut Changes,
) -> Result<Vec<Submitted>, Failure> {
    let made = parts.iter().filter(|part| matches!(part, Part::New(_))).count();
    let mut answer: Vec<Submitted> = Vec::with_capacity(parts.len());
    for (new, part) in submission.jobs.iter().zip(parts) {
        answer.push(match part {
            Part::Live(id) => {
                let job = found.jobs.get(&id).cloned().ok_or(Failure::Overtaken)?;
                Submitted { job, how: How::Deduplicated }
            }
            Part::SameAs(first) => Submitted { job: answer[first].job.clone(), how: How::Deduplicated },
            Part::New(unique) => {
                let id = shared.ids.lock().next(begun.now, rand::random());
                let job = Job::accept(new.clone(), id, begun.now, key.map(|(key, _)| key.token.clone()));
                accept(&job, key.map(|(_, hash)| hash), unique, begun, changes)?;
                if let Some(hash) = unique {
                    found.uniques.insert(hash, uuid(id));
                }
                if key.is_some() || unique.is_some() {
                    found.jobs.insert(uuid(id), job.clone());
                }
                Submitted { job, how: How::Accepted }
            }
        });
    }
    if let Some((key, hash)) = key.filter(|_| made > 0) {
        let jobs = answer.iter().map(|submitted| uuid(submitted.job.id)).collect();
        let answered = Answered { fingerprint: key.fingerprint.to_vec(), jobs };
        changes.keys.push(hash, &answered, made);
        found.keys.insert(hash, answered);
    }
    Ok(answer)
}

fn accept(
    job: &Job,
    key: Option<Uuid>,
    unique: Option<Uuid>,
    begun: &Begun,
    changes: &mut Changes,
) -> Result<(), Failure> {
    let state = state_waiting(job, begun.now);
    if key.is_some() || unique.is_some() || !changes.alike.push(job) {
        changes.new.push(job, key, unique)?;
        changes.waiting.push(job, begun.now);
    }
    changes.tallies.moved(&job.queue, None, Some(Counted::of(job, state)));
    changes.effects.changed(job, None, job.history.last().copied());
    if job.run_at <= begun.now {
        changes.effects.ready.insert(job.queue.clone());
    }
    if let Some(hash) = unique {
        changes.uniques.insert(hash, uuid(job.id));
    }
    Ok(())
}

fn hash_of(job: &NewJob) -> Option<Uuid> {
    job.unique_key.as_ref().map(|key| unique_hash(&job.tenant, &job.queue, key))
}

/// The row of a unique key.
fn unique_hash(tenant: &Tenant, queue: &QueueName, key: &UniqueKey) -> Uuid {
    hash(&[tenant.as_str().as_bytes(), queue.as_str().as_bytes(), key.as_str().as_bytes()])
}

/// Which of the unique keys a live job has.
pub(crate) async fn find_uniques(session: &Session, hashes: &[Uuid]) -> Result<HashMap<Uuid, Uuid>, Failure> {
    if hashes.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = session.rows(&FIND_UNIQUES, &[&hashes]).await?;
    let pair = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(pair).collect()
}

/// What [`Submitting`] asks beside what every writer does.
pub(crate) const READS: &[&Sql] =
    &[&room::OWN, &room::LOCK, &room::CAPACITIES, &keys::FIND, &FIND_UNIQUES, &read::WHOLE];

static FIND_UNIQUES: Sql =
    Sql { text: "SELECT hash, job FROM {s}.uniques WHERE hash = ANY($1)", types: &[Type::UUID_ARRAY] };
