// SPDX-License-Identifier: Apache-2.0
//! The ready-made scenarios, played to their ends in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::super::nvml::driver::{Driver, DriverError, EventKind, RecoveryAction, Vitals};
use super::{Scenario, Simulated};

/// How long is waited for any answer, and for an event.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a scenario is watched after its last step: longer than any of them hangs.
const AFTERWARDS: Duration = Duration::from_secs(120);

/// What was seen of a scenario.
#[derive(Debug, Default)]
struct Seen {
    /// How often each XID came from the GPU at this index.
    xids: BTreeMap<(usize, u32), u32>,
    recovery_actions: Vec<RecoveryAction>,
    errors: BTreeSet<String>,
    /// How many calls did not return in time.
    hung: usize,
    /// Each UUID, with its slot.
    uuids: BTreeMap<String, usize>,
    most_parts: usize,
    /// The GPUs' answers at the end.
    last: Vec<Result<Vitals, DriverError>>,
}

impl Seen {
    /// The answer, if there is one.
    async fn answer<T>(&mut self, call: impl Future<Output = Result<T, DriverError>>) -> Option<T> {
        match timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => _ = self.errors.insert(error.to_string()),
            Err(_) => self.hung += 1,
        }
        None
    }

    /// Looks at every GPU, and asks for the events of those that are new.
    async fn look(&mut self, driver: &Simulated) {
        let Some(found) = self.answer(driver.list()).await else {
            self.answer(driver.init()).await;
            return;
        };
        self.last.clear();
        for (slot, found) in found.into_iter().enumerate() {
            match found.identity {
                Ok(identity) => {
                    self.uuids.entry(identity.uuid.clone()).or_insert(slot);
                    self.answer(driver.subscribe(&identity.uuid)).await;
                    let parts = self.answer(driver.describe(&identity.uuid)).await;
                    self.most_parts =
                        self.most_parts.max(parts.map_or(0, |parts| parts.mig_devices.iter().flatten().count()));
                    let vitals = self.answer(driver.vitals(&identity.uuid)).await;
                    let action = vitals.as_ref().and_then(|vitals| vitals.recovery_action);
                    if let Some(action) = action.filter(|action| *action != RecoveryAction::None) {
                        self.recovery_actions.push(action);
                    }
                    self.last.push(vitals.ok_or(DriverError::NotFound));
                }
                Err(error) => {
                    self.errors.insert(error.to_string());
                    self.last.push(Err(error));
                }
            }
        }
        self.recovery_actions.dedup();
    }

    fn errors(&self) -> Vec<&str> {
        self.errors.iter().map(String::as_str).collect()
    }
}

async fn play(name: &str) -> Seen {
    let scenario = Scenario::from_spec(name).unwrap();
    assert!(scenario.repeat.is_none(), "{name} has no end");
    let end = scenario.steps.last().map_or(Duration::ZERO, |step| step.time) + AFTERWARDS;
    let (driver, start, mut seen) = (Simulated::new(scenario), Instant::now(), Seen::default());
    driver.init().await.unwrap();
    while start.elapsed() < end {
        seen.look(&driver).await;
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(1)
            && let Some(Some(event)) = seen.answer(driver.next_event(Duration::from_secs(1))).await
        {
            if let EventKind::Xid { xid, .. } = event.kind {
                *seen.xids.entry((seen.uuids[&event.uuid], xid)).or_default() += 1;
            }
        }
    }
    seen.look(&driver).await;
    seen
}

#[tokio::test(start_paused = true)]
async fn every_ready_made_scenario_ends_with_gpus_that_answer_and_need_nothing() {
    for name in Scenario::ready_made() {
        let seen = play(name).await;
        assert_eq!(seen.last.len(), Scenario::from_spec(name).unwrap().gpus(), "{name}");
        for vitals in seen.last {
            let clean = Vitals {
                recovery_action: Some(RecoveryAction::None),
                ecc_uncorrected_volatile: Some(0),
                remapping_pending: Some(false),
                remapping_failed: Some(false),
            };
            assert_eq!(vitals, Ok(clean), "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_healthy_gpus_nothing_is_heard() {
    let seen = play("healthy-8").await;
    assert_eq!((seen.uuids.len(), seen.xids.len(), seen.errors.len(), seen.hung), (8, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn xid_79_is_one_and_asks_for_a_reboot() {
    let seen = play("xid-79").await;
    assert_eq!(seen.xids, BTreeMap::from([((0, 79), 1), ((0, 154), 1)]));
    assert_eq!(seen.recovery_actions, [RecoveryAction::NodeReboot]);
}

#[tokio::test(start_paused = true)]
async fn a_contained_error_asks_for_nothing_at_once() {
    let seen = play("contained-error").await;
    assert_eq!(seen.xids, BTreeMap::from([((2, 63), 1), ((2, 94), 1)]));
    assert_eq!((seen.recovery_actions.len(), seen.errors.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_10_000_xids_and_another_gpus_one_in_their_midst() {
    let seen = play("storm").await;
    assert_eq!(seen.xids, BTreeMap::from([((0, 31), 10_000), ((1, 119), 1)]));
    assert_eq!(seen.recovery_actions, [RecoveryAction::GpuReset]);
}

#[tokio::test(start_paused = true)]
async fn a_gpu_off_the_bus_is_lost_and_comes_back() {
    let seen = play("off-the-bus-and-back").await;
    assert_eq!(seen.xids, BTreeMap::from([((3, 79), 1)]));
    assert_eq!(seen.errors(), ["the GPU is lost"]);
    assert_eq!(seen.uuids.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn during_a_reload_the_driver_is_missing_then_of_another_version() {
    let seen = play("driver-reload").await;
    let versions = "NVML's library and the NVIDIA driver are of different versions";
    assert_eq!(seen.errors(), ["NVML is not initialised", versions, "the NVIDIA driver is not loaded"]);
    assert_eq!(seen.uuids.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_is_no_error_and_no_answer() {
    let seen = play("hung-call").await;
    assert!(seen.hung > 10, "{}", seen.hung);
    assert!(seen.errors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_divided_gpu_has_up_to_seven_parts() {
    let seen = play("mig-on-and-off").await;
    assert_eq!(seen.most_parts, 7);
    assert_eq!(seen.xids, BTreeMap::from([((0, 13), 1), ((0, 95), 1)]));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_gpu_is_a_ninth_one() {
    let seen = play("replaced-gpu").await;
    assert_eq!(seen.uuids.len(), 9);
    assert_eq!(seen.xids, BTreeMap::from([((6, 64), 1)]));
}
