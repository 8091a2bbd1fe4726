use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::all_ended::{Ended, all_ended};
use super::journal::{Journal, JournalError};
use super::sending::Submission;
use super::survey::survey;
use super::{Failure, SubmitArgs};
use crate::commands::human;
use crate::commands::output::{self, Format};
use crate::commands::session::{LONG_PATIENCE, Session};

/// Submits every job of a file, or of standard input.
pub(super) fn run(args: &SubmitArgs) -> Result<(), Failure> {
    let Some(path) = &args.file.file else { return Err(Failure::usage("give a KIND or --file")) };
    args.server.run(LONG_PATIENCE, async |session| {
        let mut submission = Submission::begin(&session, path, args.file.journal.as_deref())?;
        // What stops a read of standard input is the signal itself.
        if submission.journal.is_none() {
            return submission.run(args.wait).await;
        }
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {}
            done = submission.run(args.wait) => return done,
        }
        Err(Failure::interrupted(format_args!("interrupted; {}", submission.to_go_on())))
    })
}

/// What there is to say at the end.
#[derive(Serialize)]
struct Summary<'a> {
    file: &'a str,
    accepted: u64,
    accepted_before: u64,
    deduplicated: u64,
    #[serde(flatten)]
    ended: Option<Ended>,
}

impl<'a> Submission<'a> {
    fn begin(session: &'a Session, path: &Path, journal: Option<&Path>) -> Result<Self, Failure> {
        let stream = if path == Path::new("-") {
            Some(Box::new(BufReader::new(io::stdin())) as Box<dyn BufRead>)
        } else {
            let file = File::open(path).map_err(|error| unreadable(path, error))?;
            let kind = file.metadata().map_err(|error| unreadable(path, error))?.file_type();
            // A pipe has its bytes once only.
            (!kind.is_file()).then(|| Box::new(BufReader::new(file)) as Box<dyn BufRead>)
        };
        match (stream, journal) {
            (Some(_), Some(_)) => Err(Failure::usage("--journal is for a file, which can be read again")),
            (Some(stream), None) => {
                Self::new(session, path, stream, None).map_err(|error| unreadable(path, error))
            }
            (None, given) => {
                let beside = || PathBuf::from(format!("{}.steadfast", path.display()));
                Self::of_file(session, path, &given.map_or_else(beside, Path::to_owned))
            }
        }
    }

    /// Goes on where the journal says.
    fn of_file(session: &'a Session, path: &Path, journal: &Path) -> Result<Self, Failure> {
        let journal = Journal::open(journal, &session.server)?;
        if journal.run.server != session.server {
            let (path, begun, journal) = (path.display(), &journal.run.server, journal.path().display());
            return Err(Failure::usage(format_args!(
                "{path} was submitted to {begun}, says {journal}: go on there, or give another --journal to submit \
                 it to {} as well",
                session.server
            )));
        }
        let total = survey(path, &journal)?;
        let file = File::open(path).map_err(|error| unreadable(path, error))?;
        let source = Box::new(BufReader::new(file));
        Self::new(session, path, source, Some((journal, total))).map_err(|error| unreadable(path, error))
    }

    async fn run(&mut self, wait: bool) -> Result<(), Failure> {
        self.submit_all().await.map_err(|failure| failure.and(format_args!("  {}", self.to_go_on())))?;
        let made = self.accepted - self.deduplicated;
        let ended = match wait {
            true => Some(all_ended(self.session, &self.run.key_prefix(), made).await?),
            false => None,
        };
        self.print(ended)?;
        match ended.map(|ended| ended.not_completed()) {
            None | Some(0) => Ok(()),
            Some(jobs) => {
                Err(Failure::failed(format_args!("{} did not complete", human::count(jobs, "job"))))
            }
        }
    }

    /// Where it stands, for whoever has to run it again.
    fn to_go_on(&self) -> String {
        let accepted = human::count(self.accepted, "job");
        match (self.total, &self.journal) {
            (Some(total), Some(_)) => {
                format!("{} of {total} jobs are accepted: run the same command again to go on", self.accepted)
            }
            _ => format!("{accepted} of {} were accepted before that", self.name),
        }
    }

    fn print(&self, ended: Option<Ended>) -> Result<(), Failure> {
        let (accepted, deduplicated) = (self.accepted - self.accepted_before, self.deduplicated);
        if self.session.format == Format::Json {
            let (file, accepted_before) = (self.name.as_str(), self.accepted_before);
            return output::print_json(&Summary { file, accepted, accepted_before, deduplicated, ended });
        }
        let mut text = format!("{} of {} accepted", human::count(accepted, "job"), self.name);
        if self.accepted_before > 0 {
            text = format!("{text}, {} before", self.accepted_before);
        }
        if deduplicated > 0 {
            text = format!("{text}; {deduplicated} have a unique key that another job had");
        }
        if let Some(Ended { completed, dead, cancelled, expired, removed }) = ended {
            text = format!(
                "{text}; ended: {completed} completed, {dead} dead, {cancelled} cancelled, {expired} expired"
            );
            if removed > 0 {
                text = format!("{text}, {removed} stored no longer");
            }
        }
        output::print(format_args!("{text}\n"))
    }
}

/// A file that cannot be read, or not as jobs.
pub(super) fn unreadable(path: &Path, error: impl Display) -> Failure {
    Failure::usage(format_args!("{}: {error}", path.display()))
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Foreign(_) => Self::usage(error),
            JournalError::Io { .. } | JournalError::Held(_) => Self::failed(error),
        }
    }
}
