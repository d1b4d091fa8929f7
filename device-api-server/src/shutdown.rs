// SPDX-License-Identifier: Apache-2.0
//! How the server ends: signals, and word to the service manager.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

/// How long word to the service manager may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Service managers and terminals send a signal twice. The same one within this time of the first means no more than that.
const TWICE: Duration = Duration::from_secs(1);

/// SIGTERM and SIGINT, which end a program, from the moment that this was made; and SIGHUP, SIGUSR1 and SIGUSR2, which
/// else would end it at once, and are no more than logged.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: [Signal; 2],
    /// The first that was told of, and when.
    first: Option<(&'static str, Instant)>,
}

impl Signals {
    /// Begins to listen for them; from now on none ends the process by itself.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
            first: None,
        })
    }

    /// Waits for the next one that asks the program to end and says which it was: SIGTERM or SIGINT, but not the first once
    /// more within a second.
    pub async fn next(&mut self) -> &'static str {
        loop {
            let [user1, user2] = &mut self.user;
            let (signal, ends) = tokio::select! {
                _ = self.terminate.recv() => ("SIGTERM", true),
                _ = self.interrupt.recv() => ("SIGINT", true),
                // Of what a terminal or a log rotation says; there is nothing to be read anew.
                _ = self.hangup.recv() => ("SIGHUP", false),
                _ = user1.recv() => ("SIGUSR1", false),
                _ = user2.recv() => ("SIGUSR2", false),
            };
            let now = Instant::now();
            if !ends {
                tracing::info!(signal, "nothing to do for this signal: flags and files are read at the start");
            } else if is_echo(self.first, signal, now) {
                tracing::info!(signal, "ending already: the same signal again, later than now, ends at once");
            } else {
                self.first.get_or_insert((signal, now));
                return signal;
            }
        }
    }
}

/// Whether this is the first signal once more.
fn is_echo(first: Option<(&str, Instant)>, signal: &str, now: Instant) -> bool {
    first.is_some_and(|(first, at)| first == signal && now.duration_since(at) < TWICE)
}

/// Tells the service manager, where there is one, as sd_notify(3) does: `READY=1`, `STOPPING=1`.
/// A failure is logged: the server works without it.
pub(crate) fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let bytes = address.as_bytes();
    let sent = match bytes.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&address),
    }
    .and_then(|address| {
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not keep us from serving.
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(socket = %address.to_string_lossy(), %error, "cannot notify the service manager");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_said_twice_only_when_it_is_the_same_within_a_second() {
        let at = Instant::now();
        let late = |milliseconds| at + Duration::from_millis(milliseconds);
        let first = Some(("SIGTERM", at));
        assert!(!is_echo(None, "SIGTERM", at));
        assert!(is_echo(first, "SIGTERM", at));
        assert!(is_echo(first, "SIGTERM", late(999)));
        assert!(!is_echo(first, "SIGTERM", late(1000)));
        assert!(!is_echo(first, "SIGINT", late(1)));
    }
}
