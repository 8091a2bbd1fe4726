//! Reads server-sent events (WHATWG HTML, section 9.2.6).

use std::collections::VecDeque;

/// One event; comments and fields that are unknown are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Empty for one without a name.
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) id: Option<String>,
    /// In milliseconds.
    pub(crate) retry: Option<u64>,
}

/// Turns bytes into events, however they are cut.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, which a line feed may follow.
    after_return: bool,
    event: Event,
    ready: VecDeque<Event>,
}

/// An event, or a line, is longer than anything a server sends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Bytes of one event that are kept at most.
const EVENT_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Reader {
    /// Takes in what came.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        for byte in bytes {
            let follows_return = std::mem::replace(&mut self.after_return, *byte == b'\r');
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => self.end_line(),
                _ if self.line.len() + self.event.data.len() >= EVENT_BYTES_MAX => return Err(TooLong),
                _ => self.line.push(*byte),
            }
        }
        Ok(())
    }

    /// The next event that is whole.
    pub(crate) fn next(&mut self) -> Option<Event> {
        self.ready.pop_front()
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            if event != Event::default() {
                self.ready.push_back(event);
            }
            return;
        }
        let line = String::from_utf8_lossy(&line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        let event = &mut self.event;
        match field {
            "event" => event.name = value.to_owned(),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            "id" => event.id = Some(value.to_owned()),
            "retry" => event.retry = value.parse().ok(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        "event: state\nid: 3\ndata: {\"n\":\ndata:1}\n\n:\r\n\r\nretry: 50\rdata\r\rid: 0\r\n\r\nhalf";

    fn read(chunks: impl Iterator<Item = u8>, at_once: usize) -> Vec<Event> {
        let bytes: Vec<u8> = chunks.collect();
        let mut reader = Reader::default();
        bytes.chunks(at_once).for_each(|chunk| reader.feed(chunk).unwrap());
        std::iter::from_fn(|| reader.next()).collect()
    }

    #[test]
    fn events_are_the_same_however_their_bytes_come() {
        let expected = [
            Event { name: "state".into(), data: "{\"n\":\n1}".into(), id: Some("3".into()), retry: None },
            Event { retry: Some(50), ..Event::default() },
            Event { id: Some("0".into()), ..Event::default() },
        ];
        for at_once in 1..=STREAM.len() {
            assert_eq!(read(STREAM.bytes(), at_once), expected, "{at_once}");
        }
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let mut reader = Reader::default();
        let much = vec![b'x'; EVENT_BYTES_MAX];
        assert_eq!(reader.feed(&much), Ok(()));
        assert_eq!(reader.feed(b"x"), Err(TooLong));
    }
}
