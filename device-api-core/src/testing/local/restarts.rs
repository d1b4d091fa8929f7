// SPDX-License-Identifier: Apache-2.0
//! Rules 2.4, 3.3 and 4.2 across a restart: objects, versions and history stay.

use std::time::Duration;

use super::{Fixture, LocalCase, Running, list};
use crate::error::Reason;
use crate::registry::{GetParams, ListParams, PostParams, VersionMatch, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::testing::contract::ready;
use crate::testing::expect::{Events, names, refused, watch_refusal};
use crate::testing::given::{
    create, delete, get, gpu, latest, number, replace, replace_status, version, with_conditions, with_uuid,
};
use crate::testing::{Call, Fault};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_2_4_a_restart_keeps_objects_and_versions,
        rule_2_4_a_version_of_an_unused_store_is_good_after_restarts,
        rule_2_4_a_clock_that_went_back_does_not_take_versions_back,
        rule_2_4_a_new_store_starts_past_every_version_of_an_earlier_one,
        rule_2_4_after_an_end_without_a_close_versions_go_on_and_no_client_lists_again,
        rule_2_4_what_is_left_out_between_two_lives_is_expired,
        rule_3_3_an_exact_list_reaches_back_across_a_restart,
        rule_3_4_a_continue_token_is_good_across_a_restart,
        rule_4_2_a_watch_resumed_after_a_restart_gets_exactly_what_it_missed,
    ]
}

async fn rule_2_4_a_restart_keeps_objects_and_versions(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    create(&running.gpus, &gpu("gone")).await;
    let changed = replace(&running.gpus, &with_uuid(&x, "changed")).await;
    delete(&running.gpus, "gone").await;
    let before = running.gpus.list(&ListParams::default()).await.expect("a list");
    running.stop().await;

    fixture.clock.advance(Duration::from_secs(60));
    let running = fixture.start().await;
    let after = running.gpus.list(&ListParams::default()).await.expect("a list");
    assert_eq!(after.items, before.items, "a restart changes nothing, and is no write");
    assert!(number(&after.metadata.resource_version) >= number(&before.metadata.resource_version));
    assert_eq!(get(&running.gpus, "x").await, changed);
    let next = create(&running.gpus, &gpu("next")).await;
    assert_eq!(version(&*next), number(&after.metadata.resource_version) + 1);
    assert_ne!(next.metadata.uid, changed.metadata.uid);
    running.stop().await;
}

async fn rule_2_4_a_version_of_an_unused_store_is_good_after_restarts(fixture: Fixture) {
    let mut versions = Vec::new();
    for _ in 0..3 {
        let running = fixture.start().await;
        versions.push(latest(&running.gpus).await);
        for version in &versions {
            // A client may hold the version of an empty list.
            Events::of(&running.gpus, WatchParams::default().at(version.to_string())).await;
        }
        running.stop().await;
        fixture.clock.advance(Duration::from_secs(60));
    }
    assert!(versions.is_sorted(), "{versions:?}");
}

async fn rule_2_4_a_clock_that_went_back_does_not_take_versions_back(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    fixture.clock.set("2001-01-01T00:00:00Z".parse().expect("a time"));
    let y = create(&running.gpus, &gpu("y")).await;
    assert_eq!(version(&*y), version(&*x) + 1);
    running.stop().await;
    let running = fixture.start().await;
    let z = create(&running.gpus, &gpu("z")).await;
    assert!(version(&*z) > version(&*y));
    running.stop().await;
}

