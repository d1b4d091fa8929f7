// SPDX-License-Identifier: Apache-2.0
//! Rule 3.4: lists, and pages of them.

use super::{ContractCase, World, list};
use crate::registry::{List, ListParams, Verbs, VersionMatch};
use crate::resource::{Gpu, ObjectMeta};
use crate::testing::expect::{names, refused_as_invalid};
use crate::testing::given::{create, delete, gpu, gpu_in, labelled, latest, number, replace, with_uuid};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_3_4_an_empty_list_has_the_latest_version,
        rule_3_4_a_list_is_sorted_by_namespace_then_name,
        rule_3_4_a_list_has_the_version_of_its_snapshot,
        rule_3_4_a_list_is_one_consistent_snapshot,
        rule_3_4_pages_show_each_object_once_in_order,
        rule_3_4_every_page_is_of_the_first_page_s_version,
        rule_3_4_pages_of_an_exact_list_are_of_that_version,
        rule_3_4_pages_work_with_selectors_and_namespaces,
        rule_3_4_a_page_says_how_many_items_remain,
        rule_3_4_a_page_ends_where_it_would_be_too_large_for_most_clients,
        rule_3_4_a_list_of_all_pages_is_the_whole_list,
        rule_3_4_a_token_that_was_tampered_with_is_invalid,
        rule_3_4_a_token_is_good_for_its_own_list_only,
    ]
}

async fn list_with(api: &impl Verbs<Gpu>, params: &ListParams) -> List<Gpu> {
    api.list(params).await.unwrap_or_else(|error| panic!("the list {params:?}: {error}"))
}

/// All pages of a list.
async fn pages(api: &impl Verbs<Gpu>, params: ListParams) -> Vec<List<Gpu>> {
    let mut pages = vec![list_with(api, &params).await];
    while let Some(token) = pages.last().map(|page| page.metadata.continue_token.clone()).filter(|t| !t.is_empty()) {
        // Only the first page of a list names a version: the token has it.
        let mut next = params.clone().continue_token(token);
        next.resource_version.clear();
        next.version_match = None;
        pages.push(list_with(api, &next).await);
        assert!(pages.len() < 1_000, "paging must end");
    }
    pages
}

async fn five(api: &impl Verbs<Gpu>) {
    for name in ["d", "b", "e", "a", "c"] {
        create(api, &labelled(name, "odd", if "ace".contains(name) { "yes" } else { "no" })).await;
    }
}

async fn rule_3_4_an_empty_list_has_the_latest_version(api: impl Verbs<Gpu>) {
    let list = list_with(&api, &ListParams::default()).await;
    assert!(list.items.is_empty());
    assert_eq!(list.metadata.continue_token, "");
    let created = create(&api, &gpu("x")).await;
    let expected = number(&created.metadata.resource_version) - 1;
    assert_eq!(number(&list.metadata.resource_version), expected, "a watch can start from an empty list");
    delete(&api, "x").await;
    let list = list_with(&api, &ListParams::default()).await;
    assert_eq!(number(&list.metadata.resource_version), expected + 2, "a delete counts");
}

async fn rule_3_4_a_list_is_sorted_by_namespace_then_name(api: impl Verbs<Gpu>) {
    for (namespace, name) in [("b", "a"), ("a", "b"), ("a-a", "a"), ("a", "a-b"), ("a", "a"), ("a", "a.b"), ("a", "10")]
    {
        create(&api.namespaced(namespace), &gpu_in(namespace, name)).await;
    }
    let list = list_with(&api, &ListParams::default()).await;
    let found: Vec<_> = list.items.iter().map(|x| (x.metadata.namespace.as_str(), x.metadata.name.as_str())).collect();
    let expected = [("a", "10"), ("a", "a"), ("a", "a-b"), ("a", "a.b"), ("a", "b"), ("a-a", "a"), ("b", "a")];
    assert_eq!(found, expected, "byte order, as in Kubernetes");
}

async fn rule_3_4_a_list_has_the_version_of_its_snapshot(api: impl Verbs<Gpu>) {
    five(&api).await;
    let at = latest(&api).await;
    let narrow = list_with(&api, &ListParams::default().fields("metadata.name=a")).await;
    assert_eq!(number(&narrow.metadata.resource_version), at, "not that of the newest object in it");
}

async fn rule_3_4_a_list_is_one_consistent_snapshot(api: impl Verbs<Gpu>) {
    // A writer changes x, then y, always to the same number, so in any snapshot y lags by one at most.
    let (writer, other) = (api.clone(), "y");
    create(&api, &with_uuid(&gpu("x"), "0")).await;
    create(&api, &with_uuid(&gpu(other), "0")).await;
    let writing = tokio::spawn(async move {
        for round in 1..=100 {
            for name in ["x", other] {
                replace(&writer, &with_uuid(&gpu(name), &round.to_string())).await;
            }
        }
    });
    while !writing.is_finished() {
        let list = list_with(&api, &ListParams::default()).await;
        let round = |index: usize| list.items[index].spec.uuid.parse::<i64>().expect("the writer writes numbers");
        assert!((0..=1).contains(&(round(0) - round(1))), "x and y are of one moment: {list:?}");
        let newest = list.items.iter().map(|x| number(&x.metadata.resource_version)).max();
        assert_eq!(newest, Some(number(&list.metadata.resource_version)), "every write changes one of the two");
        tokio::task::yield_now().await;
    }
    writing.await.expect("the writer does not fail");
}

