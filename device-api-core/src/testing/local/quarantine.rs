// SPDX-License-Identifier: Apache-2.0
//! Rule 3.6: what a store cannot read is not there, and is kept for people.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Fixture, LocalCase, Nic, Running, list};
use crate::error::Reason;
use crate::lease::{DEFAULT_DURATION, Leases, PROVIDER_LOST};
use crate::registry::{LedgerState, ListParams, PostParams, VersionMatch, WatchParams};
use crate::resource::{Condition, ConditionStatus, Gpu, Timestamp};
use crate::storage::{
    Change, Claims, Quarantine, Quarantined, Record, RecordKey, Revision, Snapshot, Storage, StorageError,
    StorageErrorKind, Unreadable,
};
use crate::testing::expect::{Events, names, refused, watch_refusal, within};
use crate::testing::given::{create, get, gpu, latest, replace, replace_status, version, with_conditions, with_uuid};
use crate::testing::leases::{acquire, asks};
use crate::testing::{Call, Fault, FaultyStorage};

pub(super) fn cases() -> Vec<LocalCase> {
    list![
        rule_3_6_an_object_whose_newest_state_cannot_be_read_is_not_there,
        rule_3_6_history_in_which_something_cannot_be_read_is_expired,
        rule_3_6_what_does_not_fit_its_type_is_not_there_and_the_rest_is_served,
        rule_3_6_a_store_without_room_for_quarantine_is_read_and_not_written,
        rule_3_6_after_an_unreadable_lease_nobody_is_believed_for_ever,
        rule_3_6_after_lost_writes_nobody_is_believed_for_ever,
        rule_3_6_what_an_unclear_commit_left_unreadable_ends_the_ledger,
        rule_3_6_what_becomes_unreadable_while_it_is_served_is_served_from_memory,
    ]
}

/// A store that cannot read some of its records any more, or has lost the last ones.
#[derive(Debug)]
struct Damaged {
    inner: Box<dyn Storage>,
    revisions: Vec<Revision>,
    lost: bool,
}

#[async_trait::async_trait]
impl Storage for Damaged {
    async fn load(&mut self) -> Result<Snapshot, StorageError> {
        let mut snapshot = self.inner.load().await?;
        let (damaged, sound) =
            snapshot.records.into_iter().partition(|record| self.revisions.contains(&record.revision));
        let unreadable = |record: Record| Unreadable {
            revision: record.revision,
            why: "damaged on purpose".to_owned(),
            claims: Some(Claims { previous: record.previous, resource: record.resource, key: record.key }),
        };
        snapshot.records = sound;
        if self.lost {
            (snapshot.lost, snapshot.reserved) = (true, snapshot.reserved.next());
        }
        snapshot.unreadable = Vec::<Record>::into_iter(damaged).map(unreadable).collect();
        Ok(snapshot)
    }

    async fn commit(&mut self, records: &[Record]) -> Result<(), StorageError> {
        self.inner.commit(records).await
    }

    async fn compact(&mut self, through: Revision) -> Result<(), StorageError> {
        self.inner.compact(through).await
    }

    async fn quarantine(&mut self, quarantine: &Quarantine) -> Result<(), StorageError> {
        self.inner.quarantine(quarantine).await
    }

    async fn quarantined(&mut self) -> Result<Vec<Quarantined>, StorageError> {
        self.inner.quarantined().await
    }

    async fn discard(&mut self, revisions: &[Revision]) -> Result<usize, StorageError> {
        self.inner.discard(revisions).await
    }

    async fn check(&mut self) -> Result<(), StorageError> {
        self.inner.check().await
    }

    async fn close(self: Box<Self>) -> Result<(), StorageError> {
        self.inner.close().await
    }
}

/// Opens the store, of which the records of these revisions cannot be read.
async fn start_damaged(fixture: &Fixture, revisions: &[u64]) -> Running {
    start_without(fixture, revisions, false).await
}

async fn start_without(fixture: &Fixture, revisions: &[u64], lost: bool) -> Running {
    let revisions = revisions.iter().copied().map(Revision).collect();
    // The task of a ledger that failed may be about to let the store go.
    let storage = within("the store to be free", async {
        loop {
            match fixture.try_storage().await {
                Err(error) if error.kind() == StorageErrorKind::Locked => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                opened => break opened.expect("the store opens"),
            }
        }
    });
    let damaged = Damaged { inner: storage.await, revisions, lost };
    fixture.start_on(Box::new(FaultyStorage::new(Box::new(damaged), &fixture.faults))).await
}

