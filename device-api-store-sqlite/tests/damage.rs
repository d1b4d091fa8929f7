// SPDX-License-Identifier: Apache-2.0
//! Single rows that are damaged: found, told of, taken out of the journal, and kept as they are.

// Clippy takes only the tests themselves for tests, not the functions that they call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use device_api_core::registry::{DeleteParams, Ledger, LedgerOptions, ListParams, PostParams};
use device_api_core::resource::{Gpu, GpuSpec, GpuStrategy, ObjectMeta, Timestamp};
use device_api_core::storage::{Change, Quarantine, Record, RecordKey, Revision, Snapshot, Storage, StorageErrorKind};
use device_api_store_sqlite::{SqliteOptions, SqliteStorage};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tempfile::TempDir;

const NAME: &[u8] = b"name-of-000177";
const VALUE: &[u8] = b"value-of-000177";
const ACTOR: &[u8] = b"testgpusdefaultname-of-000177";

/// A database of 300 objects.
async fn filled() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let record = |revision: u64| Record {
        revision: Revision(revision),
        previous: Revision::ZERO,
        at: Timestamp::from_unix(1_800_000_000, 5).unwrap(),
        actor: "test".to_owned(),
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: format!("name-of-{revision:06}") },
        change: Change::Put(format!("value-of-{revision:06}").into()),
    };
    let mut storage = Box::new(open(&path).await);
    storage.commit(&(1..=300).map(record).collect::<Vec<_>>()).await.unwrap();
    storage.close().await.unwrap();
    (folder, path)
}

async fn open(path: &Path) -> SqliteStorage {
    SqliteStorage::open_path(path, SqliteOptions::default()).await.unwrap()
}

/// Changes a byte of what is found in the file.
fn flip(path: &Path, what: &[u8], at: usize, bits: u8) {
    let mut bytes = fs::read(path).unwrap();
    let found = bytes.windows(what.len()).position(|window| window == what).unwrap();
    bytes[found + at] ^= bits;
    fs::write(path, bytes).unwrap();
}

