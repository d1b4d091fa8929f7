// SPDX-License-Identifier: Apache-2.0
//! The command line: what it tells, what it takes, and how it says no.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Output;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use support::{Daemon, database_in, device_apiserver, socket_in};
use tempfile::TempDir;

/// Every flag. Scripts and manifests in the field name them: none goes away, none is renamed.
const FLAGS: [&str; 32] = [
    "bind-address",
    "socket-mode",
    "socket-group",
    "datastore-endpoint",
    "shutdown-grace-period",
    "history-max-age",
    "history-max-events",
    "history-max-bytes",
    "max-objects",
    "max-object-bytes",
    "max-connections",
    "max-concurrent-streams",
    "request-timeout",
    "max-request-bytes",
    "watch-max-duration",
    "watch-bookmark-interval",
    "nvml",
    "nvml-simulation-socket",
    "nvml-driver-root",
    "nvml-ignored-xids",
    "nvml-policy-file",
    "nvml-resync-interval",
    "nvml-fault-poll-interval",
    "nvml-fault-poll-max-interval",
    "nvml-call-timeout",
    "nvml-event-wait",
    "nvml-retry-interval",
    "nvml-retry-max-interval",
    "nvml-telemetry-interval",
    "nvml-lease-duration",
    "log-level",
    "log-format",
];

fn help() -> String {
    let Output { status, stdout, .. } = device_apiserver().arg("--help").output().unwrap();
    assert!(status.success());
    String::from_utf8(stdout).unwrap()
}

/// Starts a server that must not come up, and returns its exit code and what it said.
fn refused(folder: &Path, flags: &[&str]) -> (i32, String) {
    let mut daemon = Daemon::spawn_in(folder, flags);
    let code = daemon.wait().code().unwrap();
    (code, daemon.stderr())
}

#[test]
fn help_lists_every_flag_with_its_environment_variable_and_no_other() {
    let help = help();
    let listed = |start: &str| -> BTreeSet<String> {
        let parts = help.split(start).skip(1);
        parts.map(|rest| rest.split([' ', '=', ']', '\n']).next().unwrap().to_owned()).collect()
    };
    let flags: BTreeSet<_> = FLAGS.iter().map(ToString::to_string).collect();
    assert!(listed("\n      --").is_superset(&flags), "{help}");
    let variables: BTreeSet<_> = flags.iter().map(|flag| flag.replace('-', "_").to_uppercase()).collect();
    assert_eq!(listed("[env: DEVICE_API_"), variables, "{help}");
}

#[test]
fn help_lists_every_exit_code() {
    let help = help();
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    let (codes, _) = codes.split_once("\n\n").unwrap();
    let numbers: Vec<_> = codes.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  ")).collect();
    let numbers: Vec<_> =
        numbers.into_iter().map(|(number, _)| number.trim()).filter(|text| !text.is_empty()).collect();
    assert_eq!(numbers, ["0", "2", "3", "4", "5"], "{codes}");
}

#[test]
fn help_shows_no_secret_of_the_environment() {
    let mut command = device_apiserver();
    command.env("DEVICE_API_DATASTORE_ENDPOINT", "sqlite:///x.db?password=hunter2").arg("--help");
    let output = command.output().unwrap();
    assert!(!String::from_utf8(output.stdout).unwrap().contains("hunter2"));
}

