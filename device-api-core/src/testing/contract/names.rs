// SPDX-License-Identifier: Apache-2.0
//! Rules 2.1 and 2.2: names, namespaces, labels, annotations and the uuid.

use super::conditions::ready;
use super::{ContractCase, World, list};
use crate::error::Reason;
use crate::registry::{ListParams, PostParams, Verbs, WatchParams};
use crate::resource::{Gpu, ObjectMeta};
use crate::testing::expect::{Events, names, refused, refused_as_invalid, refused_field};
use crate::testing::given::{
    create, delete, get, gpu, gpu_in, merge, patch, replace, replace_status, with_conditions, with_label, with_uuid,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_1_names_are_dns_1123_subdomains,
        rule_2_1_namespaces_are_dns_1123_labels,
        rule_2_1_label_keys_and_values_have_kubernetes_formats,
        rule_2_1_label_keys_and_values_are_checked_in_updates_and_patches_too,
        rule_2_1_annotation_keys_have_kubernetes_format_and_values_are_free,
        rule_2_1_annotations_total_256_kib_at_most,
        rule_2_1_an_empty_namespace_means_default_and_comes_back_as_default,
        rule_2_1_a_namespaced_handle_names_objects_in_its_namespace_only,
        rule_2_1_one_name_in_two_namespaces_is_two_objects,
        rule_2_1_an_empty_namespace_in_a_list_means_all_namespaces,
        rule_2_1_an_empty_namespace_in_a_watch_means_all_namespaces,
        rule_2_1_a_name_is_kept_in_lower_case,
        rule_2_1_a_name_is_taken_without_regard_to_case_by_every_verb,
        rule_2_2_uuid_is_free_text_and_may_be_empty,
        rule_2_2_uuid_is_at_most_253_bytes,
    ]
}

async fn rule_2_1_names_are_dns_1123_subdomains(api: impl Verbs<Gpu>) {
    for name in ["a", "0", "a-b.c-d", "gpu-0a1b2c3d-0000-0000-0000-000000000000", &"a".repeat(253)] {
        assert_eq!(create(&api, &gpu(name)).await.metadata.name, name);
    }
    for name in ["", "-a", "a-", ".a", "a.", "a..b", "a_b", "a b", "a/b", "ä", "a\0", "a\n", &"a".repeat(254)] {
        let outcome = api.create(&PostParams::default(), &gpu(name)).await;
        refused_field(outcome, "metadata.name", &format!("create of {name:?}"));
    }
}

async fn rule_2_1_namespaces_are_dns_1123_labels(api: impl Verbs<Gpu>) {
    for namespace in ["a", "0", "a-b", &"a".repeat(63)] {
        let created = create(&api.namespaced(namespace), &gpu_in(namespace, "x")).await;
        assert_eq!(created.metadata.namespace, namespace);
    }
    for namespace in ["A", "-a", "a-", "a.b", "a_b", "a b", "a/b", "ä", &"a".repeat(64)] {
        let outcome = api.namespaced(namespace).create(&PostParams::default(), &gpu_in(namespace, "x")).await;
        refused_field(outcome, "metadata.namespace", &format!("create in {namespace:?}"));
    }
}

const GOOD_LABELS: &[(&str, &str)] =
    &[("a", ""), ("A_b.c-D", "NVIDIA-H100_80GB.HBM3"), ("nvidia.com/gpu.product", "x"), ("a", "0")];
const BAD_LABELS: &[(&str, &str)] = &[
    ("", "x"),
    ("/a", "x"),
    ("a/", "x"),
    ("a/b/c", "x"),
    ("A.com/b", "x"),
    ("-a", "x"),
    ("a b", "x"),
    ("a", "-x"),
    ("a", "x y"),
    ("a", "0000:01:00.0"),
    ("a", "ä"),
];

async fn rule_2_1_label_keys_and_values_have_kubernetes_formats(api: impl Verbs<Gpu>) {
    for (index, (key, value)) in GOOD_LABELS.iter().enumerate() {
        let object = with_label(&gpu(&format!("good-{index}")), key, value);
        assert_eq!(create(&api, &object).await.metadata.labels, object.metadata.labels);
    }
    let long = ("k".repeat(63), "v".repeat(63));
    create(&api, &with_label(&gpu("longest"), &long.0, &long.1)).await;
    let too_long = [("k".repeat(64), "v".to_owned()), ("k".to_owned(), "v".repeat(64))];
    let bad = BAD_LABELS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).chain(too_long);
    for (key, value) in bad {
        let outcome = api.create(&PostParams::default(), &with_label(&gpu("bad"), &key, &value)).await;
        refused_field(outcome, "metadata.labels", &format!("a label {key:?}={value:?}"));
    }
    assert_eq!(api.get_opt("bad").await, Ok(None), "a refused object is not stored");
}

