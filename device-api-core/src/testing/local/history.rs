// SPDX-License-Identifier: Apache-2.0
//! The bounds of history: what they forget is Expired, for watches (4.2), exact lists (3.3) and
//! continue tokens (3.4) alike.

use std::time::Duration;

use super::{Fixture, LocalCase, Running, list};
use crate::error::Reason;
use crate::registry::{History, ListParams, VersionMatch, WatchParams};
use crate::resource::{Gpu, Timestamp};
use crate::testing::ManualClock;
use crate::testing::contract::ready;
use crate::testing::expect::{DEADLINE, Events, names, refused, watch_refusal, within};
use crate::testing::given::{
    create, delete, get, gpu, latest, number, replace, replace_status, unversioned, version, with_conditions,
    with_label,
};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_4_2_what_is_over_the_number_of_events_is_expired,
        rule_4_2_what_is_over_the_bytes_of_events_is_expired,
        rule_4_2_what_is_over_the_age_of_events_is_expired,
        rule_4_2_what_is_within_every_bound_is_not_expired,
        rule_4_2_a_time_of_day_that_is_set_forgets_nothing_and_keeps_nothing,
        rule_4_2_a_time_of_day_that_was_set_while_the_server_was_down_keeps_nothing,
        rule_4_2_what_an_earlier_run_wrote_is_as_old_as_what_came_after_it,
        rule_3_4_a_continue_token_that_is_too_old_is_expired,
        rule_2_4_forgetting_history_forgets_no_object,
        rule_3_3_what_was_forgotten_stays_forgotten_across_a_restart,
    ]
}

/// Changes the object's status; each round differs.
async fn change(running: &Running, round: usize) -> u64 {
    let object = with_conditions(&gpu("x"), [ready("True").with_message(format!("round {round}"))]);
    version(&*replace_status(&running.gpus, &object).await)
}

/// Writes until a watch from `old` is Expired.
async fn write_until_expired(running: &Running, old: u64) {
    within("history to forget", async {
        for round in 0.. {
            change(running, round).await;
            match watch_refusal_or_start(running, old).await {
                Some(Reason::Expired) => return,
                Some(other) => panic!("a version that was current may only expire, but: {other:?}"),
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
}

/// Why a watch from `at` is refused, if it is.
async fn watch_refusal_or_start(running: &Running, at: u64) -> Option<Reason> {
    let params = WatchParams::default().at(at.to_string()).timeout(DEADLINE);
    let mut stream = match running.gpus.watch(&params).await {
        Ok(stream) => stream,
        Err(error) => return Some(error.reason()),
    };
    // The writes that came after `at` are there, so an item is too.
    stream.next().await.and_then(|item| item.err()).map(|error| error.reason())
}

/// That nothing can be had from `old` on.
async fn is_forgotten(running: &Running, old: u64) {
    let outcome = watch_refusal(&running.gpus, &WatchParams::default().at(old.to_string())).await;
    let error = refused(outcome, Reason::Expired, "a watch from a version that history has forgotten");
    assert!(error.is_expired());
    let exact = ListParams::default().at(old.to_string()).matching(VersionMatch::Exact);
    refused(running.gpus.list(&exact).await, Reason::Expired, "an exact list at a forgotten version");
    running.gpus.list(&ListParams::default().at(old.to_string())).await.expect("any later state will do");
}

async fn rule_4_2_what_is_over_the_number_of_events_is_expired(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_events(20));
    let running = fixture.start().await;
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    write_until_expired(&running, old).await;
    is_forgotten(&running, old).await;
    // What is within the bound is there.
    let now = latest(&running.gpus).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at((now - 10).to_string())).await;
    for expected in now - 9..=now {
        assert_eq!(number(events.event::<Gpu>("a recent event").await.resource_version()), expected);
    }
    let exact = ListParams::default().at((now - 10).to_string()).matching(VersionMatch::Exact);
    running.gpus.list(&exact).await.expect("an exact list within the bound");
    running.stop().await;
}

async fn rule_4_2_what_is_over_the_bytes_of_events_is_expired(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_bytes(64 * 1024));
    let running = fixture.start().await;
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    let message = "m".repeat(10 * 1024);
    for round in 0..40 {
        let condition = ready("True").with_message(format!("{round} {message}"));
        replace_status(&running.gpus, &with_conditions(&gpu("x"), [condition])).await;
    }
    write_until_expired(&running, old).await;
    is_forgotten(&running, old).await;
    running.stop().await;
}

async fn rule_4_2_what_is_over_the_age_of_events_is_expired(mut fixture: Fixture) {
    let age = Duration::from_secs(600);
    fixture.options = fixture.options.with_history(History::default().with_max_age(age));
    let running = fixture.start().await;
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    change(&running, 0).await;
    fixture.clock.advance(age * 2);
    let now = change(&running, 1).await;
    write_until_expired(&running, old).await;
    is_forgotten(&running, old).await;
    assert_eq!(watch_refusal_or_start(&running, now).await, None, "what is young is there");
    running.stop().await;
}

async fn rule_4_2_what_is_within_every_bound_is_not_expired(mut fixture: Fixture) {
    let age = Duration::from_secs(600);
    let history = History::default().with_max_age(age).with_max_events(1_000);
    fixture.options = fixture.options.with_history(history);
    let running = fixture.start().await;
    let old = latest(&running.gpus).await;
    create(&running.gpus, &gpu("x")).await;
    for round in 0..200 {
        fixture.clock.advance(Duration::from_secs(2));
        change(&running, round).await;
    }
    let mut events = Events::of(&running.gpus, WatchParams::default().at(old.to_string())).await;
    for expected in old + 1..=old + 201 {
        assert_eq!(number(events.event::<Gpu>("an event within the bounds").await.resource_version()), expected);
    }
    running.stop().await;
}

/// So far can a clock be wrong that is set when the network is there.
const YEARS: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

async fn rule_4_2_a_time_of_day_that_is_set_forgets_nothing_and_keeps_nothing(mut fixture: Fixture) {
    let age = Duration::from_secs(600);
    fixture.options = fixture.options.with_history(History::default().with_max_age(age));
    let running = fixture.start().await;
    let start = fixture.clock.now();
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    for (round, now) in [start.plus(YEARS), start, Timestamp::UNIX_EPOCH].into_iter().enumerate() {
        fixture.clock.set(now);
        running.ledger.trim().await.expect("the ledger is open");
        change(&running, round).await;
        assert_eq!(watch_refusal_or_start(&running, old).await, None, "no time has passed, but it is {now}");
    }
    // It is long before what was written first, and time passes all the same.
    fixture.clock.advance(age * 2);
    running.ledger.trim().await.expect("the ledger is open");
    is_forgotten(&running, old).await;
    running.stop().await;
}

async fn rule_4_2_a_time_of_day_that_was_set_while_the_server_was_down_keeps_nothing(mut fixture: Fixture) {
    let age = Duration::from_secs(600);
    fixture.options = fixture.options.with_history(History::default().with_max_age(age));
    let running = fixture.start().await;
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    change(&running, 0).await;
    running.stop().await;

    fixture.clock.set(Timestamp::UNIX_EPOCH);
    let running = fixture.start().await;
    assert_eq!(watch_refusal_or_start(&running, old).await, None, "what seems to be of the future is young");
    fixture.clock.advance(age / 2);
    change(&running, 1).await;
    assert_eq!(watch_refusal_or_start(&running, old).await, None, "half of its time has passed");
    fixture.clock.advance(age);
    running.ledger.trim().await.expect("the ledger is open");
    is_forgotten(&running, old).await;
    running.stop().await;
}

async fn rule_4_2_what_an_earlier_run_wrote_is_as_old_as_what_came_after_it(mut fixture: Fixture) {
    let age = Duration::from_secs(600);
    fixture.options = fixture.options.with_history(History::default().with_max_age(age));
    fixture.clock.advance(age * 10);
    let (late, running) = (fixture.clock.now(), fixture.start().await);
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    // By the time of day this was long before that.
    fixture.clock.set(ManualClock::default().now());
    change(&running, 0).await;
    running.stop().await;

    fixture.clock.advance(age * 2);
    assert!(fixture.clock.now() < late);
    let running = fixture.start().await;
    is_forgotten(&running, old).await;
    running.stop().await;
}

async fn rule_3_4_a_continue_token_that_is_too_old_is_expired(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_events(20));
    let running = fixture.start().await;
    for name in ["x", "y", "z"] {
        create(&running.gpus, &gpu(name)).await;
    }
    let page = running.gpus.list(&ListParams::default().limit(1)).await.expect("a page");
    let next = ListParams::default().limit(1).continue_token(&page.metadata.continue_token);
    assert_eq!(names(&running.gpus.list(&next).await.expect("the next page").items), ["y"]);
    write_until_expired(&running, number(&page.metadata.resource_version)).await;
    let error = refused(running.gpus.list(&next).await, Reason::Expired, "a token of a forgotten version");
    assert!(error.is_expired());
    running.stop().await;
}