#[test]
fn version_is_that_of_the_package() {
    let output = device_apiserver().arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("device-apiserver {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn an_unknown_datastore_is_refused_with_those_that_there_are() {
    let folder = TempDir::new().unwrap();
    for url in ["postgres://localhost/x", "etcd://x", "sqlitex:///x"] {
        let (code, said) = refused(folder.path(), &[&format!("--datastore-endpoint={url}")]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("sqlite:///PATH") && said.contains("memory://"), "{said}");
    }
}

#[test]
fn an_unknown_datastore_option_is_refused_with_those_that_there_are_and_makes_no_file() {
    let folder = TempDir::new().unwrap();
    let database = database_in(folder.path());
    let (code, said) =
        refused(folder.path(), &[&format!("--datastore-endpoint=sqlite://{}?synchronus=full", database.display())]);
    assert_eq!(code, 2, "{said}");
    for word in ["synchronus", "synchronous", "max_size_mib"] {
        assert!(said.contains(word), "{word} is not in {said}");
    }
    assert!(!database.exists() && !socket_in(folder.path()).exists());
    let (code, said) = refused(folder.path(), &["--datastore-endpoint=memory://?size=1"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("size"), "{said}");
}

#[test]
fn what_is_wrong_with_a_flag_is_said_with_its_name() {
    let folder = TempDir::new().unwrap();
    for (flag, value) in [
        ("--bind-address", "tcp://127.0.0.1:50051"),
        ("--socket-mode", "8"),
        ("--shutdown-grace-period", "10"),
        ("--history-max-bytes", "64MB"),
        ("--max-connections", "0"),
        ("--log-level", "h2=loud"),
        ("--log-level", "warning"),
        ("--socket-group", "no-such-group"),
        ("--log-format", "xml"),
    ] {
        let (code, said) = refused(folder.path(), &[&format!("{flag}={value}")]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(flag) && said.contains(value), "{said}");
    }
    let (_, said) = refused(folder.path(), &["--log-level=warning"]);
    assert!(said.contains("error, warn, info, debug, trace or off"), "{said}");
    assert!(!database_in(folder.path()).exists(), "it is seen before anything is made");
    let (code, said) = refused(folder.path(), &["--no-such-flag"]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn an_environment_variable_is_as_good_as_its_flag_which_outranks_it() {
    let folder = TempDir::new().unwrap();
    let elsewhere = folder.path().join("elsewhere.sock");
    let with_variable = || {
        let mut command = device_apiserver();
        command.env("DEVICE_API_LOG_FORMAT", "json").env("DEVICE_API_SOCKET_MODE", "0600");
        command.env("DEVICE_API_BIND_ADDRESS", &elsewhere).env("DEVICE_API_NVML", "off");
        command
    };
    let mut daemon = Daemon::spawn(with_variable(), folder.path(), &["--datastore-endpoint=memory://"]);
    daemon.wait_until_live();
    assert!(!elsewhere.exists(), "the flag outranks the variable");
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::symlink_metadata(daemon.socket()).unwrap());
    assert_eq!(mode & 0o777, 0o600, "the variable outranks the default");
    assert!(daemon.stop().success());
    let said = daemon.stderr();
    assert!(!said.is_empty());
    for line in said.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok_and(|line| line["level"] == "INFO"), "{line}");
    }
}

#[test]
fn an_empty_environment_variable_is_one_that_is_not_set() {
    let folder = TempDir::new().unwrap();
    let mut command = device_apiserver();
    for flag in FLAGS {
        command.env(format!("DEVICE_API_{}", flag.replace('-', "_").to_uppercase()), "");
    }
    let mut daemon = Daemon::spawn(command, folder.path(), &[]);
    daemon.wait_until_live();
    assert!(daemon.stop().success());
}

#[tokio::test]
async fn variables_that_are_of_no_flag_are_said_once() {
    let folder = TempDir::new().unwrap();
    let mut command = device_apiserver();
    command.env("DEVICE_API_SOCKET_GRUOP", "hunter2").env("DEVICE_API_LOG_FORMAT", "text");
    let mut daemon = Daemon::spawn(command, folder.path(), &["--nvml=off"]);
    daemon.wait_until_live();
    daemon.says("variables=\"DEVICE_API_SOCKET_GRUOP\"").await;
    assert!(daemon.stop().success());
    assert_eq!(daemon.stderr().matches("DEVICE_API_").count(), 1, "{}", daemon.stderr());
    assert!(!daemon.stderr().contains("hunter2"));
}

#[test]
fn a_second_server_on_one_database_is_told_of_the_first() {
    let first = Daemon::start(&[]);
    let folder = TempDir::new().unwrap();
    let endpoint = format!("--datastore-endpoint=sqlite://{}", first.database().display());
    let (code, said) = refused(folder.path(), &[&endpoint]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("process {}", first.pid())), "{said}");
    assert!(!socket_in(folder.path()).exists(), "nobody was told that it serves");
}

#[tokio::test]
async fn a_database_that_another_program_has_open_is_refused_with_its_name() {
    let folder = TempDir::new().unwrap();
    assert!(Daemon::start_in(folder.path(), &[]).stop().success());
    // As `sqlite3` has it, from its first query on.
    let mut connection = SqliteConnectOptions::new().filename(database_in(folder.path())).connect().await.unwrap();
    sqlx::raw_sql("SELECT * FROM record").execute(&mut connection).await.unwrap();
    let (code, said) = refused(folder.path(), &[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("in use by process {} (", std::process::id())), "{said}");
    connection.close().await.unwrap();
    assert!(Daemon::start_in(folder.path(), &[]).stop().success());
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let content = b"not a database, but somebody's all the same".repeat(100);
    fs::write(database_in(folder.path()), &content).unwrap();
    let (code, said) = refused(folder.path(), &[]);
    assert_eq!(code, 3, "{said}");
    assert_eq!(fs::read(database_in(folder.path())).unwrap(), content);
}

#[test]
fn the_last_word_is_one_line_whatever_the_log_level() {
    let folder = TempDir::new().unwrap();
    fs::write(socket_in(folder.path()), "").unwrap();
    let (code, said) = refused(folder.path(), &["--log-level=off"]);
    assert_eq!(code, 4, "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("device-apiserver: "), "{said}");
}
