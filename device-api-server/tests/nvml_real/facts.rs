// SPDX-License-Identifier: Apache-2.0
//! Which GPUs there are, and what they are.

use std::fs;

use device_api_core::resource::{GpuDevice, MigDevice};
use device_api_server::source::nvml::driver::{Driver, DriverError, Found, System};
use device_api_server::source::nvml::real::Nvml;
use nvml_standin::{Mig, Script};

use crate::found;
use crate::outcomes::{GPU_IS_LOST, NO_PERMISSION, NOT_SUPPORTED, UNKNOWN};
use crate::support::standin::{Standin, uuid};

#[tokio::test]
async fn eight_gpus_are_found_in_their_places() {
    let standin = Standin::new(&Script::with_gpus(8));
    let nvml = Nvml::new(standin.options());
    let system = System { driver_version: Some("580.95.05".to_owned()), cuda_driver_version: Some("13.0".to_owned()) };
    assert_eq!(nvml.boot_id(), Some(fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()));
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
    assert_eq!(description.mig_devices, Some(Vec::new()));
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
async fn what_fails_says_nothing_of_the_mig_devices_that_were_there() {
    let mut script = Script::with_gpus(1);
    script.gpus[0].mig_mode = Some((1, 1));
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    for function in ["nvmlDeviceGetMigMode", "nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex"] {
        standin.plays(&script.clone().with_fault(function, UNKNOWN));
        let description = nvml.describe(&uuid(0)).await.unwrap();
        assert_eq!((description.mig_devices, description.device.minor_number), (None, Some(0)), "{function}");
    }
    standin.plays(&script);
    assert_eq!(nvml.describe(&uuid(0)).await.unwrap().mig_devices, Some(Vec::new()));
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
    let [(mig_uuid, part)] = description.mig_devices.unwrap().try_into().unwrap();
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
    assert_eq!(nvml.describe(&uuid(0)).await.unwrap().mig_devices, Some(Vec::new()));
    nvml.shutdown().await;
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