async fn rule_2_4_a_new_store_starts_past_every_version_of_an_earlier_one(fixture: Fixture) {
    let running = fixture.start().await;
    let mut last = create(&running.gpus, &gpu("x")).await;
    for round in 0..20 {
        last = replace(&running.gpus, &with_uuid(&last, &round.to_string())).await;
    }
    running.stop().await;
    // A store is never written a million times in a second, so a second is enough.
    fixture.clock.advance(Duration::from_secs(1));
    let fixture = fixture.with_new_store().await;
    let running = fixture.start().await;
    let gpus = &running.gpus;
    assert!(latest(gpus).await > version(&*last), "no earlier store can have handed out the first version");
    assert_eq!(i64::try_from(latest(gpus).await), Ok(fixture.clock.now().unix_micros()));
    create(gpus, &gpu("x")).await;

    let old = &last.metadata.resource_version;
    let outcome = watch_refusal(gpus, &WatchParams::default().at(old)).await;
    refused(outcome, Reason::Expired, "a watch from a version of the earlier store");
    let exact = ListParams::default().at(old).matching(VersionMatch::Exact);
    refused(gpus.list(&exact).await, Reason::Expired, "an exact list at a version of the earlier store");
    gpus.list(&ListParams::default().at(old)).await.expect("what is now is not older than what was");
    gpus.get_with("x", &GetParams::default().at(old)).await.expect("what is now is not older than what was");
    running.stop().await;
}

/// Ends a ledger as a kill would: nothing is closed, and the store goes as it is.
async fn kill(fixture: &Fixture, running: Running) {
    fixture.faults.next(Call::Commit, Fault::Panic);
    let outcome = running.gpus.create(&PostParams::default(), &gpu("unanswered")).await;
    refused(outcome, Reason::ServiceUnavailable, "a write that the end came upon");
    let mut state = running.ledger.state();
    drop(running);
    // Until the task and its store are gone.
    while state.changed().await.is_ok() {}
}

async fn rule_2_4_after_an_end_without_a_close_versions_go_on_and_no_client_lists_again(fixture: Fixture) {
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for round in 0..3 {
        let running = fixture.start().await;
        let gpus = &running.gpus;
        seen.push(latest(gpus).await);
        let first = create(gpus, &gpu(&format!("a-{round}"))).await;
        let second = create(gpus, &gpu(&format!("b-{round}"))).await;
        assert_eq!(version(&*second), version(&*first) + 1, "within one life each write raises it by one");
        for object in [first, second] {
            assert!(seen.last().is_some_and(|last| version(&*object) > *last), "no version is used twice");
            seen.push(version(&*object));
            written.push(object);
        }
        for from in &seen {
            let mut resumed = Events::of(gpus, WatchParams::default().at(from.to_string())).await;
            for object in written.iter().filter(|object| version(&***object) > *from) {
                assert_eq!(resumed.event::<Gpu>("what came after").await, WatchEvent::Added(object.clone()));
            }
        }
        // Once with a clock that is wrong.
        let clock = if round == 0 { "2026-01-01T00:10:00Z" } else { "2001-01-01T00:00:00Z" };
        fixture.clock.set(clock.parse().expect("a time"));
        kill(&fixture, running).await;
    }
}

async fn rule_2_4_what_is_left_out_between_two_lives_is_expired(fixture: Fixture) {
    let running = fixture.start().await;
    let last = version(&*create(&running.gpus, &gpu("x")).await);
    kill(&fixture, running).await;
    fixture.clock.advance(Duration::from_secs(60));
    // Once after the end, and after further ends of either kind.
    let mut gap = None;
    for orderly in [true, true, false, true] {
        let running = fixture.start().await;
        let gpus = &running.gpus;
        let now = latest(gpus).await;
        let (after, before) = *gap.get_or_insert((last, now));
        for lost in [after + 1, after.midpoint(before), before - 1] {
            if lost <= after || lost >= before {
                // This backend knows that nothing was lost.
                continue;
            }
            let at = lost.to_string();
            let outcome = watch_refusal(gpus, &WatchParams::default().at(&at)).await;
            refused(outcome, Reason::Expired, "a watch from a version that nobody knows");
            let exact = ListParams::default().at(&at).matching(VersionMatch::Exact);
            refused(gpus.list(&exact).await, Reason::Expired, "an exact list at such a version");
            gpus.list(&ListParams::default().at(&at)).await.expect("what is now is not older");
        }
        for good in [after, before] {
            let exact = ListParams::default().at(good.to_string()).matching(VersionMatch::Exact);
            assert_eq!(
                names(&gpus.list(&exact).await.expect("a list").items),
                ["x"],
                "at {good} of {after} to {before}"
            );
        }
        if orderly {
            running.stop().await;
        } else {
            kill(&fixture, running).await;
        }
    }
}

