// SPDX-License-Identifier: Apache-2.0
//! The GPUs that the source knows: what the driver, the store and people said of each. Pure: no driver,
//! no registry, no clock.

mod adoption;
mod roster;
mod said;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use device_api_core::resource::{GpuTelemetry, Timestamp};

use self::roster::{Roster, is_registrable};
use self::said::{SILENT, UNHEARD, say};
use super::chart::Chart;
use super::driver::{Description, DriverError, Event, Found, Identity, System, Vitals};
use super::labels::labels;
use super::policy::Policy;
use crate::source::observation::{Observation, Observed, object_name};

/// Every GPU that is known, by its UUID as NVML gives it.
#[derive(Debug)]
pub(super) struct Gpus {
    policy: Arc<Policy>,
    boot_id: Option<String>,
    is_simulated: bool,
    /// The driver's version, once it was there.
    driver_version: Option<String>,
    known: BTreeMap<String, Known>,
    /// The acknowledgements that were there at the last look, by the name of the object.
    acknowledgements: BTreeMap<String, String>,
    /// The places of the driver's last list that did not say which GPU they have, and why.
    nameless: Vec<(u32, DriverError)>,
    /// The UUIDs of unknown GPUs that reported something since the last list.
    strangers: BTreeSet<String>,
    observation: Observation,
}

/// A GPU, its MIG devices included.
#[derive(Debug)]
struct Known {
    identity: Identity,
    description: Description,
    telemetry: Option<GpuTelemetry>,
    chart: Chart,
    /// Why it does not answer, and why its events are not delivered, as the log has it.
    said: [Option<DriverError>; 2],
    /// Whether it was looked at since it is known, or since the driver was reloaded. Until then nothing is declared: that
    /// the source has just started is no news of the GPU.
    was_examined: bool,
    /// Whether the driver listed it last time.
    is_listed: bool,
    /// Whether its object was in the store at the last look.
    was_stored: bool,
    /// Why nobody can say which GPU a word of it is of: another one has the same UUID.
    shared: Option<DriverError>,
    /// The UUIDs of its MIG devices that cannot be names of objects, as the log has them.
    unregistrable: Vec<String>,
}

impl Gpus {
    pub(super) fn new(policy: Arc<Policy>, boot_id: Option<String>, is_simulated: bool) -> Self {
        Self {
            policy,
            boot_id,
            is_simulated,
            driver_version: None,
            known: BTreeMap::new(),
            acknowledgements: BTreeMap::new(),
            nameless: Vec::new(),
            strangers: BTreeSet::new(),
            observation: Observation::default(),
        }
    }

    /// Takes over which driver there is.
    pub(super) fn attached(&mut self, system: &System) {
        self.driver_version.clone_from(&system.driver_version);
        for known in self.known.values_mut() {
            known.chart.driver_version(system.driver_version.as_deref());
            known.chart.initialised();
        }
        self.refresh_all();
    }

    /// The full state.
    pub(super) fn observation(&self) -> Observation {
        self.observation.clone()
    }

    /// The GPUs that the driver listed last time.
    pub(super) fn listed_uuids(&self) -> Vec<String> {
        self.known.iter().filter(|(_, known)| known.is_listed).map(|(uuid, _)| uuid.clone()).collect()
    }

    /// Whether the driver listed any GPU last time.
    pub(super) fn has_listed(&self) -> bool {
        self.known.values().any(|known| known.is_listed)
    }

    /// Whether a fault stands on it, so that it is looked at more often.
    pub(super) fn needs_attention(&self, uuid: &str) -> bool {
        self.known.get(uuid).is_some_and(|known| known.is_listed && known.chart.needs_attention())
    }

