// SPDX-License-Identifier: Apache-2.0
//! What the store holds and what people did to it, as the source learns it at its start and at every resync.

use std::collections::BTreeSet;
use std::sync::Arc;

use device_api_core::resource::{Gpu, condition};

use super::super::OWNERSHIP;
use super::super::chart::{Acknowledgement, NVML_READY};
use super::super::driver::Identity;
use super::Gpus;
use crate::source::merge::ACKNOWLEDGE_XIDS;
use crate::source::observation::{Stored, object_name};

impl Gpus {
    /// Takes over what the store holds: GPUs of an earlier run, and what people acknowledged.
    pub(in super::super) fn adopt(&mut self, stored: &Stored) {
        let ours: Vec<_> =
            stored.gpus.iter().filter(|gpu| OWNERSHIP.made(gpu) || is_joined(gpu)).map(as_named).collect();
        let ours: Vec<_> = ours.iter().collect();
        // What is to be deleted, and is gone, is done with.
        self.observation.gone.retain(|name| ours.iter().any(|gpu| gpu.metadata.name == *name));
        let (parts, whole): (Vec<&Arc<Gpu>>, _) = ours.iter().partition(|gpu| mig_parent(gpu).is_some());
        for gpu in whole {
            let is_going = self.observation.gone.contains(&gpu.metadata.name);
            if let Some(known) = self.key(&gpu.spec.uuid).cloned().and_then(|key| self.known.get_mut(&key)) {
                if stored.by_others {
                    known.chart.heed(&gpu.status.xids);
                }
                continue;
            }
            if gpu.spec.uuid.is_empty() || is_going {
                continue;
            }
            let device = gpu.status.device.clone().unwrap_or_default();
            let identity = Identity { uuid: gpu.spec.uuid.clone(), pci_bus_id: device.pci_bus_id.clone() };
            let has_driver = self.driver_version.is_some();
            let known = self.know(identity);
            if !has_driver {
                // Until it is asked, it is taken for the one that was there.
                known.chart.driver_version(device.driver_version.as_deref());
            }
            known.description.device = device;
            known.chart.adopt(&gpu.status);
        }
        let has_list = self.has_listed();
        for gpu in parts {
            let Some(parent) = mig_parent(gpu) else { continue };
            let Some(known) = self.known.get_mut(parent) else {
                if has_list {
                    // Its GPU is neither there nor stored.
                    self.observation.gone.insert(gpu.metadata.name.clone());
                }
                continue;
            };
            if known.description.mig_devices.iter().flatten().any(|(uuid, _)| uuid.eq_ignore_ascii_case(&gpu.spec.uuid))
            {
                continue;
            }
            if known.is_listed {
                // The driver has described its GPU without it.
                self.observation.gone.insert(gpu.metadata.name.clone());
            } else {
                let device = gpu.status.device.clone().unwrap_or_default();
                if let Some(mig) = &device.mig {
                    known.chart.adopt_part(&gpu.spec.uuid, mig);
                }
                known.description.mig_devices.get_or_insert_default().push((gpu.spec.uuid.clone(), device));
            }
        }
        self.acknowledge(&ours);
        self.forget_deleted(&ours);
        self.observation.knows = stored.number;
        self.refresh_all();
    }

    /// Heeds each acknowledgement once: what happens while it is still there was not meant by it. One that is not
    /// understood stays where it is, for its author to see.
    fn acknowledge(&mut self, stored: &[&Arc<Gpu>]) {
        let before = std::mem::take(&mut self.acknowledgements);
        self.observation.heeded.clear();
        for gpu in stored {
            let Some(text) = gpu.metadata.annotations.get(ACKNOWLEDGE_XIDS) else { continue };
            let name = &gpu.metadata.name;
            let is_new = before.get(name) != Some(text);
            let key = self.key(mig_parent(gpu).unwrap_or(&gpu.spec.uuid)).cloned();
            let Some(known) = key.and_then(|key| self.known.get_mut(&key)) else { continue };
            self.acknowledgements.insert(name.clone(), text.clone());
            match text.parse::<Acknowledgement>() {
                Ok(acknowledged) => {
                    if is_new {
                        known.chart.acknowledge(&acknowledged);
                    }
                    self.observation.heeded.insert(name.clone(), text.clone());
                }
                Err(error) if is_new => tracing::warn!(gpu = name, %error, "an acknowledgement is not understood"),
                Err(_) => {}
            }
        }
    }

    /// A person may delete the object of a GPU that is lost, and then it is not made again. An empty
    /// store was lost itself.
    fn forget_deleted(&mut self, stored: &[&Arc<Gpu>]) {
        let names: BTreeSet<&str> = stored.iter().map(|gpu| gpu.metadata.name.as_str()).collect();
        let mut deleted = Vec::new();
        for (uuid, known) in &mut self.known {
            let is_stored = names.contains(object_name(uuid).as_str());
            if !is_stored && known.was_stored && !known.is_listed && !names.is_empty() {
                deleted.push(uuid.clone());
            }
            known.was_stored = is_stored;
        }
        for uuid in deleted {
            self.remove(&uuid);
        }
    }
}

/// The object with the UUID that it is named after, where somebody wrote another one into it: a name never changes, and
/// no GPU is to be made of a text.
fn as_named(gpu: &Arc<Gpu>) -> Arc<Gpu> {
    let mut gpu = Arc::clone(gpu);
    if object_name(&gpu.spec.uuid) != gpu.metadata.name {
        let changed = Arc::make_mut(&mut gpu);
        changed.spec.uuid.clone_from(&changed.metadata.name);
    }
    gpu
}

/// Whether this source has written to an object that somebody else made. Others may have a condition of the same type on
/// objects of their own.
fn is_joined(gpu: &Gpu) -> bool {
    object_name(&gpu.spec.uuid) == gpu.metadata.name
        && gpu.status.device.is_some()
        && condition::find(&gpu.status.conditions, NVML_READY).is_some()
}

/// The UUID of the GPU that a MIG device is a part of.
fn mig_parent(gpu: &Gpu) -> Option<&str> {
    Some(gpu.status.device.as_ref()?.mig.as_ref()?.parent_uuid.as_str())
}
