// SPDX-License-Identifier: Apache-2.0
//! What a kind that is not the GPU may rely on, and what its mistakes cost.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exceptions for tests do not reach their functions

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::error::{FieldViolation, Reason};
use device_api_core::lease::{AcquireLease, LeaseVerbs as _, Leases, PROVIDER_LOST};
use device_api_core::patch::Patch;
use device_api_core::registry::{
    Ledger, LedgerOptions, LedgerState, ListParams, PatchParams, PostParams, Registry, Strategy, Watch, WatchEvent,
    WatchParams, WriteContext,
};
use device_api_core::resource::{Condition, ConditionStatus, Conditions, ObjectMeta, Resource, object};
use device_api_core::testing::local::{Nic, NicStrategy};
use device_api_store_memory::Memory;
use futures_util::FutureExt as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::json;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(60 * 60);

async fn ledger() -> Ledger {
    Ledger::open(Box::new(Memory::new().open().unwrap()), LedgerOptions::default()).await.unwrap()
}

fn up() -> Patch {
    let up = json!({"status": {"conditions": [{"type": "LinkUp", "status": "True", "reason": "Carrier"}]}});
    Patch::strategic(&up).unwrap()
}

async fn say_up(nics: &Registry<Nic>) -> Arc<Nic> {
    nics.patch_status("eth0", &PatchParams::default(), &up()).await.unwrap()
}

/// The reason of the first condition after the next change.
async fn next_reason(watch: &mut Watch<Nic>) -> String {
    match timeout(LONG, watch.next()).await.unwrap().unwrap().unwrap() {
        WatchEvent::Modified(nic) => nic.status.conditions()[0].reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_provider_of_another_kind_is_overruled_until_it_renews() {
    let ledger = ledger().await;
    let nics = ledger.registry(NicStrategy).await.unwrap();
    let leases = Leases::open(&ledger).await.unwrap();
    tokio::spawn(leases.clone().keep(nics.clone()));
    nics.create(&PostParams::default(), &Nic::new("eth0", "a")).await.unwrap();
    let now = ledger.revision().await.unwrap();
    let mut watch = nics.watch(&WatchParams::default().at(now.to_string())).await.unwrap();
    say_up(&nics).await;
    assert_eq!(next_reason(&mut watch).await, "Carrier");

    let request = AcquireLease::new("links").with_condition_types(["LinkUp"]);
    let lease = leases.acquire(&request).await.unwrap();
    assert_eq!(next_reason(&mut watch).await, PROVIDER_LOST);
    let unknown = ListParams::default().fields("status.conditions[LinkUp]=Unknown");
    assert_eq!(nics.list(&unknown).await.unwrap().items.len(), 1);
    say_up(&nics).await;
    assert_eq!(next_reason(&mut watch).await, "Carrier");
    assert_eq!(next_reason(&mut watch).await, PROVIDER_LOST);

    leases.acquire(&request.with_id(lease.id)).await.unwrap();
    let said = say_up(&nics).await;
    assert_eq!(next_reason(&mut watch).await, "Carrier");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(nics.get("eth0").await.unwrap(), said);
}

/// A status that may have other conditions when they are written than when they are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TwoLists {
    conditions: Vec<Condition>,
    others: Vec<Condition>,
    is_one: bool,
}

impl Conditions for TwoLists {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    fn conditions_mut(&mut self) -> &mut [Condition] {
        if self.is_one { &mut self.conditions } else { &mut self.others }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Thing {
    metadata: ObjectMeta,
    spec: (),
    status: TwoLists,
}

impl Resource for Thing {
    const GROUP: &'static str = "testing.device.nvidia.com";
    const VERSION: &'static str = "v1";
    const KIND: &'static str = "Thing";
    const PLURAL: &'static str = "things";
    const SELECTABLE_FIELDS: &'static [&'static str] = &["spec.size"];

    type Spec = ();
    type Status = TwoLists;

    fn from_parts(metadata: ObjectMeta, spec: (), status: TwoLists) -> Self {
        Self { metadata, spec, status }
    }

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }

    fn spec(&self) -> &() {
        &self.spec
    }

    fn spec_mut(&mut self) -> &mut () {
        &mut self.spec
    }

    fn status(&self) -> &TwoLists {
        &self.status
    }

    fn status_mut(&mut self) -> &mut TwoLists {
        &mut self.status
    }

    fn field(&self, _path: &str) -> Option<Cow<'_, str>> {
        check_sanity();
        None
    }
}

thread_local! {
    // All of a test runs on its own thread.
    static IS_MAD: Cell<bool> = const { Cell::new(false) };
    static IS_STRICT: Cell<bool> = const { Cell::new(false) };
}

/// The bug that a type may have.
fn check_sanity() {
    assert!(!IS_MAD.get(), "a bug, on purpose");
}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.metadata.name == "a" {
            check_sanity();
        }
        object::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Thing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let thing: Self = object::deserialize(deserializer)?;
        if thing.metadata.name == "a" {
            check_sanity();
        }
        Ok(thing)
    }
}

fn thing(name: &str, status: TwoLists) -> Thing {
    Thing { metadata: ObjectMeta::named(name), spec: (), status }
}

