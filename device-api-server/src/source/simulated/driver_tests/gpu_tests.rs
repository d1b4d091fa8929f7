// SPDX-License-Identifier: Apache-2.0
//! What happens to GPUs, and what they answer then.

use std::time::Duration;

use tokio::time::Instant;

use super::super::super::nvml::driver::{Driver, DriverError, Event, EventKind, RecoveryAction};
use super::{HOUR, SECOND, device, events, identities, playing, simulated, sleep, step, subscribe_all, uuids};

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
        assert_eq!(description.mig_devices.as_ref().map(Vec::len), Some(parts));
        seen.push(description.mig_devices.unwrap());
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