async fn rule_3_3_an_exact_list_reaches_back_across_a_restart(fixture: Fixture) {
    let running = fixture.start().await;
    let mut states = vec![running.gpus.list(&ListParams::default()).await.expect("a list")];
    let x = create(&running.gpus, &gpu("x")).await;
    states.push(running.gpus.list(&ListParams::default()).await.expect("a list"));
    create(&running.gpus, &gpu("y")).await;
    states.push(running.gpus.list(&ListParams::default()).await.expect("a list"));
    replace_status(&running.gpus, &with_conditions(&x, [ready("True")])).await;
    states.push(running.gpus.list(&ListParams::default()).await.expect("a list"));
    delete(&running.gpus, "y").await;
    states.push(running.gpus.list(&ListParams::default()).await.expect("a list"));
    running.stop().await;

    let running = fixture.start().await;
    create(&running.gpus, &gpu("later")).await;
    for state in states {
        let exact = ListParams::default().at(&state.metadata.resource_version).matching(VersionMatch::Exact);
        assert_eq!(running.gpus.list(&exact).await, Ok(state));
    }
    running.stop().await;
}

async fn rule_3_4_a_continue_token_is_good_across_a_restart(fixture: Fixture) {
    let running = fixture.start().await;
    for name in ["a", "b", "c"] {
        create(&running.gpus, &gpu(name)).await;
    }
    let first = running.gpus.list(&ListParams::default().limit(2)).await.expect("a page");
    delete(&running.gpus, "c").await;
    running.stop().await;
    let running = fixture.start().await;
    let next = ListParams::default().limit(2).continue_token(&first.metadata.continue_token);
    match running.gpus.list(&next).await {
        Ok(page) => {
            assert_eq!(names(&page.items), ["c"], "the page is of the first one's version");
            assert_eq!(page.metadata.resource_version, first.metadata.resource_version);
        }
        Err(error) => assert!(error.is_expired(), "a token of before the restart may only expire: {error}"),
    }
    running.stop().await;
}

async fn rule_4_2_a_watch_resumed_after_a_restart_gets_exactly_what_it_missed(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let mut watching = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    let mut written = Vec::new();
    let x = create(&running.gpus, &gpu("x")).await;
    written.push(WatchEvent::Added(x.clone()));
    let seen = watching.added::<Gpu>("x").await;
    assert_eq!(seen, x);
    written.push(WatchEvent::Modified(replace(&running.gpus, &with_uuid(&x, "changed")).await));
    written.push(WatchEvent::Added(create(&running.gpus, &gpu("y")).await));
    delete(&running.gpus, "y").await;
    running.stop().await;

    let running = fixture.start().await;
    written.push(WatchEvent::Modified(replace(&running.gpus, &with_uuid(&x, "again")).await));
    let mut resumed = Events::of(&running.gpus, WatchParams::default().at(&seen.metadata.resource_version)).await;
    assert_eq!(resumed.event::<Gpu>("the first missed").await, written[1]);
    assert_eq!(resumed.event::<Gpu>("the second missed").await, written[2]);
    let gone = resumed.deleted::<Gpu>("y").await;
    assert_eq!(version(&*gone), start + 4, "a delete is replayed with its own version");
    let y = written[2].object().expect("y was added");
    assert_eq!((&gone.metadata.uid, &gone.spec), (&y.metadata.uid, &y.spec), "and with the last state");
    assert_eq!(resumed.event::<Gpu>("what came after the restart").await, written[3]);
    running.stop().await;
    assert_eq!(resumed.until_ok::<Gpu>().await, []);
}