async fn rule_2_1_label_keys_and_values_are_checked_in_updates_and_patches_too(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("x")).await;
    for (key, value) in BAD_LABELS {
        let what = format!("a label {key:?}={value:?}");
        let outcome = api.replace("x", &PostParams::default(), &with_label(&created, key, value)).await;
        refused_field(outcome, "metadata.labels", &what);
        let change = merge(serde_json::json!({"metadata": {"labels": {*key: value}}}));
        refused_field(api.patch("x", &PostParams::default(), &change).await, "metadata.labels", &what);
    }
    assert_eq!(get(&api, "x").await, created);
}

async fn rule_2_1_annotation_keys_have_kubernetes_format_and_values_are_free(api: impl Verbs<Gpu>) {
    let mut object = gpu("x");
    object.metadata = object.metadata.with_annotation("nvidia.com/note", "any text: ä, \n, {\"a\": 1}, \u{1F600}");
    assert_eq!(create(&api, &object).await.metadata.annotations, object.metadata.annotations);
    for key in ["", "/a", "a/", "a/b/c", "-a", "a b", &"k".repeat(64)] {
        let mut object = gpu("bad");
        object.metadata = object.metadata.with_annotation(key, "v");
        let outcome = api.create(&PostParams::default(), &object).await;
        refused_field(outcome, "metadata.annotations", &format!("an annotation {key:?}"));
    }
}

async fn rule_2_1_annotations_total_256_kib_at_most(api: impl Verbs<Gpu>) {
    let limit = 256 * 1024;
    let with = |name: &str, bytes: usize| {
        // Keys count too: two of one byte each.
        let (left, right) = ("l".repeat(bytes / 2 - 1), "r".repeat(bytes - bytes / 2 - 1));
        let metadata = ObjectMeta::named(name).with_annotation("a", left).with_annotation("b", right);
        Gpu { metadata, ..gpu(name) }
    };
    create(&api, &with("most", limit)).await;
    let outcome = api.create(&PostParams::default(), &with("more", limit + 1)).await;
    refused_field(outcome, "metadata.annotations", "annotations of a byte more than 256 KiB");
    let outcome = api.replace("most", &PostParams::default(), &with("most", limit + 1)).await;
    refused_field(outcome, "metadata.annotations", "an update to a byte more than 256 KiB");
}

async fn rule_2_1_an_empty_namespace_means_default_and_comes_back_as_default(api: impl Verbs<Gpu>) {
    let in_default = api.namespaced("default");
    let created = create(&api, &gpu("x")).await;
    assert_eq!(created.metadata.namespace, "default");
    assert_eq!(get(&api, "x").await, created);
    assert_eq!(get(&in_default, "x").await, created);
    let again = in_default.create(&PostParams::default(), &gpu_in("default", "x")).await;
    refused(again, Reason::AlreadyExists, "create in the namespace that the empty one stands for");
    assert_eq!(replace(&api, &with_uuid(&gpu("x"), "u")).await.metadata.namespace, "default");
    assert_eq!(replace_status(&api, &gpu("x")).await.metadata.namespace, "default");
    let patched = patch(&api, "x", merge(serde_json::json!({"metadata": {"labels": {"a": "b"}}}))).await;
    assert_eq!(patched.metadata.namespace, "default");
    delete(&in_default, "x").await;
    assert_eq!(api.get_opt("x").await, Ok(None));
}

async fn rule_2_1_a_namespaced_handle_names_objects_in_its_namespace_only(api: impl Verbs<Gpu>) {
    let team = api.namespaced("team");
    let created = create(&team, &gpu_in("team", "x")).await;
    assert_eq!(created.metadata.namespace, "team");
    assert_eq!(get(&team, "x").await, created);
    refused(api.get("x").await, Reason::NotFound, "get of the name in the default namespace");
    let filled_in = create(&team, &gpu("y")).await;
    assert_eq!(filled_in.metadata.namespace, "team", "a handle fills in its namespace where an object has none");
    let elsewhere = team.create(&PostParams::default(), &gpu_in("other", "z")).await;
    refused_as_invalid(elsewhere, "create of an object of another namespace than the handle's");
}

