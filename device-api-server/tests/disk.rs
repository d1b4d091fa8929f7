// SPDX-License-Identifier: Apache-2.0
//! Disks that are full or read-only, and what is no file in the database's place.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use device_api_core::registry::{ListParams, PostParams};
use device_api_core::resource::{Gpu, ObjectMeta};
use rustix::fs::{FileType, Mode};
use support::{Daemon, PATIENCE, database_in};
use tempfile::TempDir;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A disk of a mebibyte.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, and a word about it, where this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir(at).unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(at).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("skipped: this user may not mount a file system");
        None
    }

    fn fill(&self) {
        let mut bytes = 1 << 20;
        while bytes > 0 {
            let filler = self.0.join("filler");
            let mut file = fs::File::options().create(true).append(true).open(&filler).unwrap();
            while std::io::Write::write_all(&mut file, &vec![1; bytes]).is_ok() {}
            bytes /= 2;
        }
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn remount(&self, how: &str) {
        assert!(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, for a server that a failing test left behind.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A server whose database is on that disk, and all else elsewhere.
fn on(disk: &SmallDisk, folder: &Path) -> Daemon {
    Daemon::spawn_in(folder, &[&format!("--datastore-endpoint=sqlite://{}", database_in(&disk.0).display())])
}

fn gpu(name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() }
}

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[tokio::test]
async fn a_full_disk_is_not_serving_and_said_once_until_there_is_room() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else { return };
    let mut daemon = on(&disk, folder.path());
    daemon.wait_until_live();
    let api = daemon.api();
    api.create(&PostParams::default(), &gpu("before")).await.unwrap();
    let mut health = HealthClient::new(daemon.client().transport());
    let mut watch = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    let mut next = async || tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::Serving);

    disk.fill();
    for round in 0.. {
        let large = Gpu {
            metadata: ObjectMeta {
                annotations: [("a".to_owned(), "a".repeat(64 << 10))].into(),
                ..ObjectMeta::named(format!("gpu-{round}"))
            },
            ..Gpu::default()
        };
        if let Err(error) = api.create(&PostParams::default(), &large).await {
            assert!(error.is_unavailable(), "{error}");
            break;
        }
    }
    assert_eq!(next().await, ServingStatus::NotServing);
    for _ in 0..20 {
        let large = Gpu {
            metadata: ObjectMeta {
                annotations: [("a".to_owned(), "a".repeat(64 << 10))].into(),
                ..ObjectMeta::named("more")
            },
            ..Gpu::default()
        };
        api.create(&PostParams::default(), &large).await.unwrap_err();
    }
    api.get("before").await.unwrap();
    assert_eq!(times(&daemon.stderr(), "refuses writes"), 1, "{}", daemon.stderr());
    assert!(times(&daemon.stderr(), "cannot forget") <= 1, "{}", daemon.stderr());

    // Started on a full disk, it serves what it has.
    daemon.kill();
    let mut daemon = on(&disk, folder.path());
    daemon.wait_until_live();
    let api = daemon.api();
    api.get("before").await.unwrap();
    let mut health = HealthClient::new(daemon.client().transport());
    let mut watch = health.watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    let mut next = async || tokio::time::timeout(PATIENCE, watch.message()).await.unwrap().unwrap().unwrap().status();
    let first = next().await;
    disk.empty();
    // Nobody writes.
    if first == ServingStatus::NotServing {
        assert_eq!(next().await, ServingStatus::Serving);
        daemon.says("takes writes again").await;
    }
    api.create(&PostParams::default(), &gpu("after")).await.unwrap();
    assert!(api.list(&ListParams::default()).await.unwrap().items.len() >= 2);
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

#[tokio::test]
async fn a_full_disk_that_lacks_what_lies_beside_the_database_serves_what_it_has() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else { return };
    let mut daemon = on(&disk, folder.path());
    daemon.wait_until_live();
    daemon.api().create(&PostParams::default(), &gpu("before")).await.unwrap();
    daemon.kill();
    let database = database_in(&disk.0);
    for suffix in [".mark", ".lock"] {
        fs::remove_file(format!("{}{suffix}", database.display())).unwrap();
    }
    disk.fill();
    let mut daemon = on(&disk, folder.path());
    daemon.wait_until_live();
    daemon.api().get("before").await.unwrap();
    disk.empty();
    daemon.kill();
    let mut daemon = on(&disk, folder.path());
    daemon.wait_until_live();
    daemon.api().create(&PostParams::default(), &gpu("after")).await.unwrap();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

#[test]
fn a_socket_on_a_full_disk_is_bound_all_the_same() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else { return };
    disk.fill();
    let mut daemon =
        Daemon::spawn_in(folder.path(), &[&format!("--bind-address={}/device-api.sock", disk.0.display())]);
    daemon.wait_until_live();
    assert!(daemon.stop().success(), "{}", daemon.stderr());
}

#[test]
fn a_first_start_on_a_full_or_read_only_disk_is_tried_again_and_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk")) else { return };
    disk.fill();
    let mut daemon = on(&disk, folder.path());
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.stderr());
    assert!(daemon.stderr().contains("free space"), "{}", daemon.stderr());
    disk.empty();
    disk.remount("ro");
    let mut daemon = on(&disk, folder.path());
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.stderr());
    assert!(daemon.stderr().contains("is read-only"), "{}", daemon.stderr());
    disk.remount("rw");
    let mut daemon = on(&disk, folder.path());
    daemon.wait_until_live();
    assert!(daemon.stop().success());
    // With a database already, too.
    disk.remount("ro");
    let mut daemon = on(&disk, folder.path());
    assert_eq!(daemon.wait().code(), Some(3), "{}", daemon.stderr());
}

#[test]
fn what_is_no_file_is_refused_at_once_wherever_a_file_of_the_database_belongs() {
    let fifo =
        |path: &Path| rustix::fs::mknodat(rustix::fs::CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let socket = |path: &Path| drop(std::os::unix::net::UnixListener::bind(path).unwrap());
    let directory = |path: &Path| fs::create_dir(path).unwrap();
    let make: [&dyn Fn(&Path); 3] = [&fifo, &socket, &directory];
    for suffix in ["", "-wal", "-journal", ".mark", ".lock"] {
        for (kind, make) in make.iter().enumerate() {
            let folder = TempDir::new().unwrap();
            if suffix.starts_with(['-', '.']) {
                let mut daemon = Daemon::start_in(folder.path(), &[]);
                assert!(daemon.stop().success());
            }
            let path = PathBuf::from(format!("{}{suffix}", database_in(folder.path()).display()));
            // What an earlier run left.
            let _ = fs::remove_file(&path);
            make(&path);
            let mut daemon = Daemon::spawn_in(folder.path(), &[]);
            let code = daemon.wait().code();
            assert_eq!(code, Some(2), "{suffix:?} of kind {kind}: {}", daemon.stderr());
        }
    }
}
