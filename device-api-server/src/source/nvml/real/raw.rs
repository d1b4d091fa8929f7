// SPDX-License-Identifier: Apache-2.0
//! What NVML has and `nvml-wrapper` does not: sets of events that live as long as their session, event types
//! and instance ids that its types leave out, the ids of MIG devices.
//!
//! All unsafe code of this project that ships stands here.
#![expect(unsafe_code, reason = "NVML is a C library, and these calls have no safe wrapper")]

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use nvml_wrapper::Device;
use nvml_wrapper::error::{NvmlError, nvml_sym, nvml_try};
use nvml_wrapper_sys::bindings::{nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlReturn_t};

use super::find;
use super::library::Session;

/// What an event has for an instance id when it is about no instance: nvml.h, `nvmlEventData_t`.
const NO_INSTANCE: u32 = 0xFFFF_FFFF;

/// A set of events, in one session of NVML.
#[derive(Debug)]
pub(super) struct EventSet {
    set: nvmlEventSet_t,
    session: Arc<Session>,
    /// Who was registered, by handle: a GPU that is lost does not say any more who it is.
    uuids: HashMap<usize, String>,
}

// SAFETY: `set` is a handle that NVML gave out, bound to no thread; nvml.h calls NVML thread-safe. It is
// not shared: an `EventSet` is not `Sync`, and has no method that copies the handle.
unsafe impl Send for EventSet {}

/// An event as NVML has it.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) uuid: String,
    /// Bits of `nvmlEventType…`.
    pub(super) types: u64,
    pub(super) data: u64,
    pub(super) gpu_instance_id: Option<u32>,
    pub(super) compute_instance_id: Option<u32>,
}

impl EventSet {
    pub(super) fn new(session: Arc<Session>) -> Result<Self, NvmlError> {
        let create = nvml_sym(session.nvml.lib().nvmlEventSetCreate.as_ref())?;
        let mut set: nvmlEventSet_t = std::ptr::null_mut();
        // SAFETY: NVML is initialised as long as the session lives, and `set` is a place for one handle.
        nvml_try(unsafe { create(&raw mut set) })?;
        Ok(Self { set, session, uuids: HashMap::new() })
    }

    pub(super) fn is_of(&self, session: &Arc<Session>) -> bool {
        Arc::ptr_eq(&self.session, session)
    }

    /// Begins to take these types of events from a GPU.
    pub(super) fn register(&mut self, uuid: &str, types: u64) -> Result<(), NvmlError> {
        let device = find::gpu(&self.session.nvml, uuid)?;
        let register = nvml_sym(self.session.nvml.lib().nvmlDeviceRegisterEvents.as_ref())?;
        // SAFETY: the handle is used while `device` lives.
        let handle = unsafe { device.handle() };
        // SAFETY: both handles are of this session, which lives; the types are what the GPU supports.
        nvml_try(unsafe { register(handle, types, self.set) })?;
        self.uuids.insert(handle.addr(), uuid.to_owned());
        Ok(())
    }

    /// Waits this long for an event.
    pub(super) fn wait(&self, milliseconds: u32) -> Result<Option<Raw>, NvmlError> {
        let wait = nvml_sym(self.session.nvml.lib().nvmlEventSetWait_v2.as_ref())?;
        // SAFETY: it is a C struct of integers and a pointer, for which all zeros are a value.
        let mut data: nvmlEventData_t = unsafe { mem::zeroed() };
        // SAFETY: the set is of this session, which lives; `data` is a place for one event.
        match nvml_try(unsafe { wait(self.set, &raw mut data, milliseconds) }) {
            Err(NvmlError::Timeout) => return Ok(None),
            result => result?,
        }
        let instance = |id| (id != NO_INSTANCE).then_some(id);
        Ok(Some(Raw {
            uuid: self.uuid(data.device)?,
            types: data.eventType,
            data: data.eventData,
            gpu_instance_id: instance(data.gpuInstanceId),
            compute_instance_id: instance(data.computeInstanceId),
        }))
    }

    fn uuid(&self, handle: nvmlDevice_t) -> Result<String, NvmlError> {
        if let Some(uuid) = self.uuids.get(&handle.addr()) {
            return Ok(uuid.clone());
        }
        // SAFETY: NVML has just given out this handle, in this session.
        unsafe { Device::new(handle, &self.session.nvml) }.uuid()
    }
}

impl Drop for EventSet {
    fn drop(&mut self) {
        let Ok(free) = &self.session.nvml.lib().nvmlEventSetFree else { return };
        // SAFETY: the set is of this session, which lives, and nobody else has its handle.
        if let Err(error) = nvml_try(unsafe { free(self.set) }) {
            tracing::warn!(%error, "NVML did not free a set of events");
        }
    }
}

/// The types of events that a GPU has; the wrapper's drops those that are newer than itself.
pub(super) fn supported_event_types(device: &Device<'_>) -> Result<u64, NvmlError> {
    let ask = nvml_sym(device.nvml().lib().nvmlDeviceGetSupportedEventTypes.as_ref())?;
    let mut types = 0;
    // SAFETY: the handle's session lives as long as `device`, and `types` is a place for the answer.
    nvml_try(unsafe { ask(device.handle(), &raw mut types) })?;
    Ok(types)
}

/// The GPU instance that a MIG device is in.
pub(super) fn gpu_instance_id(mig: &Device<'_>) -> Result<u32, NvmlError> {
    id(mig, nvml_sym(mig.nvml().lib().nvmlDeviceGetGpuInstanceId.as_ref())?)
}

/// The compute instance that a MIG device is.
pub(super) fn compute_instance_id(mig: &Device<'_>) -> Result<u32, NvmlError> {
    id(mig, nvml_sym(mig.nvml().lib().nvmlDeviceGetComputeInstanceId.as_ref())?)
}

/// Calls one of NVML's functions that write one number about a device; they all have this signature.
fn id(mig: &Device<'_>, ask: &unsafe extern "C" fn(nvmlDevice_t, *mut u32) -> nvmlReturn_t) -> Result<u32, NvmlError> {
    let mut id = 0;
    // SAFETY: the handle's session lives as long as `mig`, and `id` is a place for the answer.
    nvml_try(unsafe { ask(mig.handle(), &raw mut id) })?;
    Ok(id)
}
