// SPDX-License-Identifier: Apache-2.0
//! The socket file of the real binary: who may replace it, who may connect to it, who removes it.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use device_api_core::registry::ListParams;
use support::{Daemon, device_apiserver, socket_in};
use tempfile::TempDir;

const MEMORY: &str = "--datastore-endpoint=memory://";

/// Starts a server that must not get its socket, and returns what it said.
fn refused(folder: &Path, flags: &[&str]) -> String {
    let mut daemon = Daemon::spawn_in(folder, flags);
    assert_eq!(daemon.wait().code(), Some(4), "{}", daemon.stderr());
    daemon.stderr()
}

async fn answers(daemon: &Daemon) -> bool {
    daemon.api().list(&ListParams::default()).await.is_ok()
}

#[tokio::test]
async fn a_second_server_on_one_socket_is_told_of_the_first_which_goes_on() {
    let first = Daemon::start(&[MEMORY]);
    let inode = fs::symlink_metadata(first.socket()).unwrap().ino();
    let folder = TempDir::new().unwrap();
    let said = refused(folder.path(), &[MEMORY, &format!("--bind-address={}", first.socket().display())]);
    assert!(said.contains(&format!("pid {}", first.pid())), "{said}");
    assert_eq!(fs::symlink_metadata(first.socket()).unwrap().ino(), inode);
    assert!(answers(&first).await);
}

#[tokio::test]
async fn the_socket_that_a_crash_left_behind_is_replaced() {
    let folder = TempDir::new().unwrap();
    let mut first = Daemon::start_in(folder.path(), &[]);
    first.kill();
    assert!(fs::symlink_metadata(first.socket()).unwrap().file_type().is_socket(), "or this tests nothing");
    let second = Daemon::start_in(folder.path(), &[]);
    assert!(answers(&second).await);
}

#[test]
fn a_file_at_the_path_is_left_alone_byte_for_byte() {
    let folder = TempDir::new().unwrap();
    let path = socket_in(folder.path());
    fs::write(&path, "somebody's").unwrap();
    let before = fs::symlink_metadata(&path).unwrap();
    let said = refused(folder.path(), &[MEMORY]);
    assert!(said.contains("is not a socket and was left alone"), "{said}");
    let after = fs::symlink_metadata(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"somebody's");
    assert_eq!((before.ino(), before.mode(), before.mtime()), (after.ino(), after.mode(), after.mtime()));
}

#[test]
fn folders_and_links_at_the_path_are_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = socket_in(folder.path());
    fs::create_dir(&path).unwrap();
    refused(folder.path(), &[MEMORY]);
    assert!(path.is_dir());
    fs::remove_dir(&path).unwrap();

    // Even where the link leads to a socket that nobody serves.
    let elsewhere = folder.path().join("elsewhere");
    drop(UnixListener::bind(&elsewhere).unwrap());
    symlink(&elsewhere, &path).unwrap();
    refused(folder.path(), &[MEMORY]);
    assert_eq!(fs::read_link(&path).unwrap(), elsewhere);
}

#[test]
fn the_socket_has_its_mode_when_it_takes_connections_and_never_more() {
    let folder = TempDir::new().unwrap();
    let path = socket_in(folder.path());
    for (flag, mode) in [("--socket-mode=0660", 0o660), ("--socket-mode=0600", 0o600), ("--socket-mode=0606", 0o606)] {
        for _ in 0..5 {
            let stop = AtomicBool::new(false);
            let seen = thread::scope(|scope| {
                let racer = scope.spawn(|| {
                    let mut seen = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        // What is seen before a connection is made may be less.
                        let takes = UnixStream::connect(&path).is_ok();
                        seen.extend(fs::symlink_metadata(&path).map(|found| (takes, found.mode() & 0o777)));
                    }
                    seen
                });
                let mut daemon = Daemon::start_in(folder.path(), &[MEMORY, flag]);
                stop.store(true, Ordering::Relaxed);
                let seen = racer.join().unwrap();
                assert!(daemon.stop().success());
                seen
            });
            for (takes, found) in seen {
                assert_eq!(found & !mode, 0, "{flag}: {found:o}");
                assert!(!takes || found == mode, "{flag}: it took a connection with {found:o}");
            }
        }
        // The racer looks at nothing at times, so the mode is looked at once for certain.
        let mut daemon = Daemon::start_in(folder.path(), &[MEMORY, flag]);
        assert_eq!(fs::symlink_metadata(daemon.socket()).unwrap().mode() & 0o777, mode);
        assert!(daemon.stop().success());
    }
}

