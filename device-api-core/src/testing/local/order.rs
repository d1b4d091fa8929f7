// SPDX-License-Identifier: Apache-2.0
//! The order in which a write becomes known: published, then announced, then answered. Answering
//! first makes a watch from the returned version fail; announcing first lets a list claim a version
//! that it does not contain.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Fixture, LocalCase, list};
use crate::registry::{GetParams, List, ListParams, VersionMatch, WatchEvent, WatchParams};
use crate::resource::Gpu;
use crate::testing::expect::Events;
use crate::testing::given::{create, delete, get, gpu, latest, number, replace, version, with_uuid};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_4_2_a_watch_from_a_version_that_was_just_returned_never_fails,
        rule_3_2_a_read_at_a_version_that_was_just_returned_need_not_wait,
        rule_3_4_a_list_never_claims_a_version_that_it_does_not_contain,
        rule_4_1_a_write_whose_writer_hung_up_happens_or_not_but_is_never_half_known,
    ]
}

async fn rule_4_2_a_watch_from_a_version_that_was_just_returned_never_fails(fixture: Fixture) {
    let running = fixture.start().await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let gpus = running.gpus.clone();
            tokio::spawn(async move {
                let mut own = create(&gpus, &gpu(&format!("x-{writer}"))).await;
                for round in 0..40 {
                    own = replace(&gpus, &with_uuid(&own, &round.to_string())).await;
                    let params = WatchParams::default().at(&own.metadata.resource_version);
                    let mut events = Events::of(&gpus, params).await;
                    own = replace(&gpus, &with_uuid(&own, &format!("{round} again"))).await;
                    loop {
                        let event = events.event::<Gpu>("the write after the watch's start").await;
                        if event.object() == Some(&own) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no watch from a returned version fails");
    }
    running.stop().await;
}

async fn rule_3_2_a_read_at_a_version_that_was_just_returned_need_not_wait(mut fixture: Fixture) {
    // A read that waits at all fails.
    fixture.options = fixture.options.with_version_wait(std::time::Duration::ZERO);
    let running = fixture.start().await;
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let gpus = running.gpus.clone();
            tokio::spawn(async move {
                let name = format!("x-{writer}");
                let mut own = create(&gpus, &gpu(&name)).await;
                for round in 0..50 {
                    own = replace(&gpus, &with_uuid(&own, &round.to_string())).await;
                    let at = &own.metadata.resource_version;
                    assert_eq!(gpus.get_with(&name, &GetParams::default().at(at)).await, Ok(own.clone()));
                    let list = gpus.list(&ListParams::default().at(at)).await.expect("a list at the version");
                    assert!(list.items.contains(&own));
                    let exact = ListParams::default().at(at).matching(VersionMatch::Exact);
                    let list = gpus.list(&exact).await.expect("an exact list at the version");
                    assert!(list.items.contains(&own));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no read at a returned version fails");
    }
    running.stop().await;
}

async fn rule_3_4_a_list_never_claims_a_version_that_it_does_not_contain(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let gpus = running.gpus.clone();
            tokio::spawn(async move {
                let name = format!("x-{writer}");
                for round in 0..30 {
                    create(&gpus, &with_uuid(&gpu(&name), &format!("{round}"))).await;
                    replace(&gpus, &with_uuid(&gpu(&name), &format!("{round} again"))).await;
                    delete(&gpus, &name).await;
                }
            })
        })
        .collect();
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let gpus = running.gpus.clone();
            tokio::spawn(async move {
                let mut lists: Vec<List<Gpu>> = Vec::new();
                while lists.last().is_none_or(|list| number(&list.metadata.resource_version) < start + 360) {
                    lists.push(gpus.list(&ListParams::default()).await.expect("a list"));
                    tokio::task::yield_now().await;
                }
                lists
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("a writer does not fail");
    }
    let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    let mut state: BTreeMap<String, Arc<Gpu>> = BTreeMap::new();
    let mut states = vec![Vec::new()];
    for _ in 0..360 {
        let event = events.event::<Gpu>("an event of each write").await;
        let object = Arc::clone(event.object().expect("no bookmark was asked for"));
        match event {
            WatchEvent::Deleted(_) => state.remove(&object.metadata.name),
            _ => state.insert(object.metadata.name.clone(), object),
        };
        states.push(state.values().cloned().collect::<Vec<_>>());
    }
    for reader in readers {
        let mut last = 0;
        for list in reader.await.expect("a reader does not fail") {
            let at = number(&list.metadata.resource_version);
            assert!(at >= last, "a reader never goes back");
            last = at;
            assert_eq!(list.items, states[(at - start) as usize], "a list at {at} is the state of {at}");
        }
    }
    running.stop().await;
}

async fn rule_4_1_a_write_whose_writer_hung_up_happens_or_not_but_is_never_half_known(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let mut writers = Vec::new();
    for writer in 0..100 {
        let gpus = running.gpus.clone();
        writers.push(tokio::spawn(async move { create(&gpus, &gpu(&format!("x-{writer}"))).await }));
        if writer % 3 == 0 {
            tokio::task::yield_now().await;
        }
        if writer % 2 == 0 {
            writers[writer].abort();
        }
    }
    for writer in writers {
        // An aborted writer may have been heard.
        let _ = writer.await;
    }
    let last = create(&running.gpus, &gpu("last")).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    for expected in start + 1..=version(&*last) {
        let event = events.event::<Gpu>("an event of each write that happened").await;
        assert_eq!(number(event.resource_version()), expected);
        let object = event.object().expect("no bookmark was asked for");
        assert_eq!(get(&running.gpus, &object.metadata.name).await, *object);
    }
    running.stop().await;
}
