// SPDX-License-Identifier: Apache-2.0
//! Rule 3.5: label and field selectors.

use std::collections::BTreeMap;

use super::conditions::{hot, ready};
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{ListParams, Verbs};
use crate::resource::Gpu;
use crate::testing::expect::{names, refused};
use crate::testing::given::{create, gpu, gpu_in, labelled, with_conditions, with_uuid};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_3_5_label_selectors_have_kubernetes_whole_grammar,
        rule_3_5_a_label_selector_that_does_not_parse_is_refused_with_the_position,
        rule_3_5_a_hostile_selector_is_refused_in_few_words,
        rule_3_5_field_selectors_select_by_name_namespace_uuid_and_condition,
        rule_3_5_a_field_selector_that_does_not_parse_is_refused,
        rule_3_5_label_and_field_selectors_hold_together,
    ]
}

/// Label selectors and whom of `zone=left`, `zone=right`, `zone=` (empty) and no labels they select.
const LABELS: &[(&str, &[&str])] = &[
    ("", &["bare", "empty", "left", "right"]),
    ("zone=left", &["left"]),
    ("zone==left", &["left"]),
    (" zone = left ", &["left"]),
    ("zone!=left", &["bare", "empty", "right"]),
    ("zone=", &["empty"]),
    ("zone!=", &["bare", "left", "right"]),
    ("zone in (left)", &["left"]),
    ("zone in (left,right)", &["left", "right"]),
    ("zone in ( right , left )", &["left", "right"]),
    ("zone in (left,)", &["empty", "left"]),
    ("zone notin (left,right)", &["bare", "empty"]),
    ("zone", &["empty", "left", "right"]),
    ("!zone", &["bare"]),
    ("! zone", &["bare"]),
    ("zone,nvidia.com/gpu.product=H100", &["left"]),
    ("zone=left,zone=right", &[]),
    ("zone!=left,zone!=right", &["bare", "empty"]),
    ("zone,zone!=left,nvidia.com/gpu.product notin (A100)", &["empty"]),
    ("nvidia.com/gpu.product in (H100,A100),zone in (left,right)", &["left", "right"]),
    ("none", &[]),
    ("in", &[]),
    ("notin=x", &[]),
];

const BAD_LABELS: &[&str] = &[
    ",",
    "zone,",
    ",zone",
    "zone,,zone",
    "=left",
    "zone=left=right",
    "zone in",
    "zone in left",
    "zone in (left",
    "zone in left)",
    "zone in ()x",
    "zone notin",
    "!",
    "!zone=left",
    "zone left",
    "zone=left right",
    "zone=-left",
    "-zone",
    "a/b/c",
    "zone===left",
    "zone=!left",
    "zone in (le ft)",
    "(zone)",
    "zone=ä",
    "zone=left;zone=right",
];

async fn rule_3_5_label_selectors_have_kubernetes_whole_grammar(api: impl Verbs<Gpu>) {
    for (name, labels) in [
        ("left", &[("zone", "left"), ("nvidia.com/gpu.product", "H100")][..]),
        ("right", &[("zone", "right"), ("nvidia.com/gpu.product", "A100")]),
        ("empty", &[("zone", "")]),
        ("bare", &[]),
    ] {
        let mut object = gpu(name);
        object.metadata.labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        create(&api, &object).await;
    }
    for (selector, expected) in LABELS {
        let list = api.list(&ListParams::default().labels(*selector)).await;
        let list = list.unwrap_or_else(|error| panic!("the label selector {selector:?}: {error}"));
        assert_eq!(names(&list.items), *expected, "the label selector {selector:?}");
    }
}

async fn rule_3_5_a_label_selector_that_does_not_parse_is_refused_with_the_position(api: impl Verbs<Gpu>) {
    for selector in BAD_LABELS.iter().copied().chain(["\0"]) {
        let outcome = api.list(&ListParams::default().labels(selector)).await;
        let error = refused(outcome, Reason::BadRequest, &format!("the label selector {selector:?}"));
        let message = error.to_string();
        assert!(
            message.contains(|c: char| c.is_ascii_digit()),
            "{selector:?}: the message has the position: {message}"
        );
    }
}