    /// Takes over the driver's list. Says which GPUs to look at.
    pub(super) fn listed(&mut self, found: &[Found]) -> Vec<String> {
        let Roster { identities, mut shared, nameless } = Roster::of(found);
        // Addresses may be given anew at a boot: one that was known before and has the address of a missing one has moved up.
        let new: Vec<_> = identities.iter().filter(|identity| self.key(&identity.uuid).is_none()).collect();
        for identity in &identities {
            let known = self.know(identity.clone());
            known.is_listed = true;
            known.identity = identity.clone();
            known.shared = shared.remove(&object_name(&identity.uuid));
        }
        let is_listed = |uuid: &str| identities.iter().any(|identity| identity.uuid == uuid);
        let replaced = |known: &Known| {
            let slot = &known.identity.pci_bus_id;
            slot.is_some() && new.iter().any(|identity| identity.pci_bus_id == *slot)
        };
        for (index, error) in nameless.iter().filter(|place| !self.nameless.contains(place)) {
            tracing::warn!(index, %error, "a GPU does not say which one it is");
        }
        // Who does not say who it is may be any that is missing.
        let is_loss = |why: &DriverError| matches!(why, DriverError::GpuLost | DriverError::NotFound);
        let why = nameless.iter().map(|(_, why)| why).find(|why| !is_loss(why)).cloned();
        let why = why.unwrap_or(DriverError::GpuLost);
        self.nameless = nameless;
        self.strangers.clear();
        let missing: Vec<_> = self
            .known
            .iter()
            .filter(|(uuid, _)| !is_listed(uuid))
            .map(|(uuid, known)| (uuid.clone(), replaced(known)))
            .collect();
        for (uuid, is_replaced) in missing {
            if is_replaced {
                tracing::info!(gpu = uuid, "a new GPU has its slot: its object goes");
                self.remove(&uuid);
            } else if let Some(known) = self.known.get_mut(&uuid) {
                // One that was lost before is none of those that have just become nameless.
                let was_lost = !known.is_listed && known.said[0].as_ref().is_some_and(is_loss);
                let why = if was_lost { &DriverError::GpuLost } else { &why };
                known.is_listed = false;
                known.was_examined = true;
                say(&mut known.said[0], Some(why), &uuid, SILENT);
                known.chart.unreachable(why);
                self.refresh(&uuid);
            }
        }
        identities.iter().map(|identity| identity.uuid.clone()).collect()
    }

    /// Takes over what a GPU is.
    pub(super) fn described(&mut self, uuid: &str, mut description: Description) {
        let Some(known) = self.known.get_mut(uuid) else { return };
        // One that was not told when the driver was initialised may be now.
        if let Some(version) = &description.device.driver_version {
            known.chart.driver_version(Some(version));
        }
        let mut unregistrable = Vec::new();
        if let Some(devices) = &mut description.mig_devices {
            unregistrable.extend(devices.extract_if(.., |(uuid, _)| !is_registrable(uuid)).map(|(uuid, _)| uuid));
            // What has no object can show no fault of its own: that is the GPU's.
            known.chart.divided(devices);
        }
        description.mig_devices = description.mig_devices.or(known.description.mig_devices.take());
        if known.unregistrable != unregistrable && !unregistrable.is_empty() {
            tracing::warn!(gpu = uuid, ?unregistrable, "MIG devices have UUIDs that cannot be names of objects");
        }
        known.unregistrable = unregistrable;
        known.description = description;
        self.refresh(uuid);
    }

    /// No events of a GPU are delivered, for a while. A wait that hangs says that the driver does.
    pub(super) fn deafened(&mut self, uuid: &str, why: &DriverError) {
        let Some(known) = self.known.get_mut(uuid) else { return };
        known.chart.subscribed(Err(why));
        if matches!(why, DriverError::Hung { .. }) {
            known.was_examined = true;
            known.chart.unreachable(why);
        }
        self.refresh(uuid);
    }

    /// Takes over what a GPU says of its health. `is_early`: it was asked before the latest event.
    pub(super) fn examined(&mut self, uuid: &str, outcome: &Result<Vitals, DriverError>, is_early: bool) {
        let Some(known) = self.known.get_mut(uuid) else { return };
        known.was_examined = true;
        // What one of two GPUs says must not hide what is wrong with the other.
        let outcome = known.shared.as_ref().map_or(outcome.as_ref(), Err);
        say(&mut known.said[0], outcome.err(), uuid, SILENT);
        match outcome {
            Ok(vitals) if is_early => known.chart.early_vitals(vitals),
            _ => known.chart.vitals(outcome),
        }
        self.refresh(uuid);
    }

    /// Takes over whether the events of a GPU are delivered.
    pub(super) fn subscribed(&mut self, uuid: &str, outcome: Result<(), &DriverError>) {
        let Some(known) = self.known.get_mut(uuid) else { return };
        say(&mut known.said[1], outcome.err(), uuid, UNHEARD);
        known.chart.subscribed(outcome);
        self.refresh(uuid);
    }

    /// Takes over what a GPU measured.
    pub(super) fn measured(&mut self, uuid: &str, mut telemetry: GpuTelemetry, now: Timestamp) {
        let Some(known) = self.known.get_mut(uuid) else { return };
        telemetry.sampled_at = Some(now.truncated_to_seconds());
        known.telemetry = Some(telemetry);
        self.refresh(uuid);
    }

