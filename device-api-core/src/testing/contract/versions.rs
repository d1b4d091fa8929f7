// SPDX-License-Identifier: Apache-2.0
//! Rule 2.4: resource versions.

use super::conditions::ready;
use std::collections::BTreeSet;

use super::{ContractCase, World, list};
use crate::registry::{DeleteParams, PostParams, Verbs, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::{Events, refused_as_invalid};
use crate::testing::given::{
    at_version, create, delete, gpu, json, latest, merge, patch, patch_status, replace, replace_status, strategic,
    version, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_4_every_committed_write_raises_the_version_by_exactly_one,
        rule_2_4_a_refused_write_uses_no_version,
        rule_2_4_concurrent_writes_get_consecutive_versions,
        rule_2_4_a_version_is_a_decimal_number_of_at_most_53_bits_and_never_small,
    ]
}

async fn rule_2_4_every_committed_write_raises_the_version_by_exactly_one(api: impl Verbs<Gpu>) {
    let mut last = latest(&api).await;
    let mut rose = |what: &str, now: u64| {
        assert_eq!(now, last + 1, "{what} raises the version by exactly one");
        last = now;
    };
    let object = create(&api, &gpu("x")).await;
    rose("create", version(&*object));
    rose("create of another", version(&*create(&api, &gpu("y")).await));
    rose("update", version(&*replace(&api, &with_uuid(&object, "u")).await));
    let status = replace_status(&api, &with_conditions(&object, [ready("True")])).await;
    rose("status update", version(&*status));
    let change = merge(serde_json::json!({"metadata": {"labels": {"a": "1"}}}));
    rose("merge patch", version(&*patch(&api, "x", change).await));
    let change = json(serde_json::json!([{"op": "replace", "path": "/metadata/labels/a", "value": "2"}]));
    rose("JSON patch", version(&*patch(&api, "x", change).await));
    let change = strategic(serde_json::json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}));
    rose("strategic patch of the status", version(&*patch_status(&api, "x", change).await));
    delete(&api, "y").await;
    rose("delete", latest(&api).await);
    rose("create after delete", version(&*create(&api, &gpu("y")).await));
}

async fn rule_2_4_a_refused_write_uses_no_version(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let post = PostParams::default();
    let bad = with_label(&created, "a", "no spaces");
    let stale = at_version(&with_uuid(&created, "u"), "1");
    assert!(api.create(&post, &created).await.is_err());
    assert!(api.create(&post, &gpu("x")).await.is_err());
    assert!(api.replace("x", &post, &bad).await.is_err());
    assert!(api.replace("x", &post, &stale).await.is_err());
    assert!(api.replace("none", &post, &gpu("none")).await.is_err());
    assert!(api.replace_status("none", &post, &gpu("none")).await.is_err());
    assert!(api.delete("none", &DeleteParams::default()).await.is_err());
    assert!(api.delete("x", &DeleteParams::default().uid("other")).await.is_err());
    let nowhere = json(serde_json::json!([{"op": "remove", "path": "/spec/none"}]));
    refused_as_invalid(api.patch("x", &post, &nowhere).await, "a patch of what is not there");
    assert_eq!(latest(&api).await, version(&*created));
    assert_eq!(version(&*create(&api, &gpu("y")).await), version(&*created) + 1);
}

async fn rule_2_4_concurrent_writes_get_consecutive_versions(api: impl Verbs<Gpu>) {
    const WRITERS: usize = 8;
    const WRITES: usize = 10;
    let before = latest(&api).await;
    let mut events = Events::of(&api, WatchParams::default().at(before.to_string())).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let api = api.clone();
            tokio::spawn(async move {
                let mut versions = Vec::new();
                for write in 0..WRITES {
                    versions.push(version(&*create(&api, &gpu(&format!("x-{writer}-{write}"))).await));
                }
                versions
            })
        })
        .collect();
    let mut versions = BTreeSet::new();
    for writer in writers {
        let own = writer.await.expect("a writer does not panic");
        assert!(own.is_sorted(), "a writer's versions rise: {own:?}");
        versions.extend(own);
    }
    let expected: Vec<u64> = (before + 1..=before + (WRITERS * WRITES) as u64).collect();
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), expected);
    for expected in expected {
        let event = events.event::<Gpu>("one event for each write").await;
        assert_eq!(event.resource_version(), expected.to_string());
    }
}

async fn rule_2_4_a_version_is_a_decimal_number_of_at_most_53_bits_and_never_small(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    let text = &created.metadata.resource_version;
    assert_eq!(*text, version(&*created).to_string(), "decimal digits, no sign, no leading zero");
    assert!(version(&*created) < 1 << 53, "the version {text} fits 53 bits, for clients with floating-point numbers");
    let year_2020 = 1_577_836_800_000_000;
    assert!(
        version(&*created) > year_2020,
        "a new store starts at the microseconds since 1970, so that no earlier store has handed out {text}"
    );
}
