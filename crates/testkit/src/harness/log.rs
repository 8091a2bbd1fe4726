use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use serde_json::Value;

/// What a process has written so far, line by line.
#[derive(Debug, Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    /// Reads `pipe` to its end on a thread of its own, so that the process never waits for a reader.
    pub(super) fn follow(pipe: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let log = Self::default();
        let lines = Arc::clone(&log.lines);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                lines.lock().push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
        });
        (log, reader)
    }

    /// The same for a terminal's screen, where what is written need not be a line to be seen.
    pub(super) fn follow_screen(mut screen: impl Read + Send + 'static) -> (Self, JoinHandle<()>) {
        let log = Self::default();
        let lines = Arc::clone(&log.lines);
        lines.lock().push(String::new());
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // It ends with an error once nobody holds the terminal.
            while let Ok(bytes @ 1..) = screen.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..bytes]).replace("\r\n", "\n");
                lines.lock()[0].push_str(&text);
            }
        });
        (log, reader)
    }

    /// Everything written so far.
    pub fn text(&self) -> String {
        self.lines.lock().join("\n")
    }

    /// The structured events with this message, oldest first.
    pub fn events(&self, message: &str) -> Vec<Value> {
        let lines = self.lines.lock();
        let events = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["message"] == message).collect()
    }
}
