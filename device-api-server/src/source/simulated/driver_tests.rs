// SPDX-License-Identifier: Apache-2.0
//! What each action does to the driver's answers, in virtual time.

use std::time::Duration;

use device_api_core::resource::GpuDevice;
use tokio::time::{Instant, timeout};

use super::super::nvml::driver::{Driver, DriverError, Event, EventKind, Identity, RecoveryAction};
use super::{Scenario, Simulated};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A driver with two GPUs that plays these steps, initialised.
async fn playing(steps: &str) -> Simulated {
    let driver = simulated(&format!("[node]\ngpus = 2\n{steps}"));
    driver.init().await.unwrap();
    driver
}

fn simulated(text: &str) -> Simulated {
    Simulated::new(Scenario::parse("test.toml", text).unwrap())
}

fn step(time: &str, rest: &str) -> String {
    format!("[[at]]\ntime = \"{time}\"\n{rest}\n")
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

async fn identities(driver: &Simulated) -> Vec<Result<Identity, DriverError>> {
    driver.list().await.unwrap().into_iter().map(|found| found.identity).collect()
}

/// The UUIDs in the driver's order.
async fn uuids(driver: &Simulated) -> Vec<String> {
    identities(driver).await.into_iter().map(|identity| identity.unwrap().uuid).collect()
}

async fn device(driver: &Simulated, uuid: &str) -> GpuDevice {
    driver.describe(uuid).await.unwrap().device
}

async fn subscribe_all(driver: &Simulated) -> Vec<String> {
    let uuids = uuids(driver).await;
    for uuid in &uuids {
        driver.subscribe(uuid).await.unwrap();
    }
    uuids
}

/// The events of the next hour, each with the time from now on.
async fn events(driver: &Simulated) -> Vec<(Duration, Event)> {
    let (start, mut found) = (Instant::now(), Vec::new());
    while let Some(event) = driver.next_event(HOUR).await.unwrap() {
        found.push((start.elapsed(), event));
    }
    found
}

fn xid(xid: u32) -> EventKind {
    EventKind::Xid { xid, gpu_instance_id: None, compute_instance_id: None }
}

#[tokio::test(start_paused = true)]
async fn a_number_is_a_node_of_so_many_healthy_gpus_that_stay_so() {
    let driver = Simulated::new(Scenario::from_spec("8").unwrap());
    assert!(driver.is_simulated());
    let system = driver.init().await.unwrap();
    assert_eq!(system.driver_version.as_deref(), Some("580.95.05"));
    let uuids = subscribe_all(&driver).await;
    assert_eq!(uuids.len(), 8);
    assert_eq!(events(&driver).await, []);
    for (index, uuid) in uuids.iter().enumerate() {
        let vitals = driver.vitals(uuid).await.unwrap();
        assert_eq!(vitals.recovery_action, Some(RecoveryAction::None));
        assert_eq!(vitals.ecc_uncorrected_volatile, Some(0));
        assert_eq!((vitals.remapping_pending, vitals.remapping_failed), (Some(false), Some(false)));
        let device = device(&driver, uuid).await;
        assert_eq!(device.index, Some(u32::try_from(index).unwrap()));
        assert_eq!(device.product_name.as_deref(), Some("NVIDIA H100 80GB HBM3"));
        assert_eq!(device.driver_version, system.driver_version);
        assert_eq!(device.numa_node, Some(u32::from(index >= 4)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_scenario_gives_the_same_devices_and_the_same_measurements() {
    let (one, other) = (playing("").await, playing("").await);
    let ids = uuids(&one).await;
    assert_eq!(ids, uuids(&other).await);
    for _ in 0..10 {
        sleep(13).await;
        for uuid in &ids {
            assert_eq!(one.describe(uuid).await, other.describe(uuid).await);
            assert_eq!(one.telemetry(uuid).await, other.telemetry(uuid).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn telemetry_stays_within_what_the_board_can() {
    let driver = playing("").await;
    let uuid = uuids(&driver).await.remove(0);
    let mut loads = Vec::new();
    for _ in 0..240 {
        let sample = driver.telemetry(&uuid).await.unwrap();
        assert!(sample.power_milliwatts <= sample.power_limit_milliwatts);
        assert!(sample.memory_used_bytes <= device(&driver, &uuid).await.memory_bytes);
        assert!((25..=90).contains(&sample.temperature_celsius.unwrap()));
        loads.push(sample.utilization_percent.unwrap());
        sleep(1).await;
    }
    assert_eq!((loads.iter().min(), loads.iter().max()), (Some(&0), Some(&100)));
}

#[tokio::test(start_paused = true)]
async fn an_xid_comes_at_its_time_from_its_gpu() {
    let steps = step("5s", "event = \"xid\"\ngpu = 1\nxid = 79");
    let driver = playing(&steps).await;
    let uuids = subscribe_all(&driver).await;
    assert_eq!(driver.next_event(4 * SECOND).await, Ok(None));
    let event = Event { uuid: uuids[1].clone(), kind: xid(79) };
    assert_eq!(events(&driver).await, [(SECOND, event)]);
}

#[tokio::test(start_paused = true)]
async fn an_xid_of_an_instance_names_it() {
    let steps = step("1s", "event = \"xid\"\ngpu = 0\nxid = 13\ngpu_instance = 7\ncompute_instance = 0");
    let driver = playing(&steps).await;
    subscribe_all(&driver).await;
    let kind = EventKind::Xid { xid: 13, gpu_instance_id: Some(7), compute_instance_id: Some(0) };
    assert_eq!(events(&driver).await[0].1.kind, kind);
}

#[tokio::test(start_paused = true)]
async fn a_storm_comes_evenly_over_its_time_and_whole() {
    let steps = step("1s", "event = \"xid\"\ngpu = 0\nxid = 31\ncount = 1000\nover = \"10s\"")
        + &step("2s", "event = \"xid\"\ngpu = 1\nxid = 43");
    let driver = playing(&steps).await;
    let uuids = subscribe_all(&driver).await;
    let events = events(&driver).await;
    assert_eq!(events.len(), 1001);
    assert!(events.is_sorted_by_key(|(time, _)| *time));
    let storm: Vec<_> = events.iter().filter(|(_, event)| event.uuid == uuids[0]).collect();
    assert_eq!(storm.len(), 1000);
    assert_eq!(storm[0].0, SECOND);
    assert_eq!(storm[500].0, 6 * SECOND);
    // The other GPU's event does not wait for the storm's end.
    assert_eq!(events.iter().find(|(_, event)| event.uuid == uuids[1]).unwrap().0, 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn events_before_the_subscription_and_after_an_init_are_lost() {
    let steps = step("1s", "event = \"xid\"\ngpu = 0\nxid = 31\ncount = 10\nover = \"10s\"");
    let driver = playing(&steps).await;
    sleep(6).await;
    subscribe_all(&driver).await;
    assert_eq!(events(&driver).await.len(), 5);
    let driver = playing(&steps).await;
    subscribe_all(&driver).await;
    driver.init().await.unwrap();
    assert_eq!(events(&driver).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_subscription_reaches_who_waits_already() {
    let driver = playing(&step("5s", "event = \"xid\"\ngpu = 0\nxid = 31\ncount = 4\nover = \"4s\"")).await;
    let (events, _) = tokio::join!(events(&driver), async {
        sleep(6).await;
        subscribe_all(&driver).await;
    });
    assert_eq!(events.into_iter().map(|(time, _)| time.as_secs()).collect::<Vec<_>>(), [6, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_action_is_announced_and_stands_until_it_is_none() {
    let steps = step("1s", "event = \"recovery_action\"\ngpu = 0\naction = \"node_reboot\"")
        + &step("3s", "event = \"recovery_action\"\ngpu = 0\naction = { other = 9 }")
        + &step("5s", "event = \"recovery_action\"\ngpu = 0\naction = \"none\"");
    let driver = playing(&steps).await;
    let uuids = subscribe_all(&driver).await;
    for expected in [RecoveryAction::NodeReboot, RecoveryAction::Other(9), RecoveryAction::None] {
        let event = driver.next_event(HOUR).await.unwrap().unwrap();
        assert_eq!(event, Event { uuid: uuids[0].clone(), kind: EventKind::RecoveryActionChanged });
        assert_eq!(driver.vitals(&uuids[0]).await.unwrap().recovery_action, Some(expected));
        assert_eq!(driver.vitals(&uuids[1]).await.unwrap().recovery_action, Some(RecoveryAction::None));
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_driver_tells_no_recovery_action() {
    let text = "[node]\ngpus = 1\nrecovery_action = false\n".to_owned()
        + &step("1s", "event = \"recovery_action\"\ngpu = 0\naction = \"gpu_reset\"");
    let driver = simulated(&text);
    driver.init().await.unwrap();
    let uuids = subscribe_all(&driver).await;
    assert_eq!(events(&driver).await, []);
    assert_eq!(driver.vitals(&uuids[0]).await.unwrap().recovery_action, None);
}

#[tokio::test(start_paused = true)]
async fn memory_errors_are_counted_and_a_reset_clears_what_a_reset_clears() {
    let steps = step("1s", "event = \"ecc_uncorrected\"\ngpu = 0\ncount = 3")
        + &step("1s", "event = \"ecc_corrected\"\ngpu = 0")
        + &step("1s", "event = \"remap_pending\"\ngpu = 0")
        + &step("1s", "event = \"remap_failed\"\ngpu = 0")
        + &step("1s", "event = \"recovery_action\"\ngpu = 0\naction = \"gpu_reset\"")
        + &step("9s", "event = \"reset\"\ngpu = 0");
    let driver = playing(&steps).await;
    let uuid = subscribe_all(&driver).await.remove(0);
    sleep(2).await;
    let kinds: Vec<_> = events(&driver).await.into_iter().map(|(_, event)| event.kind).collect();
    assert_eq!(kinds, [EventKind::DoubleBitEcc, EventKind::SingleBitEcc, EventKind::RecoveryActionChanged]);

    let driver = playing(&steps).await;
    sleep(2).await;
    let vitals = driver.vitals(&uuid).await.unwrap();
    assert_eq!(vitals.ecc_uncorrected_volatile, Some(3));
    assert_eq!((vitals.remapping_pending, vitals.remapping_failed), (Some(true), Some(true)));
    let sample = driver.telemetry(&uuid).await.unwrap();
    assert_eq!((sample.ecc_corrected_volatile, sample.ecc_uncorrected_aggregate), (Some(1), Some(3)));
    sleep(8).await;
    let vitals = driver.vitals(&uuid).await.unwrap();
    assert_eq!(vitals.ecc_uncorrected_volatile, Some(0));
    assert_eq!(vitals.recovery_action, Some(RecoveryAction::None));
    assert_eq!((vitals.remapping_pending, vitals.remapping_failed), (Some(false), Some(true)));
    let sample = driver.telemetry(&uuid).await.unwrap();
    assert_eq!((sample.ecc_uncorrected_volatile, sample.ecc_uncorrected_aggregate), (Some(0), Some(3)));
    assert_eq!(sample.remapped_rows_uncorrectable, Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_gpu_is_listed_without_a_name_and_answers_nothing_until_it_is_back() {
    let driver = playing(&(step("1s", "event = \"lost\"\ngpu = 0") + &step("9s", "event = \"back\"\ngpu = 0"))).await;
    let uuids = subscribe_all(&driver).await;
    assert_eq!(driver.next_event(HOUR).await, Err(DriverError::GpuLost));
    // Again and again, as NVML answers; but who asks does not spin.
    let before = Instant::now();
    assert_eq!(driver.next_event(HOUR).await, Err(DriverError::GpuLost));
    assert_eq!(before.elapsed(), Duration::from_millis(200));
    assert_eq!(identities(&driver).await[0], Err(DriverError::GpuLost));
    assert_eq!(driver.describe(&uuids[0]).await, Err(DriverError::GpuLost));
    assert_eq!(driver.vitals(&uuids[0]).await, Err(DriverError::GpuLost));
    assert_eq!(driver.telemetry(&uuids[0]).await, Err(DriverError::GpuLost));
    assert_eq!(driver.subscribe(&uuids[0]).await, Err(DriverError::GpuLost));
    assert!(driver.vitals(&uuids[1]).await.is_ok());
    assert_eq!(device(&driver, &uuids[1]).await.index, Some(1));
    sleep(9).await;
    assert_eq!(self::uuids(&driver).await, uuids);
    assert!(driver.vitals(&uuids[0]).await.is_ok());
    assert_eq!(driver.next_event(SECOND).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_lost_gpu_may_be_missing_from_the_list() {
    let driver = playing(&step("1s", "event = \"lost\"\ngpu = 0\nlisted = false")).await;
    let before = uuids(&driver).await;
    sleep(1).await;
    assert_eq!(uuids(&driver).await, before[1..]);
    assert_eq!(driver.vitals(&before[0]).await, Err(DriverError::NotFound));
    assert_eq!(device(&driver, &before[1]).await.index, Some(0));
}

#[tokio::test(start_paused = true)]
async fn without_a_driver_nothing_answers_and_afterwards_init_comes_first() {
    let steps = step("1s", "event = \"driver_unload\"") + &step("9s", "event = \"driver_load\"");
    let driver = playing(&steps).await;
    let uuids = subscribe_all(&driver).await;
    let before = Instant::now();
    assert_eq!(driver.next_event(HOUR).await, Err(DriverError::DriverNotLoaded));
    assert_eq!(before.elapsed(), SECOND);
    assert_eq!(driver.list().await, Err(DriverError::DriverNotLoaded));
    assert_eq!(driver.init().await, Err(DriverError::DriverNotLoaded));
    sleep(9).await;
    assert_eq!(driver.vitals(&uuids[0]).await, Err(DriverError::Uninitialized));
    assert_eq!(driver.next_event(HOUR).await, Err(DriverError::Uninitialized));
    driver.init().await.unwrap();
    assert_eq!(self::uuids(&driver).await, uuids);
}

#[tokio::test(start_paused = true)]
async fn before_init_and_after_shutdown_there_is_no_answer() {
    let driver = simulated("[node]\ngpus = 1\n");
    assert_eq!(driver.list().await, Err(DriverError::Uninitialized));
    driver.init().await.unwrap();
    let (outcome, ()) = tokio::join!(driver.next_event(HOUR), driver.shutdown());
    assert_eq!(outcome, Err(DriverError::Uninitialized));
}

#[tokio::test(start_paused = true)]
async fn the_timeline_starts_at_the_first_init_and_at_no_later_one() {
    let driver = simulated(&("[node]\ngpus = 1\n".to_owned() + &step("5s", "event = \"driver_unload\"")));
    sleep(60).await;
    driver.init().await.unwrap();
    sleep(4).await;
    driver.init().await.unwrap();
    sleep(1).await;
    assert_eq!(driver.list().await, Err(DriverError::DriverNotLoaded));
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_returns_at_its_end_and_holds_up_no_other() {
    let steps = step("1s", "event = \"hang\"\ncall = \"vitals\"\ngpu = 0\nfor = \"20s\"");
    let driver = playing(&steps).await;
    let uuids = uuids(&driver).await;
    sleep(2).await;
    let before = Instant::now();
    assert!(driver.vitals(&uuids[1]).await.is_ok());
    assert!(driver.describe(&uuids[0]).await.is_ok());
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(timeout(15 * SECOND, driver.vitals(&uuids[0])).await.is_err());
    assert!(driver.vitals(&uuids[0]).await.is_ok());
    assert_eq!(before.elapsed(), 19 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn every_call_can_hang_for_ever() {
    for call in ["init", "list", "describe", "vitals", "telemetry", "subscribe", "event"] {
        let driver = playing(&step("1s", &format!("event = \"hang\"\ncall = \"{call}\""))).await;
        let uuid = uuids(&driver).await.remove(0);
        sleep(1).await;
        let mut hung = Vec::new();
        let mut note = |name, is_hung| hung.extend(std::iter::once(name).filter(|_| is_hung));
        note("list", timeout(HOUR, driver.list()).await.is_err());
        note("describe", timeout(HOUR, driver.describe(&uuid)).await.is_err());
        note("vitals", timeout(HOUR, driver.vitals(&uuid)).await.is_err());
        note("telemetry", timeout(HOUR, driver.telemetry(&uuid)).await.is_err());
        note("subscribe", timeout(HOUR, driver.subscribe(&uuid)).await.is_err());
        note("event", timeout(HOUR, driver.next_event(SECOND)).await.is_err());
        note("init", timeout(HOUR, driver.init()).await.is_err());
        assert_eq!(hung, [call]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_events_that_has_begun_can_still_hang() {
    let driver = playing(&step("1s", "event = \"hang\"\ncall = \"event\"\nfor = \"20s\"")).await;
    let before = Instant::now();
    assert_eq!(driver.next_event(5 * SECOND).await, Ok(None));
    assert_eq!(before.elapsed(), 21 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn every_error_can_be_the_answer_for_a_time() {
    for (name, error) in [
        ("library_not_found", DriverError::LibraryNotFound { looked_for: "libnvidia-ml.so.1".into() }),
        ("no_such_function", DriverError::NoSuchFunction { symbol: "nvmlDeviceGetFieldValues".into() }),
        ("driver_not_loaded", DriverError::DriverNotLoaded),
        ("version_mismatch", DriverError::VersionMismatch),
        ("uninitialized", DriverError::Uninitialized),
        ("gpu_lost", DriverError::GpuLost),
        ("not_found", DriverError::NotFound),
        ("not_supported", DriverError::NotSupported),
        ("no_permission", DriverError::NoPermission),
        ("hung", DriverError::Hung { call: "nvmlDeviceGetFieldValues" }),
        ("other", DriverError::Other { call: "nvmlDeviceGetFieldValues", why: "as the scenario says".into() }),
    ] {
        let rest = format!("event = \"fail\"\ncall = \"vitals\"\nerror = \"{name}\"\ngpu = 0\nfor = \"5s\"");
        let driver = playing(&step("1s", &rest)).await;
        let uuids = uuids(&driver).await;
        sleep(1).await;
        assert_eq!(driver.vitals(&uuids[0]).await, Err(error));
        assert!(driver.vitals(&uuids[1]).await.is_ok());
        sleep(5).await;
        assert!(driver.vitals(&uuids[0]).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_gpu_is_divided_and_made_whole_again() {
    let steps =
        step("1s", "event = \"mig_on\"\ngpu = 0\nprofiles = [\"3g.40gb\", \"2g.20gb\", \"1g.10gb\", \"1g.10gb\"]")
            + &step("3s", "event = \"mig_off\"\ngpu = 0")
            + &step("5s", "event = \"mig_on\"\ngpu = 0\nprofiles = [\"3g.40gb\"]");
    let driver = playing(&steps).await;
    let uuids = subscribe_all(&driver).await;
    let mut seen = Vec::new();
    for parts in [4, 0, 1] {
        let event = driver.next_event(HOUR).await.unwrap().unwrap();
        assert_eq!(event, Event { uuid: uuids[0].clone(), kind: EventKind::MigConfigChanged });
        let description = driver.describe(&uuids[0]).await.unwrap();
        assert_eq!(description.device.mig_enabled, Some(parts > 0));
        assert_eq!(description.mig_devices.len(), parts);
        seen.push(description.mig_devices);
    }
    let ids: Vec<_> = seen[0].iter().map(|(_, device)| device.mig.as_ref().unwrap().gpu_instance_id.unwrap()).collect();
    assert_eq!(ids, [1, 3, 7, 8]);
    let (uuid, part) = &seen[0][0];
    assert!(uuid.starts_with("MIG-"), "{uuid}");
    let mig = part.mig.as_ref().unwrap();
    assert_eq!((mig.parent_uuid.as_str(), mig.profile.as_deref()), (uuids[0].as_str(), Some("3g.40gb")));
    assert_eq!(part.memory_bytes, Some(40_000_000_000));
    // The same part has the same UUID when it is made again, and no other part has it.
    assert_eq!(seen[2][0].0, *uuid);
    assert!(seen[0][1..].iter().all(|(other, _)| other != uuid));
}

#[tokio::test(start_paused = true)]
async fn a_replaced_gpu_is_another_one_in_the_same_place() {
    let steps = step("1s", "event = \"ecc_uncorrected\"\ngpu = 1")
        + &step("2s", "event = \"replace\"\ngpu = 1")
        + &step("3s", "event = \"replace\"\ngpu = 1\nuuid = \"GPU-12345678-0000-4000-8000-000000000001\"");
    let driver = playing(&steps).await;
    let before = identities(&driver).await[1].clone().unwrap();
    let serial = device(&driver, &before.uuid).await.serial;
    sleep(2).await;
    let after = identities(&driver).await[1].clone().unwrap();
    assert_ne!(after.uuid, before.uuid);
    assert_eq!(after.pci_bus_id, before.pci_bus_id);
    assert_ne!(device(&driver, &after.uuid).await.serial, serial);
    assert_eq!(driver.vitals(&before.uuid).await, Err(DriverError::NotFound));
    assert_eq!(driver.vitals(&after.uuid).await.unwrap().ecc_uncorrected_volatile, Some(0));
    sleep(1).await;
    assert_eq!(uuids(&driver).await[1], "GPU-12345678-0000-4000-8000-000000000001");
}

#[tokio::test(start_paused = true)]
async fn gpus_are_listed_in_a_new_order_and_keep_their_places() {
    let driver = playing(&step("1s", "event = \"reorder\"\norder = [1, 0]")).await;
    let before = identities(&driver).await;
    sleep(1).await;
    let after = identities(&driver).await;
    assert_eq!([&after[0], &after[1]], [&before[1], &before[0]]);
    assert_eq!(device(&driver, &after[0].as_ref().unwrap().uuid).await.index, Some(0));
}

#[tokio::test(start_paused = true)]
async fn a_timeline_repeats() {
    let steps = step("1s", "event = \"xid\"\ngpu = 0\nxid = 13") + &step("4s", "event = \"xid\"\ngpu = 0\nxid = 43");
    let driver = simulated(&format!("repeat = \"10s\"\n[node]\ngpus = 1\n{steps}"));
    driver.init().await.unwrap();
    subscribe_all(&driver).await;
    let mut times = Vec::new();
    let start = Instant::now();
    for _ in 0..5 {
        driver.next_event(HOUR).await.unwrap().unwrap();
        times.push(start.elapsed().as_secs());
    }
    assert_eq!(times, [1, 4, 11, 14, 21]);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_does_not_grow() {
    let steps = step("0s", "event = \"xid\"\ngpu = 0\nxid = 13");
    let driver = simulated(&format!("repeat = \"1s\"\n[node]\ngpus = 1\n{steps}"));
    driver.init().await.unwrap();
    subscribe_all(&driver).await;
    sleep(5000).await;
    let mut waiting = 0;
    while driver.next_event(Duration::ZERO).await.unwrap().is_some() {
        waiting += 1;
    }
    assert_eq!(waiting, 1024);
}