/// The version of the next life's first write: it comes after the last one, or after a jump where the store may have lost something.
async fn next_version(fixture: &Fixture) -> u64 {
    let mut storage = fixture.storage().await;
    let found = storage.load().await.expect("what is stored");
    storage.close().await.expect("the store closes");
    if found.reserved > found.last { found.reserved.0 + 2 } else { found.last.0 + 1 }
}

fn quarantined(running: &Running) -> BTreeMap<String, usize> {
    running.ledger.quarantined().borrow().clone()
}

fn counts<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.map(|(resource, count)| (resource.to_owned(), count)).into()
}

async fn rule_3_6_an_object_whose_newest_state_cannot_be_read_is_not_there(fixture: Fixture) {
    let running = fixture.start().await;
    let healthy = create(&running.gpus, &gpu("x")).await;
    create(&running.gpus, &gpu("y")).await;
    let sick = replace(&running.gpus, &with_uuid(&healthy, "sick")).await;
    let z = create(&running.gpus, &gpu("z")).await;
    assert_eq!(quarantined(&running), counts([]));
    running.stop().await;

    let running = start_damaged(&fixture, &[version(&*sick)]).await;
    let found = running.gpus.list(&ListParams::default()).await.expect("a list");
    assert_eq!(names(&found.items), ["y", "z"], "the older state of x may look like health");
    let now = latest(&running.gpus).await;
    assert!(now >= version(&*z), "versions do not go back");
    assert_eq!(
        quarantined(&running),
        counts([("gpus", 2)]),
        "the one that is damaged, and the one that may be out of date"
    );
    let anew = create(&running.gpus, &gpu("x")).await;
    assert_eq!(version(&*anew), now + 1, "nothing else was written");
    running.stop().await;

    let running = fixture.start().await;
    assert_eq!(get(&running.gpus, "x").await, anew);
    assert_eq!(quarantined(&running), counts([("gpus", 2)]), "until somebody has looked");
    running.stop().await;
    let mut storage = fixture.storage().await;
    let kept = storage.quarantined().await.expect("what is in quarantine");
    let revisions: Vec<_> = kept.iter().map(|kept| kept.revision).collect();
    assert_eq!(revisions, [Revision(version(&*healthy)), Revision(version(&*sick))]);
    let stored: Gpu = serde_json::from_slice(kept[1].object.as_deref().expect("an object")).expect("JSON");
    assert_eq!(stored, *sick);
    assert_eq!(storage.discard(&revisions).await.expect("room"), 2);
    storage.close().await.expect("the store closes");
    let running = fixture.start().await;
    assert_eq!(quarantined(&running), counts([]));
    running.stop().await;
}

async fn rule_3_6_history_in_which_something_cannot_be_read_is_expired(fixture: Fixture) {
    let running = fixture.start().await;
    let first = create(&running.gpus, &gpu("x")).await;
    let second = replace(&running.gpus, &with_uuid(&first, "second")).await;
    let third = replace(&running.gpus, &with_uuid(&second, "third")).await;
    let y = create(&running.gpus, &gpu("y")).await;
    running.stop().await;

    let running = start_damaged(&fixture, &[version(&*second)]).await;
    assert_eq!(get(&running.gpus, "x").await, third, "what came later can be read");
    for old in [&first, &second] {
        let at = &old.metadata.resource_version;
        let outcome = watch_refusal(&running.gpus, &WatchParams::default().at(at)).await;
        refused(outcome, Reason::Expired, "a watch over what cannot be read");
        let exact = ListParams::default().at(at).matching(VersionMatch::Exact);
        refused(running.gpus.list(&exact).await, Reason::Expired, "a list of when it was so");
    }
    let mut events = Events::of(&running.gpus, WatchParams::default().at(&third.metadata.resource_version)).await;
    assert_eq!(events.added::<Gpu>("y").await, y, "history goes on after it");
    assert_eq!(quarantined(&running), counts([("gpus", 1)]));
    running.stop().await;
}

