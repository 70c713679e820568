//! The terminal of a `run` command. While a [`Terminal`] lives it is raw: no echo, no line
//! editing, Ctrl-C is a byte, because the command's own terminal does all that. It is put back
//! when the value is dropped, and a signal that would end the program is caught so that it is.

use std::future::pending;
use std::io;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use zarpar_control::ClientFrame;

pub(crate) struct Terminal {
    before: Termios,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Terminal {
    /// Makes the terminal raw.
    pub(crate) fn enter() -> io::Result<Terminal> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        let terminal = Terminal {
            before,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        };
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(terminal)
    }

    /// Waits for a signal that ends the program; gives the exit code a shell would show.
    async fn ended(&mut self) -> u8 {
        let kind = tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.quit.recv() => SignalKind::quit(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        };
        u8::try_from(128 + kind.as_raw_value()).unwrap_or(1)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// [`Terminal::ended`]; without a terminal, signals do what they always do.
pub(crate) async fn ended(terminal: &mut Option<Terminal>) -> u8 {
    match terminal {
        Some(terminal) => terminal.ended().await,
        None => pending().await,
    }
}

/// The size of the terminal, when it tells; some know none and say 0.
pub(super) fn size() -> Option<ClientFrame> {
    let (height, width) = rows_and_columns()?;
    Some(ClientFrame::Resize { width, height })
}

/// How many rows and columns the terminal has.
pub(crate) fn rows_and_columns() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdin()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_row, size.ws_col))
}