struct Anything;

impl Strategy<Thing> for Anything {
    fn validate(&self, _context: &WriteContext<'_>, _thing: &Thing) -> Vec<FieldViolation> {
        let violation = || FieldViolation::new("spec", "nothing is valid any more");
        IS_STRICT.get().then(violation).into_iter().collect()
    }
}

#[tokio::test]
async fn conditions_that_are_read_and_cannot_be_overruled_are_not_stored() {
    let things = ledger().await.registry(Anything).await.unwrap();
    let conditions = vec![Condition::new("Fine", ConditionStatus::True)];
    let status = TwoLists { conditions, ..TwoLists::default() };
    let error = things.create(&PostParams::default(), &thing("a", status)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InternalError, "{error}");
    things.create(&PostParams::default(), &thing("a", TwoLists::default())).await.unwrap();
}

#[tokio::test]
async fn a_type_whose_code_panics_at_what_is_stored_leaves_the_others_alone() {
    let memory = Memory::new();
    let open = || Ledger::open(Box::new(memory.open().unwrap()), LedgerOptions::default());
    let ledger = open().await.unwrap();
    let things = ledger.registry(Anything).await.unwrap();
    things.create(&PostParams::default(), &thing("a", TwoLists::default())).await.unwrap();
    ledger.close().await.unwrap();

    let ledger = open().await.unwrap();
    let nics = ledger.registry(NicStrategy).await.unwrap();
    IS_MAD.set(true);
    let things = ledger.registry(Anything).await.unwrap();
    assert_eq!(things.list(&ListParams::default()).await.unwrap().items, []);
    assert_eq!(ledger.quarantined().borrow().get("things"), Some(&1), "it is kept for people");
    nics.create(&PostParams::default(), &Nic::new("eth0", "a")).await.unwrap();
    assert_eq!(*ledger.state().borrow(), LedgerState::Open);
}

#[tokio::test]
async fn a_type_whose_code_panics_at_a_selector_ends_that_watch_only() {
    let ledger = ledger().await;
    let things = ledger.registry(Anything).await.unwrap();
    let from_now = WatchParams::default().at(ledger.revision().await.unwrap().to_string());
    let mut all = things.watch(&from_now).await.unwrap();
    let mut selected = things.watch(&from_now.fields("spec.size=1")).await.unwrap();
    let stored = things.create(&PostParams::default(), &thing("a", TwoLists::default())).await.unwrap();
    IS_MAD.set(true);
    let error = timeout(LONG, selected.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.reason(), Reason::InternalError, "{error}");
    assert!(timeout(LONG, selected.next()).await.unwrap().is_none());
    let seen = timeout(LONG, all.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(seen, WatchEvent::Added(stored));
    assert_eq!(*ledger.state().borrow(), LedgerState::Open);
}

/// Two things that a provider said are fine, and who is to learn when it is lost.
async fn two_fine_things() -> (Ledger, Registry<Thing>) {
    let ledger = ledger().await;
    let things = ledger.registry(Anything).await.unwrap();
    for name in ["a", "b"] {
        let conditions = vec![Condition::new("Fine", ConditionStatus::True)];
        let status = TwoLists { conditions, is_one: true, ..TwoLists::default() };
        things.create(&PostParams::default(), &thing(name, status)).await.unwrap();
    }
    let leases = Leases::open(&ledger).await.unwrap();
    leases.acquire(&AcquireLease::new("monitor").with_condition_types(["Fine"])).await.unwrap();
    tokio::spawn(leases.keep(things.clone()));
    (ledger, things)
}

async fn is_lost(things: &Registry<Thing>, name: &str) -> bool {
    things.get(name).await.unwrap().status.conditions()[0].reason == PROVIDER_LOST
}

#[tokio::test(start_paused = true)]
async fn an_object_that_cannot_be_overruled_keeps_from_no_other_and_is_tried_again() {
    let (_ledger, things) = two_fine_things().await;
    IS_MAD.set(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!is_lost(&things, "a").await && is_lost(&things, "b").await);
    IS_MAD.set(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_lost(&things, "a").await);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_breaks_a_rule_which_came_later_is_overruled_all_the_same() {
    let (_ledger, things) = two_fine_things().await;
    IS_STRICT.set(true);
    let label = Patch::merge(&json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
    assert!(things.patch("a", &PatchParams::default(), &label).await.unwrap_err().is_invalid());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(is_lost(&things, "a").await && is_lost(&things, "b").await);
}

#[tokio::test]
async fn a_registry_that_nobody_waited_for_is_to_be_had_again() {
    let ledger = ledger().await;
    assert!(ledger.registry(NicStrategy).now_or_never().is_none(), "the caller gives up");
    let nics = ledger.registry(NicStrategy).await.unwrap();
    nics.create(&PostParams::default(), &Nic::new("eth0", "a")).await.unwrap();
    assert_eq!(ledger.registry(NicStrategy).await.unwrap_err().reason(), Reason::InternalError, "somebody has it");
    drop(nics);
    assert_eq!(ledger.registry(NicStrategy).await.unwrap().get("eth0").await.unwrap().spec.address, "a");
}
