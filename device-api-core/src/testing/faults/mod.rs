// SPDX-License-Identifier: Apache-2.0
//! Section 5's UNAVAILABLE and rules 2.4, 3.1 and 4.1 on storage that fails.

mod owner;
mod unclear;

use std::time::Duration;

use super::expect::{Events, names, refused, within};
use super::given::{create, get, gpu, latest, number, replace, version, with_uuid};
use super::local::{Fixture, LocalCase, Running, list};
use super::{Call, Fault};
use crate::error::Reason;
use crate::registry::{DeleteParams, History, LedgerState, ListParams, PostParams, WatchParams};
use crate::resource::Gpu;
use crate::storage::StorageErrorKind;

pub(super) fn cases() -> Vec<LocalCase> {
    definite_cases().into_iter().chain(unclear::cases()).chain(owner::cases()).collect()
}

fn definite_cases() -> Vec<LocalCase> {
    list![
        rule_5_unavailable_is_for_a_store_that_is_full_and_nothing_was_written,
        rule_5_unavailable_of_a_store_that_refuses_writes_shows_until_it_takes_them,
        rule_5_unavailable_is_for_every_writer_of_a_batch_that_failed,
        rule_3_1_reads_and_watches_go_on_while_the_store_is_full,
        rule_5_unavailable_is_for_a_store_that_hangs_while_reads_and_watches_go_on,
        rule_3_1_a_writer_that_hung_up_does_not_undo_its_write,
        rule_4_2_a_compaction_that_fails_costs_nothing,
    ]
}

const FULL: Fault = Fault::Refuse(StorageErrorKind::Full);

