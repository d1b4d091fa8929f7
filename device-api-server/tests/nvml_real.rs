// SPDX-License-Identifier: Apache-2.0
//! The way through the loader, the binding and the lanes to NVML's library, for which the stand-in stands.

mod support;

use std::fs;
use std::time::Duration;

use device_api_core::resource::{GpuDevice, GpuTelemetry, MigDevice};
use device_api_server::source::nvml::driver::{
    Driver, DriverError, EventKind, Found, Identity, RecoveryAction, System, Vitals,
};
use device_api_server::source::nvml::real::{Nvml, NvmlOptions};
use nvml_standin::{Ecc, Gpu, Mig, Outcome, Remapped, Script};
use support::PATIENCE;
use support::standin::{Standin, event, uuid};
use tokio::time::timeout;

/// nvml.h, `nvmlReturn_t`.
const NOT_SUPPORTED: Outcome = Outcome::Fails(3);
const NO_PERMISSION: Outcome = Outcome::Fails(4);
const DRIVER_NOT_LOADED: Outcome = Outcome::Fails(9);
const GPU_IS_LOST: Outcome = Outcome::Fails(15);
const VERSION_MISMATCH: Outcome = Outcome::Fails(18);
const UNKNOWN: Outcome = Outcome::Fails(999);

fn found(index: u32, gpu: u32) -> Found {
    let Gpu { uuid, pci_bus_id, .. } = Gpu::h100(gpu);
    Found { index, identity: Ok(Identity { uuid, pci_bus_id: Some(pci_bus_id) }) }
}

#[tokio::test]
async fn eight_gpus_are_found_in_their_places() {
    let standin = Standin::new(&Script::with_gpus(8));
    let nvml = Nvml::new(standin.options());
    let system = System {
        driver_version: Some("580.95.05".to_owned()),
        cuda_driver_version: Some("13.0".to_owned()),
        boot_id: Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()),
    };
    assert_eq!(nvml.init().await, Ok(system));
    assert_eq!(nvml.list().await, Ok((0..8).map(|at| found(at, at)).collect()));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_gpu_is_described_with_every_fact_that_nvml_tells() {
    let standin = Standin::new(&Script::with_gpus(8));
    let nvml = standin.started().await;
    let description = nvml.describe(&uuid(5)).await.unwrap();
    let expected = GpuDevice {
        index: Some(5),
        minor_number: Some(5),
        product_name: Some("NVIDIA H100 80GB HBM3".to_owned()),
        brand: Some("Nvidia".to_owned()),
        architecture: Some("Hopper".to_owned()),
        serial: Some("1654923010005".to_owned()),
        board_part_number: Some("692-2G520-0200-000".to_owned()),
        pci_bus_id: Some("00000000:20:00.0".to_owned()),
        pcie_generation_max: Some(5),
        pcie_width_max: Some(16),
        numa_node: Some(1),
        memory_bytes: Some(85_520_809_984),
        compute_capability: Some("9.0".to_owned()),
        mig_enabled: Some(false),
        mig_pending: Some(false),
        driver_version: Some("580.95.05".to_owned()),
        cuda_driver_version: Some("13.0".to_owned()),
        vbios_version: Some("96.00.74.00.01".to_owned()),
        mig: None,
    };
    assert_eq!(description.device, expected);
    assert_eq!(description.mig_devices, []);
    nvml.shutdown().await;
}

