// SPDX-License-Identifier: Apache-2.0
//! The functions of nvml.h that deliver events.
#![expect(unsafe_code, reason = "these are C functions, which write through the pointers that they are given")]

use std::os::raw::{c_uint, c_ulonglong};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_enum_NVML_ERROR_TIMEOUT, nvmlReturn_t,
};

use crate::device::values;
use crate::script::{Fault, Outcome};
use crate::state::{
    Answer, GPU_IS_LOST, INVALID_ARGUMENT, LOOK, NOT_SUPPORTED, about, call, complain, obey, under_way, with_state,
};
use crate::system::put;

values! {
    nvmlDeviceGetSupportedEventTypes: c_ulonglong = |subject| Ok(subject.gpu.event_types);
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetCreate(set: *mut nvmlEventSet_t) -> nvmlReturn_t {
    call("nvmlEventSetCreate", |script| {
        let passed = script.events.len();
        // SAFETY: the caller gives a place for the handle.
        with_state(|state| unsafe { put(set, state.new_set(passed)) })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    // After the driver was loaded anew, too: what belongs to this process is given back.
    under_way("nvmlEventSetFree", || {
        let freed = with_state(|state| Ok(state.sets.remove(&set.addr())))?;
        freed.map(drop).ok_or(INVALID_ARGUMENT).inspect_err(|_| complain("nvmlEventSetFree with a handle that is none"))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    types: c_ulonglong,
    set: nvmlEventSet_t,
) -> nvmlReturn_t {
    about("nvmlDeviceRegisterEvents", device, |subject, _| {
        if types & !subject.gpu.event_types != 0 {
            return Err(NOT_SUPPORTED);
        }
        with_state(|state| {
            let set = state.sets.get_mut(&set.addr()).ok_or(INVALID_ARGUMENT)?;
            set.types.insert(subject.gpu.uuid.clone(), types);
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    data: *mut nvmlEventData_t,
    milliseconds: c_uint,
) -> nvmlReturn_t {
    call("nvmlEventSetWait_v2", |_| {
        let end = Instant::now() + Duration::from_millis(milliseconds.into());
        loop {
            if let Some(event) = next(set)? {
                // SAFETY: the caller gives a place for one event.
                return unsafe { put(data, event) };
            }
            if Instant::now() >= end {
                return Err(nvmlReturn_enum_NVML_ERROR_TIMEOUT);
            }
            sleep(LOOK);
        }
    })
}

/// The script's next event that was registered for with this set.
fn next(set: nvmlEventSet_t) -> Answer<Option<nvmlEventData_t>> {
    let script = obey("nvmlEventSetWait_v2", None)?;
    with_state(|state| {
        let set = state.sets.get_mut(&set.addr()).ok_or(INVALID_ARGUMENT)?;
        let registered = |gpu: &String, types: u64| set.types.get(gpu).is_some_and(|wanted| wanted & types != 0);
        let mut new = script.events.iter().enumerate().skip(set.passed);
        let found = new.find(|(_, event)| registered(&event.gpu, event.event_type));
        (set.passed, set.delivered) = match found {
            // One that comes again and again is passed with its last time.
            Some((at, event)) => {
                let delivered = if at == set.passed { set.delivered + 1 } else { 1 };
                if delivered < event.times { (at, delivered) } else { (at + 1, 0) }
            }
            None => (script.events.len(), 0),
        };
        // While a GPU of the set is off the bus, every wait fails, once the events that had come are taken.
        let is_off = |fault: &&Fault| fault.function == "*" && fault.outcome == Outcome::Fails(GPU_IS_LOST);
        let mut lost = script.faults.iter().filter(is_off).filter_map(|fault| fault.gpu.as_ref());
        if found.is_none() && lost.any(|gpu| set.types.contains_key(gpu)) {
            return Err(GPU_IS_LOST);
        }
        Ok(found.map(|(_, event)| {
            let (gpu_instance, compute_instance) = event.instance.unwrap_or((u32::MAX, u32::MAX));
            nvmlEventData_t {
                device: state.device(&event.gpu),
                eventType: event.event_type,
                eventData: event.data,
                gpuInstanceId: gpu_instance,
                computeInstanceId: compute_instance,
            }
        }))
    })
}