    /// Takes over what a GPU reported. [`Self::refresh`] comes after the last of many. Whether it outdates the readings that
    /// have begun.
    pub(super) fn reported(&mut self, event: &Event, now: Timestamp) -> bool {
        if let Some(known) = self.known.get_mut(&event.uuid) {
            return known.chart.event(&event.kind, now);
        }
        if self.strangers.insert(event.uuid.clone()) {
            tracing::warn!(gpu = event.uuid, kind = ?event.kind, "an event of a GPU that is not known");
        }
        false
    }

    /// No GPU answers.
    pub(super) fn unreachable(&mut self, why: &DriverError) {
        for known in self.known.values_mut() {
            known.was_examined = true;
            known.chart.unreachable(why);
        }
        self.refresh_all();
    }

    /// The driver was unloaded and is back. What is declared stays until each GPU was looked at.
    pub(super) fn driver_reloaded(&mut self) {
        for known in self.known.values_mut() {
            known.chart.driver_reloaded();
            known.was_examined = false;
        }
    }

    /// The UUID under which a GPU is known. An object may have it in another case: other providers do.
    fn key(&self, uuid: &str) -> Option<&String> {
        self.known.keys().find(|known| known.eq_ignore_ascii_case(uuid))
    }

    fn know(&mut self, identity: Identity) -> &mut Known {
        self.observation.gone.remove(&object_name(&identity.uuid));
        if let Some(other) = self.key(&identity.uuid).filter(|known| **known != identity.uuid).cloned()
            && let Some(known) = self.known.remove(&other)
        {
            self.known.insert(identity.uuid.clone(), known);
        }
        let (policy, boot_id, driver_version) = (&self.policy, &self.boot_id, &self.driver_version);
        self.known.entry(identity.uuid.clone()).or_insert_with(|| {
            let mut chart = Chart::new(Arc::clone(policy), boot_id.clone());
            chart.driver_version(driver_version.as_deref());
            Known {
                identity,
                description: Description::default(),
                telemetry: None,
                chart,
                said: [None, None],
                was_examined: false,
                is_listed: false,
                was_stored: false,
                shared: None,
                unregistrable: Vec::new(),
            }
        })
    }

    fn remove(&mut self, uuid: &str) {
        if let Some(known) = self.known.remove(uuid) {
            // If it was not looked at since our start, it was not declared either.
            let parts = known.description.mig_devices.iter().flatten().map(|(uuid, _)| uuid.as_str());
            self.observation.gone.extend(std::iter::once(uuid).chain(parts).map(object_name));
            self.refresh(uuid);
        }
    }

    fn refresh_all(&mut self) {
        for uuid in self.known.keys().cloned().collect::<Vec<_>>() {
            self.refresh(&uuid);
        }
    }

    /// Brings the observation of a GPU and its MIG devices to what is known of them.
    pub(super) fn refresh(&mut self, uuid: &str) {
        if self.known.get(uuid).is_some_and(|known| !known.was_examined) {
            return;
        }
        let Observation { devices, gone, .. } = &mut self.observation;
        let is_part = |observed: &Observed| observed.device.mig.as_ref().is_some_and(|mig| mig.parent_uuid == uuid);
        let mut rest: BTreeSet<String> = devices
            .iter()
            .filter(|(_, found)| found.uuid == uuid || is_part(found))
            .map(|(name, _)| name.clone())
            .collect();
        if let Some(known) = self.known.get(uuid) {
            let whole = std::iter::once((uuid, &known.description.device));
            let parts = known.description.mig_devices.iter().flatten().map(|(uuid, device)| (uuid.as_str(), device));
            for (uuid, device) in whole.chain(parts) {
                let mig = device.mig.as_ref();
                let name = object_name(uuid);
                rest.remove(&name);
                gone.remove(&name);
                let observed = Observed {
                    uuid: uuid.to_owned(),
                    labels: labels(device, self.is_simulated),
                    conditions: known.chart.conditions(mig),
                    recommended_action: known.chart.recommended_action(mig),
                    device: device.clone(),
                    telemetry: known.telemetry.clone().filter(|_| mig.is_none()),
                    xids: known.chart.xids(mig),
                };
                if devices.get(&name).is_none_or(|before| **before != observed) {
                    devices.insert(name, Arc::new(observed));
                }
            }
        }
        for name in rest {
            devices.remove(&name);
            gone.insert(name);
        }
    }
}
