// SPDX-License-Identifier: Apache-2.0
//! Rules 4.1, 4.2, 4.5 and 4.7: the order of a watch, its start and its end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{ListParams, Verbs, VersionMatch, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{Events, refused, watch_refusal};
use crate::testing::given::{
    create, delete, gpu, latest, number, replace, replace_status, version, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_4_1_each_write_is_one_event_in_the_order_of_versions,
        rule_4_1_under_concurrent_writers_every_watcher_sees_every_event_once_in_order,
        rule_4_1_a_watch_can_start_at_every_version_while_writers_write,
        rule_4_1_initial_events_are_ordered_by_version_so_that_a_client_can_resume_amid_them,
        rule_4_1_list_then_watch_misses_nothing_and_repeats_nothing,
        rule_4_2_without_a_version_the_present_state_comes_as_added_then_what_follows,
        rule_4_2_from_a_version_what_came_after_it_is_replayed,
        rule_4_2_from_the_current_version_only_what_follows_comes,
        rule_4_2_a_version_that_is_too_old_is_expired,
        rule_4_2_a_version_of_the_future_is_waited_for,
        rule_4_5_timeout_ends_the_watch_with_ok,
        rule_4_5_what_came_before_the_timeout_is_sent_before_the_end,
        rule_4_7_a_watch_that_says_not_older_than_its_version_is_as_one_that_does_not,
        rule_4_7_bad_arguments_end_the_watch_as_invalid_before_any_event,
    ]
}

async fn rule_4_1_each_write_is_one_event_in_the_order_of_versions(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, WatchParams::default()).await;
    let x = create(&api, &gpu("x")).await;
    assert_eq!(events.added::<Gpu>("x").await, x);
    let y = create(&api, &gpu("y")).await;
    assert_eq!(events.added::<Gpu>("y").await, y);
    let changed = replace(&api, &with_uuid(&x, "changed")).await;
    assert_eq!(events.modified::<Gpu>("x").await, changed);
    let labelled = replace(&api, &with_label(&changed, "a", "b")).await;
    assert_eq!(events.modified::<Gpu>("x").await, labelled);
    let status = replace_status(&api, &with_conditions(&labelled, [ready("True")])).await;
    assert_eq!(events.modified::<Gpu>("x").await, status);
    delete(&api, "x").await;
    assert_eq!(version(&*events.deleted::<Gpu>("x").await), version(&*status) + 1);
    let again = create(&api, &gpu("x")).await;
    assert_eq!(events.added::<Gpu>("x").await, again);
}

/// Starts writers that each create an object of their own, change it some times and delete it.
fn start_writers(api: &impl Verbs<Gpu>, writers: usize, changes: usize) -> Vec<tokio::task::JoinHandle<()>> {
    (0..writers)
        .map(|writer| {
            let (api, name) = (api.clone(), format!("x-{writer}"));
            tokio::spawn(async move {
                create(&api, &gpu(&name)).await;
                for change in 0..changes {
                    replace(&api, &with_uuid(&gpu(&name), &change.to_string())).await;
                }
                delete(&api, &name).await;
            })
        })
        .collect()
}

async fn rule_4_1_under_concurrent_writers_every_watcher_sees_every_event_once_in_order(api: impl Verbs<Gpu>) {
    let (writers, changes) = (6, 10);
    let before = latest(&api).await;
    let mut watchers = vec![
        Events::of(&api, WatchParams::default()).await,
        Events::of(&api, WatchParams::default().at("0")).await,
        Events::of(&api, WatchParams::default().at(before.to_string())).await,
    ];
    let writing = start_writers(&api, writers, changes);
    let total = (writers * (changes + 2)) as u64;
    for events in &mut watchers {
        let mut stages: BTreeMap<String, usize> = BTreeMap::new();
        for expected in before + 1..=before + total {
            let event = events.event::<Gpu>("an event of each write").await;
            assert_eq!(number(event.resource_version()), expected, "none missing, none twice: {event:?}");
            let object = event.object().expect("no bookmark was asked for");
            let stage = stages.entry(object.metadata.name.clone()).or_default();
            match (&event, *stage) {
                (WatchEvent::Added(_), 0) => {}
                (WatchEvent::Modified(x), n) if n > 0 => assert_eq!(x.spec.uuid, (n - 1).to_string()),
                (WatchEvent::Deleted(_), n) if n == changes + 1 => {}
                other => panic!("an event out of order: {other:?}"),
            }
            *stage += 1;
        }
    }
    for writer in writing {
        writer.await.expect("a writer does not fail");
    }
}

