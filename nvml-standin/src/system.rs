// SPDX-License-Identifier: Apache-2.0
//! The functions of nvml.h that are about the system, and those that find a GPU.
#![expect(unsafe_code, reason = "these are C functions, which write through the pointers that they are given")]

use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_uint};

use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlReturn_t};

use crate::state::{
    Answer, INSUFFICIENT_SIZE, INVALID_ARGUMENT, NOT_FOUND, SUCCESS, about, call, initialise, obey, shut_down, subject,
    with_state,
};

/// Writes an answer.
///
/// # Safety
/// `place` is null, or a place for a `T`.
pub(crate) unsafe fn put<T>(place: *mut T, value: T) -> Answer {
    if place.is_null() {
        return Err(INVALID_ARGUMENT);
    }
    // SAFETY: the caller of the library gives a place for the answer.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes a text with its NUL.
///
/// # Safety
/// `place` is null, or a place for `length` characters.
pub(crate) unsafe fn put_text(place: *mut c_char, length: c_uint, text: &str) -> Answer {
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    for (at, byte) in text.bytes().chain([0]).enumerate() {
        // SAFETY: the text fits with its NUL, as was checked above.
        unsafe { put(place.wrapping_add(at), byte.cast_signed() as c_char)? };
    }
    Ok(())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    match obey("nvmlInit_v2", None) {
        Ok(script) => {
            initialise(&script);
            SUCCESS
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    // It may hang. After the driver was loaded anew it does what it is for, whatever the script wants of others then.
    let _ = obey("nvmlShutdown", None);
    shut_down().err().unwrap_or(SUCCESS)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetDriverVersion(version: *mut c_char, length: c_uint) -> nvmlReturn_t {
    // SAFETY: the caller gives a place of this length.
    call("nvmlSystemGetDriverVersion", |script| unsafe { put_text(version, length, &script.driver_version) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(version: *mut c_int) -> nvmlReturn_t {
    // SAFETY: the caller gives a place for the number.
    call("nvmlSystemGetCudaDriverVersion_v2", |script| unsafe { put(version, script.cuda_driver_version) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: the caller gives a place for the number.
    call("nvmlDeviceGetCount_v2", |script| unsafe { put(count, script.gpus.len() as c_uint) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    call("nvmlDeviceGetHandleByIndex_v2", |script| {
        let gpu = script.gpus.get(index as usize).ok_or(INVALID_ARGUMENT)?;
        // SAFETY: the caller gives a place for the handle.
        unsafe { hand_out("nvmlDeviceGetHandleByIndex_v2", &gpu.uuid, device) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, device: *mut nvmlDevice_t) -> nvmlReturn_t {
    call("nvmlDeviceGetHandleByUUID", |script| {
        // SAFETY: the caller gives a text that ends with a NUL.
        let uuid = unsafe { CStr::from_ptr(uuid) }.to_str().map_err(|_| INVALID_ARGUMENT)?;
        let gpu = subject(script, uuid).ok_or(NOT_FOUND)?.gpu;
        // SAFETY: the caller gives a place for the handle.
        unsafe { hand_out("nvmlDeviceGetHandleByUUID", &gpu.uuid, device) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(
    device: nvmlDevice_t,
    index: c_uint,
    mig: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    about("nvmlDeviceGetMigDeviceHandleByIndex", device, |subject, _| {
        let found = subject.gpu.mig_devices.get(index as usize).ok_or(NOT_FOUND)?;
        // SAFETY: the caller gives a place for the handle.
        with_state(|state| unsafe { put(mig, state.device(&found.uuid)) })
    })
}

/// Gives out a handle, unless a fault of this GPU forbids it.
///
/// # Safety
/// `device` is null, or a place for a handle.
unsafe fn hand_out(function: &str, uuid: &str, device: *mut nvmlDevice_t) -> Answer {
    obey(function, Some(uuid))?;
    // SAFETY: as this function's.
    with_state(|state| unsafe { put(device, state.device(uuid)) })
}
