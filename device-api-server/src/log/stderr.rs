// SPDX-License-Identifier: Apache-2.0
//! Writing to stderr, whatever it is.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, write};

/// The pause where stderr says that it takes something and then does not.
const PAUSE: Duration = Duration::from_millis(10);

/// Stderr. Not `std::io::Stderr`, whose lock would be held for as long as nobody reads; whoever else writes there
/// would wait for it, too.
#[derive(Debug, Default)]
pub(super) struct Stderr {
    /// The last line ends in its middle.
    is_torn: bool,
}

impl Stderr {
    /// Writes a line, however long it takes until somebody reads it.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.write_all(b"\n")?;
            self.is_torn = false;
        }
        self.write_all(line)
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let stderr = io::stderr();
        let mut was_full = false;
        while !bytes.is_empty() {
            match write(stderr.as_fd(), bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    bytes = &bytes[count..];
                    (was_full, self.is_torn) = (false, !bytes.is_empty());
                }
                Err(Errno::INTR) => {}
                // Whoever shares it with us has made it non-blocking: it waits here instead.
                Err(Errno::AGAIN) => {
                    if std::mem::replace(&mut was_full, true) {
                        std::thread::sleep(PAUSE);
                    }
                    match poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
