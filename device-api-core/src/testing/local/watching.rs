// SPDX-License-Identifier: Apache-2.0
//! Rules 4.4 to 4.6 with short intervals and a small history: bookmarks, the longest watch, the slow
//! watcher.

use std::time::Duration;

use super::{Fixture, LocalCase, list};
use crate::error::Reason;
use crate::registry::{History, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::testing::contract::ready;
use crate::testing::expect::{Events, within};
use crate::testing::given::{
    create, delete, gpu, latest, number, replace, replace_status, version, with_conditions, with_uuid,
};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_4_4_a_quiet_watch_gets_bookmarks_at_the_interval,
        rule_4_4_a_bookmark_never_runs_ahead_of_events,
        rule_4_4_no_bookmark_at_the_interval_unless_asked_for,
        rule_4_4_a_bookmark_comes_just_before_the_server_s_maximum,
        rule_4_5_a_server_side_maximum_ends_a_watch_with_ok,
        rule_4_6_a_watcher_that_does_not_read_is_cut_off_alone,
        rule_4_6_a_watcher_that_was_cut_off_can_list_and_watch_again,
        rule_4_6_a_watcher_that_does_not_read_keeps_no_object_alive,
        rule_4_2_the_initial_events_are_of_one_state_however_late_they_are_read,
    ]
}

async fn rule_4_6_a_watcher_that_does_not_read_keeps_no_object_alive(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_events(1));
    let running = fixture.start().await;
    let old = create(&running.gpus, &gpu("x")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default()).await;
    let kept = std::sync::Arc::downgrade(&old);
    let mut x = old;
    for round in 0..4 {
        x = replace(&running.gpus, &with_uuid(&x, &format!("round-{round}"))).await;
    }
    within("the old state to go", async {
        while kept.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let (_, error) = events.until_failure::<Gpu>().await;
    assert_eq!(error.reason(), Reason::Expired, "{error}");
    running.stop().await;
}

async fn rule_4_2_the_initial_events_are_of_one_state_however_late_they_are_read(fixture: Fixture) {
    let running = fixture.start().await;
    // More than are taken at a time.
    let mut before = Vec::new();
    for index in 0..200 {
        before.push(create(&running.gpus, &gpu(&format!("x-{index:03}"))).await);
    }
    let mut events = Events::of(&running.gpus, WatchParams::default().initial_events()).await;
    let changed = replace(&running.gpus, &with_uuid(&before[150], "changed")).await;
    delete(&running.gpus, "x-160").await;
    let new = create(&running.gpus, &gpu("new")).await;
    for expected in &before {
        assert_eq!(events.added::<Gpu>(&expected.metadata.name).await, *expected, "as it was when the watch began");
    }
    let end = events.bookmark::<Gpu>().await;
    assert!(end.initial_events_end);
    assert_eq!(end.resource_version, before[199].metadata.resource_version);
    assert_eq!(events.modified::<Gpu>("x-150").await, changed);
    events.deleted::<Gpu>("x-160").await;
    assert_eq!(events.added::<Gpu>("new").await, new);
    running.stop().await;
}

async fn rule_4_4_a_quiet_watch_gets_bookmarks_at_the_interval(mut fixture: Fixture) {
    fixture.options = fixture.options.with_bookmark_interval(Duration::from_millis(20));
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let params = WatchParams::default().at(&x.metadata.resource_version).bookmarks();
    let mut events = Events::of(&running.gpus, params).await;
    for _ in 0..3 {
        let bookmark = events.bookmark::<Gpu>().await;
        assert_eq!(bookmark.resource_version, x.metadata.resource_version);
        assert!(!bookmark.initial_events_end);
    }
    // What this watch does not see moves its bookmarks on.
    let mut narrow = Events::of(&running.gpus, WatchParams::default().fields("metadata.name=none").bookmarks()).await;
    let y = create(&running.gpus, &gpu("y")).await;
    within("a bookmark to move on", async {
        while narrow.bookmark::<Gpu>().await.resource_version != y.metadata.resource_version {}
    })
    .await;
    running.stop().await;
}

async fn rule_4_4_a_bookmark_never_runs_ahead_of_events(mut fixture: Fixture) {
    const WRITES: u64 = 300;
    fixture.options = fixture.options.with_bookmark_interval(Duration::from_millis(1));
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string()).bookmarks()).await;
    let gpus = running.gpus.clone();
    let writing = tokio::spawn(async move {
        for write in 0..WRITES {
            create(&gpus, &gpu(&format!("x-{write}"))).await;
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    });
    let mut last = start;
    while last < start + WRITES {
        match events.event::<Gpu>("an event of each write").await {
            WatchEvent::Bookmark(bookmark) => {
                assert_eq!(number(&bookmark.resource_version), last, "a bookmark says what was sent, all of it");
            }
            event => {
                assert_eq!(number(event.resource_version()), last + 1);
                last += 1;
            }
        }
    }
    writing.await.expect("the writer does not fail");
    running.stop().await;
}