async fn rule_3_4_pages_show_each_object_once_in_order(api: impl Verbs<Gpu>) {
    five(&api).await;
    for limit in 1..=6 {
        let pages = pages(&api, ListParams::default().limit(limit)).await;
        let found: Vec<_> = pages.iter().flat_map(|page| names(&page.items)).collect();
        assert_eq!(found, ["a", "b", "c", "d", "e"], "in pages of {limit}");
        assert_eq!(pages.len(), 5_usize.div_ceil(limit as usize), "no page is empty, in pages of {limit}");
        assert!(pages.iter().all(|page| page.items.len() <= limit as usize), "a limit of {limit} is kept");
    }
}

async fn rule_3_4_every_page_is_of_the_first_page_s_version(api: impl Verbs<Gpu>) {
    five(&api).await;
    let whole = list_with(&api, &ListParams::default()).await;
    let mut page = list_with(&api, &ListParams::default().limit(2)).await;
    let mut found = page.items.clone();
    // Between two pages everything changes.
    for (round, name) in ["c", "e"].iter().enumerate() {
        delete(&api, name).await;
        create(&api, &gpu(&format!("b-{round}"))).await;
        replace(&api, &with_uuid(&gpu("d"), &format!("changed-{round}"))).await;
        let next = ListParams::default().limit(2).continue_token(&page.metadata.continue_token);
        page = list_with(&api, &next).await;
        assert_eq!(page.metadata.resource_version, whole.metadata.resource_version);
        found.extend(page.items.iter().cloned());
    }
    assert_eq!(page.metadata.continue_token, "", "this was the last page");
    assert_eq!(found, whole.items);
}

async fn rule_3_4_pages_of_an_exact_list_are_of_that_version(api: impl Verbs<Gpu>) {
    five(&api).await;
    let whole = list_with(&api, &ListParams::default()).await;
    for name in ["a", "c", "e"] {
        delete(&api, name).await;
    }
    let params = ListParams::default().at(&whole.metadata.resource_version).matching(VersionMatch::Exact).limit(2);
    let pages = pages(&api, params).await;
    assert_eq!(pages.len(), 3);
    for page in &pages {
        assert_eq!(page.metadata.resource_version, whole.metadata.resource_version);
    }
    let found: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
    assert_eq!(found, whole.items);
}

async fn rule_3_4_pages_work_with_selectors_and_namespaces(api: impl Verbs<Gpu>) {
    five(&api).await;
    for name in ["a", "z"] {
        let object = Gpu {
            metadata: ObjectMeta { namespace: "other".into(), ..labelled(name, "odd", "yes").metadata },
            ..gpu(name)
        };
        create(&api.namespaced("other"), &object).await;
    }
    let pages_of = |api, params| async move {
        let pages = pages(&api, params).await;
        pages.iter().flat_map(|page| names(&page.items)).map(str::to_owned).collect::<Vec<_>>()
    };
    let odd = ListParams::default().labels("odd=yes").limit(2);
    assert_eq!(pages_of(api.clone(), odd.clone()).await, ["a", "c", "e", "a", "z"]);
    assert_eq!(pages_of(api.namespaced("default"), odd.clone()).await, ["a", "c", "e"]);
    assert_eq!(pages_of(api.namespaced("other"), odd.limit(1)).await, ["a", "z"]);
    let fields = ListParams::default().fields("metadata.namespace=default,metadata.name!=c").limit(3);
    assert_eq!(pages_of(api, fields).await, ["a", "b", "d", "e"]);
}

async fn rule_3_4_a_page_says_how_many_items_remain(api: impl Verbs<Gpu>) {
    five(&api).await;
    let pages = pages(&api, ListParams::default().limit(2)).await;
    let remaining: Vec<_> = pages.iter().map(|page| page.metadata.remaining_item_count.unwrap_or(0)).collect();
    assert_eq!(remaining, [3, 1, 0]);
    let page = list_with(&api, &ListParams::default().labels("odd=yes").limit(1)).await;
    assert_eq!(page.metadata.remaining_item_count, None, "unknown with a selector, as in Kubernetes");
}

/// Objects of a quarter of a mebibyte each.
async fn large(api: &impl Verbs<Gpu>, number: usize) {
    for index in 0..number {
        let mut object = gpu(&format!("x-{index:02}"));
        object.metadata.annotations.insert("note".to_owned(), "n".repeat(250 << 10));
        create(api, &object).await;
    }
}

