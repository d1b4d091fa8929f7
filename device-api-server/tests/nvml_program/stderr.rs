// SPDX-License-Identifier: Apache-2.0
//! A stderr that takes nothing is felt by nobody, and what was lost of it is said once it takes something again.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, PipeReader, pipe};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Parser as _;
use device_api_client::{LeaseApi, VerbsExt as _};
use device_api_core::lease::{AcquireLease, LeaseVerbs as _};
use device_api_core::registry::{ListParams, PatchParams};
use device_api_core::resource::{Condition, ConditionStatus};
use device_api_server::{Cli, Log};
use nvml_standin::Script;
use rustix::fs::{OFlags, fcntl_setfl};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::node::{NVML_READY, all_healthy, breaks, name, real, says, server};
use crate::process::Provider;
use crate::support::standin::Standin;
use crate::support::{Daemon, PATIENCE, device_apiserver, socket_in};

/// The ledger, too, says much.
const LOUD: &str = "--log-level=info,device_api_core::audit=debug";

/// What stderr is.
#[derive(Clone, Copy, Debug)]
enum Stderr {
    /// There is none.
    Closed,
    /// A disk without room.
    Full,
    /// A pipe that is full, and that nobody reads.
    Unread,
    /// The same, whose writers are not to wait.
    UnreadNonBlocking,
    /// A pipe whose reader is gone.
    Gone,
}

const ALL: [Stderr; 5] = [Stderr::Closed, Stderr::Full, Stderr::Unread, Stderr::UnreadNonBlocking, Stderr::Gone];

impl Stderr {
    /// The program, its stderr, and the end of it that is to be kept.
    fn of_program(self) -> (Command, Stdio, Option<PipeReader>) {
        let mut program = device_apiserver();
        let (stderr, reader) = match self {
            Self::Closed => {
                let mut shell = Command::new("sh");
                shell.args(["-c", r#"exec "$0" "$@" 2>&-"#]).arg(program.get_program());
                for (name, value) in program.get_envs() {
                    assert!(value.is_none(), "{name:?} is set");
                    shell.env_remove(name);
                }
                program = shell;
                (Stdio::null(), None)
            }
            Self::Full => (File::options().write(true).open("/dev/full").unwrap().into(), None),
            Self::Unread => full_pipe(OFlags::empty()),
            Self::UnreadNonBlocking => full_pipe(OFlags::NONBLOCK),
            Self::Gone => (pipe().unwrap().1.into(), None),
        };
        (program, stderr, reader)
    }

    /// A server, and what is to be kept.
    fn server(self, folder: &Path, flags: &[&str]) -> (Daemon, Option<PipeReader>) {
        let (program, stderr, reader) = self.of_program();
        (Daemon::spawn_with(program, stderr, folder, flags), reader)
    }
}

/// A pipe that takes nothing any more, with these flags.
fn full_pipe(flags: OFlags) -> (Stdio, Option<PipeReader>) {
    let (reader, writer) = pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        while rustix::io::write(&writer, &vec![b'\n'; size]).is_ok() {}
    }
    fcntl_setfl(&writer, flags).unwrap();
    (writer.into(), Some(reader))
}

/// Waits until the source, the keeper of leases and the ledger have done what they do, and says how the server ended,
/// with text and with JSON.
async fn ends_of_a_server(stderr: Stderr) -> Vec<Option<i32>> {
    let mut codes = Vec::new();
    for format in ["--log-format=text", "--log-format=json"] {
        let (standin, folder) = (Standin::new(&Script::with_gpus(2)), TempDir::new().unwrap());
        let flags = [real(&standin), vec![LOUD.to_owned(), format.to_owned()]].concat();
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let (mut server, unread) = stderr.server(folder.path(), &flags);
        server.wait_until_live();
        let gpus = server.api();
        all_healthy(&gpus, 2).await;
        breaks(&standin, 1, 119);
        says(&gpus, &name(1), &[(NVML_READY, "False XidError")]).await;

        let thermal = AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]);
        LeaseApi::new(server.client()).acquire(&thermal.with_duration(Duration::from_secs(1))).await.unwrap();
        let cool = Condition::new("ThermalHealthy", ConditionStatus::True).with_reason("Cool");
        gpus.set_condition(&name(0), &PatchParams::default(), &cool).await.unwrap();
        says(&gpus, &name(0), &[("ThermalHealthy", "Unknown ProviderLost")]).await;

