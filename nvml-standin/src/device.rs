// SPDX-License-Identifier: Apache-2.0
//! The functions of nvml.h that say what a GPU is.
#![expect(unsafe_code, reason = "these are C functions, which write through the pointers that they are given")]

use std::mem;
use std::os::raw::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{
    nvmlBrandType_t, nvmlDevice_t, nvmlDeviceArchitecture_t, nvmlMemory_v2_t, nvmlPciInfo_t, nvmlReturn_t,
};

use crate::state::{Answer, NOT_SUPPORTED, Subject, about};
use crate::system::{put, put_text};

/// Functions that answer with one value about a device.
macro_rules! values {
    ($($function:ident: $type:ty = $answer:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(
            device: nvml_wrapper_sys::bindings::nvmlDevice_t,
            value: *mut $type,
        ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            let answer: fn($crate::state::Subject<'_>) -> $crate::state::Answer<$type> = $answer;
            $crate::state::about(stringify!($function), device, |subject, _| {
                // SAFETY: the caller gives a place for the value.
                unsafe { $crate::system::put(value, answer(subject)?) }
            })
        }
    )*};
}
pub(crate) use values;

/// Functions that answer with a text about a device.
macro_rules! texts {
    ($($function:ident = $answer:expr;)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $function(device: nvmlDevice_t, text: *mut c_char, length: c_uint) -> nvmlReturn_t {
            let answer: fn(Subject<'_>) -> Answer<String> = $answer;
            // SAFETY: the caller gives a place of this length.
            about(stringify!($function), device, |subject, _| unsafe { put_text(text, length, &answer(subject)?) })
        }
    )*};
}

texts! {
    nvmlDeviceGetUUID = |subject| Ok(subject.mig.map_or(&subject.gpu.uuid, |mig| &mig.uuid).clone());
    nvmlDeviceGetName = |subject| {
        let name = &subject.gpu.name;
        Ok(subject.mig.map_or(name.clone(), |mig| format!("{name} MIG {}", mig.profile)))
    };
    nvmlDeviceGetSerial = |subject| subject.gpu.serial.clone().ok_or(NOT_SUPPORTED);
    nvmlDeviceGetBoardPartNumber = |subject| subject.gpu.board_part_number.clone().ok_or(NOT_SUPPORTED);
    nvmlDeviceGetVbiosVersion = |subject| Ok(subject.gpu.vbios_version.clone());
}

values! {
    nvmlDeviceGetIndex: c_uint = |subject| Ok(subject.index);
    nvmlDeviceGetMinorNumber: c_uint = |subject| Ok(subject.gpu.minor_number);
    nvmlDeviceGetBrand: nvmlBrandType_t = |subject| Ok(subject.gpu.brand);
    nvmlDeviceGetArchitecture: nvmlDeviceArchitecture_t = |subject| Ok(subject.gpu.architecture);
    nvmlDeviceGetMaxPcieLinkGeneration: c_uint = |subject| Ok(subject.gpu.pcie_generation_max);
    nvmlDeviceGetMaxPcieLinkWidth: c_uint = |subject| Ok(subject.gpu.pcie_width_max);
    // As on an H100: seven places, some of which are free.
    nvmlDeviceGetMaxMigDeviceCount: c_uint = |_| Ok(7);
    nvmlDeviceGetGpuInstanceId: c_uint = |subject| Ok(subject.mig.ok_or(NOT_SUPPORTED)?.gpu_instance_id);
    nvmlDeviceGetComputeInstanceId: c_uint = |subject| Ok(subject.mig.ok_or(NOT_SUPPORTED)?.compute_instance_id);
    nvmlDeviceGetPciInfo_v3: nvmlPciInfo_t = |subject| {
        // SAFETY: it is a C struct of integers, for which all zeros are a value.
        let mut pci: nvmlPciInfo_t = unsafe { mem::zeroed() };
        for (place, byte) in pci.busId.iter_mut().zip(subject.gpu.pci_bus_id.bytes()) {
            *place = byte.cast_signed() as c_char;
        }
        Ok(pci)
    };
    nvmlDeviceGetMemoryInfo_v2: nvmlMemory_v2_t = |subject| {
        let total = subject.mig.map_or(subject.gpu.memory_bytes, |mig| mig.memory_bytes);
        let used = subject.gpu.memory_used_bytes.min(total);
        Ok(nvmlMemory_v2_t { version: 2, total, reserved: 0, free: total - used, used })
    };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    about("nvmlDeviceGetCudaComputeCapability", device, |subject, _| {
        let version = subject.gpu.compute_capability;
        // SAFETY: the caller gives places for both numbers.
        unsafe { put(major, version.0).and_then(|()| put(minor, version.1)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    about("nvmlDeviceGetMigMode", device, |subject, _| {
        let mode = subject.gpu.mig_mode.ok_or(NOT_SUPPORTED)?;
        // SAFETY: the caller gives places for both modes.
        unsafe { put(current, mode.0).and_then(|()| put(pending, mode.1)) }
    })
}
