use std::cell::Cell;
use std::collections::VecDeque;
use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use serde_json::value::RawValue;
use steadfast_client::{Error, Repeat};
use steadfast_domain::IdempotencyToken;
use steadfast_wire::{BatchAnswer, ErrorCode, Outcome};

use super::documents::{Document, Documents, Fingerprint, Unreadable};
use super::file::unreadable;
use super::journal::{Journal, Progress, Run};
use super::pace::Pace;
use super::{Failure, Session};
use crate::commands::progress::Bar;

/// Bytes of jobs in one batch, unless it is a single job. With the answer, which has the jobs again, this is what
/// the command takes of memory, however long the file.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// How long a full queue is left alone that did not say how long.
const FULL_FOR: Duration = Duration::from_secs(1);
/// What is waited longer than the server asked for, at most, so that several who were refused at once do not come
/// back at once.
const SPREAD: f64 = 0.1;

/// All jobs of one file on their way, in batches, one at a time.
pub(super) struct Submission<'a> {
    pub(super) session: &'a Session,
    /// The file's.
    pub(super) name: String,
    documents: Documents<Box<dyn BufRead>>,
    /// Read and not accepted yet: at most one batch.
    pending: VecDeque<Document>,
    /// Why nothing is read any more.
    broken: Option<Failure>,
    /// Of a file that can be read again.
    pub(super) journal: Option<Journal>,
    pub(super) run: Run,
    /// How many jobs there are, where that is known.
    pub(super) total: Option<u64>,
    pub(super) accepted_before: u64,
    pub(super) accepted: u64,
    pub(super) deduplicated: u64,
    /// Of the accepted jobs.
    fingerprint: Fingerprint,
    pace: Pace,
}

/// What became of a batch.
enum Sent {
    Accepted(BatchAnswer),
    /// There is no room now. This is how a server paces what comes, and no failure to be repeated within a budget.
    Full(Error),
}

impl<'a> Submission<'a> {
    /// Of what `source` has, going on where the journal says, if there is one.
    pub(super) fn new(
        session: &'a Session,
        path: &Path,
        source: Box<dyn BufRead>,
        journal: Option<(Journal, u64)>,
    ) -> Result<Self, Unreadable> {
        let (journal, total) = journal.map_or((None, None), |(journal, total)| (Some(journal), Some(total)));
        let known = journal.as_ref().map(|journal| journal.progress.clone()).unwrap_or_default();
        let mut documents = Documents::new(source);
        let mut fingerprint = Fingerprint::default();
        for _ in 0..known.accepted {
            documents.next()?.iter().for_each(|document| fingerprint.add(document));
        }
        Ok(Self {
            session,
            name: path.display().to_string(),
            documents,
            pending: VecDeque::new(),
            broken: None,
            run: journal.as_ref().map_or_else(|| Run::new(&session.server), |journal| journal.run.clone()),
            journal,
            total,
            accepted_before: known.accepted,
            accepted: known.accepted,
            deduplicated: known.deduplicated,
            fingerprint,
            pace: Pace::new(),
        })
    }

    /// Until all are accepted, however often the queue is full meanwhile.
    pub(super) async fn submit_all(&mut self) -> Result<(), Failure> {
        let bar = self.total.map_or_else(Bar::of_unknown, |total| Bar::of(total, "jobs accepted"));
        // What an earlier run was sending when it ended goes first, and as it was.
        let known = self.journal.as_ref().map(|journal| journal.progress.sending as usize);
        let mut in_doubt = known.filter(|jobs| *jobs > 0);
        loop {
            bar.at(self.accepted);
            self.read_on(in_doubt);
            let jobs = self.due(in_doubt);
            self.note(jobs)?;
            if jobs == 0 {
                return self.broken.take().map_or(Ok(()), Err);
            }
            let doubt = Cell::new(in_doubt.take().is_some());
            match self.send(jobs, &doubt).await? {
                Ok(Sent::Accepted(answer)) => {
                    bar.say("");
                    self.accept(jobs, &answer);
                }
                Ok(Sent::Full(error)) => {
                    bar.say("the queue is full");
                    self.pace.full(jobs);
                    // Accepted or not: until that is known, no other batch may have these jobs.
                    in_doubt = doubt.get().then_some(jobs);
                    self.note_unless(&doubt)?;
                    let asked = error.retry_after().unwrap_or(FULL_FOR);
                    tokio::time::sleep(asked.mul_f64(1.0 + SPREAD * rand::random::<f64>())).await;
                }
                Err(error) if jobs > 1 && !doubt.get() && is_of_content(&error) => self.pace.never(jobs),
                Err(error) => {
                    self.note_unless(&doubt)?;
                    return Err(self.refused(jobs, error));
                }
            }
        }
    }

