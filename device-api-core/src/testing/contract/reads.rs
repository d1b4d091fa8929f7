// SPDX-License-Identifier: Apache-2.0
//! Rules 3.1 to 3.3: get and list, and the versions that they take.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json as value;

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{GetParams, ListParams, Verbs, VersionMatch, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{names, refused, refused_as_invalid, watch_refusal, within};
use crate::testing::given::{
    at_version, create, delete, get, gpu, gpu_in, labelled, latest, merge, number, patch, replace, replace_status,
    version, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_3_1_a_read_that_begins_after_an_acknowledged_write_sees_it,
        rule_3_1_a_reader_sees_each_object_whole,
        rule_3_1_a_watch_that_nobody_reads_delays_neither_reads_nor_writes,
        rule_3_2_no_version_and_zero_are_served_and_no_version_is_the_latest,
        rule_3_2_a_version_of_the_past_is_served_by_what_is_not_older,
        rule_3_2_a_version_of_the_future_is_waited_for,
        rule_3_2_a_version_of_the_future_that_does_not_come_is_too_large,
        rule_3_3_an_exact_list_is_the_state_as_of_each_past_version,
        rule_3_3_an_exact_list_takes_selectors_and_a_namespace,
        rule_3_3_an_exact_list_from_before_the_store_is_expired,
        rule_3_3_an_exact_list_of_the_future_is_too_large,
        rule_3_3_not_older_than_is_the_match_without_a_name,
        rule_3_3_a_match_without_a_version_is_invalid,
        rule_3_3_a_version_that_is_not_a_number_is_invalid,
    ]
}

/// A version that no test reaches.
const FAR: u64 = (1 << 53) - 1;

fn exact(version: u64) -> ListParams {
    ListParams::default().at(version.to_string()).matching(VersionMatch::Exact)
}

async fn rule_3_1_a_read_that_begins_after_an_acknowledged_write_sees_it(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let mut handles = vec![api.clone(), api.namespaced("default"), api.namespaced("")];
    for round in 0..50 {
        let written = replace(&api, &with_uuid(&gpu("x"), &round.to_string())).await;
        for reader in &mut handles {
            assert_eq!(get(reader, "x").await, written);
            let list = reader.list(&ListParams::default()).await.expect("a list");
            assert_eq!(list.items, std::slice::from_ref(&written));
        }
    }
    delete(&api, "x").await;
    assert_eq!(api.get_opt("x").await, Ok(None));
}

async fn rule_3_1_a_reader_sees_each_object_whole(api: impl Verbs<Gpu>) {
    // One write changes the uuid and a label alike, so a reader that finds them different saw half of it.
    create(&api, &labelled("x", "same", "x")).await;
    let writer = api.clone();
    let writing = tokio::spawn(async move {
        for round in 0..100 {
            let round = round.to_string();
            replace(&writer, &with_uuid(&labelled("x", "same", &round), &round)).await;
        }
    });
    let mut last = 0;
    while !writing.is_finished() {
        let read = get(&api, "x").await;
        assert_eq!(read.metadata.labels["same"], read.spec.uuid);
        assert!(version(&*read) >= last, "a reader never goes back");
        last = version(&*read);
        // A read in process never waits, so a loop of them would keep others from this thread.
        tokio::task::yield_now().await;
    }
    writing.await.expect("the writer does not fail");
}

async fn rule_3_1_a_watch_that_nobody_reads_delays_neither_reads_nor_writes(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let idle = within("a watch to start", api.watch(&WatchParams::default())).await.expect("a watch");
    let message = "m".repeat(16 * 1024);
    for round in 0..200 {
        let condition = ready("True").with_message(format!("{round} {message}"));
        let written = within("a write", replace_status(&api, &with_conditions(&gpu("x"), [condition]))).await;
        assert_eq!(within("a read", get(&api, "x")).await, written);
    }
    drop(idle);
}

