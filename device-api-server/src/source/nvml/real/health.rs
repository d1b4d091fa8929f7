// SPDX-License-Identifier: Apache-2.0
//! What a GPU says of its health, and what it measures.

use std::collections::BTreeSet;

use device_api_core::resource::GpuTelemetry;
use nvml_wrapper::Device;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::{Clock, EccCounter, MemoryError, RetirementCause, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use nvml_wrapper::sys_exports::field_id::{
    NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, NVML_FI_DEV_REMAPPED_COR, NVML_FI_DEV_REMAPPED_FAILURE,
    NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_UNC,
};

use super::failure::{fact, reading};
use crate::source::nvml::driver::{DriverError, RecoveryAction, Vitals};

/// The reasons that nvml.h knows (`nvmlClocksEventReason…`), in alphabetical order; the deprecated twin of
/// `ApplicationsClocksSetting` is left out.
const THROTTLE_REASONS: [(ThrottleReasons, &str); 9] = [
    (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, "ApplicationsClocksSetting"),
    (ThrottleReasons::DISPLAY_CLOCK_SETTING, "DisplayClockSetting"),
    (ThrottleReasons::GPU_IDLE, "GpuIdle"),
    (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, "HwPowerBrakeSlowdown"),
    (ThrottleReasons::HW_SLOWDOWN, "HwSlowdown"),
    (ThrottleReasons::HW_THERMAL_SLOWDOWN, "HwThermalSlowdown"),
    (ThrottleReasons::SW_POWER_CAP, "SwPowerCap"),
    (ThrottleReasons::SW_THERMAL_SLOWDOWN, "SwThermalSlowdown"),
    (ThrottleReasons::SYNC_BOOST, "SyncBoost"),
];

pub(super) fn vitals(device: &Device<'_>) -> Result<Vitals, DriverError> {
    let [action, pending, failed] = fields(
        device,
        [NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_FAILURE],
    )?;
    // Every GPU has a temperature: one that supports nothing else must not look alive because it is silent.
    reading("nvmlDeviceGetTemperature", device.temperature(TemperatureSensor::Gpu))?;
    Ok(Vitals {
        recovery_action: action.map(recovery_action),
        ecc_uncorrected_volatile: ecc(device, MemoryError::Uncorrected, EccCounter::Volatile, reading)?,
        remapping_pending: pending.map(|rows| rows != 0),
        remapping_failed: failed.map(|rows| rows != 0),
    })
}

pub(super) fn telemetry(device: &Device<'_>) -> Result<GpuTelemetry, DriverError> {
    let [correctable, uncorrectable, pending, failed] = fields(
        device,
        [
            NVML_FI_DEV_REMAPPED_COR,
            NVML_FI_DEV_REMAPPED_UNC,
            NVML_FI_DEV_REMAPPED_PENDING,
            NVML_FI_DEV_REMAPPED_FAILURE,
        ],
    )?;
    let utilization = fact("nvmlDeviceGetUtilizationRates", device.utilization_rates())?;
    let memory = fact("nvmlDeviceGetMemoryInfo_v2", device.memory_info())?;
    let throttle = fact("nvmlDeviceGetCurrentClocksThrottleReasons", device.current_throttle_reasons())?;
    Ok(GpuTelemetry {
        sampled_at: None,
        temperature_celsius: fact("nvmlDeviceGetTemperature", device.temperature(TemperatureSensor::Gpu))?,
        power_milliwatts: fact("nvmlDeviceGetPowerUsage", device.power_usage())?,
        power_limit_milliwatts: fact("nvmlDeviceGetEnforcedPowerLimit", device.enforced_power_limit())?,
        sm_clock_mhz: fact("nvmlDeviceGetClockInfo", device.clock_info(Clock::SM))?,
        memory_clock_mhz: fact("nvmlDeviceGetClockInfo", device.clock_info(Clock::Memory))?,
        utilization_percent: utilization.map(|rates| rates.gpu),
        memory_used_bytes: memory.map(|memory| memory.used),
        pcie_generation: fact("nvmlDeviceGetCurrPcieLinkGeneration", device.current_pcie_link_gen())?,
        pcie_width: fact("nvmlDeviceGetCurrPcieLinkWidth", device.current_pcie_link_width())?,
        ecc_corrected_volatile: ecc(device, MemoryError::Corrected, EccCounter::Volatile, fact)?,
        ecc_uncorrected_volatile: ecc(device, MemoryError::Uncorrected, EccCounter::Volatile, fact)?,
        ecc_corrected_aggregate: ecc(device, MemoryError::Corrected, EccCounter::Aggregate, fact)?,
        ecc_uncorrected_aggregate: ecc(device, MemoryError::Uncorrected, EccCounter::Aggregate, fact)?,
        remapped_rows_correctable: correctable,
        remapped_rows_uncorrectable: uncorrectable,
        remapping_pending: pending.map(|rows| rows != 0),
        remapping_failed: failed.map(|rows| rows != 0),
        retired_pages: retired_pages(device)?,
        throttle_reasons: throttle.map(throttle_reasons).unwrap_or_default(),
        processes: processes(device)?,
    })
}

/// Readings that NVML has by number. A driver that does not know a number calls it an invalid argument.
fn fields<const N: usize>(device: &Device<'_>, ids: [u32; N]) -> Result<[Option<u32>; N], DriverError> {
    let call = "nvmlDeviceGetFieldValues";
    let Some(samples) = reading(call, device.field_values_for(&ids.map(FieldId)))? else { return Ok([None; N]) };
    let mut values = [None; N];
    for (value, sample) in values.iter_mut().zip(samples) {
        *value = match sample.and_then(|sample| sample.value) {
            Ok(SampleValue::U32(value)) => Some(value),
            Ok(SampleValue::U64(value)) => Some(u32::try_from(value).unwrap_or(u32::MAX)),
            Ok(SampleValue::F64(_) | SampleValue::I64(_)) | Err(NvmlError::InvalidArg) => None,
            Err(error) => reading(call, Err(error))?,
        };
    }
    Ok(values)
}

/// `nvmlDeviceGpuRecoveryAction_t`.
fn recovery_action(value: u32) -> RecoveryAction {
    match value {
        0 => RecoveryAction::None,
        1 => RecoveryAction::GpuReset,
        2 => RecoveryAction::NodeReboot,
        3 => RecoveryAction::DrainP2P,
        4 => RecoveryAction::DrainAndReset,
        other => RecoveryAction::Other(other),
    }
}

type Read = fn(&'static str, Result<u64, NvmlError>) -> Result<Option<u64>, DriverError>;

/// Counts are not supported where ECC is off.
fn ecc(device: &Device<'_>, kind: MemoryError, counter: EccCounter, read: Read) -> Result<Option<u64>, DriverError> {
    read("nvmlDeviceGetTotalEccErrors", device.total_ecc_errors(kind, counter))
}

fn retired_pages(device: &Device<'_>) -> Result<Option<u32>, DriverError> {
    let mut pages = None;
    for cause in [RetirementCause::MultipleSingleBitEccErrors, RetirementCause::DoubleBitEccError] {
        if let Some(retired) = fact("nvmlDeviceGetRetiredPages", device.retired_pages(cause))? {
            pages = Some(pages.unwrap_or(0) + u32::try_from(retired.len()).unwrap_or(u32::MAX));
        }
    }
    Ok(pages)
}

/// A process may both compute and draw.
fn processes(device: &Device<'_>) -> Result<Option<u32>, DriverError> {
    let computing = fact("nvmlDeviceGetComputeRunningProcesses_v3", device.running_compute_processes())?;
    let drawing = fact("nvmlDeviceGetGraphicsRunningProcesses_v3", device.running_graphics_processes())?;
    if computing.is_none() && drawing.is_none() {
        return Ok(None);
    }
    let all = computing.into_iter().chain(drawing).flatten();
    let pids: BTreeSet<_> = all.map(|process| process.pid).collect();
    Ok(u32::try_from(pids.len()).ok())
}

fn throttle_reasons(reasons: ThrottleReasons) -> Vec<String> {
    let standing = THROTTLE_REASONS.iter().filter(|(reason, _)| reasons.contains(*reason));
    standing.map(|(_, name)| (*name).to_owned()).collect()
}
