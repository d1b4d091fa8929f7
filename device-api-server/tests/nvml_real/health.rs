// SPDX-License-Identifier: Apache-2.0
//! What a GPU says of its health, and what it measures.

use device_api_core::resource::GpuTelemetry;
use device_api_server::source::nvml::driver::{Driver, DriverError, RecoveryAction, Vitals};
use nvml_standin::{Ecc, Remapped, Script};

use crate::outcomes::{GPU_IS_LOST, RESET_REQUIRED, UNKNOWN};
use crate::support::standin::{Standin, uuid};

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
    standin.plays(&script.clone().with_fault("nvmlDeviceGetTemperature", RESET_REQUIRED));
    assert_eq!(nvml.vitals(&uuid(0)).await, Err(DriverError::ResetRequired));
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