#[test]
fn the_umask_takes_nothing_from_the_mode() {
    for umask in ["000", "077", "777"] {
        let folder = TempDir::new().unwrap();
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\"")).arg(device_apiserver().get_program());
        // The database of such a process could not even be opened.
        let mut daemon = Daemon::spawn(shell, folder.path(), &[MEMORY, "--socket-mode=0662"]);
        daemon.wait_until_live();
        let mode = fs::symlink_metadata(daemon.socket()).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o662, "with umask {umask}: {mode:o}");
        assert!(daemon.stop().success());
    }
}

/// The paths of all sockets that listen, as `ss -xl` and systemd-tmpfiles read them.
fn bound() -> Vec<String> {
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    table.lines().filter_map(|line| Some(line.split_once(" /")?.1)).map(|path| format!("/{path}")).collect()
}

#[test]
fn tools_see_the_socket_at_its_path_and_nothing_else_is_beside_it() {
    let folder = TempDir::new().unwrap();
    let real = folder.path().canonicalize().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[MEMORY]);
    let path = real.join("device-api.sock").display().to_string();
    assert!(bound().contains(&path), "{path} is not among {:?}", bound());
    let mut beside: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["device-api.sock", "device-api.sock.lock", "stderr.log"]);
    assert!(daemon.stop().success());

    // As /var/run leads to /run.
    let link = folder.path().join("link");
    symlink(&real, &link).unwrap();
    let mut daemon =
        Daemon::spawn_in(folder.path(), &[MEMORY, &format!("--bind-address={}/device-api.sock", link.display())]);
    daemon.wait_until_live();
    assert!(bound().contains(&path), "{path} is not among {:?}", bound());
    assert!(daemon.stop().success());
    assert!(!bound().contains(&path));
}

#[test]
fn a_missing_folder_is_made_for_all_to_enter_and_an_existing_one_keeps_its_mode() {
    let root = TempDir::new().unwrap();
    for umask in ["022", "077", "000"] {
        let first = root.path().join(umask);
        let socket = first.join("device-api/a.sock");
        let folder = TempDir::new().unwrap();
        // Its process becomes the server, which signals reach.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("umask {umask}; exec \"$0\" \"$@\"")).arg(device_apiserver().get_program());
        let mut daemon =
            Daemon::spawn(shell, folder.path(), &[MEMORY, &format!("--bind-address={}", socket.display())]);
        daemon.wait_until_live();
        for made in [&first, &first.join("device-api")] {
            let mode = fs::metadata(made).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o755, "{} with umask {umask}: {mode:o}", made.display());
        }
        assert!(daemon.stop().success());
    }

    let own = root.path().join("own");
    fs::DirBuilder::new().mode(0o700).create(&own).unwrap();
    let mut daemon = Daemon::start_in(&own, &[MEMORY]);
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")] // the client must be able to say goodbye while we wait
async fn the_longest_path_works_and_a_longer_one_is_refused() {
    let folder = TempDir::new().unwrap();
    let start = folder.path().join("s");
    let longest = format!("{}{}", start.display(), "s".repeat(107 - start.as_os_str().len()));
    let mut daemon = Daemon::spawn_in(folder.path(), &[MEMORY, &format!("--bind-address={longest}")]);
    daemon.wait_until_live();
    assert!(answers(&daemon).await);
    assert!(daemon.stop().success());

    let mut daemon = Daemon::spawn_in(folder.path(), &[MEMORY, &format!("--bind-address={longest}s")]);
    assert_eq!(daemon.wait().code(), Some(2));
    assert!(daemon.stderr().contains("108 bytes"), "{}", daemon.stderr());
}

#[test]
fn the_socket_is_removed_at_the_end() {
    let mut daemon = Daemon::start(&[MEMORY]);
    assert!(daemon.stop().success());
    assert!(fs::symlink_metadata(daemon.socket()).is_err());
}

#[test]
fn what_took_the_socket_s_place_is_not_removed_at_the_end() {
    let mut daemon = Daemon::start(&[MEMORY]);
    let aside = daemon.folder().join("aside");
    let other = UnixListener::bind(&aside).unwrap();
    fs::rename(&aside, daemon.socket()).unwrap();
    let inode = fs::symlink_metadata(daemon.socket()).unwrap().ino();
    assert!(daemon.stop().success());
    assert_eq!(fs::symlink_metadata(daemon.socket()).unwrap().ino(), inode);
    drop(other);
}