async fn rule_4_1_a_watch_can_start_at_every_version_while_writers_write(api: impl Verbs<Gpu>) {
    let writing = start_writers(&api, 4, 10);
    let mut starts = 0;
    while writing.iter().any(|writer| !writer.is_finished()) || starts == 0 {
        let list = api.list(&ListParams::default()).await.expect("a list");
        let from = number(&list.metadata.resource_version);
        let mut events = Events::of(&api, WatchParams::default().at(from.to_string())).await;
        // There is something to see only if somebody still writes.
        create(&api, &gpu(&format!("seen-{starts}"))).await;
        let first = events.event::<Gpu>("what came after the list").await;
        assert_eq!(number(first.resource_version()), from + 1, "nothing between a list and a watch is lost");
        starts += 1;
    }
    for writer in writing {
        writer.await.expect("a writer does not fail");
    }
}

async fn rule_4_1_initial_events_are_ordered_by_version_so_that_a_client_can_resume_amid_them(api: impl Verbs<Gpu>) {
    for name in ["a", "b", "c"] {
        create(&api, &gpu(name)).await;
    }
    let a = replace(&api, &with_uuid(&gpu("a"), "changed")).await;
    let mut events = Events::of(&api, WatchParams::default()).await;
    let mut versions = Vec::new();
    for _ in 0..3 {
        versions.push(number(events.event::<Gpu>("the present state").await.resource_version()));
    }
    assert!(versions.is_sorted(), "a watch is ordered by version, its initial events too: {versions:?}");
    assert_eq!(versions.last(), Some(&version(&*a)));
}

async fn rule_4_1_list_then_watch_misses_nothing_and_repeats_nothing(api: impl Verbs<Gpu>) {
    let writing = start_writers(&api, 4, 10);
    let list = api.list(&ListParams::default()).await.expect("a list");
    let from = number(&list.metadata.resource_version);
    let mut events = Events::of(&api, WatchParams::default().at(from.to_string())).await;
    for writer in writing {
        writer.await.expect("a writer does not fail");
    }
    create(&api, &gpu("last")).await;
    let end = api.list(&ListParams::default()).await.expect("a list");
    let mut state: BTreeMap<String, Arc<Gpu>> =
        list.items.into_iter().map(|object| (object.metadata.name.clone(), object)).collect();
    for expected in from + 1..=number(&end.metadata.resource_version) {
        let event = events.event::<Gpu>("what came after the list").await;
        assert_eq!(number(event.resource_version()), expected);
        let object = event.object().expect("no bookmark was asked for").clone();
        let name = object.metadata.name.clone();
        let known = match event {
            WatchEvent::Deleted(_) => state.remove(&name).is_some(),
            WatchEvent::Added(_) => state.insert(name, object).is_none(),
            _ => state.insert(name, object).is_some(),
        };
        assert!(known, "an event fits the state that it changes");
    }
    assert_eq!(state.into_values().collect::<Vec<_>>(), end.items);
}

async fn rule_4_2_without_a_version_the_present_state_comes_as_added_then_what_follows(api: impl Verbs<Gpu>) {
    let x = create(&api, &gpu("x")).await;
    let x = replace(&api, &with_uuid(&x, "changed")).await;
    create(&api, &gpu("gone")).await;
    delete(&api, "gone").await;
    for start in ["", "0"] {
        let mut events = Events::of(&api, WatchParams::default().at(start)).await;
        assert_eq!(events.added::<Gpu>("x").await, x, "from {start:?}: the state, not its history");
        let marker = create(&api, &gpu("marker")).await;
        assert_eq!(events.added::<Gpu>("marker").await, marker);
        delete(&api, "marker").await;
        events.deleted::<Gpu>("marker").await;
    }
}

async fn rule_4_2_from_a_version_what_came_after_it_is_replayed(api: impl Verbs<Gpu>) {
    let before = latest(&api).await;
    let x = create(&api, &gpu("x")).await;
    let changed = replace(&api, &with_uuid(&x, "changed")).await;
    delete(&api, "x").await;
    let y = create(&api, &gpu("y")).await;
    let written = [version(&*x), version(&*changed), version(&*changed) + 1, version(&*y)];
    for from in before..=version(&*y) {
        let mut events = Events::of(&api, WatchParams::default().at(from.to_string())).await;
        for expected in written.iter().filter(|at| **at > from) {
            let event = events.event::<Gpu>("a replayed event").await;
            assert_eq!(number(event.resource_version()), *expected, "from {from}");
        }
        let marker = create(&api, &gpu(&format!("marker-{from}"))).await;
        // Earlier rounds left markers too, which are replayed in their turn.
        loop {
            let event = events.event::<Gpu>("the marker").await;
            assert!(number(event.resource_version()) > version(&*y), "from {from}: a replay repeats nothing");
            if event.object() == Some(&marker) {
                break;
            }
        }
    }
}

