// SPDX-License-Identifier: Apache-2.0
//! The simulated node as it is at one moment, and what an action makes of it.

use device_api_core::resource::{GpuDevice, MigDevice};

use super::super::nvml::driver::{
    Description, DriverError, EventKind, Found, Identity, RecoveryAction, System, Vitals,
};
use super::action::Action;
use super::scenario::{Board, Scenario};
use super::words::{Profile, Uuid};

/// A node.
#[derive(Debug)]
pub(super) struct Node {
    system: System,
    boot_id: String,
    tells_recovery_action: bool,
    /// By slot.
    cards: Vec<Card>,
    /// The slots, as the driver lists them.
    order: Vec<usize>,
    pub(super) is_loaded: bool,
}

/// A GPU as it is now.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) board: Board,
    /// How many boards were in this slot before.
    generation: u16,
    /// Off the bus: still in the driver's list, or not.
    lost: Option<Lost>,
    recovery_action: RecoveryAction,
    pub(super) ecc_corrected: Errors,
    pub(super) ecc_uncorrected: Errors,
    pub(super) remapped_rows: u32,
    pub(super) remapping_pending: bool,
    pub(super) remapping_failed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    Listed,
    Gone,
}

/// Memory errors: since the last reset, and ever.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Errors {
    pub(super) volatile: u64,
    pub(super) aggregate: u64,
}

impl Errors {
    fn add(&mut self, count: u32) {
        self.volatile += u64::from(count);
        self.aggregate += u64::from(count);
    }
}

impl Card {
    fn new(board: Board, generation: u16) -> Self {
        Self {
            board,
            generation,
            lost: None,
            recovery_action: RecoveryAction::None,
            ecc_corrected: Errors::default(),
            ecc_uncorrected: Errors::default(),
            remapped_rows: 0,
            remapping_pending: false,
            remapping_failed: false,
        }
    }

    /// What a reset cures.
    fn reset(&mut self) {
        self.ecc_corrected.volatile = 0;
        self.ecc_uncorrected.volatile = 0;
        self.remapped_rows += u32::from(self.remapping_pending);
        self.remapping_pending = false;
        if self.recovery_action != RecoveryAction::NodeReboot {
            self.recovery_action = RecoveryAction::None;
        }
    }

    fn device(&self, system: &System, index: u32) -> GpuDevice {
        let Board { product, serial, pci_bus_id, numa_node, mig, .. } = &self.board;
        GpuDevice {
            index: Some(index),
            minor_number: Some(index),
            product_name: Some(product.product_name.into()),
            brand: Some(product.brand.into()),
            architecture: Some(product.architecture.into()),
            serial: Some(serial.clone()),
            board_part_number: (!product.board_part_number.is_empty()).then(|| product.board_part_number.into()),
            pci_bus_id: Some(pci_bus_id.0.clone()),
            pcie_generation_max: Some(product.pcie_generation),
            pcie_width_max: Some(16),
            numa_node: Some(*numa_node),
            memory_bytes: Some(product.memory_bytes),
            compute_capability: Some(product.compute_capability.into()),
            mig_enabled: product.mig.then_some(!mig.is_empty()),
            mig_pending: product.mig.then_some(!mig.is_empty()),
            driver_version: system.driver_version.clone(),
            cuda_driver_version: system.cuda_driver_version.clone(),
            vbios_version: Some(product.vbios_version.into()),
            mig: None,
        }
    }

    /// A part of the GPU whose facts are given. It has what the GPU has, save memory and place in the list.
    fn part(&self, whole: &GpuDevice, profile: &Profile, gpu_instance: u32) -> (String, GpuDevice) {
        let device = GpuDevice {
            index: None,
            mig_enabled: None,
            mig_pending: None,
            memory_bytes: Some(profile.bytes()),
            mig: Some(MigDevice {
                parent_uuid: self.board.uuid.0.clone(),
                gpu_instance_id: Some(gpu_instance),
                compute_instance_id: Some(0),
                profile: Some(profile.name.clone()),
            }),
            ..whole.clone()
        };
        (self.board.uuid.of_part(gpu_instance, 0), device)
    }
}

impl Node {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self {
            system: scenario.system.clone(),
            boot_id: scenario.boot_id.clone(),
            tells_recovery_action: scenario.tells_recovery_action,
            cards: scenario.boards.iter().map(|board| Card::new(board.clone(), 0)).collect(),
            order: (0..scenario.boards.len()).collect(),
            is_loaded: true,
        }
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    pub(super) fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The slots that the driver lists.
    fn listed(&self) -> impl Iterator<Item = (u32, usize)> {
        let slots = self.order.iter().copied().filter(|slot| self.cards[*slot].lost != Some(Lost::Gone));
        (0..).zip(slots)
    }

    pub(super) fn found(&self) -> Vec<Found> {
        let found = self.listed().map(|(index, slot)| {
            let Card { board, lost, .. } = &self.cards[slot];
            let identity = Identity { uuid: board.uuid.0.clone(), pci_bus_id: Some(board.pci_bus_id.0.clone()) };
            Found { index, identity: if lost.is_some() { Err(DriverError::GpuLost) } else { Ok(identity) } }
        });
        found.collect()
    }

