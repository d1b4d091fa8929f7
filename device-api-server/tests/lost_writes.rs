// SPDX-License-Identifier: Apache-2.0
//! The real binary on a database that went back in time: it says what is lost, hands out no version twice, and its clients are told
//! the truth or to list again.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use device_api_client::Api;
use device_api_core::registry::{ListParams, PostParams, WatchEvent, WatchParams};
use device_api_core::resource::{Gpu, GpuSpec, ObjectMeta};
use support::{Daemon, PATIENCE, database_in};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// What the server says of acknowledged writes that are not there.
const LOST: &str = "ACKNOWLEDGED WRITES ARE LOST";

async fn create(api: &Api<Gpu>, name: &str) -> device_api_core::Result<u64> {
    let spec = GpuSpec { uuid: format!("uuid-of-{name}") };
    let gpu = Gpu { metadata: ObjectMeta::named(name), spec, ..Gpu::default() };
    Ok(version(&*api.create(&PostParams::default(), &gpu).await?))
}

fn version(object: &Gpu) -> u64 {
    object.metadata.resource_version.parse().unwrap()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

/// What is stored: version and name.
async fn stored(api: &Api<Gpu>) -> BTreeMap<u64, String> {
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items.iter().map(|gpu| (version(gpu), gpu.metadata.name.clone())).collect()
}

/// Resumes at a version, up to the creation of `last`: what came after it, or `None` where that is Expired.
async fn resumed(api: &Api<Gpu>, from: u64, last: u64) -> Option<BTreeMap<u64, String>> {
    let mut watch = match api.watch(&WatchParams::default().at(from.to_string())).await {
        Ok(watch) => watch,
        Err(error) if error.is_expired() => return None,
        Err(error) => panic!("a watch from {from}: {error}"),
    };
    let mut seen = BTreeMap::new();
    while seen.last_key_value().is_none_or(|(version, _)| *version < last) {
        match tokio::time::timeout(PATIENCE, watch.next()).await.unwrap() {
            Some(Ok(WatchEvent::Added(gpu))) => drop(seen.insert(version(&gpu), gpu.metadata.name.clone())),
            Some(Err(error)) if error.is_expired() => return None,
            other => panic!("a watch from {from}: {other:?}"),
        }
    }
    Some(seen)
}

/// Checks a server on a database that has had these writes acknowledged, and says how many are lost.
async fn check(daemon: &Daemon, acknowledged: &BTreeMap<u64, String>) -> usize {
    let api = daemon.api();
    let found = stored(&api).await;
    let lost: Vec<_> = acknowledged.keys().filter(|version| !found.contains_key(version)).copied().collect();
    for (version, name) in &found {
        assert!(acknowledged.get(version).is_none_or(|known| known == name), "version {version} is another by now");
    }
    if lost.is_empty() {
        assert!(!daemon.stderr().contains(LOST), "nothing is: {}", daemon.stderr());
    } else {
        daemon.says(LOST).await;
    }
    let next = create(&api, "next").await.unwrap();
    assert!(acknowledged.keys().all(|version| *version < next), "version {next} is used twice");
    let mut after = found.clone();
    after.insert(next, "next".to_owned());
    for from in acknowledged.keys() {
        let truth = after.range(from + 1..).map(|(version, name)| (*version, name.clone())).collect();
        let expected = (!lost.contains(from)).then_some(truth);
        assert_eq!(resumed(&api, *from, next).await, expected, "from {from}, with {lost:?} lost");
    }
    lost.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_log_is_damaged_after_a_kill_losses_are_said_and_no_version_is_seen_twice() {
    let folder = TempDir::new().unwrap();
    let mut daemon = Daemon::start_in(folder.path(), &[]);
    let api = daemon.api();
    let mut acknowledged = BTreeMap::new();
    let (told, mut creations) = mpsc::channel(1);
    let writer = tokio::spawn(async move {
        for index in 0.. {
            let name = format!("gpu-{index}");
            match create(&api, &name).await {
                Ok(version) if told.send((version, name)).await.is_ok() => {}
                _ => return,
            }
        }
    });
    for _ in 0..12 {
        let (version, name) = tokio::time::timeout(PATIENCE, creations.recv()).await.unwrap().unwrap();
        acknowledged.insert(version, name);
    }
    daemon.kill();
    while let Some((version, name)) = tokio::time::timeout(PATIENCE, creations.recv()).await.unwrap() {
        acknowledged.insert(version, name);
    }
    writer.await.unwrap();

    let database = database_in(folder.path());
    let log = fs::read(with_suffix(&database, "-wal")).unwrap();
    let mut total = 0;
    for (cut, part) in
        [(true, 0), (true, 1), (true, 5), (true, 8), (false, 0), (false, 3), (false, 6), (true, 10), (false, 10)]
    {
        let copy = TempDir::new().unwrap();
        for suffix in ["", ".mark"] {
            fs::copy(with_suffix(&database, suffix), with_suffix(&database_in(copy.path()), suffix)).unwrap();
        }
        let mut bad = log.clone();
        let place = log.len() * part / 10;
        if cut {
            bad.truncate(place);
        } else if let Some(byte) = bad.get_mut(place) {
            *byte ^= 0x20;
        }
        fs::write(with_suffix(&database_in(copy.path()), "-wal"), bad).unwrap();
        let daemon = Daemon::start_in(copy.path(), &[]);
        let lost = check(&daemon, &acknowledged).await;
        assert!(lost == 0 || part < 10, "the whole log has everything");
        total += lost;
    }
    assert!(total > 0, "nothing was damaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_that_is_put_back_is_noticed_and_its_clients_are_told_the_truth() {
    let folder = TempDir::new().unwrap();
    let database = database_in(folder.path());
    let backup = with_suffix(&database, ".backup");
    let mut acknowledged = BTreeMap::new();
    for round in 0..2 {
        let mut daemon = Daemon::start_in(folder.path(), &[]);
        for index in 0..3 {
            let name = format!("gpu-{round}-{index}");
            acknowledged.insert(create(&daemon.api(), &name).await.unwrap(), name);
        }
        assert_eq!(daemon.stop().code(), Some(0), "{}", daemon.stderr());
        if round == 0 {
            fs::copy(&database, &backup).unwrap();
        }
    }
    fs::rename(&backup, &database).unwrap();
    let daemon = Daemon::start_in(folder.path(), &[]);
    assert_eq!(check(&daemon, &acknowledged).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_taken_away_while_it_is_served_ends_the_server_with_what_happened() {
    type Deed = fn(&Path);
    let deeds: [(&str, Deed); 3] = [
        ("was deleted or renamed while it was open", |path| fs::remove_file(path).unwrap()),
        ("was replaced while it was open", |path| {
            fs::copy(path, with_suffix(path, ".copy")).unwrap();
            fs::rename(with_suffix(path, ".copy"), path).unwrap();
        }),
        ("was cut or written to by somebody else while it was open", |path| drop(fs::File::create(path).unwrap())),
    ];
    for (said, deed) in deeds {
        let folder = TempDir::new().unwrap();
        let mut daemon = Daemon::start_in(folder.path(), &[]);
        let version = create(&daemon.api(), "gpu").await.unwrap();
        deed(&database_in(folder.path()));
        // Nobody writes: it looks by itself.
        assert_eq!(daemon.wait().code(), Some(5), "{}", daemon.stderr());
        let end = daemon.stderr().lines().last().unwrap_or_default().to_owned();
        assert!(end.contains(said) && end.contains("start again"), "{end}");
        if said.starts_with("was deleted") {
            let daemon = Daemon::start_in(folder.path(), &[]);
            daemon.says("the database is gone").await;
            let api = daemon.api();
            assert_eq!(stored(&api).await, BTreeMap::new());
            assert!(create(&api, "gpu").await.unwrap() > version);
            let watch = api.watch(&WatchParams::default().at(version.to_string())).await;
            let expired = match watch {
                Ok(mut watch) => watch.next().await.unwrap().unwrap_err(),
                Err(error) => error,
            };
            assert!(expired.is_expired(), "{expired}");
        }
    }
}
