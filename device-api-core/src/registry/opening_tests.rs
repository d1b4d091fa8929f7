// SPDX-License-Identifier: Apache-2.0
//! Tests of where a ledger begins.

use std::sync::{Arc, Mutex};

use super::super::{Ledger, LedgerOptions, ListParams, PostParams, VersionMatch, WatchParams};
use super::*;
use crate::resource::{Gpu, GpuStrategy, ObjectMeta};
use crate::storage::{Change, Quarantine, Quarantined, Record, RecordKey, Snapshot};
use crate::testing::{Call, Fault, Faults, FaultyStorage, ManualClock};

/// A journal in memory, as long as somebody has it.
type Journal = Arc<Mutex<Snapshot>>;

/// A store that says that so much may have been handed out.
#[derive(Debug)]
struct Shelf(Journal, u64);

#[async_trait::async_trait]
impl Storage for Shelf {
    async fn load(&mut self) -> Result<Snapshot, StorageError> {
        let found = self.0.lock().unwrap().clone();
        Ok(Snapshot { reserved: found.last.max(Revision(self.1)), ..found })
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        let mut journal = self.0.lock().unwrap();
        journal.records.extend_from_slice(records);
        journal.last = records.last().map_or(journal.last, |record| record.revision);
        Ok(())
    }

    async fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        let mut journal = self.0.lock().unwrap();
        (journal.compacted, journal.last) = (through, journal.last.max(through));
        Ok(())
    }

    async fn quarantine(&mut self, _: &Quarantine) -> Result<(), StorageError> {
        Ok(())
    }

    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> {
        Ok(Vec::new())
    }

    async fn discard(&mut self, _: &[Revision]) -> Result<usize, StorageError> {
        Ok(0)
    }

    async fn check(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<(), StorageError> {
        Ok(())
    }
}

#[derive(Default)]
struct World {
    journal: Journal,
    clock: ManualClock,
    faults: Faults,
}

impl World {
    async fn open(&self, reserved: u64) -> Result<Ledger, StorageError> {
        let shelf = Box::new(Shelf(Arc::clone(&self.journal), reserved));
        let storage = Box::new(FaultyStorage::new(shelf, &self.faults));
        Ledger::open(storage, LedgerOptions::default().with_clock(Arc::new(self.clock.clone()))).await
    }

    fn stored(&self) -> Snapshot {
        self.journal.lock().unwrap().clone()
    }
}

async fn revision(ledger: &Ledger) -> u64 {
    ledger.revision().await.unwrap().0
}

async fn create(ledger: &Ledger, name: &str) -> u64 {
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    let gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
    gpus.create(&PostParams::default(), &gpu).await.unwrap().metadata.resource_version.parse().unwrap()
}

#[tokio::test]
async fn a_ledger_begins_above_the_clock_what_is_stored_and_what_is_reserved() {
    let world = World::default();
    let clock = || u64::try_from(world.clock.now().unix_micros()).unwrap();
    let ledger = world.open(0).await.unwrap();
    assert_eq!(revision(&ledger).await, clock());
    let last = create(&ledger, "x").await;
    ledger.close().await.unwrap();

    // Nothing can be lost: it goes on where it was.
    let ledger = world.open(0).await.unwrap();
    assert_eq!(revision(&ledger).await, last);
    ledger.close().await.unwrap();

    let ledger = world.open(last + 1_000_000).await.unwrap();
    assert_eq!(revision(&ledger).await, last + 1_000_001, "above what is reserved, whatever the clock says");
    ledger.close().await.unwrap();

    world.clock.advance(std::time::Duration::from_secs(60));
    let ledger = world.open(last + 1_000_002).await.unwrap();
    assert_eq!(revision(&ledger).await, clock(), "and not below the clock");
    ledger.close().await.unwrap();

    world.clock.set("1970-01-01T00:00:00Z".parse().unwrap());
    let before = world.stored().last.0;
    let ledger = world.open(before + 1).await.unwrap();
    assert_eq!(revision(&ledger).await, before + 2, "nor back with it");
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn versions_that_do_not_fit_53_bits_are_refused_and_never_wrap() {
    for reserved in [END - ROOM, END, u64::MAX - 1, u64::MAX] {
        let world = World::default();
        let error = world.open(reserved).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Corrupt);
        assert!(error.to_string().contains("versions are used up"), "{error}");
        assert_eq!(world.stored(), Snapshot::default(), "nothing was written");
    }
    let world = World::default();
    world.clock.set("9999-12-31T23:59:59Z".parse().unwrap());
    let ledger = world.open(0).await.unwrap();
    assert_eq!(revision(&ledger).await, CLOCK_END, "no clock uses all of them up");
}