async fn sql(path: &Path, sql: &str) {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

fn quarantine(revision: u64, through: u64) -> Quarantine {
    Quarantine {
        at: Timestamp::from_unix(1_900_000_000, 0).unwrap(),
        records: vec![(Revision(revision), "why".to_owned())],
        superseded: Vec::new(),
        through: Revision(through),
    }
}

#[tokio::test]
async fn a_flipped_bit_is_found_and_everything_else_is_read() {
    for (what, bits) in [(VALUE, 0x10), (NAME, 0x01), (NAME, 0x80), (ACTOR, 0x02)] {
        let (_folder, path) = filled().await;
        flip(&path, what, 3, bits);
        let mut storage = open(&path).await;
        for _ in 0..2 {
            let found = storage.load().await.unwrap();
            assert_eq!((found.last, found.records.len()), (Revision(300), 299), "{what:?}");
            let [unreadable] = &found.unreadable[..] else { panic!("{:?}", found.unreadable) };
            assert!(found.records.iter().all(|record| record.revision != unreadable.revision));
            assert!(!unreadable.why.is_empty());
            assert_eq!(unreadable.claims.as_ref().unwrap().previous, Revision::ZERO);
        }
    }
}

#[tokio::test]
async fn a_damaged_row_is_kept_byte_for_byte_until_it_is_discarded() {
    let (_folder, path) = filled().await;
    flip(&path, VALUE, 3, 0x10);
    flip(&path, NAME, 3, 0x80);
    let mut storage = Box::new(open(&path).await);
    assert_eq!(storage.load().await.unwrap().unreadable[0].revision, Revision(177));
    storage.quarantine(&quarantine(177, 177)).await.unwrap();
    let found = storage.load().await.unwrap();
    assert_eq!((found.unreadable.len(), found.compacted, found.records.len()), (0, Revision(177), 299));
    storage.close().await.unwrap();

    let mut storage = Box::new(open(&path).await);
    let [kept] = &storage.quarantined().await.unwrap()[..] else { panic!("not one") };
    assert_eq!((kept.revision, kept.resource.as_str()), (Revision(177), "gpus"));
    assert_eq!(kept.object.as_deref(), Some(b"valee-of-000177".as_slice()));
    assert!(kept.to_string().contains("nam\u{fffd}-of-000177"), "{kept}");
    storage.close().await.unwrap();
    let (kept, bytes) = (NAME.len(), fs::read(&path).unwrap());
    assert!(bytes.windows(kept).any(|window| window == b"nam\xe5-of-000177"), "as it was");

    let mut storage = open(&path).await;
    assert_eq!(storage.discard(&[Revision(177)]).await.unwrap(), 1);
    assert!(storage.quarantined().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_mark_costs_history_and_no_record() {
    let damage = ["DELETE FROM mark", "UPDATE mark SET compacted = 7", "UPDATE mark SET checksum = 7"];
    for damage in damage {
        let (_folder, path) = filled().await;
        sql(&path, damage).await;
        let mut storage = Box::new(open(&path).await);
        let Snapshot { last, compacted, records, unreadable, .. } = storage.load().await.unwrap();
        assert_eq!((last, compacted, records.len()), (Revision(300), Revision(300), 300), "{damage}");
        assert_eq!((unreadable.len(), unreadable[0].revision), (1, Revision::ZERO), "{damage}");
        let mended = Quarantine { records: Vec::new(), ..quarantine(0, 5_000) };
        storage.quarantine(&mended).await.unwrap();
        storage.close().await.unwrap();
        let mut storage = open(&path).await;
        let found = storage.load().await.unwrap();
        assert_eq!((found.last, found.compacted, found.unreadable.len()), (Revision(5_000), Revision(5_000), 0));
        storage.compact(Revision(5_001)).await.unwrap();
    }
}

/// A database as a node has it: some GPUs, with a history of states and deletions.
async fn lived_in(path: &Path) -> BTreeMap<String, Arc<Gpu>> {
    let ledger = Ledger::open(Box::new(open(path).await), LedgerOptions::default()).await.unwrap();
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    let params = PostParams::default();
    let gpu =
        |name: &str, uuid: String| Gpu { metadata: ObjectMeta::named(name), spec: GpuSpec { uuid }, ..Gpu::default() };
    for round in 0..12 {
        for index in 0..6 {
            let (name, uuid) = (format!("gpu-{index}"), format!("uuid-of-round-{round}"));
            match (round + index) % 7 {
                0 if round > 0 => gpus.delete(&name, &DeleteParams::default()).await.unwrap(),
                _ if gpus.get_opt(&name).await.unwrap().is_some() => {
                    gpus.replace(&name, &params, &gpu(&name, uuid)).await.map(drop).unwrap();
                }
                _ => gpus.create(&params, &gpu(&name, uuid)).await.map(drop).unwrap(),
            }
        }
    }
    let list = gpus.list(&ListParams::default()).await.unwrap();
    ledger.close().await.unwrap();
    list.items.into_iter().map(|gpu| (gpu.metadata.name.clone(), gpu)).collect()
}

#[tokio::test]
async fn whichever_byte_is_damaged_the_store_is_refused_or_tells_the_truth() {
    let given = std::env::var("DEVICE_API_SEED");
    let seed = given.map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let truth = lived_in(&path).await;
    assert!(truth.len() > 3);
    let whole = fs::read(&path).unwrap();
    let (mut refused, mut quarantined) = (0, 0);
    for round in 0..150 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let mut bytes = whole.clone();
        let at = random.usize(..bytes.len());
        bytes[at] ^= 1 << random.u8(..8);
        fs::write(&path, bytes).unwrap();
        let what = format!("seed {seed}, round {round}, byte {at}");
        let ledger = match SqliteStorage::open_path(&path, SqliteOptions::default()).await {
            Ok(storage) => Ledger::open(Box::new(storage), LedgerOptions::default()).await,
            Err(error) => Err(error),
        };
        let ledger = match ledger {
            Ok(ledger) => ledger,
            Err(error) => {
                assert_ne!(error.kind(), StorageErrorKind::Config, "{what}: {error}");
                refused += 1;
                continue;
            }
        };
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        let found = gpus.list(&ListParams::default()).await.unwrap().items;
        for gpu in &found {
            assert_eq!(truth.get(&gpu.metadata.name), Some(gpu), "{what}");
        }
        let kept = ledger.quarantined().borrow().values().sum::<usize>();
        assert!(found.len() == truth.len() || kept > 0, "{what}: something is gone without a word");
        quarantined += usize::from(kept > 0);
        ledger.close().await.unwrap();
    }
    assert!(
        refused > 0 && quarantined > 0,
        "seed {seed}: {refused} refused, {quarantined} with something in quarantine"
    );
}