    /// The slot of the GPU with this UUID, whatever its state.
    pub(super) fn slot(&self, uuid: &str) -> Option<usize> {
        self.cards.iter().position(|card| card.board.uuid.0 == uuid)
    }

    pub(super) fn uuid(&self, slot: usize) -> &str {
        &self.cards[slot].board.uuid.0
    }

    /// The GPU with this UUID, if it answers.
    pub(super) fn card(&self, uuid: &str) -> Result<&Card, DriverError> {
        let card = &self.cards[self.slot(uuid).ok_or(DriverError::NotFound)?];
        match card.lost {
            None => Ok(card),
            Some(Lost::Listed) => Err(DriverError::GpuLost),
            Some(Lost::Gone) => Err(DriverError::NotFound),
        }
    }

    pub(super) fn is_lost(&self, uuid: &str) -> bool {
        self.card(uuid).is_err()
    }

    pub(super) fn describe(&self, uuid: &str) -> Result<Description, DriverError> {
        let card = self.card(uuid)?;
        let index = self.listed().find(|(_, slot)| self.uuid(*slot) == uuid).map(|(index, _)| index);
        let device = card.device(&self.system, index.ok_or(DriverError::NotFound)?);
        let ids = gpu_instances(&card.board.mig);
        let parts = card.board.mig.iter().zip(ids).map(|(profile, id)| card.part(&device, profile, id)).collect();
        Ok(Description { device, mig_devices: Some(parts) })
    }

    pub(super) fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError> {
        let card = self.card(uuid)?;
        let product = card.board.product;
        Ok(Vitals {
            recovery_action: self.tells_recovery_action.then_some(card.recovery_action),
            ecc_uncorrected_volatile: product.ecc.then_some(card.ecc_uncorrected.volatile),
            remapping_pending: product.remaps_rows.then_some(card.remapping_pending),
            remapping_failed: product.remaps_rows.then_some(card.remapping_failed),
        })
    }

    /// Does what an action says, and answers what a GPU reports of it.
    pub(super) fn apply(&mut self, action: &Action) -> Option<EventKind> {
        let card = action.slot().map(|slot| &mut self.cards[*slot.get_ref()]);
        match (action, card) {
            (Action::Xid { xid, gpu_instance, compute_instance, .. }, _) => Some(EventKind::Xid {
                xid: *xid,
                gpu_instance_id: *gpu_instance,
                compute_instance_id: *compute_instance,
            }),
            (Action::Recovery { action, .. }, Some(card)) => {
                card.recovery_action = *action;
                self.tells_recovery_action.then_some(EventKind::RecoveryActionChanged)
            }
            (Action::EccCorrected { count, .. }, Some(card)) => {
                card.ecc_corrected.add(count.0);
                Some(EventKind::SingleBitEcc)
            }
            (Action::EccUncorrected { count, .. }, Some(card)) => {
                card.ecc_uncorrected.add(count.0);
                Some(EventKind::DoubleBitEcc)
            }
            (Action::RemapPending { .. }, Some(card)) => {
                card.remapping_pending = true;
                None
            }
            (Action::RemapFailed { .. }, Some(card)) => {
                card.remapping_failed = true;
                None
            }
            (Action::Lost { listed, .. }, Some(card)) => {
                card.lost = Some(if *listed { Lost::Listed } else { Lost::Gone });
                None
            }
            (Action::Back { .. }, Some(card)) => {
                card.lost = None;
                card.reset();
                None
            }
            (Action::Reset { .. }, Some(card)) => {
                card.reset();
                None
            }
            (Action::Replace { gpu, uuid }, Some(card)) => {
                let (slot, generation) = (*gpu.get_ref(), card.generation.wrapping_add(1));
                let mut board = card.board.clone();
                board.uuid =
                    uuid.as_ref().map_or_else(|| Uuid::numbered(slot, generation), |uuid| uuid.get_ref().clone());
                board.serial = Board::serial(slot, generation);
                *card = Card::new(board, generation);
                None
            }
            (Action::MigOn { profiles, .. }, Some(card)) => {
                card.board.mig.clone_from(profiles.get_ref());
                Some(EventKind::MigConfigChanged)
            }
            (Action::MigOff { .. }, Some(card)) => {
                card.board.mig.clear();
                Some(EventKind::MigConfigChanged)
            }
            (Action::DriverUnload {}, _) => {
                self.is_loaded = false;
                None
            }
            (Action::DriverLoad {}, _) => {
                self.is_loaded = true;
                self.cards.iter_mut().for_each(Card::reset);
                None
            }
            (Action::Reorder { order }, _) => {
                self.order.clone_from(order.get_ref());
                None
            }
            // They are about calls, not about the node.
            (Action::Hang { .. } | Action::Fail { .. }, _) => None,
            // An action about a GPU has a slot.
            (_, None) => None,
        }
    }
}

/// The ids that the driver gives to instances: of one slice from 7 on, of two from 3 on, and so on.
fn gpu_instances(profiles: &[Profile]) -> Vec<u32> {
    let first = |profile: &Profile| match profile.slices {
        1 => 7,
        2 => 3,
        3 | 4 => 1,
        _ => 0,
    };
    let mut ids: Vec<u32> = Vec::with_capacity(profiles.len());
    for profile in profiles {
        let id = (first(profile)..).find(|id| !ids.contains(id)).unwrap_or_default();
        ids.push(id);
    }
    ids
}