async fn rule_4_4_no_bookmark_at_the_interval_unless_asked_for(mut fixture: Fixture) {
    fixture.options = fixture.options.with_bookmark_interval(Duration::from_millis(5));
    let running = fixture.start().await;
    let params = WatchParams::default().timeout(Duration::from_millis(200));
    assert_eq!(Events::of(&running.gpus, params).await.until_ok::<Gpu>().await, []);
    running.stop().await;
}

async fn rule_4_4_a_bookmark_comes_just_before_the_server_s_maximum(mut fixture: Fixture) {
    fixture.options = fixture.options.with_max_watch(Duration::from_secs(1));
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let sent = Events::of(&running.gpus, WatchParams::default().bookmarks()).await.until_ok::<Gpu>().await;
    assert_eq!(sent.first(), Some(&WatchEvent::Added(x.clone())));
    let Some(WatchEvent::Bookmark(last)) = sent.last() else { panic!("no bookmark before the end: {sent:?}") };
    assert_eq!(last.resource_version, x.metadata.resource_version);
    running.stop().await;
}

async fn rule_4_5_a_server_side_maximum_ends_a_watch_with_ok(mut fixture: Fixture) {
    fixture.options = fixture.options.with_max_watch(Duration::from_secs(1));
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let forever = WatchParams::default().timeout(Duration::from_secs(1_000_000));
    for params in [WatchParams::default(), forever] {
        let sent = Events::of(&running.gpus, params).await.until_ok::<Gpu>().await;
        assert_eq!(sent, [WatchEvent::Added(x.clone())]);
    }
    let mut resumed = Events::of(&running.gpus, WatchParams::default().at(&x.metadata.resource_version)).await;
    create(&running.gpus, &gpu("y")).await;
    resumed.added::<Gpu>("y").await;
    running.stop().await;
}

async fn rule_4_6_a_watcher_that_does_not_read_is_cut_off_alone(mut fixture: Fixture) {
    const EVENTS: usize = 50;
    fixture.options = fixture.options.with_history(History::default().with_max_events(EVENTS));
    let running = fixture.start().await;
    let start = create(&running.gpus, &gpu("x")).await;
    let from_now = WatchParams::default().at(&start.metadata.resource_version);
    let mut slow = Events::of(&running.gpus, from_now.clone()).await;
    let mut slow_from_the_start = Events::of(&running.gpus, WatchParams::default()).await;
    let mut eager = Events::of(&running.gpus, from_now).await;
    for round in 0..EVENTS * 20 {
        let condition = ready("True").with_message(format!("round {round}"));
        let object = with_conditions(&gpu("x"), [condition]);
        let written = within("a write beside a slow watcher", replace_status(&running.gpus, &object)).await;
        assert_eq!(eager.modified::<Gpu>("x").await, written, "others are not touched");
    }
    for slow in [&mut slow, &mut slow_from_the_start] {
        let (sent, error) = slow.until_failure::<Gpu>().await;
        assert_eq!(error.reason(), Reason::Expired, "{error}");
        assert!(sent.len() <= 2 * EVENTS, "its lag was bounded, but it got {} events", sent.len());
        let versions: Vec<_> = sent.iter().map(|event| number(event.resource_version())).collect();
        assert!(versions.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap is hidden: {versions:?}");
    }
    create(&running.gpus, &gpu("y")).await;
    eager.added::<Gpu>("y").await;
    running.stop().await;
}

async fn rule_4_6_a_watcher_that_was_cut_off_can_list_and_watch_again(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_events(10));
    let running = fixture.start().await;
    let mut slow = Events::of(&running.gpus, WatchParams::default()).await;
    for round in 0..200 {
        create(&running.gpus, &with_uuid(&gpu("x"), &round.to_string())).await;
        delete(&running.gpus, "x").await;
    }
    let x = create(&running.gpus, &gpu("x")).await;
    assert_eq!(slow.until_failure::<Gpu>().await.1.reason(), Reason::Expired);
    let list = running.gpus.list(&Default::default()).await.expect("a list");
    assert_eq!(list.items, std::slice::from_ref(&x));
    let params = WatchParams::default().at(&list.metadata.resource_version);
    let mut events = Events::of::<Gpu, _>(&running.gpus.namespaced("default"), params).await;
    let changed = replace(&running.gpus, &with_uuid(&x, "changed")).await;
    assert_eq!(version(&*events.modified::<Gpu>("x").await), version(&*changed));
    running.stop().await;
}
