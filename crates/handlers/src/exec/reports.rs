use serde::Deserialize;
use steadfast_domain::{RawJson, limits};
use steadfast_queue::JobContext;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;

/// Bytes of a line: the longest checkpoint, and what stands around it.
const LINE_BYTES_MAX: usize = limits::CHECKPOINT_BYTES_MAX + 1_024;

/// What a program reports while it runs: one JSON object a line, `{"progress":…}`, `{"checkpoint":…}` or both.
#[derive(Debug, Default)]
pub(super) struct Reports {
    line: Vec<u8>,
    /// The line has become too long: it is left out to its end.
    is_too_long: bool,
    /// The newest checkpoint, stored or not.
    checkpoint: Option<RawJson>,
    /// Lines that were not taken.
    ignored: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    progress: Option<RawJson>,
    checkpoint: Option<RawJson>,
}

impl Reports {
    /// Reads to the end and passes on each report. A program that writes checkpoints faster than they can be stored
    /// waits for the store.
    pub(super) async fn follow(&mut self, pipe: Receiver, context: &JobContext) {
        let mut pipe = BufReader::new(pipe);
        while let Ok(chunk @ [_, ..]) = pipe.fill_buf().await {
            let line_end = chunk.iter().position(|byte| *byte == b'\n');
            let bytes = line_end.unwrap_or(chunk.len());
            self.add(&chunk[..bytes]);
            pipe.consume(bytes + usize::from(line_end.is_some()));
            if line_end.is_some() {
                self.end_line(context).await;
            }
        }
        self.end_line(context).await;
    }

    /// What the next attempt is to find. It may be stored already.
    pub(super) fn take_checkpoint(&mut self) -> Option<RawJson> {
        self.checkpoint.take()
    }

    /// Lines that were no reports, or too large.
    pub(super) fn ignored(&self) -> u64 {
        self.ignored
    }

    fn add(&mut self, bytes: &[u8]) {
        self.is_too_long |= self.line.len() + bytes.len() > LINE_BYTES_MAX;
        if self.is_too_long {
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    async fn end_line(&mut self, context: &JobContext) {
        let read = self.take_line();
        match read {
            None => {}
            Some(Ok(Line { progress, checkpoint })) => {
                let too_large = progress.is_some_and(|progress| context.progress(&progress).is_err());
                self.ignored += u64::from(too_large);
                if let Some(checkpoint) = checkpoint {
                    self.store(checkpoint, context).await;
                }
            }
            Some(Err(_)) => self.ignored += 1,
        }
    }

    /// The line that ends here; `None` for an empty one.
    fn take_line(&mut self) -> Option<Result<Line, ()>> {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_too_long) {
            return Some(Err(()));
        }
        (!line.is_empty()).then(|| serde_json::from_slice(&line).map_err(|_| ()))
    }

    async fn store(&mut self, checkpoint: RawJson, context: &JobContext) {
        let Ok(checkpoint) = checkpoint.within("the checkpoint", limits::CHECKPOINT_BYTES_MAX) else {
            self.ignored += 1;
            return;
        };
        let newest = self.checkpoint.insert(checkpoint);
        if let Err(error) = context.checkpoint(newest).await {
            // It goes with the attempt's end, if the program yields.
            tracing::debug!(job_id = %context.job().id, %error, "a program's checkpoint is not stored yet");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the lines of `written` are: reports, or not.
    fn lines(written: &[u8]) -> Vec<bool> {
        let mut reports = Reports::default();
        let mut lines = Vec::new();
        for line in written.split(|byte| *byte == b'\n') {
            line.chunks(1_000).for_each(|chunk| reports.add(chunk));
            lines.extend(reports.take_line().map(|read| read.is_ok()));
        }
        lines
    }

    #[test]
    fn a_line_is_an_object_of_what_is_reported() {
        let written = br#"{"progress":{"done":1}}

{"checkpoint":7,"progress":"x"}
{}
7
{"result":1}
{"progress":
"#;
        assert_eq!(lines(written), [true, true, true, false, false, false]);
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out_to_its_end() {
        let mut written = b"{\"progress\":1}\n".to_vec();
        written.extend(std::iter::repeat_n(b'x', 10 * LINE_BYTES_MAX));
        written.extend(b"\n{\"progress\":2}\n");
        assert_eq!(lines(&written), [true, false, true]);
        let longest = format!("{{\"checkpoint\":\"{}\"}}\n", "x".repeat(limits::CHECKPOINT_BYTES_MAX - 2));
        assert_eq!(lines(longest.as_bytes()), [true]);
    }
}
