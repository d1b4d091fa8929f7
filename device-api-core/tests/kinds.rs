// SPDX-License-Identifier: Apache-2.0
//! Leases on a kind that is not the GPU.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exceptions for tests do not reach their functions

use std::sync::Arc;
use std::time::Duration;

use device_api_core::error::{FieldViolation, Reason};
use device_api_core::lease::{AcquireLease, LeaseVerbs as _, Leases, PROVIDER_LOST};
use device_api_core::patch::Patch;
use device_api_core::registry::{
    Ledger, LedgerOptions, ListParams, PatchParams, PostParams, Registry, Strategy, Watch, WatchEvent, WatchParams,
    WriteContext,
};
use device_api_core::resource::{Condition, ConditionStatus, Conditions, ObjectMeta, Resource, object};
use device_api_core::testing::local::{Nic, NicStrategy};
use device_api_store_memory::Memory;
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
    let keeper = (leases.clone(), nics.clone());
    tokio::spawn(async move { keeper.0.keep(keeper.1).await });
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

/// A status whose conditions can be read, and are others when they are written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct TwoLists {
    conditions: Vec<Condition>,
    others: Vec<Condition>,
}

impl Conditions for TwoLists {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    #[expect(clippy::misnamed_getters, reason = "the mistake that is tried here")]
    fn conditions_mut(&mut self) -> &mut [Condition] {
        &mut self.others
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
}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Thing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object::deserialize(deserializer)
    }
}

struct Anything;

impl Strategy<Thing> for Anything {
    fn validate(&self, _context: &WriteContext<'_>, _thing: &Thing) -> Vec<FieldViolation> {
        Vec::new()
    }
}

#[tokio::test]
async fn conditions_that_are_read_and_cannot_be_overruled_are_not_stored() {
    let things = ledger().await.registry(Anything).await.unwrap();
    let fine = vec![Condition::new("Fine", ConditionStatus::True)];
    let create = |status: TwoLists| {
        let (things, thing) = (things.clone(), Thing { metadata: ObjectMeta::named("a"), spec: (), status });
        async move { things.create(&PostParams::default(), &thing).await }
    };
    let error = create(TwoLists { conditions: fine, others: Vec::new() }).await.unwrap_err();
    assert_eq!(error.reason(), Reason::InternalError, "{error}");
    create(TwoLists::default()).await.unwrap();
}
