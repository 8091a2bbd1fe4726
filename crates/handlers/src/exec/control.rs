//! What a server and its guards say to each other, on a socket pair whose one end is the guard's standard input; and
//! how descriptors go from process to process.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::str::FromStr;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Asks the guard to send SIGTERM to the program's group.
pub(super) const STOP: u8 = b't';

/// The descriptors that a program is started with: the pipe for reports, and standard input, output and error. The
/// first to be received has the smallest number.
pub(super) const FILES: usize = 4;

/// What a guard says, each on a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// It is a guard and could do its work here.
    Ready,
    /// The program is about to begin, in a process group of this number.
    Starts(i32),
    /// It did not begin, and why.
    NotStarted(String),
    /// The program has ended, and what was left of its process group was killed.
    Ended(End),
    /// The program's process group was killed.
    Killed,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Starts(group) => write!(f, "starts {group}"),
            Self::NotStarted(why) => write!(f, "not-started {}", why.replace('\n', " ")),
            Self::Ended(End::Code(code)) => write!(f, "code {code}"),
            Self::Ended(End::Signal(signal)) => write!(f, "signal {signal}"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

/// It is none of these words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unheard;

impl FromStr for Word {
    type Err = Unheard;

    fn from_str(line: &str) -> Result<Self, Unheard> {
        let number = |text: &str| text.parse().map_err(|_| Unheard);
        match line.split_once(' ') {
            None if line == "ready" => Ok(Self::Ready),
            None if line == "killed" => Ok(Self::Killed),
            Some(("starts", group)) => number(group).map(Self::Starts),
            Some(("not-started", why)) => Ok(Self::NotStarted(why.to_owned())),
            Some(("code", code)) => number(code).map(|code| Self::Ended(End::Code(code))),
            Some(("signal", signal)) => number(signal).map(|signal| Self::Ended(End::Signal(signal))),
            _ => Err(Unheard),
        }
    }
}

/// Hands over what a program is to be started with.
pub(super) fn send_files(socket: &UnixStream, files: &[OwnedFd; FILES]) -> io::Result<()> {
    let borrowed = files.each_ref().map(AsFd::as_fd);
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !message.push(SendAncillaryMessage::ScmRights(&borrowed)) {
        return Err(io::Error::other("no room for the descriptors"));
    }
    // Descriptors need a byte to go with.
    sendmsg(socket, &[IoSlice::new(b".")], &mut message, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for them.
pub(super) fn receive_files(socket: impl AsFd) -> io::Result<[OwnedFd; FILES]> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(FILES))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::with_capacity(FILES);
    for part in message.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            files.extend(received);
        }
    }
    files.try_into().map_err(|_| io::Error::other("no descriptors were sent"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn every_word_is_understood() {
        for word in [
            Word::Ready,
            Word::Starts(7),
            Word::NotStarted("No such file or directory (os error 2)".to_owned()),
            Word::Ended(End::Code(255)),
            Word::Ended(End::Signal(9)),
            Word::Killed,
        ] {
            assert_eq!(word.to_string().parse(), Ok(word));
        }
        assert_eq!(Word::NotStarted("a\nb".to_owned()).to_string(), "not-started a b");
        for line in ["", "ready 1", "code", "code x", "signal 9 9", "running 1 test"] {
            assert_eq!(line.parse::<Word>(), Err(Unheard), "{line}");
        }
    }

    #[test]
    fn descriptors_go_over_whole_and_in_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let (readers, writers): (Vec<_>, Vec<_>) = (0..FILES).map(|_| io::pipe().unwrap()).unzip();
        let writers: Vec<OwnedFd> = writers.into_iter().map(OwnedFd::from).collect();
        send_files(&here, &writers.try_into().unwrap()).unwrap();
        for (number, file) in receive_files(&there).unwrap().into_iter().enumerate() {
            File::from(file).write_all(number.to_string().as_bytes()).unwrap();
        }
        for (number, reader) in readers.into_iter().enumerate() {
            assert_eq!(io::read_to_string(reader).unwrap(), number.to_string());
        }
        drop(here);
        assert!(receive_files(&there).is_err(), "nobody is there to send any");
    }
}
