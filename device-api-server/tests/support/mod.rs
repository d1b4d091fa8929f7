// SPDX-License-Identifier: Apache-2.0
//! Runs the real binary on temporary paths.

// Each test binary uses its own part of this file, and clippy.toml's exceptions for tests do not reach it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

pub mod raw;
pub mod standin;

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use device_api_client::{Api, Client, ConnectOptions, Target, Transport};
use device_api_core::proto::v1alpha1::gpu_service_client::GpuServiceClient;
use device_api_core::registry::ListParams;
use device_api_core::resource::Gpu;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take before a test gives up: no verdict depends on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// More memory than the server needs for what tests do. Generous, for it only tells bounded from unbounded: what
/// hostile peers ask for in vain are gigabytes.
pub const MEMORY: usize = 256 << 20;

/// The binary, without flags, free of what the environment says about it.
pub fn device_apiserver() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_device-apiserver"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DEVICE_API_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// A running server with an SQLite database, both in one folder.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    // Removed after the server is gone.
    _temporary: Option<TempDir>,
}

impl Daemon {
    /// Starts a server in a folder of its own and waits until its socket takes connections. A flag
    /// given here overrides the defaults of this file.
    pub fn start(flags: &[&str]) -> Self {
        let temporary = TempDir::new().unwrap();
        let mut daemon = Self::start_in(temporary.path(), flags);
        daemon._temporary = Some(temporary);
        daemon
    }

    /// Starts a server in this folder, where an earlier one may have left its database, and waits
    /// until its socket takes connections.
    pub fn start_in(folder: &Path, flags: &[&str]) -> Self {
        let mut daemon = Self::spawn_in(folder, flags);
        daemon.wait_until_live();
        daemon
    }

    /// Starts a server in this folder and does not wait.
    pub fn spawn_in(folder: &Path, flags: &[&str]) -> Self {
        Self::spawn(device_apiserver(), folder, flags)
    }

    /// Runs this command in this folder, with the flags that are missing, and does not wait.
    pub fn spawn(command: Command, folder: &Path, flags: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(log_in(folder)).unwrap();
        Self::spawn_with(command, log, folder, flags)
    }

    /// The same, with something else for stderr, which is then not to be had from here.
    pub fn spawn_with(mut command: Command, stderr: impl Into<Stdio>, folder: &Path, flags: &[&str]) -> Self {
        let socket = flags.iter().find_map(|flag| flag.strip_prefix("--bind-address=")).map(PathBuf::from);
        let socket = socket.unwrap_or_else(|| {
            command.arg(format!("--bind-address={}", socket_in(folder).display()));
            socket_in(folder)
        });
        if !flags.iter().any(|flag| flag.starts_with("--datastore-endpoint")) {
            command.arg(format!("--datastore-endpoint=sqlite://{}", database_in(folder).display()));
        }
        let child = command.args(flags).stdout(Stdio::null()).stderr(stderr).spawn().unwrap();
        Self { child, folder: folder.to_owned(), socket, log: log_in(folder), _temporary: None }
    }

    /// Waits until the socket takes connections.
    pub fn wait_until_live(&mut self) {
        let end = Instant::now() + PATIENCE;
        while UnixStream::connect(&self.socket).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the server ended with {status} before it took connections:\n{}", self.stderr());
            }
            assert!(Instant::now() < end, "no socket after {PATIENCE:?}:\n{}", self.stderr());
            sleep(Duration::from_millis(5));
        }
    }

    /// The folder of the socket, the database and the log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A client with a connection of its own, made by its first call.
    pub fn client(&self) -> Client {
        let target: Target = self.socket.display().to_string().parse().unwrap();
        Client::lazy(&target, ConnectOptions::default())
    }

    /// The verbs on a connection of their own.
    pub fn api(&self) -> Api<Gpu> {
        Api::all(self.client())
    }

    /// What tonic generates from the .proto, on a connection of its own.
    pub fn stub(&self) -> GpuServiceClient<Transport> {
        GpuServiceClient::new(self.client().transport()).max_decoding_message_size(64 << 20)
    }

    /// The database file's path, unless a flag named another.
    pub fn database(&self) -> PathBuf {
        database_in(&self.folder)
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Checks that the server answers others, never panicked, and took little memory.
    pub async fn assert_well(&self) {
        self.api().list(&ListParams::default()).await.unwrap();
        assert!(!self.stderr().contains("panicked"), "{}", self.stderr());
        let peak = self.peak_memory();
        assert!(peak < MEMORY, "the server took {peak} bytes");
    }

    /// The most memory that the server ever had in RAM, in bytes.
    pub fn peak_memory(&self) -> usize {
        // VmHWM, see proc(5).
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        peak.parse::<usize>().unwrap() << 10
    }

    /// What the server wrote to stderr so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the server has written this to stderr.
    pub async fn says(&self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.stderr().contains(text) {
            assert!(Instant::now() < end, "the server does not say {text:?}:\n{}", self.stderr());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the process ends.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "still running after {PATIENCE:?}:\n{}", self.stderr());
            sleep(Duration::from_millis(5));
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Nothing is left to do about a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("what the server said:\n{}", self.stderr());
        }
    }
}

/// The socket of a server in this folder.
pub fn socket_in(folder: &Path) -> PathBuf {
    folder.join("device-api.sock")
}

/// What a server in this folder writes to stderr.
fn log_in(folder: &Path) -> PathBuf {
    folder.join("stderr.log")
}

/// The database of a server in this folder.
pub fn database_in(folder: &Path) -> PathBuf {
    folder.join("state.db")
}
