// SPDX-License-Identifier: Apache-2.0
//! Rules 2.4 and 2.1 with two resource types on one ledger, limits, and bugs in a strategy.

use std::sync::Arc;

use super::{Fixture, LocalCase, Nic, NicSpec, Running, list};
use crate::error::Reason;
use crate::registry::{DeleteParams, GetParams, Limits, ListParams, PostParams, VersionMatch, WatchParams};
use crate::resource::Gpu;
use crate::testing::contract::ready;
use crate::testing::expect::{Events, names, refused, within};
use crate::testing::given::{
    create, delete, gpu, latest, number, replace, replace_status, version, with_conditions, with_uuid,
};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_2_4_one_write_is_one_version_across_resource_types,
        rule_2_4_types_share_versions_but_neither_objects_nor_events,
        rule_2_4_versions_of_one_type_are_versions_of_the_other,
        rule_5_internal_is_for_a_bug_which_fails_one_write_only,
        rule_5_resource_exhausted_is_for_objects_over_their_number,
        rule_5_resource_exhausted_is_for_objects_over_their_bytes_together,
    ]
}

async fn create_nic(running: &Running, name: &str) -> Arc<Nic> {
    running.nics.create(&PostParams::default(), &Nic::new(name, "a")).await.expect("a nic")
}