#[tokio::test]
async fn what_a_gpu_does_not_tell_is_absent_and_the_rest_is_told() {
    let script = Script::with_gpus(1)
        .with_fault("nvmlDeviceGetSerial", NOT_SUPPORTED)
        .with_fault("nvmlDeviceGetMinorNumber", NO_PERMISSION)
        .with_fault("nvmlDeviceGetName", UNKNOWN)
        .with_fault("nvmlSystemGetCudaDriverVersion_v2", UNKNOWN);
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    let GpuDevice { serial, minor_number, product_name, cuda_driver_version, memory_bytes, .. } =
        nvml.describe(&uuid(0)).await.unwrap().device;
    assert_eq!((serial, minor_number, product_name, cuda_driver_version), (None, None, None, None));
    assert_eq!(memory_bytes, Some(85_520_809_984));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_mig_device_is_described_with_its_instances_and_its_profile() {
    let mut script = Script::with_gpus(2);
    script.gpus[1].mig_mode = Some((1, 1));
    script.gpus[1].mig_devices = vec![Mig {
        uuid: "MIG-5f3c8a52-0000-5000-8000-000000000001".to_owned(),
        gpu_instance_id: 9,
        compute_instance_id: 2,
        profile: "1g.10gb".to_owned(),
        memory_bytes: 10_200_547_328,
    }];
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    let description = nvml.describe(&uuid(1)).await.unwrap();
    assert_eq!(description.device.mig_enabled, Some(true));
    let [(mig_uuid, part)] = description.mig_devices.try_into().unwrap();
    assert_eq!(mig_uuid, script.gpus[1].mig_devices[0].uuid);
    let mig = MigDevice {
        parent_uuid: uuid(1),
        gpu_instance_id: Some(9),
        compute_instance_id: Some(2),
        profile: Some("1g.10gb".to_owned()),
    };
    let expected = GpuDevice {
        mig: Some(mig),
        memory_bytes: Some(10_200_547_328),
        index: None,
        mig_enabled: None,
        mig_pending: None,
        ..description.device
    };
    assert_eq!(part, expected);
    assert_eq!(nvml.describe(&uuid(0)).await.unwrap().mig_devices, []);
    nvml.shutdown().await;
}

#[tokio::test]
async fn vitals_tell_recovery_action_ecc_errors_and_remapped_rows() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    let healthy = Vitals {
        recovery_action: Some(RecoveryAction::None),
        ecc_uncorrected_volatile: Some(0),
        remapping_pending: Some(false),
        remapping_failed: Some(false),
    };
    assert_eq!(nvml.vitals(&uuid(0)).await, Ok(healthy));
    let actions = [
        RecoveryAction::None,
        RecoveryAction::GpuReset,
        RecoveryAction::NodeReboot,
        RecoveryAction::DrainP2P,
        RecoveryAction::DrainAndReset,
        RecoveryAction::Other(5),
    ];
    for (value, action) in (0..).zip(actions) {
        standin.changes(|script| script.gpus[0].recovery_action = Some(value));
        assert_eq!(nvml.vitals(&uuid(0)).await.unwrap().recovery_action, Some(action));
    }
    standin.changes(|script| {
        let gpu = &mut script.gpus[0];
        gpu.remapped = Some(Remapped { pending: 1, failed: 1, ..Remapped::default() });
        gpu.ecc = Some(Ecc { uncorrected_volatile: 3, ..Ecc::default() });
    });
    let Vitals { ecc_uncorrected_volatile, remapping_pending, remapping_failed, .. } =
        nvml.vitals(&uuid(0)).await.unwrap();
    assert_eq!((ecc_uncorrected_volatile, remapping_pending, remapping_failed), (Some(3), Some(true), Some(true)));
    nvml.shutdown().await;
}

#[tokio::test]
async fn vitals_that_a_gpu_does_not_have_are_absent_and_those_that_fail_are_an_error() {
    let mut script = Script::with_gpus(1);
    let gpu = &mut script.gpus[0];
    (gpu.recovery_action, gpu.ecc, gpu.remapped) = (None, None, None);
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    assert_eq!(nvml.vitals(&uuid(0)).await, Ok(Vitals::default()));
    standin.plays(&script.clone().with_fault("nvmlDeviceGetTemperature", GPU_IS_LOST));
    assert_eq!(nvml.vitals(&uuid(0)).await, Err(DriverError::GpuLost));
    standin.plays(&script.with_fault("nvmlDeviceGetTotalEccErrors", UNKNOWN));
    assert!(matches!(nvml.vitals(&uuid(0)).await, Err(DriverError::Other { .. })));
    nvml.shutdown().await;
}