async fn rule_3_2_no_version_and_zero_are_served_and_no_version_is_the_latest(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    assert_eq!(api.get_with("x", &GetParams::default()).await, Ok(current.clone()));
    api.get_with("x", &GetParams::default().at("0")).await.expect("0 is any version");
    let list = api.list(&ListParams::default()).await.expect("a list");
    assert_eq!(list.items, std::slice::from_ref(&current));
    assert_eq!(number(&list.metadata.resource_version), version(&*current));
    api.list(&ListParams::default().at("0")).await.expect("0 is any version");
}

async fn rule_3_2_a_version_of_the_past_is_served_by_what_is_not_older(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    for at in [1, version(&*created), version(&*current)] {
        let read = api.get_with("x", &GetParams::default().at(at.to_string())).await.expect("a version of the past");
        assert!(version(&*read) >= at);
        let list = api.list(&ListParams::default().at(at.to_string())).await.expect("a version of the past");
        assert!(number(&list.metadata.resource_version) >= at);
    }
    let at = GetParams::default().at(&current.metadata.resource_version);
    refused(api.get_with("none", &at).await, Reason::NotFound, "get of what does not exist at a current version");
}

async fn rule_3_2_a_version_of_the_future_is_waited_for(api: impl Verbs<Gpu>) {
    let next = (latest(&api).await + 1).to_string();
    let (get_params, list_params) = (GetParams::default().at(&next), ListParams::default().at(&next));
    let exact_params = list_params.clone().matching(VersionMatch::Exact);
    let x = gpu("x");
    let (read, list, exact, created) = tokio::join!(
        api.get_with("x", &get_params),
        api.list(&list_params),
        api.list(&exact_params),
        create(&api, &x),
    );
    assert_eq!(created.metadata.resource_version, next);
    assert_eq!(read, Ok(created.clone()), "get waits for the version");
    assert_eq!(list.expect("list waits for the version").items, std::slice::from_ref(&created));
    assert_eq!(exact.expect("an exact list waits for the version").items, [created]);
}

async fn rule_3_2_a_version_of_the_future_that_does_not_come_is_too_large(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let reason = Reason::ResourceVersionTooLarge;
    for at in [(version(&*created) + 1).to_string(), FAR.to_string(), u64::MAX.to_string()] {
        let (get_params, list_params) = (GetParams::default().at(&at), ListParams::default().at(&at));
        let watch_params = WatchParams::default().at(&at);
        let (read, missing, list, watch) = within("the wait for a version to end", async {
            tokio::join!(
                api.get_with("x", &get_params),
                api.get_with("none", &get_params),
                api.list(&list_params),
                watch_refusal(&api, &watch_params),
            )
        })
        .await;
        refused(read, reason, &format!("get at {at}"));
        refused(missing, reason, &format!("get of what does not exist at {at}"));
        refused(list, reason, &format!("list at {at}"));
        let error = refused(watch, reason, &format!("watch at {at}"));
        assert!(error.is_expired(), "existing clients list afresh after it: {error}");
    }
}

/// What the objects were after each of some writes, by version.
async fn written_history(api: &impl Verbs<Gpu>) -> BTreeMap<u64, Vec<Arc<Gpu>>> {
    let mut states = BTreeMap::from([(latest(api).await, Vec::new())]);
    let mut now: BTreeMap<String, Arc<Gpu>> = BTreeMap::new();
    let mut put = |states: &mut BTreeMap<_, _>, object: Arc<Gpu>| {
        let at = version(&*object);
        now.insert(object.metadata.name.clone(), object);
        states.insert(at, now.values().cloned().collect::<Vec<_>>());
    };
    put(&mut states, create(api, &labelled("b", "side", "left")).await);
    put(&mut states, create(api, &labelled("a", "side", "right")).await);
    put(&mut states, replace(api, &with_uuid(&labelled("b", "side", "right"), "changed")).await);
    put(&mut states, replace_status(api, &with_conditions(&gpu("a"), [ready("True")])).await);
    put(&mut states, patch(api, "b", merge(value!({"metadata": {"labels": {"side": "left"}}}))).await);
    delete(api, "a").await;
    let gone = latest(api).await;
    let left: Vec<_> =
        states.values().last().into_iter().flatten().filter(|x| x.metadata.name == "b").cloned().collect();
    states.insert(gone, left.clone());
    let again = create(api, &labelled("a", "side", "left")).await;
    states.insert(version(&*again), [again].into_iter().chain(left).collect());
    states
}

