use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast::domain::InvalidField;
use steadfast::queue::{Failure, JobContext, TypedHandler, Unfinished};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};
use tokio::time::timeout;

/// Rows between two checkpoints.
const PAGE_ROWS: usize = 100;
/// Time between two pages: whoever else uses this disk has a turn.
const PACE: Duration = Duration::from_millis(100);
/// Bytes of one row.
const ROW_BYTES_MAX: u64 = 64 * 1024;

/// Adds up the rows of a file, and goes on where it stopped: after a drain, and after a crash too.
pub struct Import {
    directory: PathBuf,
}

/// `{"file": "november.ndjson"}`: a file of the server's directory, never a path of the client's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    file: String,
}

/// One line of the file.
#[derive(Deserialize)]
struct Row {
    cents: i64,
}

/// How far an attempt has come. What is counted is part of it, so that no row counts twice.
#[derive(Default, Serialize, Deserialize)]
struct Place {
    bytes: u64,
    rows: u64,
    cents: i64,
}

#[derive(Serialize)]
pub struct Imported {
    rows: u64,
    cents: i64,
}

#[derive(Serialize)]
struct Progress {
    rows: u64,
}

/// What can go wrong with a file.
enum ImportError {
    Unreadable(io::Error),
    BadRow { row: u64 },
}

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// Clients see code and message, so the system's own words stay out of them.
impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => {
                Failure::permanent("no_such_file", "there is no file of this name")
            }
            ImportError::Unreadable(_) => Failure::retryable("unreadable", "the file cannot be read now"),
            ImportError::BadRow { row } => Failure::permanent("bad_row", format!("row {row} has no cents")),
        }
    }
}

impl Import {
    /// Imports the files of this directory.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    async fn open(&self, file: &str, at: u64) -> Result<BufReader<File>, ImportError> {
        let mut file = File::open(self.directory.join(file)).await?;
        file.seek(SeekFrom::Start(at)).await?;
        Ok(BufReader::new(file))
    }
}

impl Place {
    /// Counts up to a page of rows. `false` at the end of the file.
    async fn read_page(&mut self, file: &mut BufReader<File>) -> Result<bool, ImportError> {
        for _ in 0..PAGE_ROWS {
            let mut text = String::new();
            let bytes = file.take(ROW_BYTES_MAX).read_line(&mut text).await?;
            if bytes == 0 {
                return Ok(false);
            }
            let bad = || ImportError::BadRow { row: self.rows + 1 };
            let row: Row = serde_json::from_str(&text).map_err(|_| bad())?;
            let cents = self.cents.checked_add(row.cents).ok_or_else(bad)?;
            *self = Self { bytes: self.bytes + bytes as u64, rows: self.rows + 1, cents };
        }
        Ok(true)
    }
}

impl TypedHandler for Import {
    const KIND: &'static str = "import";
    type Payload = Payload;
    type Output = Imported;

    fn check(&self, payload: &Payload) -> Result<(), Vec<InvalidField>> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if payload.file.starts_with('.') || payload.file.is_empty() || !payload.file.chars().all(plain) {
            let detail = "must be a file's name of letters, digits, '.', '_' and '-', not beginning with '.'";
            return Err(vec![InvalidField::new("#/payload/file", detail)]);
        }
        Ok(())
    }

    async fn run(&self, payload: Payload, context: JobContext) -> Result<Imported, Unfinished> {
        let mut place: Place = context.last_checkpoint()?.unwrap_or_default();
        let mut file = self.open(&payload.file, place.bytes).await?;
        while place.read_page(&mut file).await? {
            // For the attempt after a crash; it costs a commit.
            context.checkpoint(&place).await?;
            context.progress(&Progress { rows: place.rows })?;
            let _ = timeout(PACE, context.stopped()).await;
            context.yield_if_stopped(&place)?;
        }
        Ok(Imported { rows: place.rows, cents: place.cents })
    }
}