#[tokio::test]
async fn telemetry_tells_what_a_gpu_measures() {
    let mut script = Script::with_gpus(1);
    let gpu = &mut script.gpus[0];
    gpu.ecc =
        Some(Ecc { corrected_volatile: 1, uncorrected_volatile: 2, corrected_aggregate: 3, uncorrected_aggregate: 4 });
    gpu.remapped = Some(Remapped { correctable: 5, uncorrectable: 6, pending: 0, failed: 1 });
    gpu.retired_pages = Some(7);
    gpu.throttle_reasons = 0x44;
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    let expected = GpuTelemetry {
        sampled_at: None,
        temperature_celsius: Some(54),
        power_milliwatts: Some(412_500),
        power_limit_milliwatts: Some(700_000),
        sm_clock_mhz: Some(1_755),
        memory_clock_mhz: Some(2_619),
        utilization_percent: Some(97),
        memory_used_bytes: Some(64 << 30),
        pcie_generation: Some(5),
        pcie_width: Some(16),
        ecc_corrected_volatile: Some(1),
        ecc_uncorrected_volatile: Some(2),
        ecc_corrected_aggregate: Some(3),
        ecc_uncorrected_aggregate: Some(4),
        remapped_rows_correctable: Some(5),
        remapped_rows_uncorrectable: Some(6),
        remapping_pending: Some(false),
        remapping_failed: Some(true),
        retired_pages: Some(7),
        throttle_reasons: vec!["HwThermalSlowdown".to_owned(), "SwPowerCap".to_owned()],
        // One of the three is both a compute and a graphics process.
        processes: Some(2),
    };
    assert_eq!(nvml.telemetry(&uuid(0)).await, Ok(expected));
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_xid_names_its_gpu_and_the_instance_that_it_is_about() {
    let standin = Standin::new(&Script::with_gpus(2));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    nvml.subscribe(&uuid(1)).await.unwrap();
    standin.xid(1, 94, Some((9, 2)));
    standin.xid(0, 79, None);
    let xid = |xid, gpu_instance_id, compute_instance_id| EventKind::Xid { xid, gpu_instance_id, compute_instance_id };
    assert_eq!(event(&nvml).await, (uuid(1), xid(94, Some(9), Some(2))));
    assert_eq!(event(&nvml).await, (uuid(0), xid(79, None, None)));
    nvml.shutdown().await;
}

#[tokio::test]
async fn each_type_of_event_is_told_apart() {
    let mut script = Script::with_gpus(1);
    script.gpus[0].event_types = 0xFFFF;
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    // Not asked for: a clock that changed.
    standin.reports(0, 0x10, 0, None);
    for (bit, kind) in [
        (0x1, EventKind::SingleBitEcc),
        (0x2, EventKind::DoubleBitEcc),
        (0x100, EventKind::MigConfigChanged),
        (0x4000, EventKind::RecoveryActionChanged),
        (0x8000, EventKind::RecoveryActionChanged),
    ] {
        standin.reports(0, bit, 0, None);
        assert_eq!(event(&nvml).await, (uuid(0), kind));
    }
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_xid_of_a_gpu_that_does_not_say_who_it_is_any_more_is_delivered() {
    let standin = Standin::new(&Script::with_gpus(2));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(1)).await.unwrap();
    standin.changes(|script| *script = script.clone().with_gpu_fault("*", 1, GPU_IS_LOST));
    standin.xid(1, 79, None);
    let kind = EventKind::Xid { xid: 79, gpu_instance_id: None, compute_instance_id: None };
    assert_eq!(event(&nvml).await, (uuid(1), kind));
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_event_that_comes_while_nobody_waits_is_kept() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    // A loop that looks at something else now and then drops its wait, which goes on in NVML for a moment.
    for xid in 1..=20 {
        let mut wait = Box::pin(nvml.next_event(PATIENCE));
        assert!(futures_util::poll!(&mut wait).is_pending());
        drop(wait);
        standin.xid(0, xid, None);
        let EventKind::Xid { xid: found, .. } = event(&nvml).await.1 else { panic!("no XID") };
        assert_eq!(u64::from(found), xid);
    }
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_wait_for_events_ends_without_one() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    assert_eq!(nvml.next_event(Duration::ZERO).await, Ok(None));
    nvml.subscribe(&uuid(0)).await.unwrap();
    assert_eq!(nvml.next_event(Duration::from_millis(300)).await, Ok(None));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_gpu_without_xids_cannot_be_subscribed_to() {
    let mut script = Script::with_gpus(1);
    script.gpus[0].event_types = 0x3;
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    assert_eq!(nvml.subscribe(&uuid(0)).await, Err(DriverError::NotSupported));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_library_that_is_nowhere_is_named_with_its_places() {
    let root = tempfile::tempdir().unwrap();
    let library = "libnvidia-ml-of-no-node.so.1";
    let options = NvmlOptions::default().with_driver_root(root.path()).with_library(library);
    let Err(error) = Nvml::new(options).init().await else { panic!("there is such a library") };
    assert!(matches!(error, DriverError::LibraryNotFound { .. }), "{error:?}");
    let text = error.to_string();
    for part in [library, "usr/lib64", &root.path().display().to_string()] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_library_that_cannot_be_loaded_is_passed_over_for_one_that_can() {
    let standin = Standin::new(&Script::with_gpus(1));
    let folder = standin.root().join("usr/lib/x86_64-linux-gnu");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(standin.library(), folder.join("libnvidia-ml.so.1")).unwrap();
    fs::write(standin.library(), "no library").unwrap();
    fs::rename(standin.library().with_file_name(nvml_standin::SCRIPT), folder.join(nvml_standin::SCRIPT)).unwrap();
    let nvml = standin.started().await;
    assert_eq!(nvml.list().await, Ok(vec![found(0, 0)]));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_library_that_cannot_be_loaded_says_why() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("usr/lib");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("libnvidia-ml-broken.so.1"), "no library").unwrap();
    let options = NvmlOptions::default().with_driver_root(root.path()).with_library("libnvidia-ml-broken.so.1");
    let Err(DriverError::Other { call, why }) = Nvml::new(options).init().await else { panic!("it was loaded") };
    assert_eq!(call, "dlopen");
    assert!(why.contains("libnvidia-ml-broken.so.1"), "{why}");
}

#[tokio::test]
async fn a_driver_that_is_not_there_or_does_not_fit_is_told_and_found_when_it_comes() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = Nvml::new(standin.options());
    for (outcome, error) in
        [(DRIVER_NOT_LOADED, DriverError::DriverNotLoaded), (VERSION_MISMATCH, DriverError::VersionMismatch)]
    {
        standin.plays(&Script::with_gpus(1).with_fault("nvmlInit_v2", outcome));
        assert_eq!(nvml.init().await, Err(error));
        assert_eq!(nvml.list().await, Err(DriverError::Uninitialized));
    }
    standin.plays(&Script::with_gpus(1));
    nvml.init().await.unwrap();
    assert_eq!(nvml.list().await, Ok(vec![found(0, 0)]));
    nvml.shutdown().await;
}

#[tokio::test]
async fn before_an_init_and_after_a_shutdown_everything_is_uninitialized() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = Nvml::new(standin.options());
    for round in 0..2 {
        assert_eq!(nvml.list().await, Err(DriverError::Uninitialized), "{round}");
        assert_eq!(nvml.vitals(&uuid(0)).await, Err(DriverError::Uninitialized), "{round}");
        assert_eq!(nvml.subscribe(&uuid(0)).await, Err(DriverError::Uninitialized), "{round}");
        assert_eq!(nvml.next_event(Duration::ZERO).await, Err(DriverError::Uninitialized), "{round}");
        nvml.init().await.unwrap();
        nvml.subscribe(&uuid(0)).await.unwrap();
        nvml.shutdown().await;
    }
}

#[tokio::test]
async fn a_lost_gpu_keeps_its_place_and_the_others_answer() {
    let standin = Standin::new(&Script::with_gpus(3).with_gpu_fault("*", 1, GPU_IS_LOST));
    let nvml = standin.started().await;
    let lost = Found { index: 1, identity: Err(DriverError::GpuLost) };
    assert_eq!(nvml.list().await, Ok(vec![found(0, 0), lost, found(2, 2)]));
    assert_eq!(nvml.vitals(&uuid(1)).await, Err(DriverError::GpuLost));
    assert_eq!(nvml.describe(&uuid(1)).await, Err(DriverError::GpuLost));
    assert_eq!(nvml.subscribe(&uuid(1)).await, Err(DriverError::GpuLost));
    nvml.vitals(&uuid(2)).await.unwrap();
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_gpu_that_there_is_not_is_not_found() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    assert_eq!(nvml.vitals(&uuid(1)).await, Err(DriverError::NotFound));
    assert!(matches!(nvml.vitals("GPU-\0").await, Err(DriverError::Other { .. })));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_function_that_the_library_lacks_costs_what_it_tells_and_nothing_else() {
    let standin = Standin::without(&Script::with_gpus(1), "nvmlDeviceGetFieldValues");
    let nvml = standin.started().await;
    let known = Vitals { ecc_uncorrected_volatile: Some(0), ..Vitals::default() };
    assert_eq!(nvml.vitals(&uuid(0)).await, Ok(known));
    nvml.shutdown().await;

    let standin = Standin::without(&Script::with_gpus(1), "nvmlEventSetWait_v2");
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    let missing = DriverError::NoSuchFunction { symbol: "nvmlEventSetWait_v2".to_owned() };
    assert_eq!(nvml.next_event(Duration::ZERO).await, Err(missing));
    nvml.vitals(&uuid(0)).await.unwrap();
    nvml.shutdown().await;
}

#[tokio::test]
async fn after_a_reload_gpus_are_found_in_their_new_order_and_report_again() {
    let standin = Standin::new(&Script::with_gpus(3));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(2)).await.unwrap();
    standin.changes(|script| script.gpus.reverse());
    nvml.init().await.unwrap();
    assert_eq!(nvml.list().await, Ok(vec![found(0, 2), found(1, 1), found(2, 0)]));
    assert_eq!(nvml.describe(&uuid(2)).await.unwrap().device.index, Some(0));
    // Subscriptions are forgotten, and the place of the one is now another's.
    standin.xid(0, 13, None);
    assert_eq!(nvml.next_event(Duration::from_millis(50)).await, Ok(None));
    nvml.subscribe(&uuid(2)).await.unwrap();
    standin.xid(0, 31, None);
    let kind = EventKind::Xid { xid: 31, gpu_instance_id: None, compute_instance_id: None };
    assert_eq!(event(&nvml).await, (uuid(2), kind));
    nvml.shutdown().await;
}

#[tokio::test]
async fn two_drivers_in_one_process_do_not_disturb_each_other() {
    let (one, other) = (Standin::new(&Script::with_gpus(1)), Standin::new(&Script::with_gpus(2)));
    let (one_nvml, other_nvml) = (one.started().await, other.started().await);
    assert_eq!(one_nvml.list().await.unwrap().len(), 1);
    one_nvml.shutdown().await;
    assert_eq!(other_nvml.list().await.unwrap().len(), 2);
    other_nvml.shutdown().await;
}

#[tokio::test]
async fn who_is_dropped_gives_the_library_back() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    drop(nvml);
    // The loader's table says when the library is gone.
    let library = standin.library().display().to_string();
    let gone = async {
        while fs::read_to_string("/proc/self/maps").unwrap().contains(&library) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