async fn rule_2_4_forgetting_history_forgets_no_object(mut fixture: Fixture) {
    let age = Duration::from_secs(600);
    fixture.options = fixture.options.with_history(History::default().with_max_age(age).with_max_events(10));
    let running = fixture.start().await;
    let quiet = create(&running.gpus, &gpu("quiet")).await;
    create(&running.gpus, &gpu("gone")).await;
    delete(&running.gpus, "gone").await;
    create(&running.gpus, &gpu("x")).await;
    fixture.clock.advance(age * 2);
    write_until_expired(&running, version(&*quiet)).await;
    let before = running.gpus.list(&ListParams::default()).await.expect("a list");
    assert_eq!(names(&before.items), ["quiet", "x"]);
    running.stop().await;

    let running = fixture.start().await;
    assert_eq!(running.gpus.list(&ListParams::default()).await.expect("a list").items, before.items);
    assert_eq!(get(&running.gpus, "quiet").await, quiet, "an object older than history is as it was");
    let labelled = with_label(&unversioned(&quiet), "a", "b");
    let changed = replace(&running.gpus, &labelled).await;
    assert_eq!(changed.metadata.uid, quiet.metadata.uid);
    running.stop().await;
}

async fn rule_3_3_what_was_forgotten_stays_forgotten_across_a_restart(mut fixture: Fixture) {
    fixture.options = fixture.options.with_history(History::default().with_max_events(10));
    let running = fixture.start().await;
    let old = version(&*create(&running.gpus, &gpu("x")).await);
    write_until_expired(&running, old).await;
    let now = latest(&running.gpus).await;
    running.stop().await;
    // A longer history than before cannot bring back what is gone.
    fixture.options = fixture.options.with_history(History::default());
    let running = fixture.start().await;
    is_forgotten(&running, old).await;
    assert!(latest(&running.gpus).await >= now);
    running.stop().await;
}