async fn rule_3_4_a_page_ends_where_it_would_be_too_large_for_most_clients(api: impl Verbs<Gpu>) {
    large(&api, 15).await;
    create(&api, &gpu("y")).await;
    let whole = list_with(&api, &ListParams::default()).await;
    assert_eq!(whole.items.len(), 16, "without a limit it is one list");
    delete(&api, "x-07").await;
    let at = ListParams::default().at(&whole.metadata.resource_version).matching(VersionMatch::Exact);
    for params in [at.clone().limit(500), at.clone().limit(u64::MAX), at.limit(5)] {
        let pages = pages(&api, params.clone()).await;
        for page in &pages {
            assert_eq!(page.metadata.resource_version, whole.metadata.resource_version, "{params:?}");
            let bytes: usize = page.items.iter().map(|object| serde_json::to_vec(&**object).expect("JSON").len()).sum();
            assert!(bytes <= 3 << 20 && page.items.len() as u64 <= params.limit, "{params:?}: {bytes} bytes");
        }
        let lengths: Vec<_> = pages.iter().map(|page| page.items.len()).collect();
        let remaining: Vec<_> = pages.iter().filter_map(|page| page.metadata.remaining_item_count).collect();
        if params.limit == 5 {
            assert_eq!((lengths, remaining), (vec![5, 5, 5, 1], vec![11, 6, 1]));
        } else {
            assert_eq!((lengths, remaining), (vec![12, 4], vec![4]), "as many as fit");
        }
        let found: Vec<_> = pages.into_iter().flat_map(|page| page.items).collect();
        assert_eq!(found, whole.items, "{params:?}");
    }
}

async fn rule_3_4_a_list_of_all_pages_is_the_whole_list(api: impl Verbs<Gpu>) {
    five(&api).await;
    large(&api, 14).await;
    let whole = list_with(&api, &ListParams::default()).await;
    for params in [ListParams::default(), ListParams::default().limit(2)] {
        assert_eq!(api.list_all(&params).await, Ok(whole.clone()), "{params:?}");
    }
    let odd = ListParams::default().labels("odd=yes");
    assert_eq!(api.list_all(&odd.clone().limit(1)).await, Ok(list_with(&api, &odd).await));
    delete(&api, "x-00").await;
    let before = ListParams::default().at(&whole.metadata.resource_version).matching(VersionMatch::Exact);
    assert_eq!(api.list_all(&before).await, Ok(whole));
}

async fn rule_3_4_a_token_that_was_tampered_with_is_invalid(api: impl Verbs<Gpu>) {
    five(&api).await;
    let params = ListParams::default().limit(2);
    let token = list_with(&api, &params).await.metadata.continue_token;
    assert!(token.is_ascii() && !token.is_empty());
    let mut forged: Vec<String> = Vec::new();
    for index in 0..token.len() {
        for flip in [1, 2, 4, 8, 16, 32] {
            let mut bytes = token.clone().into_bytes();
            bytes[index] ^= flip;
            forged.extend(String::from_utf8(bytes));
        }
        forged.push(token[..index].to_owned());
        forged.push(format!("{}{}", &token[..index], &token[index + 1..]));
    }
    forged.retain(|forged| !forged.is_empty());
    forged.extend([format!("{token}{token}"), format!("{token}A"), format!("{token}="), format!(" {token}")]);
    forged.extend(["x", "AAAA", "e30=", "eyJ2IjoxfQ==", "ä", "\n"].map(str::to_owned));
    forged.push("A".repeat(100_000));
    for forged in forged {
        let shown: String = forged.chars().take(200).collect();
        let outcome = api.list(&params.clone().continue_token(&forged)).await;
        refused_as_invalid(outcome, &format!("the token {shown:?}, made of {token:?}"));
    }
    list_with(&api, &params.continue_token(&token)).await;
}

async fn rule_3_4_a_token_is_good_for_its_own_list_only(api: impl Verbs<Gpu>) {
    five(&api).await;
    let params = ListParams::default().labels("odd in (yes, no)").limit(2);
    let token = list_with(&api, &params).await.metadata.continue_token;
    let with = |params: ListParams| params.limit(2).continue_token(&token);
    for (what, other) in [
        ("another label selector", with(ListParams::default().labels("odd=yes"))),
        ("no label selector", with(ListParams::default())),
        ("a field selector too", with(params.clone().fields("metadata.name!=x"))),
    ] {
        refused_as_invalid(api.list(&other).await, &format!("a token with {what}"));
    }
    refused_as_invalid(api.namespaced("other").list(&with(params.clone())).await, "a token in another namespace");
    let page = list_with(&api, &params.limit(10).continue_token(&token)).await;
    assert_eq!(names(&page.items), ["c", "d", "e"], "the limit may change from page to page");
}
