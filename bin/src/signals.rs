//! The operating system's ways of asking for a stop, and for files to be read again.
//!
//! Tokio's handlers replace the system's defaults for the rest of the process's life: whoever installs them
//! listens until the end.

use std::io;

/// What the operating system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Stop in good order: SIGTERM.
    Terminate,
    /// Someone at a terminal wants it to stop: SIGINT, Ctrl-C.
    Interrupt,
    /// Stop with what there is: SIGQUIT; on Windows also the console's closing and the system's shutdown,
    /// which leave about 5 s.
    Quit,
    /// Read files again: SIGHUP. A terminal that is gone sends it, too, which is no reason to stop.
    HangUp,
}

impl Signal {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::HangUp => "SIGHUP",
        }
    }
}

/// The signals this process listens to from now on.
#[cfg(unix)]
pub(crate) struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    quit: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// Installs the handlers; needs a runtime.
    pub(crate) fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next signal. Several of one kind may arrive as one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.quit.recv() => Signal::Quit,
            Some(()) = self.interrupt.recv() => Signal::Interrupt,
            Some(()) = self.terminate.recv() => Signal::Terminate,
            Some(()) = self.hang_up.recv() => Signal::HangUp,
            else => std::future::pending().await,
        }
    }
}

/// The console events this process listens to from now on.
#[cfg(windows)]
pub(crate) struct Signals {
    ctrl_c: tokio::signal::windows::CtrlC,
    ctrl_break: tokio::signal::windows::CtrlBreak,
    ctrl_close: tokio::signal::windows::CtrlClose,
    ctrl_logoff: tokio::signal::windows::CtrlLogoff,
    ctrl_shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Signals {
    /// Installs the handlers; needs a runtime.
    pub(crate) fn install() -> io::Result<Self> {
        use tokio::signal::windows;
        Ok(Self {
            ctrl_c: windows::ctrl_c()?,
            ctrl_break: windows::ctrl_break()?,
            ctrl_close: windows::ctrl_close()?,
            ctrl_logoff: windows::ctrl_logoff()?,
            ctrl_shutdown: windows::ctrl_shutdown()?,
        })
    }

    /// The next event. Several of one kind may arrive as one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.ctrl_close.recv() => Signal::Quit,
            Some(()) = self.ctrl_logoff.recv() => Signal::Quit,
            Some(()) = self.ctrl_shutdown.recv() => Signal::Quit,
            Some(()) = self.ctrl_c.recv() => Signal::Interrupt,
            Some(()) = self.ctrl_break.recv() => Signal::Interrupt,
            else => std::future::pending().await,
        }
    }
}