#[tokio::test]
async fn a_store_without_room_for_the_jump_takes_it_with_the_first_write() {
    let world = World::default();
    let ledger = world.open(0).await.unwrap();
    let last = create(&ledger, "x").await;
    ledger.close().await.unwrap();

    world.faults.always(Call::Commit, Fault::Refuse(StorageErrorKind::Full));
    let ledger = world.open(last + 10).await.unwrap();
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    let first = gpus.list(&ListParams::default()).await.unwrap().metadata.resource_version;
    assert_eq!(first, (last + 11).to_string(), "reads go on");
    let gpu = Gpu { metadata: ObjectMeta::named("y"), ..Gpu::default() };
    gpus.create(&PostParams::default(), &gpu).await.unwrap_err();
    world.faults.clear();
    // A record whose outcome is not known at first is not written twice.
    world.faults.nth(Call::Commit, 1, Fault::LoseRequest);
    world.faults.nth(Call::Commit, 2, Fault::LoseReply);
    let written = loop {
        match gpus.create(&PostParams::default(), &gpu).await {
            Ok(written) => break written,
            Err(error) => assert!(error.is_unavailable(), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    };
    assert_eq!(written.metadata.resource_version, (last + 12).to_string());
    ledger.close().await.unwrap();

    let ledger = world.open(0).await.unwrap();
    assert_eq!(revision(&ledger).await, last + 12);
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    let exact = |at: u64| ListParams::default().at(at.to_string()).matching(VersionMatch::Exact);
    assert_eq!(gpus.list(&exact(last)).await.unwrap().items.len(), 1);
    assert!(gpus.list(&exact(last + 5)).await.unwrap_err().is_expired());
    assert!(gpus.watch(&WatchParams::default().at((last + 10).to_string())).await.unwrap_err().is_expired());
    assert_eq!(gpus.list(&exact(last + 11)).await.unwrap().items.len(), 1);
    ledger.close().await.unwrap();
}

#[tokio::test]
async fn a_jump_of_years_costs_no_more_to_forget_than_a_write() {
    let world = World::default();
    let ledger = world.open(0).await.unwrap();
    let last = create(&ledger, "x").await;
    ledger.close().await.unwrap();
    let ledger = world.open(last + (1 << 50)).await.unwrap();
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    let next = gpus.patch("x", &PostParams::default(), &label()).await.unwrap().metadata.resource_version.clone();
    let before = world.faults.calls(Call::Compact);
    ledger.forget_history().await.unwrap();
    ledger.close().await.unwrap();
    assert!(world.faults.calls(Call::Compact) - before <= 3, "{} calls", world.faults.calls(Call::Compact));
    let found = world.stored();
    assert_eq!((found.last.0, found.compacted.0), (next.parse().unwrap(), next.parse().unwrap()));
}

fn label() -> crate::patch::Patch {
    crate::patch::Patch::merge(&serde_json::json!({"metadata": {"labels": {"a": "1"}}})).unwrap()
}

#[tokio::test]
async fn a_record_that_is_missing_is_told_from_a_jump() {
    let at = Timestamp::from_unix(1_800_000_000, 0).unwrap();
    let put = |revision: u64| Record {
        resource: "gpus".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: revision.to_string() },
        change: Change::Put(b"{}".to_vec()),
        ..Jump { after: Revision(0), to: Revision(revision), is_loss: false }.record(at)
    };
    let jump = |after, to| Jump { after: Revision(after), to: Revision(to), is_loss: false }.record(at);
    let all = [put(11), put(12), jump(12, 100), put(101), jump(101, 200), jump(200, 300), put(301)];
    let open = |records: Vec<Record>| {
        let last = records.last().unwrap().revision;
        let snapshot = Snapshot { last, compacted: Revision(10), records, ..Snapshot::default() };
        Books::open(snapshot, tokio::sync::watch::Sender::default(), at, Instant::now())
    };
    open(all.to_vec()).unwrap();
    for missing in 0..all.len() - 1 {
        let mut some = all.to_vec();
        some.remove(missing);
        let error = open(some).unwrap_err();
        assert!(error.to_string().contains("is missing"), "{missing}: {error}");
    }
}