        codes.push(server.stop().code());
        assert!(!server.socket().exists());
        drop(unread);
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_stderr_serves_and_ends_well() {
    assert_eq!(ends_of_a_server(Stderr::Closed).await, [Some(0); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_stderr_is_a_full_disk_serves_and_ends_well() {
    assert_eq!(ends_of_a_server(Stderr::Full).await, [Some(0); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_stderr_nobody_reads_serves_and_ends_well() {
    assert_eq!(ends_of_a_server(Stderr::Unread).await, [Some(0); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_stderr_does_not_block_and_nobody_reads_serves_and_ends_well() {
    assert_eq!(ends_of_a_server(Stderr::UnreadNonBlocking).await, [Some(0); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_stderr_has_lost_its_reader_serves_and_ends_well() {
    assert_eq!(ends_of_a_server(Stderr::Gone).await, [Some(0); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_provider_feels_what_becomes_of_its_stderr() {
    for stderr in ALL {
        let standin = Standin::new(&Script::with_gpus(2));
        let server = server(&["--nvml=off".to_owned()]);
        let gpus = server.api();
        let (program, sink, unread) = stderr.of_program();
        let provider = Provider::start_with(program, sink, server.socket(), &real(&standin));
        all_healthy(&gpus, 2).await;
        breaks(&standin, 1, 119);
        says(&gpus, &name(1), &[(NVML_READY, "False XidError")]).await;
        assert!(provider.stop().await.success(), "{stderr:?}");
        drop(unread);
    }
}

#[test]
fn the_exit_code_says_what_stderr_cannot() {
    for stderr in ALL {
        let folder = TempDir::new().unwrap();
        let code = |flags: &[&str]| {
            let (mut server, _unread) = stderr.server(folder.path(), flags);
            server.wait().code()
        };
        assert_eq!(code(&["--socket-mode=8"]), Some(2), "{stderr:?}");
        fs::write(socket_in(folder.path()), "").unwrap();
        assert_eq!(code(&["--nvml=off"]), Some(4), "{stderr:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stderr_is_no_other_file_of_the_server() {
    let folder = TempDir::new().unwrap();
    let (mut server, _) = Stderr::Closed.server(folder.path(), &["--nvml=off"]);
    server.wait_until_live();
    let stderr = fs::read_link(format!("/proc/{}/fd/2", server.pid())).unwrap();
    assert_eq!(stderr, Path::new("/dev/null"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_were_lost_are_counted_and_the_others_are_whole() {
    for stderr in [Stderr::Unread, Stderr::UnreadNonBlocking] {
        let folder = TempDir::new().unwrap();
        let flags = ["--nvml=off", "--log-level=trace", "--log-format=json"];
        let (mut server, unread) = stderr.server(folder.path(), &flags);
        server.wait_until_live();
        let gpus = server.api();
        // Each is some dozens of lines, and there is room for a few thousand.
        for _ in 0..1000 {
            gpus.list(&ListParams::default()).await.unwrap();
        }
        let (told, is_told) = oneshot::channel();
        let reading = std::thread::spawn(move || {
            let (mut told, mut last) = (Some(told), String::new());
            for line in BufReader::new(unread.unwrap()).lines().map(Result::unwrap).filter(|line| !line.is_empty()) {
                let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{stderr:?}: {line}"));
                last = line["fields"]["message"].as_str().unwrap_or_default().to_owned();
                if let Some(lost) =
                    last.strip_suffix(" log lines were lost: stderr did not take them in time, or not at all")
                    && let Some(told) = told.take()
                {
                    told.send(lost.parse::<u64>().unwrap()).unwrap();
                }
            }
            last
        });
        let lost = timeout(PATIENCE, is_told).await.unwrap().unwrap();
        assert!(lost > 0, "{stderr:?}");
        assert_eq!(server.stop().code(), Some(0), "{stderr:?}");
        assert_eq!(reading.join().unwrap(), "shut down", "{stderr:?}");
    }
}

#[test]
#[ignore = "a program that a test below runs"]
fn panics() {
    let log = Log::start();
    log.follow(Cli::parse_from(["device-apiserver", "--log-format=json"]).log());
    for number in 0..2 {
        let panicked = std::thread::Builder::new().name(format!("n{number}")).spawn(move || panic!("bug {number}"));
        assert!(panicked.unwrap().join().is_err());
    }
}

#[test]
fn a_panic_is_a_log_line_and_is_felt_by_nobody_else() {
    let program = || {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "stderr::panics", "--ignored", "--nocapture"]).env_remove("RUST_BACKTRACE");
        program
    };
    for (stderr, unread) in [full_pipe(OFlags::empty()), (pipe().unwrap().1.into(), None)] {
        let status = program().stdout(Stdio::null()).stderr(stderr).status().unwrap();
        assert!(status.success(), "{status}");
        drop(unread);
    }
    let output = program().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for number in 0..2 {
        let is_it = |line: &&Value| {
            let message = line["fields"]["message"].as_str().unwrap_or_default();
            message.starts_with(&format!("thread \"n{number}\" panicked at "))
                && message.ends_with(&format!("bug {number}"))
        };
        assert_eq!(lines.iter().filter(is_it).count(), 1, "{said}");
    }
}