    /// Reads until there is a batch of the size that is due.
    fn read_on(&mut self, in_doubt: Option<usize>) {
        let wanted = in_doubt.unwrap_or_else(|| self.pace.jobs());
        let mut bytes: usize = self.pending.iter().map(Document::len_bytes).sum();
        while self.pending.len() < wanted && bytes < BATCH_BYTES_MAX && self.broken.is_none() {
            match self.documents.next() {
                Ok(Some(document)) => {
                    bytes += document.len_bytes();
                    self.pending.push_back(document);
                }
                Ok(None) => return,
                // What came before it is good, and goes first.
                Err(error) => self.broken = Some(unreadable(Path::new(&self.name), error)),
            }
        }
    }

    /// How many of the pending jobs the next batch has: none when all are accepted.
    fn due(&self, in_doubt: Option<usize>) -> usize {
        let wanted = in_doubt.unwrap_or_else(|| self.pace.jobs());
        let mut bytes = 0;
        let small = self.pending.iter().take(wanted).take_while(|document| {
            bytes += document.len_bytes();
            bytes <= BATCH_BYTES_MAX
        });
        small.count().max(1).min(self.pending.len())
    }

    /// Has the journal say that the next so many jobs are being sent.
    fn note(&mut self, jobs: usize) -> Result<(), Failure> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let mut fingerprint = self.fingerprint.clone();
        self.pending.iter().take(jobs).for_each(|document| fingerprint.add(document));
        let (accepted, deduplicated) = (self.accepted, self.deduplicated);
        journal.note(Progress {
            accepted,
            deduplicated,
            sending: jobs as u64,
            sha256: fingerprint.text(),
        })?;
        Ok(())
    }

    /// Has the journal say that nothing is being sent, if it is sure that nothing of it was accepted.
    fn note_unless(&mut self, doubt: &Cell<bool>) -> Result<(), Failure> {
        if doubt.get() { Ok(()) } else { self.note(0) }
    }

    /// Sends the next so many jobs, each time the same bytes under the same key. `doubt` is set when a try may have
    /// been accepted without its answer having come.
    async fn send(&self, jobs: usize, doubt: &Cell<bool>) -> Result<Result<Sent, Error>, Failure> {
        let texts: Vec<&RawValue> = self.pending.iter().take(jobs).map(|document| &*document.text).collect();
        let (first, last) = (self.accepted + 1, self.accepted + jobs as u64);
        let key = IdempotencyToken::new(&format!("{}{first}-{last}", self.run.key_prefix()));
        let key = key.map_err(Failure::failed)?;
        let sent = self.session.call(Repeat::Safe, || async {
            match self.session.client.submit_batch_of_texts(&texts, Some(&key)).await {
                Ok(answer) => Ok(Sent::Accepted(answer)),
                Err(error) if is_for_room(&error) => Ok(Sent::Full(error)),
                Err(error) => {
                    doubt.set(doubt.get() || error.outcome() == Outcome::Unknown);
                    Err(error)
                }
            }
        });
        Ok(sent.await)
    }

    fn accept(&mut self, jobs: usize, answer: &BatchAnswer) {
        self.pending.drain(..jobs).for_each(|document| self.fingerprint.add(&document));
        self.accepted += jobs as u64;
        self.deduplicated += answer.jobs.iter().filter(|job| job.deduplicated).count() as u64;
        self.pace.accepted();
    }

    fn refused(&self, jobs: usize, error: Error) -> Failure {
        let line = |document: Option<&Document>| document.map_or(0, |document| document.line);
        let (first, last) = (line(self.pending.front()), line(self.pending.get(jobs - 1)));
        let lines = if first == last { format!("line {first}") } else { format!("lines {first} to {last}") };
        Failure::from(error).and(format_args!("  this was for {} of {}", lines, self.name))
    }
}

fn is_for_room(error: &Error) -> bool {
    matches!(error.code(), Some(ErrorCode::QueueFull | ErrorCode::QueueBytesFull))
}

/// Whether a job of the batch is at fault, or its size: a smaller one may be accepted, up to the job at fault, which
/// is then named.
fn is_of_content(error: &Error) -> bool {
    use ErrorCode::{InvalidJob, PayloadTooLarge, QueueNotFound, UnknownKind};
    matches!(error.code(), Some(InvalidJob | PayloadTooLarge | QueueNotFound | UnknownKind))
}
