use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const SIZE: Winsize = Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };

/// A pseudo-terminal: what is written to the second file can be read from the first.
pub(super) fn open() -> (File, File) {
    let screen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&screen).expect("a new terminal can be granted");
    unlockpt(&screen).expect("a new terminal can be unlocked");
    let name = ptsname(&screen, Vec::new()).expect("a terminal has a name");
    let terminal = File::options().read(true).write(true).open(OsStr::from_bytes(name.as_bytes()));
    let terminal = terminal.expect("a new terminal can be opened");
    tcsetwinsize(&terminal, SIZE).expect("a terminal has a size");
    (screen.into(), terminal)
}
