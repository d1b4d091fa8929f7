// SPDX-License-Identifier: Apache-2.0
//! What the program says on stderr: never waited for, and never a reason to fail.
//!
//! Whoever reads stderr may not read, or may be gone; the disk behind it may be full. So a line goes into a bounded
//! queue, and a thread of its own writes it, however long that takes. Lines for which there is no room, and those that
//! could not be written, are counted, and the count is said once stderr takes lines again.

pub(crate) mod level;
mod line;
mod queue;
mod stderr;

use std::io;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use self::queue::Queue;
use self::stderr::Stderr;
use crate::cli::{LogFlags, LogFormat};

/// How long the end of the program waits for stderr to take what is left.
const PATIENCE: Duration = Duration::from_secs(3);

/// The way to stderr, of which a process has one. Dropped, it waits for a moment until all is written.
#[derive(Debug)]
pub struct Log {
    lines: Arc<Lines>,
    /// Whether there is a thread that writes.
    is_written: bool,
}

/// Lines on their way to stderr.
#[derive(Debug, Default)]
struct Lines {
    queue: Queue,
    /// Whether each is to be a JSON object.
    is_json: AtomicBool,
}

impl Log {
    /// Starts to write what is said, panics from now on among it: their hook would wait for stderr, too.
    #[must_use]
    pub fn start() -> Self {
        let lines = Arc::new(Lines::default());
        let writing = Arc::clone(&lines);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || writing.write());
        let panics = Arc::clone(&lines);
        std::panic::set_hook(Box::new(move |panic| panics.say_panic(panic)));
        Self { lines, is_written: thread.is_ok() }
    }

    /// Logs what these flags ask for.
    pub fn follow(&self, flags: &LogFlags) {
        let is_json = flags.log_format == LogFormat::Json;
        self.lines.is_json.store(is_json, Ordering::Relaxed);
        // The level was checked when the flags were read.
        let filter = EnvFilter::try_new(&flags.log_level).unwrap_or_else(|_| EnvFilter::new("info"));
        let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Arc::clone(&self.lines));
        // What cannot be written is counted here; tracing-subscriber would say it with a macro that panics.
        let logs = logs.with_ansi(false).log_internal_errors(false);
        if is_json { logs.json().init() } else { logs.init() }
    }

    /// Waits for a moment until all is written that was said.
    pub fn drain(&self) {
        if self.is_written {
            self.lines.queue.drain(PATIENCE);
        }
    }

    /// Says this in a line of its own, whatever the log level, and waits for a moment until it is written.
    pub fn last_word(&self, word: &str) {
        let line = format!("{word}\n").into_bytes();
        if self.is_written {
            self.lines.queue.push_in_any_case(line);
            self.drain();
        } else {
            // Nobody is left to tell if that fails.
            let _ = Stderr::default().write(&line);
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.drain();
    }
}

impl Lines {
    /// Writes one line after another, for as long as the process lives.
    fn write(&self) {
        let mut stderr = Stderr::default();
        loop {
            let line = self.queue.take();
            if let Some(lost) = self.queue.wrote(stderr.write(&line).is_ok()) {
                let message = format!("{lost} log lines were lost: stderr did not take them in time, or not at all");
                let notice = line::format(self.is_json(), "WARN", module_path!(), &message);
                self.queue.told(lost, stderr.write(&notice).is_ok());
            }
        }
    }

    fn say_panic(&self, panic: &PanicHookInfo<'_>) {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("no text");
        let mut message = format!("thread {name:?} panicked at {place}: {why}");
        // Where RUST_BACKTRACE asks for it, as with the hook that this one replaces.
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            message.push_str(&format!("\n{trace}"));
        }
        self.push(&line::format(self.is_json(), "ERROR", "panic", &message));
    }

    fn push(&self, line: &[u8]) {
        self.queue.push(line::bounded(self.is_json(), line));
    }

    fn is_json(&self) -> bool {
        self.is_json.load(Ordering::Relaxed)
    }
}

/// tracing-subscriber writes each line in one piece.
impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