async fn rule_2_1_one_name_in_two_namespaces_is_two_objects(api: impl Verbs<Gpu>) {
    let (left, right) = (api.namespaced("left"), api.namespaced("right"));
    let in_left = create(&left, &gpu_in("left", "x")).await;
    let in_right = create(&right, &gpu_in("right", "x")).await;
    assert_ne!(in_left.metadata.uid, in_right.metadata.uid);
    replace(&left, &with_uuid(&in_left, "changed")).await;
    assert_eq!(get(&right, "x").await, in_right, "an update in one namespace leaves the other alone");
    delete(&left, "x").await;
    assert_eq!(get(&right, "x").await, in_right, "a delete in one namespace leaves the other alone");
}

async fn rule_2_1_an_empty_namespace_in_a_list_means_all_namespaces(api: impl Verbs<Gpu>) {
    for (namespace, name) in [("b", "y"), ("default", "z"), ("a", "x")] {
        create(&api.namespaced(namespace), &gpu_in(namespace, name)).await;
    }
    for (namespace, expected) in [("", &["x", "y", "z"][..]), ("b", &["y"]), ("default", &["z"]), ("none", &[])] {
        let list = api.namespaced(namespace).list(&ListParams::default()).await.expect("a list");
        assert_eq!(names(&list.items), expected, "the list of the namespace {namespace:?}");
    }
}

async fn rule_2_1_an_empty_namespace_in_a_watch_means_all_namespaces(api: impl Verbs<Gpu>) {
    let mut all = Events::of(&api, WatchParams::default()).await;
    let mut one = Events::of(&api.namespaced("b"), WatchParams::default()).await;
    for (namespace, name) in [("a", "x"), ("b", "y"), ("default", "z"), ("b", "last")] {
        create(&api.namespaced(namespace), &gpu_in(namespace, name)).await;
    }
    for name in ["x", "y", "z", "last"] {
        all.added::<Gpu>(name).await;
    }
    for name in ["y", "last"] {
        one.added::<Gpu>(name).await;
    }
}

async fn rule_2_1_a_name_is_kept_in_lower_case(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("GPU-0A1B")).await;
    assert_eq!(created.metadata.name, "gpu-0a1b");
    assert_eq!(created.spec.uuid, "GPU-0A1B", "the uuid is free text and stays as it is");
    let listed = api.list(&ListParams::default()).await.expect("a list");
    assert_eq!(names(&listed.items), ["gpu-0a1b"]);
}

async fn rule_2_1_a_name_is_taken_without_regard_to_case_by_every_verb(api: impl Verbs<Gpu>) {
    let created = create(&api, &gpu("gpu-0a1b")).await;
    let post = PostParams::default();
    refused(api.create(&post, &gpu("GPU-0a1b")).await, Reason::AlreadyExists, "create in another case");
    assert_eq!(get(&api, "GPU-0A1B").await, created);
    let mut object = with_uuid(&created, "changed");
    object.metadata.name = "GPU-0a1b".to_owned();
    let replaced = api.replace("gpu-0A1B", &post, &object).await.expect("an update in another case");
    assert_eq!((replaced.metadata.name.as_str(), replaced.spec.uuid.as_str()), ("gpu-0a1b", "changed"));
    let object = with_conditions(&object, [ready("True")]);
    let replaced = api.replace_status("GPU-0A1B", &post, &object).await.expect("a status update in another case");
    assert_eq!(replaced.status.conditions.len(), 1);
    let change = merge(serde_json::json!({"metadata": {"name": "GPU-0A1B", "labels": {"a": "b"}}}));
    assert_eq!(patch(&api, "GPU-0A1B", change).await.metadata.labels["a"], "b");
    delete(&api, "GPU-0A1B").await;
    refused(api.get("gpu-0a1b").await, Reason::NotFound, "get after the delete in another case");
}

async fn rule_2_2_uuid_is_free_text_and_may_be_empty(api: impl Verbs<Gpu>) {
    for (index, uuid) in ["", "GPU-0a1b", "MIG-1", "any text: ä, \u{1F600}, /, \"", " "].iter().enumerate() {
        let object = with_uuid(&gpu(&format!("x{index}")), uuid);
        assert_eq!(create(&api, &object).await.spec.uuid, *uuid);
    }
}

async fn rule_2_2_uuid_is_at_most_253_bytes(api: impl Verbs<Gpu>) {
    create(&api, &with_uuid(&gpu("most"), &"u".repeat(253))).await;
    let outcome = api.create(&PostParams::default(), &with_uuid(&gpu("more"), &"u".repeat(254))).await;
    refused_field(outcome, "spec.uuid", "a uuid of 254 bytes");
    let bytes_count = api.create(&PostParams::default(), &with_uuid(&gpu("umlauts"), &"ä".repeat(127))).await;
    refused_field(bytes_count, "spec.uuid", "a uuid of 127 characters in 254 bytes");
}
