// SPDX-License-Identifier: Apache-2.0
//! A process beside the server: the source as a client, and what a process costs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, device_apiserver};

/// `device-apiserver nvml-provider`.
pub(crate) struct Provider {
    child: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Provider {
    /// Starts a provider of the server at this socket, which need not be there yet.
    pub(crate) fn start(socket: &Path, flags: &[String]) -> Self {
        Self::start_as(device_apiserver(), socket, flags)
    }

    /// The same of this program.
    pub(crate) fn start_as(program: Command, socket: &Path, flags: &[String]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("stderr.log");
        let stderr = File::create(&log).unwrap();
        Self { child: spawn(program, stderr, socket, flags), log, _folder: folder }
    }

    /// The same of this program, with something else for stderr.
    pub(crate) fn start_with(program: Command, stderr: Stdio, socket: &Path, flags: &[String]) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("none");
        Self { child: spawn(program, stderr, socket, flags), log, _folder: folder }
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has written this to stderr.
    pub(crate) async fn says(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.stderr().contains(text) {
            assert!(Instant::now() < end, "the provider does not say {text:?}:\n{}", self.stderr());
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends SIGKILL and waits for the end.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the provider does not end:\n{}", self.stderr());
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // Nothing is left to do about a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("what the provider said:\n{}", self.stderr());
        }
    }
}

fn spawn(mut program: Command, stderr: impl Into<Stdio>, socket: &Path, flags: &[String]) -> Child {
    program.arg("nvml-provider").arg(format!("--target={}", socket.display())).args(flags);
    program.stdout(Stdio::null()).stderr(stderr).spawn().unwrap()
}

/// The part of a core that a process takes over this time, in percent.
pub(crate) async fn load(pid: u32, time: Duration) -> f64 {
    let (begin, before) = (Instant::now(), cpu_time(pid));
    sleep(time).await;
    let used = cpu_time(pid) - before;
    100.0 * used.as_secs_f64() / begin.elapsed().as_secs_f64()
}

/// The processor time that a process has used: proc_pid_stat(5), fields 14 and 15.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field is the program's name in brackets, and may have blanks.
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    // A tick is a hundredth of a second in all that the kernel shows, whatever its own is.
    Duration::from_millis(ticks * 10)
}