async fn rule_3_5_a_hostile_selector_is_refused_in_few_words(api: impl Verbs<Gpu>) {
    create(&api, &gpu("a")).await;
    for selector in [
        "(".repeat(10_000),
        "!".repeat(10_000),
        format!("zone in ({}", "a,".repeat(10_000)),
        "zone=a,".repeat(100_000),
        "[".repeat(10_000),
    ] {
        let start: String = selector.chars().take(20).collect();
        for params in [ListParams::default().labels(&selector), ListParams::default().fields(&selector)] {
            let error = api.list(&params).await.expect_err("no such selector is a good one");
            assert!(error.is_invalid() || error.is_too_large(), "{start}…: {error}");
            assert!(error.to_string().len() < 2_000, "{start}…: the message is bounded");
        }
    }
}

async fn rule_3_5_field_selectors_select_by_name_namespace_uuid_and_condition(api: impl Verbs<Gpu>) {
    create(&api, &with_conditions(&with_uuid(&gpu("a"), "GPU-A"), [ready("True"), hot("False")])).await;
    create(&api, &with_conditions(&with_uuid(&gpu("b"), ""), [ready("False")])).await;
    create(&api.namespaced("other"), &with_conditions(&gpu_in("other", "c"), [ready("Unknown")])).await;
    let table: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("", &["a", "b", "c"][..]),
        ("metadata.name=a", &["a"]),
        ("metadata.name==a", &["a"]),
        ("metadata.name!=a", &["b", "c"]),
        ("metadata.name=none", &[]),
        ("metadata.namespace=default", &["a", "b"]),
        ("metadata.namespace=other", &["c"]),
        ("metadata.namespace!=other,metadata.name!=a", &["b"]),
        ("spec.uuid=GPU-A", &["a"]),
        ("spec.uuid=", &["b"]),
        ("spec.uuid!=GPU-A", &["b", "c"]),
        ("status.conditions[Ready]=True", &["a"]),
        ("status.conditions[Ready]==False", &["b"]),
        ("status.conditions[Ready]=Unknown", &["c"]),
        ("status.conditions[Hot]=False", &["a"]),
        ("status.conditions[Ready]=True,status.conditions[Hot]=False", &["a"]),
        ("status.conditions[Ready]=False,status.conditions[Hot]=False", &[]),
        ("status.conditions[Ready]=True,metadata.name=b", &[]),
        ("status.conditions[nvidia.com/None]=True", &[]),
    ]);
    for (selector, expected) in table {
        let list = api.list(&ListParams::default().fields(selector)).await;
        let list = list.unwrap_or_else(|error| panic!("the field selector {selector:?}: {error}"));
        let mut found = names(&list.items);
        found.sort_unstable();
        assert_eq!(found, expected, "the field selector {selector:?}");
    }
}

async fn rule_3_5_a_field_selector_that_does_not_parse_is_refused(api: impl Verbs<Gpu>) {
    create(&api, &gpu("a")).await;
    for selector in [
        "metadata.name",
        "=a",
        "metadata.name in (a)",
        "!metadata.name",
        "metadata.uid=a",
        "metadata.labels=a",
        "spec=a",
        "spec.none=a",
        "status=a",
        "status.conditions=True",
        "status.conditions[]=True",
        "status.conditions[Ready=True",
        "status.conditions[Ready]",
        "status.conditions[two words]=True",
        "ä=a",
    ] {
        let outcome = api.list(&ListParams::default().fields(selector)).await;
        let error = refused(outcome, Reason::BadRequest, &format!("the field selector {selector:?}"));
        assert!(error.to_string().len() < 2_000, "the message is bounded");
    }
}

async fn rule_3_5_label_and_field_selectors_hold_together(api: impl Verbs<Gpu>) {
    for (name, zone) in [("a", "left"), ("b", "left"), ("c", "right")] {
        create(&api, &labelled(name, "zone", zone)).await;
    }
    let params = ListParams::default().labels("zone=left").fields("metadata.name!=a");
    assert_eq!(names(&api.list(&params).await.expect("a list").items), ["b"]);
}