/// Creates the object as soon as the store takes writes again.
async fn create_in_the_end(running: &Running, name: &str) -> u64 {
    within("the store to take writes again", async {
        loop {
            match running.gpus.create(&PostParams::default(), &gpu(name)).await {
                Ok(object) => return version(&*object),
                Err(error) => {
                    assert_eq!(error.reason(), Reason::ServiceUnavailable, "{error}");
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    })
    .await
}

async fn rule_5_unavailable_is_for_a_store_that_is_full_and_nothing_was_written(fixture: Fixture) {
    for kind in [StorageErrorKind::Full, StorageErrorKind::Busy, StorageErrorKind::Rejected] {
        let running = fixture.start().await;
        let start = latest(&running.gpus).await;
        let name = format!("{kind:?}").to_lowercase();
        let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
        fixture.faults.next(Call::Commit, Fault::Refuse(kind));
        let outcome = running.gpus.create(&PostParams::default(), &gpu(&name)).await;
        let error = refused(outcome, Reason::ServiceUnavailable, &format!("a write to a store that is {kind:?}"));
        assert!(error.is_unavailable(), "{error}");
        assert_eq!(running.gpus.get_opt(&name).await, Ok(None), "nothing is visible");
        assert_eq!(latest(&running.gpus).await, start, "no version is used");
        let next = create(&running.gpus, &gpu(&format!("next-{name}"))).await;
        assert_eq!(version(&*next), start + 1, "the next write works");
        assert_eq!(events.added::<Gpu>(&next.metadata.name).await, next);
        running.stop().await;
        let running = fixture.start().await;
        assert_eq!(running.gpus.get_opt(&name).await, Ok(None), "nor is anything there after a restart");
        assert_eq!(get(&running.gpus, &next.metadata.name).await, next);
        running.stop().await;
    }
}

async fn rule_5_unavailable_of_a_store_that_refuses_writes_shows_until_it_takes_them(fixture: Fixture) {
    let running = fixture.start().await;
    let mut state = running.ledger.state();
    let unclear = [Fault::LoseRequest, Fault::LoseReply];
    for (round, fault) in [FULL, Fault::Refuse(StorageErrorKind::ReadOnly)].into_iter().chain(unclear).enumerate() {
        assert_eq!(*state.borrow_and_update(), LedgerState::Open);
        fixture.faults.always(Call::Commit, fault);
        let outcome = running.gpus.create(&PostParams::default(), &gpu(&format!("gpu-{round}"))).await;
        if fault != Fault::LoseReply {
            refused(outcome, Reason::ServiceUnavailable, "a write that the store does not take");
        }
        assert_eq!(*state.borrow(), LedgerState::Refusing, "after {fault:?}, though the store can be read");
        fixture.faults.clear();
        // Nobody writes, since nobody is served.
        within("the store to be asked again", state.wait_for(|state| *state == LedgerState::Open))
            .await
            .expect("a state");
    }
    fixture.faults.next(Call::Commit, Fault::Refuse(StorageErrorKind::Rejected));
    let outcome = running.gpus.create(&PostParams::default(), &gpu("odd")).await;
    refused(outcome, Reason::ServiceUnavailable, "a write that is refused for what it is");
    assert_eq!(*state.borrow(), LedgerState::Open, "which says nothing of others");
    running.stop().await;

    fixture.faults.always(Call::Commit, FULL);
    let running = fixture.start().await;
    assert_eq!(*running.ledger.state().borrow(), LedgerState::Refusing, "before anybody writes");
    running.gpus.list(&ListParams::default()).await.expect("a list");
    running.stop().await;
    fixture.faults.clear();
}

async fn rule_5_unavailable_is_for_every_writer_of_a_batch_that_failed(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    // While the first commit hangs the other writers queue, so that the second commit has them all.
    fixture.faults.nth(Call::Commit, 1, Fault::Hang);
    fixture.faults.nth(Call::Commit, 2, Fault::Refuse(StorageErrorKind::Busy));
    let write = |name: String| {
        let gpus = running.gpus.clone();
        tokio::spawn(async move { gpus.create(&PostParams::default(), &gpu(&name)).await })
    };
    let first = write("first".to_owned());
    within("the first commit to hang", fixture.faults.hanging()).await;
    let others: Vec<_> = (0..5).map(|index| write(format!("other-{index}"))).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    fixture.faults.release();
    let first = first.await.expect("no panic").expect("the first write was committed");
    assert_eq!(version(&*first), start + 1);
    let mut written = 0;
    for other in others {
        match other.await.expect("no panic") {
            Ok(_) => written += 1,
            Err(error) => assert_eq!(error.reason(), Reason::ServiceUnavailable, "{error}"),
        }
    }
    assert!(written < 5, "a commit failed, so somebody must have been told");
    let list = running.gpus.list(&ListParams::default()).await.expect("a list");
    assert_eq!(list.items.len(), 1 + written, "what was acknowledged is there, and nothing else");
    assert_eq!(number(&list.metadata.resource_version), start + 1 + written as u64);
    running.stop().await;
}

async fn rule_3_1_reads_and_watches_go_on_while_the_store_is_full(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default()).await;
    fixture.faults.always(Call::Commit, FULL);
    let post = PostParams::default();
    for outcome in [
        running.gpus.create(&post, &gpu("y")).await.map(drop),
        running.gpus.replace("x", &post, &with_uuid(&x, "changed")).await.map(drop),
        running.gpus.delete("x", &DeleteParams::default()).await,
    ] {
        refused(outcome, Reason::ServiceUnavailable, "a write to a full store");
    }
    assert_eq!(get(&running.gpus, "x").await, x);
    assert_eq!(running.gpus.replace("x", &post, &x).await, Ok(x.clone()), "a change of nothing needs no room");
    let dry = running.gpus.replace("x", &post.clone().dry_run(), &with_uuid(&x, "changed")).await;
    assert_eq!(dry.expect("a dry run needs no room").spec.uuid, "changed");
    assert_eq!(events.added::<Gpu>("x").await, x);
    let mut late = Events::of(&running.gpus, WatchParams::default().at(&x.metadata.resource_version)).await;
    fixture.faults.clear();
    let changed = replace(&running.gpus, &with_uuid(&x, "changed")).await;
    assert_eq!(version(&*changed), version(&*x) + 1);
    assert_eq!(events.modified::<Gpu>("x").await, changed);
    assert_eq!(late.modified::<Gpu>("x").await, changed);
    running.stop().await;
}

async fn rule_5_unavailable_is_for_a_store_that_hangs_while_reads_and_watches_go_on(mut fixture: Fixture) {
    fixture.options = fixture.options.with_write_timeout(Duration::from_secs(2));
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default()).await;
    fixture.faults.next(Call::Commit, Fault::Hang);
    let gpus = running.gpus.clone();
    let hanging = tokio::spawn(async move { gpus.create(&PostParams::default(), &gpu("hangs")).await });
    within("the commit to hang", fixture.faults.hanging()).await;
    assert_eq!(within("a read beside a commit that hangs", get(&running.gpus, "x")).await, x);
    within("a list beside a commit that hangs", running.gpus.list(&ListParams::default())).await.expect("a list");
    assert_eq!(events.added::<Gpu>("x").await, x);
    let mut other = Events::of(&running.gpus, WatchParams::default()).await;
    other.added::<Gpu>("x").await;
    let queued = within("a writer that queues", running.gpus.create(&PostParams::default(), &gpu("queued"))).await;
    let hanging = within("the writer to be answered", hanging).await.expect("no panic");
    let error = refused(hanging, Reason::ServiceUnavailable, "a write to a store that hangs");
    assert!(error.is_retryable(), "the store may come back: {error}");
    fixture.faults.release();
    create_in_the_end(&running, "after").await;
    let list = running.gpus.list(&ListParams::default()).await.expect("a list");
    if let Ok(queued) = queued {
        assert!(list.items.contains(&queued), "acknowledged, so it is there");
    }
    let shown = number(&list.metadata.resource_version) - version(&*x);
    let mut seen = Vec::new();
    for _ in 0..shown {
        let event = events.event::<Gpu>("an event of each write that happened").await;
        seen.push(event.object().expect("no bookmark").metadata.name.clone());
    }
    seen.push("x".to_owned());
    seen.sort();
    assert_eq!(seen, names(&list.items), "each write that happened is seen once");
    running.stop().await;
}

async fn rule_3_1_a_writer_that_hung_up_does_not_undo_its_write(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    fixture.faults.next(Call::Commit, Fault::Hang);
    let gpus = running.gpus.clone();
    let writer = tokio::spawn(async move { create(&gpus, &gpu("x")).await });
    within("the commit to hang", fixture.faults.hanging()).await;
    writer.abort();
    assert!(writer.await.expect_err("the writer hung up").is_cancelled());
    fixture.faults.release();
    let next = create(&running.gpus, &gpu("next")).await;
    assert_eq!(version(&*next), start + 2, "the write went on without its writer");
    assert_eq!(version(&*get(&running.gpus, "x").await), start + 1);
    running.stop().await;
}

async fn rule_4_2_a_compaction_that_fails_costs_nothing(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_events(10));
    let running = fixture.start().await;
    create(&running.gpus, &gpu("x")).await;
    fixture.faults.always(Call::Compact, FULL);
    let mut last = version(&*get(&running.gpus, "x").await);
    for round in 0..100 {
        let changed = replace(&running.gpus, &with_uuid(&gpu("x"), &round.to_string())).await;
        assert_eq!(version(&*changed), last + 1);
        last += 1;
    }
    fixture.faults.clear();
    let changed = replace(&running.gpus, &with_uuid(&gpu("x"), "last")).await;
    running.stop().await;
    let running = fixture.start().await;
    assert_eq!(get(&running.gpus, "x").await, changed);
    running.stop().await;
}
