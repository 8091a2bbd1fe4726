use std::io;
use std::path::Path;

use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

/// A file that only grows: one JSON object on each line.
pub(crate) struct Trail(Mutex<File>);

impl Trail {
    /// Goes on with the file, or begins it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self(Mutex::new(File::from_std(file))))
    }

    /// Writes these entries. On disk when it returns.
    pub(crate) async fn append(&self, entries: &[Value]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
        let mut file = self.0.lock().await;
        file.write_all(lines.as_bytes()).await?;
        file.flush().await?;
        file.sync_data().await
    }
}