async fn rule_3_3_an_exact_list_is_the_state_as_of_each_past_version(api: impl Verbs<Gpu>) {
    for (at, objects) in written_history(&api).await {
        let list = api.list(&exact(at)).await.unwrap_or_else(|error| panic!("an exact list at {at}: {error}"));
        assert_eq!(list.items, objects, "the state as of {at}");
        assert_eq!(list.metadata.resource_version, at.to_string());
    }
}

async fn rule_3_3_an_exact_list_takes_selectors_and_a_namespace(api: impl Verbs<Gpu>) {
    let states = written_history(&api).await;
    create(&api.namespaced("other"), &gpu_in("other", "z")).await;
    for (at, objects) in states {
        let list = api.list(&exact(at).labels("side=left")).await.expect("an exact list with a selector");
        let of_the_left = |x: &Arc<Gpu>| x.metadata.labels.get("side").is_some_and(|side| side == "left");
        let expected: Vec<_> = objects.into_iter().filter(of_the_left).collect();
        assert_eq!(list.items, expected, "as of {at}, by the labels of that time");
        let list = api.namespaced("default").list(&exact(at).fields("metadata.name!=b")).await.expect("an exact list");
        assert!(names(&list.items).iter().all(|name| *name == "a"), "as of {at}: {list:?}");
        assert!(api.namespaced("other").list(&exact(at)).await.expect("an exact list").items.is_empty());
    }
}

async fn rule_3_3_an_exact_list_from_before_the_store_is_expired(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let error = refused(api.list(&exact(1)).await, Reason::Expired, "an exact list at a version of another store");
    assert!(error.is_expired());
}

async fn rule_3_3_an_exact_list_of_the_future_is_too_large(api: impl Verbs<Gpu>) {
    refused(api.list(&exact(FAR)).await, Reason::ResourceVersionTooLarge, "an exact list of the future");
}

async fn rule_3_3_not_older_than_is_the_match_without_a_name(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let current = replace(&api, &with_uuid(&created, "changed")).await;
    let named = ListParams::default().at(&created.metadata.resource_version).matching(VersionMatch::NotOlderThan);
    let list = api.list(&named).await.expect("a list that is not older");
    assert!(number(&list.metadata.resource_version) >= version(&*created));
    let named = ListParams::default().at(&current.metadata.resource_version).matching(VersionMatch::NotOlderThan);
    assert_eq!(api.list(&named).await.expect("a list that is not older").items, [current]);
}

async fn rule_3_3_a_match_without_a_version_is_invalid(api: impl Verbs<Gpu>) {
    for version_match in [VersionMatch::Exact, VersionMatch::NotOlderThan] {
        let params = ListParams::default().matching(version_match);
        refused(api.list(&params).await, Reason::BadRequest, &format!("{version_match:?} without a version"));
    }
}

async fn rule_3_3_a_version_that_is_not_a_number_is_invalid(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    for at in ["x", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "1_000", "ä", "18446744073709551616", &"9".repeat(99)]
    {
        let what = format!("the version {at:?}");
        refused(api.get_with("x", &GetParams::default().at(at)).await, Reason::BadRequest, &what);
        refused(api.list(&ListParams::default().at(at)).await, Reason::BadRequest, &what);
        let params = ListParams::default().at(at).matching(VersionMatch::Exact);
        refused(api.list(&params).await, Reason::BadRequest, &what);
        refused(watch_refusal(&api, &WatchParams::default().at(at)).await, Reason::BadRequest, &what);
        let update = at_version(&with_label(&gpu("x"), "a", "b"), at);
        let outcome = api.replace("x", &Default::default(), &update).await;
        let error = outcome.expect_err("an update with a version that the server never returned");
        assert!(error.is_invalid() || error.is_conflict(), "{what} in an update: {error}");
    }
    refused_as_invalid(api.get_with("none", &GetParams::default().at("x")).await, "get of what does not exist");
}
