// SPDX-License-Identifier: Apache-2.0
//! What becomes of readers and writers when the owner of the store is in trouble itself.

use std::time::Duration;

use super::{FULL, create_in_the_end};
use crate::error::Reason;
use crate::registry::{History, LedgerState, ListParams, PostParams, WatchParams};
use crate::resource::Gpu;
use crate::storage::StorageErrorKind;
use crate::testing::expect::{Events, refused, within};
use crate::testing::given::{create, get, gpu, latest, replace, version, with_uuid};
use crate::testing::local::{Fixture, LocalCase, Nic, NicSpec, list};
use crate::testing::{Call, Fault};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_5_unavailable_is_for_a_store_that_panicked_and_everyone_is_told,
        rule_5_unavailable_spares_who_shared_a_batch_and_wrote_nothing,
        rule_2_9_what_does_not_read_back_is_not_stored,
        rule_4_5_a_close_does_not_wait_for_a_store_that_cannot_be_loaded,
        rule_3_1_a_store_full_of_history_makes_room_for_writes,
        rule_3_1_a_large_batch_is_committed_in_pieces,
    ]
}

async fn rule_5_unavailable_is_for_a_store_that_panicked_and_everyone_is_told(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(&x.metadata.resource_version)).await;
    fixture.faults.next(Call::Commit, Fault::Panic);
    let outcome = running.gpus.create(&PostParams::default(), &gpu("y")).await;
    let error = refused(outcome, Reason::ServiceUnavailable, "a write whose commit panicked");
    assert!(error.to_string().contains("may have happened"), "nobody knows: {error}");
    assert_eq!(events.until_ok::<Gpu>().await, [], "watches end");
    assert_eq!(*running.ledger.state().borrow(), LedgerState::Failed);
    let later = within("a later write", running.gpus.create(&PostParams::default(), &gpu("z"))).await;
    refused(later, Reason::ServiceUnavailable, "a write after the panic");
    assert_eq!(get(&running.gpus, "x").await, x, "reads go on");
    within("a close", running.ledger.close()).await.expect_err("a close says that the ledger failed");
}

async fn rule_5_unavailable_spares_who_shared_a_batch_and_wrote_nothing(fixture: Fixture) {
    let running = fixture.start().await;
    create(&running.gpus, &gpu("x")).await;
    fixture.faults.nth(Call::Commit, 1, Fault::Hang);
    fixture.faults.nth(Call::Commit, 2, Fault::Refuse(StorageErrorKind::Busy));
    let write = |name: &'static str| {
        let gpus = running.gpus.clone();
        tokio::spawn(async move { gpus.create(&PostParams::default(), &gpu(name)).await })
    };
    let first = write("first");
    within("the first commit to hang", fixture.faults.hanging()).await;
    let (taken, new, twin) = (write("x"), write("new"), write("new"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    fixture.faults.release();
    first.await.expect("no panic").expect("the first write was committed");
    let taken = taken.await.expect("no panic");
    refused(taken, Reason::AlreadyExists, "a write that the failed commit has nothing to do with");
    for new in [new, twin] {
        // One staged the object, the other saw it staged: neither may believe in it.
        refused(new.await.expect("no panic"), Reason::ServiceUnavailable, "a write that the failed commit was about");
    }
    running.stop().await;
}

async fn rule_2_9_what_does_not_read_back_is_not_stored(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let outcome = running.nics.create(&PostParams::default(), &Nic::new("x", NicSpec::LOSSY)).await;
    refused(outcome, Reason::InternalError, "an object that does not read back");
    assert_eq!(latest(&running.gpus).await, start, "no version is used");
    running.nics.create(&PostParams::default(), &Nic::new("x", "fine")).await.expect("one that does");
    running.stop().await;
    let running = fixture.start().await;
    assert_eq!(running.nics.list(&ListParams::default()).await.expect("a list").items.len(), 1);
    running.stop().await;
}

async fn rule_4_5_a_close_does_not_wait_for_a_store_that_cannot_be_loaded(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(&x.metadata.resource_version)).await;
    fixture.faults.next(Call::Commit, Fault::LoseRequest);
    fixture.faults.always(Call::Load, Fault::Refuse(StorageErrorKind::Busy));
    let gpus = running.gpus.clone();
    let writer = tokio::spawn(async move { gpus.create(&PostParams::default(), &gpu("y")).await });
    let mut state = running.ledger.state();
    within("the ledger to notice", state.wait_for(|state| *state == LedgerState::Recovering)).await.expect("a state");
    let _ = within("a close", running.ledger.close()).await;
    let outcome = within("the writer to be told", writer).await.expect("no panic");
    refused(outcome, Reason::ServiceUnavailable, "a write of which nobody knows");
    assert_eq!(events.until_ok::<Gpu>().await, [], "watches end with OK");
    assert_eq!(*running.ledger.state().borrow(), LedgerState::Closed);
    fixture.faults.clear();
}

async fn rule_3_1_a_store_full_of_history_makes_room_for_writes(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default());
    let running = fixture.start().await;
    let mut x = create(&running.gpus, &gpu("x")).await;
    for round in 0..20 {
        x = replace(&running.gpus, &with_uuid(&x, &format!("round-{round}"))).await;
    }
    let before = fixture.faults.calls(Call::Compact);
    // Full until something was forgotten.
    fixture.faults.next(Call::Commit, FULL);
    let next = replace(&running.gpus, &with_uuid(&x, "next")).await;
    assert_eq!(version(&*next), version(&*x) + 1, "the write needs no second try of its writer");
    assert!(fixture.faults.calls(Call::Compact) > before, "the store forgot history for it");
    let recent = WatchParams::default().at(&x.metadata.resource_version);
    assert_eq!(Events::of(&running.gpus, recent).await.modified::<Gpu>("x").await, next, "but not all of it");
    // Where nothing can be forgotten, the store refuses, and history stays.
    fixture.faults.always(Call::Commit, FULL);
    fixture.faults.always(Call::Compact, FULL);
    for _ in 0..20 {
        let outcome = running.gpus.replace("x", &PostParams::default(), &with_uuid(&next, "never")).await;
        refused(outcome, Reason::ServiceUnavailable, "a write to a store that is full");
    }
    let recent = WatchParams::default().at(&x.metadata.resource_version);
    assert_eq!(Events::of(&running.gpus, recent).await.modified::<Gpu>("x").await, next);
    fixture.faults.clear();
    create_in_the_end(&running, "y").await;
    running.stop().await;
}

async fn rule_3_1_a_large_batch_is_committed_in_pieces(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    fixture.faults.nth(Call::Commit, 1, Fault::Hang);
    let write = |index: usize| {
        let gpus = running.gpus.clone();
        let mut large = gpu(&format!("x-{index}"));
        large.metadata.annotations.insert("a".to_owned(), "a".repeat(200 << 10));
        tokio::spawn(async move { gpus.create(&PostParams::default(), &large).await })
    };
    let first = write(0);
    within("the first commit to hang", fixture.faults.hanging()).await;
    let before = fixture.faults.calls(Call::Commit);
    let others: Vec<_> = (1..=60).map(write).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    fixture.faults.release();
    for writer in std::iter::once(first).chain(others) {
        writer.await.expect("no panic").expect("a write");
    }
    // 60 objects of 200 KiB are 12 MiB.
    assert!(fixture.faults.calls(Call::Commit) >= before + 3, "no commit holds all of them");
    assert_eq!(latest(&running.gpus).await, start + 61);
    running.stop().await;
}