async fn rule_4_2_from_the_current_version_only_what_follows_comes(api: impl Verbs<Gpu>) {
    let x = create(&api, &gpu("x")).await;
    let mut events = Events::of(&api, WatchParams::default().at(&x.metadata.resource_version)).await;
    create(&api, &gpu("y")).await;
    events.added::<Gpu>("y").await;
}

async fn rule_4_2_a_version_that_is_too_old_is_expired(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    for from in ["1", "1000000"] {
        let outcome = watch_refusal(&api, &WatchParams::default().at(from)).await;
        refused(outcome, Reason::Expired, &format!("a watch from {from}, from before this store"));
    }
}

async fn rule_4_2_a_version_of_the_future_is_waited_for(api: impl Verbs<Gpu>) {
    let next = latest(&api).await + 1;
    let params = WatchParams::default().at(next.to_string());
    let x = gpu("x");
    let (mut events, x) = tokio::join!(Events::of(&api, params), create(&api, &x));
    assert_eq!(version(&*x), next);
    create(&api, &gpu("y")).await;
    events.added::<Gpu>("y").await;
}

async fn rule_4_5_timeout_ends_the_watch_with_ok(api: impl Verbs<Gpu>) {
    let params = WatchParams::default().timeout(Duration::from_secs(1));
    let mut events = Events::of(&api, params.clone()).await;
    assert_eq!(events.until_ok::<Gpu>().await, [], "nothing happened, and no bookmark was asked for");
    assert!(events.next::<Gpu>("the end to stay").await.is_none());
    create(&api, &gpu("x")).await;
    let from_now = params.at(latest(&api).await.to_string());
    assert_eq!(Events::of(&api, from_now).await.until_ok::<Gpu>().await, []);
}

async fn rule_4_5_what_came_before_the_timeout_is_sent_before_the_end(api: impl Verbs<Gpu>) {
    let timeout = Duration::from_secs(2);
    loop {
        let started = Instant::now();
        let mut events = Events::of(&api, WatchParams::default().timeout(timeout)).await;
        let x = create(&api, &gpu("x")).await;
        // On a machine so busy that the write may have come after the timeout, nothing is said.
        let in_time = started.elapsed() < timeout / 2;
        let sent = events.until_ok::<Gpu>().await;
        if in_time {
            assert_eq!(sent, [WatchEvent::Added(x)]);
            return;
        }
        delete(&api, "x").await;
    }
}

async fn rule_4_7_a_watch_that_says_not_older_than_its_version_is_as_one_that_does_not(api: impl Verbs<Gpu>) {
    let not_older = |params: WatchParams| WatchParams { version_match: Some(VersionMatch::NotOlderThan), ..params };
    let x = create(&api, &gpu("x")).await;
    let changed = replace(&api, &with_uuid(&x, "changed")).await;
    for start in ["", "0"] {
        let mut events = Events::of(&api, not_older(WatchParams::default().at(start))).await;
        assert_eq!(events.added::<Gpu>("x").await, changed, "from {start:?}");
    }
    let mut events = Events::of(&api, not_older(WatchParams::default().at(&x.metadata.resource_version))).await;
    assert_eq!(events.modified::<Gpu>("x").await, changed, "what came after is replayed");
    let outcome = watch_refusal(&api, &not_older(WatchParams::default().at("1"))).await;
    refused(outcome, Reason::Expired, "what is too old misses something, and says so");
}

async fn rule_4_7_bad_arguments_end_the_watch_as_invalid_before_any_event(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let mut exact = WatchParams::default().initial_events();
    exact.version_match = Some(VersionMatch::Exact);
    let mut lone_exact = WatchParams::default().at(latest(&api).await.to_string());
    lone_exact.version_match = Some(VersionMatch::Exact);
    for (what, params) in [
        ("a label selector that does not parse", WatchParams::default().labels("=x")),
        ("a field selector that does not parse", WatchParams::default().fields("spec.none=x")),
        ("a version that is no number", WatchParams::default().at("x")),
        ("initial events with another match", exact),
        ("another match without initial events", lone_exact),
    ] {
        let error = refused(watch_refusal(&api, &params).await, Reason::BadRequest, what);
        assert!(error.is_invalid(), "{what}: {error}");
    }
}