/// A stored NIC that is none.
fn misfit(revision: u64, previous: u64, name: &str) -> Record {
    Record {
        revision: Revision(revision),
        previous: Revision(previous),
        at: Timestamp::UNIX_EPOCH,
        actor: "another version".to_owned(),
        resource: "nics".to_owned(),
        key: RecordKey { namespace: "default".to_owned(), name: name.to_owned() },
        change: Change::Put(br#"{"spec":7}"#.to_vec()),
    }
}

async fn rule_3_6_what_does_not_fit_its_type_is_not_there_and_the_rest_is_served(fixture: Fixture) {
    let running = fixture.start().await;
    let x = running.nics.create(&PostParams::default(), &Nic::new("x", "fine")).await.expect("a NIC");
    let y = running.nics.create(&PostParams::default(), &Nic::new("y", "fine")).await.expect("a NIC");
    let gpu = create(&running.gpus, &gpu("g")).await;
    let last = latest(&running.gpus).await;
    running.stop().await;
    let mut storage = fixture.storage().await;
    let records = [misfit(last + 1, version(&*x), "x"), misfit(last + 2, 0, "z"), misfit(last + 3, 0, "No Name")];
    storage.commit(&records).await.expect("a commit");
    storage.close().await.expect("the store closes");

    let running = fixture.start().await;
    assert_eq!(running.nics.list(&ListParams::default()).await.expect("a list").items, [y]);
    assert_eq!(get(&running.gpus, "g").await, gpu, "other types are not concerned");
    assert_eq!(quarantined(&running), counts([("nics", 3)]));
    for name in ["x", "z"] {
        running.nics.create(&PostParams::default(), &Nic::new(name, "anew")).await.expect("its place is free");
    }
    running.stop().await;
    let running = fixture.start().await;
    assert_eq!(running.nics.list(&ListParams::default()).await.expect("a list").items.len(), 3);
    assert_eq!(quarantined(&running), counts([("nics", 3)]));
    running.stop().await;
}

async fn rule_3_6_a_store_without_room_for_quarantine_is_read_and_not_written(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    let y = create(&running.gpus, &gpu("y")).await;
    running.stop().await;

    fixture.faults.always(Call::Quarantine, Fault::Refuse(StorageErrorKind::Full));
    let running = start_damaged(&fixture, &[version(&*x)]).await;
    assert_eq!(running.gpus.list(&ListParams::default()).await.expect("a list").items, [y]);
    assert_eq!(*running.ledger.state().borrow(), LedgerState::Refusing);
    let outcome = running.gpus.create(&PostParams::default(), &gpu("x")).await;
    refused(outcome, Reason::ServiceUnavailable, "a write beside what it is to replace");
    fixture.faults.clear();
    create(&running.gpus, &gpu("x")).await;
    assert_eq!(*running.ledger.state().borrow(), LedgerState::Open);
    running.stop().await;
    let running = fixture.start().await;
    assert_eq!(names(&running.gpus.list(&ListParams::default()).await.expect("a list").items), ["x", "y"]);
    running.stop().await;
}

async fn rule_3_6_what_an_unclear_commit_left_unreadable_ends_the_ledger(fixture: Fixture) {
    let running = fixture.start().await;
    let x = create(&running.gpus, &gpu("x")).await;
    running.stop().await;
    let next = next_version(&fixture).await;
    let running = start_damaged(&fixture, &[next]).await;
    let mut state = running.ledger.state();
    fixture.faults.next(Call::Commit, Fault::LoseReply);
    let outcome = running.gpus.replace("x", &PostParams::default(), &with_uuid(&x, "changed")).await;
    refused(outcome, Reason::ServiceUnavailable, "a write that cannot be read back");
    within("the end", state.wait_for(|state| *state == LedgerState::Failed)).await.expect("a state");
    within("a close", running.ledger.close()).await.expect_err("a close says that the ledger failed");
    drop(running);
    // Opened anew, as after any damage.
    let running = start_damaged(&fixture, &[next]).await;
    assert_eq!(running.gpus.get_opt("x").await, Ok(None));
    running.stop().await;
}

async fn rule_3_6_after_an_unreadable_lease_nobody_is_believed_for_ever(fixture: Fixture) {
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let types = ["Dead", "Alive", "Free"];
    let conditions = types.map(|type_| Condition::new(type_, ConditionStatus::True));
    create(&running.gpus, &with_conditions(&gpu("x"), conditions)).await;
    let asks = |name: &str, type_: &str| {
        asks(name).with_condition_types([type_]).with_duration(10 * DEFAULT_DURATION).with_holder_identity("me")
    };
    acquire(&leases, &asks("dead", "Dead")).await;
    let unreadable = latest(&running.gpus).await;
    acquire(&leases, &asks("alive", "Alive")).await;
    running.stop().await;

    let running = start_damaged(&fixture, &[unreadable]).await;
    let start = latest(&running.gpus).await;
    let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let keeper = tokio::spawn({
        let (leases, gpus) = (leases.clone(), running.gpus.clone());
        async move { leases.keep(gpus).await }
    });
    fixture.clock.advance(DEFAULT_DURATION);
    let seen = events.modified::<Gpu>("x").await;
    for condition in &seen.status.conditions {
        let is_lost = condition.status == ConditionStatus::Unknown && condition.reason == PROVIDER_LOST;
        assert_eq!(is_lost, condition.type_ != "Alive", "{condition:?}");
    }
    // Who lives says it again, and is not overruled.
    let back = with_conditions(&seen, types.map(|type_| Condition::new(type_, ConditionStatus::True)));
    let back = replace_status(&running.gpus, &back).await;
    fixture.clock.advance(DEFAULT_DURATION);
    assert_eq!(events.modified::<Gpu>("x").await, back);
    running.stop().await;
    keeper.await.expect("the keeper ends with its ledger");
    assert_eq!(events.until_ok::<Gpu>().await, []);
}

async fn rule_3_6_after_lost_writes_nobody_is_believed_for_ever(fixture: Fixture) {
    let running = fixture.start().await;
    let leases = Leases::open(&running.ledger).await.expect("the leases");
    let conditions = ["Alive", "Free"].map(|type_| Condition::new(type_, ConditionStatus::True));
    create(&running.gpus, &with_conditions(&gpu("x"), conditions)).await;
    let alive = asks("alive").with_condition_types(["Alive"]).with_duration(10 * DEFAULT_DURATION);
    acquire(&leases, &alive).await;
    running.stop().await;

    // The life that finds it may be over before anybody was doubted: the next one knows, too.
    start_without(&fixture, &[], true).await.stop().await;
    for life in 0..2 {
        let running = fixture.start().await;
        let start = latest(&running.gpus).await;
        let mut events = Events::of(&running.gpus, WatchParams::default().at(start.to_string())).await;
        let leases = Leases::open(&running.ledger).await.expect("the leases");
        let keeper = tokio::spawn({
            let (leases, gpus) = (leases.clone(), running.gpus.clone());
            async move { leases.keep(gpus).await }
        });
        fixture.clock.advance(DEFAULT_DURATION);
        let seen = if life == 0 { events.modified::<Gpu>("x").await } else { get(&running.gpus, "x").await };
        let status = seen.status.conditions.iter().map(|condition| &condition.status);
        let expected = if life == 0 { ConditionStatus::Unknown } else { ConditionStatus::True };
        assert_eq!(status.collect::<Vec<_>>(), [&ConditionStatus::True, &expected], "{seen:?}");
        if life == 0 {
            // Who lives says it again; and when history tells of the loss no more, it is over.
            let back = ["Alive", "Free"].map(|type_| Condition::new(type_, ConditionStatus::True));
            replace_status(&running.gpus, &with_conditions(&seen, back)).await;
            running.ledger.forget_history().await.expect("room");
        }
        running.stop().await;
        keeper.await.expect("the keeper ends with its ledger");
    }
}

async fn rule_3_6_what_becomes_unreadable_while_it_is_served_is_served_from_memory(fixture: Fixture) {
    let running = fixture.start().await;
    running.stop().await;
    let next = next_version(&fixture).await;
    let running = start_damaged(&fixture, &[next]).await;
    let x = create(&running.gpus, &gpu("x")).await;
    fixture.faults.next(Call::Commit, Fault::LoseReply);
    let y =
        running.gpus.create(&PostParams::default(), &gpu("y")).await.expect("it is in the store, as the ledger saw");
    assert_eq!(running.gpus.list(&ListParams::default()).await.expect("a list").items, [x, y.clone()]);
    assert_eq!(*running.ledger.state().borrow(), LedgerState::Open);
    running.stop().await;
    let running = start_damaged(&fixture, &[next]).await;
    assert_eq!(running.gpus.list(&ListParams::default()).await.expect("a list").items, [y]);
    running.stop().await;
}
