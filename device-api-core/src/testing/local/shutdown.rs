// SPDX-License-Identifier: Apache-2.0
//! Rules 3.1, 4.5 and section 5 around the end of a ledger.

use futures_util::FutureExt as _;

use super::{Fixture, LocalCase, Running, list};
use crate::error::Reason;
use crate::registry::{DeleteParams, LedgerState, ListParams, PostParams, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::storage::StorageErrorKind;
use crate::testing::expect::{Events, refused, within};
use crate::testing::given::{create, gpu, latest, merge, version, with_uuid};
use crate::testing::{Call, Fault};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_4_5_close_ends_a_watch_with_ok_after_what_was_committed,
        rule_4_5_close_ends_a_quiet_watch_with_ok,
        rule_4_5_a_watch_opened_after_close_ends_or_is_unavailable,
        rule_5_unavailable_is_for_writes_after_close,
        rule_3_1_what_was_acknowledged_before_a_close_is_there_after_a_restart,
        rule_3_1_closing_twice_is_closing_once,
        rule_3_1_a_close_that_nobody_waits_for_closes_all_the_same,
        rule_3_1_a_close_that_nobody_waits_for_ends_a_recovery_too,
    ]
}

async fn rule_4_5_close_ends_a_watch_with_ok_after_what_was_committed(fixture: Fixture) {
    let running = fixture.start().await;
    let mut late = Events::of(&running.gpus, WatchParams::default()).await;
    let from_now = WatchParams::default().at(latest(&running.gpus).await.to_string());
    let mut later = Events::of(&running.gpus, from_now).await;
    let mut written = Vec::new();
    for write in 0..100 {
        written.push(WatchEvent::Added(create(&running.gpus, &gpu(&format!("x-{write}"))).await));
    }
    running.stop().await;
    assert_eq!(late.until_ok::<Gpu>().await, written);
    assert_eq!(later.until_ok::<Gpu>().await, written);
}

async fn rule_4_5_close_ends_a_quiet_watch_with_ok(fixture: Fixture) {
    let running = fixture.start().await;
    let mut events = Events::of(&running.gpus, WatchParams::default()).await;
    let ended = tokio::spawn(async move { events.until_ok::<Gpu>().await });
    running.stop().await;
    assert_eq!(within("a quiet watch to end", ended).await.expect("the watch does not fail"), []);
}

async fn rule_4_5_a_watch_opened_after_close_ends_or_is_unavailable(fixture: Fixture) {
    let running = fixture.start().await;
    let gpus = running.gpus.clone();
    running.stop().await;
    match within("an answer after close", gpus.watch(&WatchParams::default())).await {
        Ok(mut stream) => match within("the end of a watch after close", stream.next()).await {
            None => {}
            Some(item) => assert_eq!(item.expect_err("nothing was stored").reason(), Reason::ServiceUnavailable),
        },
        Err(error) => assert_eq!(error.reason(), Reason::ServiceUnavailable),
    }
}

async fn rule_5_unavailable_is_for_writes_after_close(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let gpus = running.gpus.clone();
    running.stop().await;
    let post = PostParams::default();
    for outcome in [
        gpus.create(&post, &gpu("y")).await.map(drop),
        gpus.replace("x", &post, &with_uuid(&x, "changed")).await.map(drop),
        gpus.replace_status("x", &post, &x).await.map(drop),
        gpus.patch("x", &post, &merge(serde_json::json!({"spec": {"uuid": "changed"}}))).await.map(drop),
        gpus.delete("x", &DeleteParams::default()).await,
    ] {
        let error = refused(outcome, Reason::ServiceUnavailable, "a write after close");
        assert!(error.is_unavailable(), "{error}");
    }
}

async fn rule_3_1_what_was_acknowledged_before_a_close_is_there_after_a_restart(fixture: Fixture) {
    let running = fixture.start().await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let gpus = running.gpus.clone();
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for write in 0.. {
                    match gpus.create(&PostParams::default(), &gpu(&format!("x-{writer}-{write}"))).await {
                        Ok(object) => acknowledged.push(object),
                        Err(error) => {
                            assert_eq!(error.reason(), Reason::ServiceUnavailable, "{error}");
                            break;
                        }
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut events = Events::of(&running.gpus, WatchParams::default()).await;
    for _ in 0..50 {
        events.event::<Gpu>("the writers to write").await;
    }
    within("a close amid writes", running.stop()).await;
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(within("the writers to learn of the close", writer).await.expect("no writer panics"));
    }
    let sent = 50 + events.until_ok::<Gpu>().await.len();

    let running = fixture.start().await;
    let list = running.gpus.list(&ListParams::default()).await.expect("a list");
    for object in &acknowledged {
        assert!(list.items.contains(object), "{} was acknowledged and is lost", object.metadata.name);
    }
    assert_eq!(sent, list.items.len(), "the watch got what was committed, all of it and no more");
    let last = list.items.iter().map(|object| version(&**object)).max();
    assert!(last <= Some(latest(&running.gpus).await));
    running.stop().await;
}

async fn rule_3_1_closing_twice_is_closing_once(fixture: Fixture) {
    let running = fixture.start().await;
    create(&running.gpus, &gpu("x")).await;
    let again = running.ledger.clone();
    running.stop().await;
    within("a second close", again.close()).await.expect("a second close does nothing");
}

/// Begins to close the ledger, and does not wait for it.
fn begin_to_close(running: &Running) {
    let _ = running.ledger.close().now_or_never();
}

async fn until_closed(running: &Running) {
    let mut state = running.ledger.state();
    let closed = within("the ledger to close", state.wait_for(|state| *state == LedgerState::Closed)).await;
    closed.expect("the state is told until the end");
}

async fn rule_3_1_a_close_that_nobody_waits_for_closes_all_the_same(fixture: Fixture) {
    let running = fixture.start().await;
    fixture.faults.next(Call::Commit, Fault::Hang);
    // More than the queue has places for, so that nothing more goes through it.
    let writers: Vec<_> = (0..600)
        .map(|write| {
            let gpus = running.gpus.clone();
            tokio::spawn(async move { gpus.create(&PostParams::default(), &gpu(&format!("x-{write}"))).await })
        })
        .collect();
    within("the commit to hang", fixture.faults.hanging()).await;
    begin_to_close(&running);
    fixture.faults.release();
    until_closed(&running).await;
    let mut acknowledged = 0;
    for writer in writers {
        match within("the writers to be answered", writer).await.expect("no panic") {
            Ok(_) => acknowledged += 1,
            Err(error) => assert_eq!(error.reason(), Reason::ServiceUnavailable, "{error}"),
        }
    }
    running.stop().await;
    let running = fixture.start().await;
    assert_eq!(running.gpus.list(&ListParams::default()).await.expect("a list").items.len(), acknowledged);
    running.stop().await;
}

async fn rule_3_1_a_close_that_nobody_waits_for_ends_a_recovery_too(fixture: Fixture) {
    let running = fixture.start().await;
    fixture.faults.next(Call::Commit, Fault::LoseRequest);
    fixture.faults.always(Call::Load, Fault::Refuse(StorageErrorKind::Busy));
    let gpus = running.gpus.clone();
    let writer = tokio::spawn(async move { gpus.create(&PostParams::default(), &gpu("x")).await });
    let mut state = running.ledger.state();
    within("the ledger to notice", state.wait_for(|state| *state == LedgerState::Recovering)).await.expect("a state");
    begin_to_close(&running);
    until_closed(&running).await;
    refused(writer.await.expect("no panic"), Reason::ServiceUnavailable, "a write of which nobody knows");
    running.stop().await;
}
