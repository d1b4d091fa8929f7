// SPDX-License-Identifier: Apache-2.0
//! Events: which are asked for, and what they say.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nvml_wrapper_sys::bindings::{
    nvmlEventMigConfigChange, nvmlEventTypeDoubleBitEccError, nvmlEventTypeGpuRecoveryAction,
    nvmlEventTypeGpuUnavailableError, nvmlEventTypeSingleBitEccError, nvmlEventTypeXidCriticalError,
};

use super::failure::answer;
use super::library::Library;
use super::raw::{EventSet, Raw};
use crate::source::nvml::driver::{DriverError, Event, EventKind};

const SINGLE_BIT: u64 = nvmlEventTypeSingleBitEccError as u64;
const DOUBLE_BIT: u64 = nvmlEventTypeDoubleBitEccError as u64;
const XID: u64 = nvmlEventTypeXidCriticalError as u64;
const MIG_CONFIG: u64 = nvmlEventMigConfigChange as u64;
const UNAVAILABLE: u64 = nvmlEventTypeGpuUnavailableError as u64;
const RECOVERY_ACTION: u64 = nvmlEventTypeGpuRecoveryAction as u64;

/// The set of events, and those that came.
#[derive(Debug, Default)]
pub(super) struct Events {
    // Only the thread for events takes this lock, and holds it while it waits for NVML.
    set: Mutex<Option<EventSet>>,
    // A plain lock: held to push or to pop. It bridges the moment in which nobody waits: what the thread
    // found then is kept for whoever comes next. It grows by one for each wait, and each wait empties it first.
    arrived: Mutex<VecDeque<Event>>,
}

impl Events {
    /// Registers a GPU for those of `supported` that mean something here.
    pub(super) fn subscribe(&self, library: &Library, uuid: &str, supported: u64) -> Result<(), DriverError> {
        // A set without XIDs would be silence that looks like health.
        if supported & XID == 0 {
            return Err(DriverError::NotSupported);
        }
        let session = library.session()?;
        let mut set = self.set();
        let set = match &mut *set {
            Some(set) if set.is_of(&session) => set,
            stale => stale.insert(answer("nvmlEventSetCreate", EventSet::new(session))?),
        };
        let wanted = XID | SINGLE_BIT | DOUBLE_BIT | MIG_CONFIG | UNAVAILABLE | RECOVERY_ACTION;
        answer("nvmlDeviceRegisterEvents", set.register(uuid, supported & wanted))
    }

    /// Waits this long for an event, which [`Self::next`] has then; without a subscription, not at all.
    pub(super) fn wait(&self, library: &Library, slice: Duration) -> Result<bool, DriverError> {
        // A wait that nobody waited for any more may have found one.
        if !self.arrived().is_empty() {
            return Ok(true);
        }
        let is_current = |set: &EventSet| library.session().is_ok_and(|session| set.is_of(&session));
        library.session()?;
        let mut subscribed = self.set();
        if subscribed.as_ref().is_some_and(|set| !is_current(set)) {
            *subscribed = None;
        }
        let Some(set) = &*subscribed else { return Ok(false) };
        let milliseconds = u32::try_from(slice.as_millis()).unwrap_or(u32::MAX);
        // A wait that hung may have found something for a session that is over.
        let found = answer("nvmlEventSetWait_v2", set.wait(milliseconds))?.filter(|_| is_current(set));
        let arrived = found.is_some();
        self.arrived().extend(found.map(event));
        Ok(arrived)
    }

    /// The oldest event that came.
    pub(super) fn next(&self) -> Option<Event> {
        self.arrived().pop_front()
    }

    /// Ends all subscriptions. What has arrived before, and nobody has taken, happened all the same.
    pub(super) fn forget(&self) {
        *self.set() = None;
    }

    fn set(&self) -> MutexGuard<'_, Option<EventSet>> {
        self.set.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn event(raw: Raw) -> Event {
    let Raw { uuid, types, data, gpu_instance_id, compute_instance_id } = raw;
    let has = |bits: u64| types & bits != 0;
    let kind = if has(XID) {
        let xid = u32::try_from(data).unwrap_or(u32::MAX);
        EventKind::Xid { xid, gpu_instance_id, compute_instance_id }
    } else if has(DOUBLE_BIT) {
        EventKind::DoubleBitEcc
    } else if has(SINGLE_BIT) {
        EventKind::SingleBitEcc
    } else if has(RECOVERY_ACTION | UNAVAILABLE) {
        EventKind::RecoveryActionChanged
    } else if has(MIG_CONFIG) {
        EventKind::MigConfigChanged
    } else {
        EventKind::Other(types)
    };
    Event { uuid, kind }
}
