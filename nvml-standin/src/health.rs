// SPDX-License-Identifier: Apache-2.0
//! The functions of nvml.h that say how a GPU is, and what it measures.
#![expect(unsafe_code, reason = "these are C functions, which write through the pointers that they are given")]

use std::os::raw::{c_int, c_uint, c_ulonglong};
use std::slice;

use nvml_wrapper_sys::bindings::{self as nvml, field_id, nvmlDevice_t, nvmlReturn_t};

use crate::device::values;
use crate::state::{Answer, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_SUPPORTED, SUCCESS, Subject, about};
use crate::system::put;

values! {
    nvmlDeviceGetPowerUsage: c_uint = |subject| Ok(subject.gpu.power_milliwatts);
    nvmlDeviceGetEnforcedPowerLimit: c_uint = |subject| Ok(subject.gpu.power_limit_milliwatts);
    nvmlDeviceGetCurrPcieLinkGeneration: c_uint = |subject| Ok(subject.gpu.pcie_generation);
    nvmlDeviceGetCurrPcieLinkWidth: c_uint = |subject| Ok(subject.gpu.pcie_width);
    nvmlDeviceGetCurrentClocksThrottleReasons: c_ulonglong = |subject| Ok(subject.gpu.throttle_reasons);
    nvmlDeviceGetUtilizationRates: nvml::nvmlUtilization_t = |subject| {
        let gpu = subject.gpu.utilization_percent.ok_or(NOT_SUPPORTED)?;
        Ok(nvml::nvmlUtilization_t { gpu, memory: gpu })
    };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTemperature(
    device: nvmlDevice_t,
    _sensor: nvml::nvmlTemperatureSensors_t,
    temperature: *mut c_uint,
) -> nvmlReturn_t {
    // SAFETY: the caller gives a place for the number.
    about("nvmlDeviceGetTemperature", device, |subject, _| unsafe { put(temperature, subject.gpu.temperature) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetClockInfo(
    device: nvmlDevice_t,
    clock: nvml::nvmlClockType_t,
    mhz: *mut c_uint,
) -> nvmlReturn_t {
    about("nvmlDeviceGetClockInfo", device, |subject, _| {
        let memory = clock == nvml::nvmlClockType_enum_NVML_CLOCK_MEM;
        let found = if memory { subject.gpu.memory_clock_mhz } else { subject.gpu.sm_clock_mhz };
        // SAFETY: the caller gives a place for the number.
        unsafe { put(mhz, found) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    error: nvml::nvmlMemoryErrorType_t,
    counter: nvml::nvmlEccCounterType_t,
    count: *mut c_ulonglong,
) -> nvmlReturn_t {
    about("nvmlDeviceGetTotalEccErrors", device, |subject, _| {
        let ecc = subject.gpu.ecc.ok_or(NOT_SUPPORTED)?;
        let corrected = error == nvml::nvmlMemoryErrorType_enum_NVML_MEMORY_ERROR_TYPE_CORRECTED;
        let volatile = counter == nvml::nvmlEccCounterType_enum_NVML_VOLATILE_ECC;
        let found = match (corrected, volatile) {
            (true, true) => ecc.corrected_volatile,
            (true, false) => ecc.corrected_aggregate,
            (false, true) => ecc.uncorrected_volatile,
            (false, false) => ecc.uncorrected_aggregate,
        };
        // SAFETY: the caller gives a place for the number.
        unsafe { put(count, found) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvml::nvmlFieldValue_t,
) -> nvmlReturn_t {
    about("nvmlDeviceGetFieldValues", device, |subject, _| {
        let count = usize::try_from(count).map_err(|_| INVALID_ARGUMENT)?;
        // SAFETY: the caller gives so many values, of which it has filled in the ids.
        for value in unsafe { slice::from_raw_parts_mut(values, count) } {
            value.valueType = nvml::nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT;
            match field(subject, value.fieldId) {
                Ok(found) => {
                    value.value.uiVal = found;
                    value.nvmlReturn = SUCCESS;
                }
                Err(code) => value.nvmlReturn = code,
            }
        }
        Ok(())
    })
}

fn field(subject: Subject<'_>, id: u32) -> Answer<u32> {
    let remapped = subject.gpu.remapped.ok_or(NOT_SUPPORTED);
    match id {
        // As a driver answers that is older than the number.
        field_id::NVML_FI_DEV_GET_GPU_RECOVERY_ACTION => subject.gpu.recovery_action.ok_or(INVALID_ARGUMENT),
        field_id::NVML_FI_DEV_REMAPPED_COR => Ok(remapped?.correctable),
        field_id::NVML_FI_DEV_REMAPPED_UNC => Ok(remapped?.uncorrectable),
        field_id::NVML_FI_DEV_REMAPPED_PENDING => Ok(remapped?.pending),
        field_id::NVML_FI_DEV_REMAPPED_FAILURE => Ok(remapped?.failed),
        _ => Err(INVALID_ARGUMENT),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRetiredPages(
    device: nvmlDevice_t,
    cause: nvml::nvmlPageRetirementCause_t,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
) -> nvmlReturn_t {
    about("nvmlDeviceGetRetiredPages", device, |subject, _| {
        let pages = retired_pages(subject, cause)?;
        // SAFETY: the caller gives a place for so many addresses.
        unsafe { put_all(addresses, count, &pages) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetRetiredPages_v2(
    device: nvmlDevice_t,
    cause: nvml::nvmlPageRetirementCause_t,
    count: *mut c_uint,
    addresses: *mut c_ulonglong,
    timestamps: *mut c_ulonglong,
) -> nvmlReturn_t {
    about("nvmlDeviceGetRetiredPages_v2", device, |subject, _| {
        let pages = retired_pages(subject, cause)?;
        // SAFETY: the caller gives a place for so many addresses, and for as many times.
        unsafe { put_all(timestamps, count, &pages).and_then(|()| put_all(addresses, count, &pages)) }
    })
}

fn retired_pages(subject: Subject<'_>, cause: nvml::nvmlPageRetirementCause_t) -> Answer<Vec<c_ulonglong>> {
    let pages = subject.gpu.retired_pages.ok_or(NOT_SUPPORTED)?;
    let double_bit = nvml::nvmlPageRetirementCause_enum_NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR;
    Ok((0..if cause == double_bit { pages.into() } else { 0 }).collect())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvml::nvmlProcessInfo_t,
) -> nvmlReturn_t {
    about("nvmlDeviceGetComputeRunningProcesses_v3", device, |subject, _| {
        // SAFETY: the caller gives a place for so many processes.
        unsafe { put_all(infos, count, &processes(&subject.gpu.compute_pids)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    infos: *mut nvml::nvmlProcessInfo_t,
) -> nvmlReturn_t {
    about("nvmlDeviceGetGraphicsRunningProcesses_v3", device, |subject, _| {
        // SAFETY: the caller gives a place for so many processes.
        unsafe { put_all(infos, count, &processes(&subject.gpu.graphics_pids)) }
    })
}

fn processes(pids: &[u32]) -> Vec<nvml::nvmlProcessInfo_t> {
    let process = |pid: &u32| nvml::nvmlProcessInfo_t {
        pid: *pid,
        usedGpuMemory: 1 << 30,
        gpuInstanceId: u32::MAX,
        computeInstanceId: u32::MAX,
    };
    pids.iter().map(process).collect()
}

/// Writes a list, or how long it is where there is too little room.
///
/// # Safety
/// `count` is null, or says for how many items there is room at `list`.
unsafe fn put_all<T: Copy>(list: *mut T, count: *mut c_uint, items: &[T]) -> Answer {
    if count.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: the caller of the library gives a number.
    let room = unsafe { count.read() } as usize;
    // SAFETY: as above.
    unsafe { count.write(items.len() as c_uint) };
    if room < items.len() {
        return Err(INSUFFICIENT_SIZE);
    }
    for (at, item) in items.iter().enumerate() {
        // SAFETY: there is room for all of them, as was checked above.
        unsafe { put(list.wrapping_add(at), *item)? };
    }
    Ok(())
}
