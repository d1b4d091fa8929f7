// SPDX-License-Identifier: Apache-2.0
//! How a scenario is played: when events come, which calls are answered. In virtual time, as are its parts.

mod gpu_tests;

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
