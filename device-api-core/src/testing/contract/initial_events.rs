// SPDX-License-Identifier: Apache-2.0
//! Rule 4.4: bookmarks and initial events. Bookmarks of a quiet stream are in the local cases, which
//! need not wait a minute for one.

use std::time::Duration;

use super::{ContractCase, World, list};
use crate::registry::{Bookmark, Verbs, VersionMatch, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::Events;
use crate::testing::given::{create, delete, gpu, labelled, latest, replace, version, with_uuid};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_4_4_initial_events_are_the_state_then_a_bookmark_that_says_so,
        rule_4_4_initial_events_of_nothing_are_the_bookmark_alone,
        rule_4_4_initial_events_are_selected,
        rule_4_4_initial_events_are_not_older_than_the_version_asked_for,
        rule_4_4_initial_events_end_with_their_bookmark_whatever_else_is_asked_for,
        rule_4_4_a_bookmark_comes_just_before_a_timeout,
        rule_4_4_a_bookmark_is_a_version_to_resume_from,
        rule_4_4_no_bookmark_comes_unless_asked_for,
    ]
}

async fn rule_4_4_initial_events_are_the_state_then_a_bookmark_that_says_so(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    create(&api, &gpu("gone")).await;
    delete(&api, "gone").await;
    let at = latest(&api).await;
    let mut events = Events::of(&api, WatchParams::default().initial_events()).await;
    events.added::<Gpu>("x").await;
    let end = Bookmark { resource_version: at.to_string(), initial_events_end: true };
    assert_eq!(events.bookmark::<Gpu>().await, end);
    create(&api, &gpu("y")).await;
    events.added::<Gpu>("y").await;
}

async fn rule_4_4_initial_events_of_nothing_are_the_bookmark_alone(api: impl Verbs<Gpu>) {
    let mut events = Events::of(&api, WatchParams::default().initial_events()).await;
    let bookmark = events.bookmark::<Gpu>().await;
    assert!(bookmark.initial_events_end);
    assert_eq!(bookmark.resource_version, latest(&api).await.to_string());
}

async fn rule_4_4_initial_events_are_selected(api: impl Verbs<Gpu>) {
    create(&api, &labelled("x", "zone", "left")).await;
    create(&api, &labelled("y", "zone", "right")).await;
    let mut events = Events::of(&api, WatchParams::default().labels("zone=left").initial_events()).await;
    events.added::<Gpu>("x").await;
    let bookmark = events.bookmark::<Gpu>().await;
    assert!(bookmark.initial_events_end);
    assert_eq!(bookmark.resource_version, latest(&api).await.to_string(), "what was not selected counts too");
}

async fn rule_4_4_initial_events_are_not_older_than_the_version_asked_for(api: impl Verbs<Gpu>) {
    let x = create(&api, &gpu("x")).await;
    let changed = replace(&api, &with_uuid(&x, "changed")).await;
    for from in ["0", &x.metadata.resource_version, &changed.metadata.resource_version] {
        let mut events = Events::of(&api, WatchParams::default().at(from).initial_events()).await;
        assert_eq!(events.added::<Gpu>("x").await, changed, "the state, not what came after {from}");
        assert!(events.bookmark::<Gpu>().await.initial_events_end);
    }
    let next = (version(&*changed) + 1).to_string();
    let params = WatchParams::default().at(&next).initial_events();
    let y = gpu("y");
    let (mut events, _) = tokio::join!(Events::of(&api, params), create(&api, &y));
    events.added::<Gpu>("x").await;
    events.added::<Gpu>("y").await;
    assert!(events.bookmark::<Gpu>().await.initial_events_end);
}

async fn rule_4_4_initial_events_end_with_their_bookmark_whatever_else_is_asked_for(api: impl Verbs<Gpu>) {
    let x = create(&api, &gpu("x")).await;
    let resource_version = latest(&api).await.to_string();
    for version_match in [None, Some(VersionMatch::NotOlderThan)] {
        for at in ["", "0", &resource_version] {
            let mut params = WatchParams::default().at(at).timeout(Duration::from_secs(1));
            (params.send_initial_events, params.version_match) = (Some(true), version_match);
            let sent = Events::of(&api, params).await.until_ok::<Gpu>().await;
            let resource_version = resource_version.clone();
            let end = WatchEvent::Bookmark(Bookmark { resource_version, initial_events_end: true });
            assert_eq!(sent, [WatchEvent::Added(x.clone()), end], "and no other bookmark, from {at:?}");
        }
    }
    let params = WatchParams { send_initial_events: Some(false), ..WatchParams::default() };
    let mut events = Events::of(&api, params).await;
    create(&api, &gpu("y")).await;
    events.added::<Gpu>("y").await;
}

async fn rule_4_4_a_bookmark_comes_just_before_a_timeout(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let params = WatchParams::default().bookmarks().timeout(Duration::from_secs(1));
    let at = latest(&api).await.to_string();
    let sent = Events::of(&api, params.at(&at)).await.until_ok::<Gpu>().await;
    let last = WatchEvent::Bookmark(Bookmark { resource_version: at, initial_events_end: false });
    assert_eq!(sent.last(), Some(&last), "sent: {sent:?}");
}

async fn rule_4_4_a_bookmark_is_a_version_to_resume_from(api: impl Verbs<Gpu>) {
    let from = latest(&api).await.to_string();
    let params = WatchParams::default().labels("zone=left").bookmarks().timeout(Duration::from_secs(1));
    // Nothing of this matches, so only a bookmark moves the watch on.
    create(&api, &labelled("x", "zone", "right")).await;
    let y = create(&api, &labelled("y", "zone", "right")).await;
    let sent = Events::of(&api, params.clone().at(from)).await.until_ok::<Gpu>().await;
    let resume = sent.last().expect("a bookmark before the end").resource_version().to_owned();
    assert_eq!(resume, y.metadata.resource_version, "what was not selected counts too");
    let mut events = Events::of(&api, params.at(resume)).await;
    create(&api, &labelled("z", "zone", "left")).await;
    events.added::<Gpu>("z").await;
}

async fn rule_4_4_no_bookmark_comes_unless_asked_for(api: impl Verbs<Gpu>) {
    let x = create(&api, &gpu("x")).await;
    let sent = Events::of(&api, WatchParams::default().timeout(Duration::from_secs(1))).await.until_ok::<Gpu>().await;
    assert_eq!(sent, [WatchEvent::Added(x)]);
}
