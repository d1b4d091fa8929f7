// SPDX-License-Identifier: Apache-2.0
//! Tests of [`super`], in a file of their own for length.

use std::os::unix::net::{UnixListener as StdListener, UnixStream};

use tempfile::TempDir;

use super::*;
use std::os::unix::fs::MetadataExt as _;

fn options(path: &Path) -> SocketOptions {
    SocketOptions::new(path.to_str().unwrap().parse().unwrap())
}

#[tokio::test]
async fn the_socket_takes_connections_with_its_mode_and_is_removed_at_the_end() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("made/on/the/way/a.sock");
    let listener = Listener::bind(&options(&path).with_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    UnixStream::connect(&path).unwrap();
    listener.listener.accept().await.unwrap();
    drop(listener);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["a.sock.lock"]);
}

#[tokio::test]
async fn a_path_of_the_greatest_length_can_be_bound() {
    let folder = TempDir::new().unwrap();
    let room = 107 - folder.path().as_os_str().len() - 1;
    let path = folder.path().join("a".repeat(room));
    let _listener = Listener::bind(&options(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_second_listener_is_told_who_the_first_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    let _first = Listener::bind(&options(&path)).unwrap();
    let error = Listener::bind(&options(&path)).unwrap_err();
    let ListenError::Live { owner, .. } = &error else { panic!("{error}") };
    assert!(owner.starts_with(&format!("pid {} (", std::process::id())), "{owner}");
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_path_is_free_at_once_even_if_a_child_still_holds_a_copy_of_the_lock() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    let first = Listener::bind(&options(&path)).unwrap();
    // What fork leaves a child until it executes another program.
    let _copy = first.claim.lock.try_clone().unwrap();
    drop(first);
    Listener::bind(&options(&path)).unwrap();
}

#[tokio::test]
async fn a_live_server_that_takes_no_lock_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    let _other = StdListener::bind(&path).unwrap();
    let error = Listener::bind(&options(&path)).unwrap_err();
    let ListenError::Live { owner, .. } = &error else { panic!("{error}") };
    assert!(owner.contains(&std::process::id().to_string()), "{owner}");
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn a_live_server_with_a_full_queue_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _queued = UnixStream::connect(&path).unwrap();
    let error = Listener::bind(&options(&path)).unwrap_err();
    assert!(matches!(error, ListenError::Live { .. }), "{error}");
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    drop(StdListener::bind(&path).unwrap());
    let _listener = Listener::bind(&options(&path)).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn what_is_not_a_socket_is_never_touched() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "data").unwrap();
    let error = Listener::bind(&options(&path)).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"data");

    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    let error = Listener::bind(&options(&link)).unwrap_err();
    assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
}

#[tokio::test]
async fn a_socket_that_replaced_ours_is_not_removed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    let listener = Listener::bind(&options(&path)).unwrap();
    fs::remove_file(&path).unwrap();
    let _other = StdListener::bind(&path).unwrap();
    drop(listener);
    UnixStream::connect(&path).unwrap();
}

#[tokio::test]
async fn what_a_crash_left_behind_is_no_obstacle() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    let nursery = folder.path().join(".a.sock.new");
    fs::create_dir(&nursery).unwrap();
    drop(StdListener::bind(nursery.join("s")).unwrap());
    fs::write(folder.path().join("a.sock.lock"), "pid 1 (gone), and a long tail").unwrap();
    let _listener = Listener::bind(&options(&path)).unwrap();
    assert!(!nursery.exists());
    let lock = fs::read_to_string(folder.path().join("a.sock.lock")).unwrap();
    assert!(lock.starts_with(&format!("pid {} (", std::process::id())) && lock.ends_with(")\n"), "{lock}");
}

#[tokio::test]
async fn the_socket_belongs_to_the_group_asked_for() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.sock");
    // The only group that any user can give a file to.
    let own = rustix::process::getegid().as_raw();
    let _listener = Listener::bind(&options(&path).with_group(Group::new(own.to_string()))).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), own);
    let other = folder.path().join("b.sock");
    let error = Listener::bind(&options(&other).with_group(Group::new("no such group"))).unwrap_err();
    assert!(matches!(error, ListenError::Io { action: "find the group of", .. }), "{error}");
    assert!(!other.exists());
}

#[tokio::test]
async fn a_lock_file_that_is_another_name_of_a_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.sock");
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::hard_link(&victim, folder.path().join("x.sock.lock")).unwrap();
    let options = SocketOptions::new(path.display().to_string().parse().unwrap());
    let error = Listener::bind(&options).unwrap_err();
    assert!(matches!(&error, ListenError::Io { source, .. } if source.to_string().contains("move it away")), "{error}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}