async fn rule_2_4_one_write_is_one_version_across_resource_types(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let mut written = Vec::new();
    for round in 0..5 {
        written.push(version(&*create(&running.gpus, &gpu(&format!("g{round}"))).await));
        written.push(version(&*create_nic(&running, &format!("n{round}")).await));
    }
    running.nics.delete("n0", &DeleteParams::default()).await.expect("a delete");
    written.push(latest(&running.gpus).await);
    assert_eq!(written, (start + 1..=start + 11).collect::<Vec<_>>());

    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (gpus, nics) = (running.gpus.clone(), running.nics.clone());
            tokio::spawn(async move {
                let mut own = Vec::new();
                for write in 0..10 {
                    let name = format!("w{writer}-{write}");
                    own.push(version(&*create(&gpus, &gpu(&name)).await));
                    let nic = nics.create(&PostParams::default(), &Nic::new(&name, "a")).await.expect("a nic");
                    own.push(version(&*nic));
                }
                own
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.extend(writer.await.expect("a writer does not fail"));
    }
    versions.sort_unstable();
    assert_eq!(versions, (start + 12..=start + 171).collect::<Vec<_>>());
    running.stop().await;
}

async fn rule_2_4_types_share_versions_but_neither_objects_nor_events(fixture: Fixture) {
    let running = fixture.start().await;
    let mut gpus = Events::of(&running.gpus, WatchParams::default()).await;
    let mut nics = Events::of(&running.nics, WatchParams::default()).await;
    create(&running.gpus, &gpu("same")).await;
    create_nic(&running, "same").await;
    create_nic(&running, "only-nic").await;
    create(&running.gpus, &gpu("only-gpu")).await;
    for name in ["same", "only-gpu"] {
        gpus.added::<Gpu>(name).await;
    }
    for name in ["same", "only-nic"] {
        nics.added::<Nic>(name).await;
    }
    delete(&running.gpus, "same").await;
    running.nics.get("same").await.expect("a delete of a type's object leaves another type's alone");
    running.stop().await;

    let running = fixture.start().await;
    let list = running.nics.list(&ListParams::default()).await.expect("a list");
    assert_eq!(names(&list.items), ["only-nic", "same"]);
    let list = running.gpus.list(&ListParams::default()).await.expect("a list");
    assert_eq!(names(&list.items), ["only-gpu"]);
    running.stop().await;
}

async fn rule_2_4_versions_of_one_type_are_versions_of_the_other(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let nic = create_nic(&running, "n").await;
    let at = &nic.metadata.resource_version;
    assert_eq!(latest(&running.gpus).await, number(at), "a list has the version of the whole store");
    assert_eq!(running.gpus.get_with("x", &GetParams::default().at(at)).await, Ok(x.clone()));
    let mut events = Events::of(&running.gpus, WatchParams::default().at(at)).await;
    let changed = replace(&running.gpus, &with_uuid(&x, "changed")).await;
    assert_eq!(events.modified::<Gpu>("x").await, changed);
    let exact = ListParams::default().at(at).matching(VersionMatch::Exact);
    assert_eq!(running.gpus.list(&exact).await.expect("an exact list").items, [x]);

    let next = (version(&*changed) + 1).to_string();
    let params = GetParams::default().at(&next);
    let (read, _) = tokio::join!(running.gpus.get_with("x", &params), create_nic(&running, "m"));
    assert_eq!(read, Ok(changed), "a read that waits for a version is woken by another type's write");
    running.stop().await;
}

async fn rule_5_internal_is_for_a_bug_which_fails_one_write_only(fixture: Fixture) {
    let running = fixture.start().await;
    let start = latest(&running.gpus).await;
    let mut events = Events::of(&running.nics, WatchParams::default()).await;
    // Bad writes and good ones are queued together, so that a batch has both.
    let writers: Vec<_> = (0..40)
        .map(|writer| {
            let nics = running.nics.clone();
            let address = if writer % 2 == 0 { NicSpec::PANIC } else { "a" };
            tokio::spawn(async move {
                let name = format!("n{writer}");
                (address, nics.create(&PostParams::default(), &Nic::new(&name, address)).await)
            })
        })
        .collect();
    let mut good = 0;
    for writer in writers {
        let (address, outcome) = within("a write beside one that panics", writer).await.expect("no panic gets out");
        if address == NicSpec::PANIC {
            let error = refused(outcome, Reason::InternalError, "a write whose strategy panics");
            assert!(!error.to_string().contains("hunter2"), "nothing secret in the message: {error}");
        } else {
            outcome.expect("a good write beside a bad one");
            good += 1;
        }
    }
    assert_eq!(latest(&running.gpus).await, start + good, "a write that panicked uses no version");
    for expected in start + 1..=start + good {
        assert_eq!(number(events.event::<Nic>("a good write").await.resource_version()), expected);
    }
    create(&running.gpus, &gpu("x")).await;
    running.stop().await;
}

async fn rule_5_resource_exhausted_is_for_objects_over_their_number(mut fixture: Fixture) {
    fixture.options = fixture.options.with_limits(Limits::default().with_max_objects(3));
    let running = fixture.start().await;
    create(&running.gpus, &gpu("x")).await;
    create(&running.gpus, &gpu("y")).await;
    create_nic(&running, "n").await;
    let outcome = running.gpus.create(&PostParams::default(), &gpu("z")).await;
    let error = refused(outcome, Reason::RequestEntityTooLarge, "one object too many");
    assert!(error.is_too_large(), "{error}");
    replace(&running.gpus, &with_uuid(&gpu("x"), "changed")).await;
    delete(&running.gpus, "y").await;
    create(&running.gpus, &gpu("z")).await;
    running.stop().await;
    let running = fixture.start().await;
    let outcome = running.gpus.create(&PostParams::default(), &gpu("y")).await;
    refused(outcome, Reason::RequestEntityTooLarge, "one object too many after a restart");
    running.stop().await;
}

async fn rule_5_resource_exhausted_is_for_objects_over_their_bytes_together(mut fixture: Fixture) {
    fixture.options = fixture.options.with_limits(Limits::default().with_max_total_bytes(100 * 1024));
    let running = fixture.start().await;
    let large = |name: &str| with_conditions(&gpu(name), [ready("True").with_message("m".repeat(30 * 1024))]);
    for name in ["a", "b", "c"] {
        create(&running.gpus, &large(name)).await;
    }
    let post = PostParams::default();
    let outcome = running.gpus.create(&post, &large("d")).await;
    refused(outcome, Reason::RequestEntityTooLarge, "an object too many");
    create(&running.gpus, &gpu("d")).await;
    let outcome = running.gpus.replace_status("d", &post, &large("d")).await;
    refused(outcome, Reason::RequestEntityTooLarge, "an object that grows too much");
    replace_status(&running.gpus, &with_conditions(&gpu("a"), [ready("True")])).await;
    replace_status(&running.gpus, &large("d")).await;
    running.stop().await;
}
