//! The output of `strace -f -y`: system calls in the order in which they began and ended.

use std::collections::HashMap;

/// One system call. Times are line numbers of the trace: `strace` lets a thread go on only after it has
/// written the line, so what one thread causes in another comes on a later line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// Its arguments as they were written, with strings escaped.
    pub(crate) arguments: String,
    pub(crate) begun: usize,
    /// `None` when the trace ends before it.
    pub(crate) ended: Option<usize>,
    /// `None` also for what is no number.
    pub(crate) result: Option<i64>,
}

impl Call {
    /// The file that its first argument, a descriptor, stands for.
    pub(crate) fn file(&self) -> &str {
        let first = self.arguments.split(", ").next().unwrap_or_default();
        first.split_once('<').map_or("", |(_, file)| file.strip_suffix('>').unwrap_or(file))
    }

    /// The bytes of its first string.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.arguments.split_once('"').map(|(_, text)| unescaped(text)).unwrap_or_default()
    }

    fn end(&mut self, line: usize, rest: &str) {
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or((rest, ""));
        self.arguments.push_str(arguments.trim_end().trim_end_matches(')'));
        self.ended = Some(line);
        let number = result.split(|c: char| c != '-' && !c.is_ascii_digit()).next();
        self.result = number.and_then(|number| number.parse().ok());
    }
}

/// Every call in the trace, in the order in which they began.
pub(crate) fn parse(trace: &str) -> Vec<Call> {
    let mut calls: Vec<Call> = Vec::new();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    for (number, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let index = unfinished.remove(thread);
            let rest = resumed.split_once(" resumed>").map(|(_, rest)| rest);
            if let (Some(index), Some(rest)) = (index, rest) {
                calls[index].end(number, rest);
            }
        } else if let Some((name, rest)) = rest.split_once('(')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        {
            let mut call = Call {
                name: name.to_owned(),
                arguments: String::new(),
                begun: number,
                ended: None,
                result: None,
            };
            match rest.strip_suffix("<unfinished ...>") {
                Some(rest) => {
                    call.arguments.push_str(rest.trim_end());
                    unfinished.insert(thread, calls.len());
                }
                None => call.end(number, rest),
            }
            calls.push(call);
        }
    }
    calls
}

/// What an escaped string stands for, up to its closing quote.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => break,
            b'\\' => match rest.next() {
                Some(b'n') => bytes.push(b'\n'),
                Some(b't') => bytes.push(b'\t'),
                Some(b'r') => bytes.push(b'\r'),
                Some(b'v') => bytes.push(0x0b),
                Some(b'f') => bytes.push(0x0c),
                Some(digit @ b'0'..=b'7') => {
                    let mut value = digit - b'0';
                    for _ in 0..2 {
                        let Some(digit) = rest.next_if(|byte| (b'0'..=b'7').contains(byte)) else { break };
                        value = (value << 3) | (digit - b'0');
                    }
                    bytes.push(value);
                }
                other => bytes.extend(other),
            },
            byte => bytes.push(byte),
        }
    }
    bytes
}

#[test]
fn a_call_that_another_thread_interrupts_is_one_call() {
    let trace = concat!(
        "7 fdatasync(15</d/x.db-wal> <unfinished ...>\n",
        "8 sendto(9<socket:[1]>, \"a = b\", 5, 0, NULL, 0) = 5\n",
        "7 --- SIGTERM {si_signo=SIGTERM} ---\n",
        "7 <... fdatasync resumed>)          = -1 EIO (Input/output error) (INJECTED)\n",
        "8 recvfrom(9<socket:[1]>,  <unfinished ...>\n",
        "7 +++ exited with 0 +++\n",
    );
    let calls = parse(trace);
    let times: Vec<_> = calls.iter().map(|call| (call.begun, call.ended, call.result)).collect();
    assert_eq!(times, [(0, Some(3), Some(-1)), (1, Some(1), Some(5)), (4, None, None)]);
    assert_eq!((calls[0].name.as_str(), calls[0].file()), ("fdatasync", "/d/x.db-wal"));
    assert_eq!(calls[1].bytes(), b"a = b");
}

#[test]
fn bytes_are_read_as_they_were_written() {
    assert_eq!(unescaped(r#"\0\0\0\0012\n\"\\\377x\17", 24"#), b"\0\0\0\x012\n\"\\\xffx\x0f");
}
