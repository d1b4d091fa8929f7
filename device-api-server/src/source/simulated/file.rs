// SPDX-License-Identifier: Apache-2.0
//! From a file's text to a scenario; what is wrong in it is told with its line.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::super::nvml::driver::System;
use super::action::Slot;
use super::error::ScenarioError;
use super::product::{PRODUCTS, Product};
use super::scenario::{Board, MOST_GPUS, Scenario};
use super::timeline;
use super::words::{PciBusId, ProductName, Profile, Text, Time, Uuid};

/// What is wrong, and where in the text.
pub(super) struct Fault {
    pub(super) at: Range<usize>,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn new<T>(at: Range<usize>, why: impl Into<String>) -> Result<T, Self> {
        Err(Self { at, why: why.into() })
    }
}

impl From<toml::de::Error> for Fault {
    fn from(error: toml::de::Error) -> Self {
        Self { at: error.span().unwrap_or_default(), why: error.message().replace('\n', ", ") }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layout {
    node: Node,
    #[serde(default)]
    gpu: Vec<Gpu>,
    repeat: Option<Spanned<Time>>,
}

/// `[node]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    gpus: Spanned<usize>,
    product: Option<ProductName>,
    driver_version: Option<Text>,
    cuda_driver_version: Option<Text>,
    boot_id: Option<Text>,
    recovery_action: Option<bool>,
    mig: Option<Spanned<Vec<Profile>>>,
}

/// `[[gpu]]`: what is different about one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gpu {
    index: Spanned<usize>,
    product: Option<ProductName>,
    uuid: Option<Uuid>,
    serial: Option<Text>,
    pci_bus_id: Option<PciBusId>,
    numa_node: Option<u32>,
    mig: Option<Spanned<Vec<Profile>>>,
}

pub(super) fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
    read(text).map_err(|Fault { at, why }| {
        let line = 1 + text.bytes().take(at.start).filter(|byte| *byte == b'\n').count();
        ScenarioError::Invalid { file: file.to_owned(), line, why }
    })
}

fn read(text: &str) -> Result<Scenario, Fault> {
    let mut table = DeTable::parse(text)?.into_inner();
    // The steps are read by themselves: their keys depend on their event.
    let steps = table.remove("at");
    let Layout { node, gpu, repeat } = Layout::deserialize(Deserializer::from(Spanned::new(0..0, table)))?;
    let boards = boards(&node, gpu)?;
    let steps = steps.map_or_else(|| Ok(Vec::new()), |steps| timeline::read(steps, &boards))?;
    Ok(Scenario {
        system: System {
            driver_version: Some(node.driver_version.map_or_else(|| "580.95.05".into(), |text| text.0)),
            cuda_driver_version: Some(node.cuda_driver_version.map_or_else(|| "13.0".into(), |text| text.0)),
        },
        boot_id: node.boot_id.map_or_else(|| "51500000-0000-4000-8000-000000000000".into(), |text| text.0),
        tells_recovery_action: node.recovery_action.unwrap_or(true),
        boards,
        repeat: repeat.map(|repeat| timeline::check_repeat(repeat, &steps)).transpose()?,
        steps,
    })
}

fn boards(node: &Node, gpus: Vec<Gpu>) -> Result<Vec<Board>, Fault> {
    let number = *node.gpus.get_ref();
    if !(1..=MOST_GPUS).contains(&number) {
        return Fault::new(node.gpus.span(), format!("a simulated node has 1 to {MOST_GPUS} GPUs"));
    }
    let mut changes = BTreeMap::new();
    for gpu in gpus {
        let (slot, at) = (*gpu.index.get_ref(), gpu.index.span());
        check_slot(&gpu.index, number)?;
        if changes.insert(slot, gpu).is_some() {
            return Fault::new(at, format!("there is another [[gpu]] with the index {slot}"));
        }
    }
    let boards = (0..number).map(|slot| board(node, slot, changes.get(&slot)));
    let boards: Vec<_> = boards.collect::<Result<_, _>>()?;
    let place = |slot| changes.get(&slot).map_or_else(|| node.gpus.span(), |gpu: &Gpu| gpu.index.span());
    check_distinct("UUID", boards.iter().map(|board| &board.uuid), place)?;
    check_distinct("PCI bus id", boards.iter().map(|board| &board.pci_bus_id), place)?;
    Ok(boards)
}

fn board(node: &Node, slot: usize, changes: Option<&Gpu>) -> Result<Board, Fault> {
    let product = changes.and_then(|gpu| gpu.product).or(node.product);
    let mut board = Board::new(slot, product.map_or(&PRODUCTS[0], |product| product.0));
    if let Some(mig) = changes.and_then(|gpu| gpu.mig.as_ref()).or(node.mig.as_ref()) {
        check_profiles(board.product, mig)?;
        board.mig.clone_from(mig.get_ref());
    }
    if let Some(gpu) = changes {
        board.uuid = gpu.uuid.clone().unwrap_or(board.uuid);
        board.serial = gpu.serial.clone().map_or(board.serial, |serial| serial.0);
        board.pci_bus_id = gpu.pci_bus_id.clone().unwrap_or(board.pci_bus_id);
        board.numa_node = gpu.numa_node.unwrap_or(board.numa_node);
    }
    Ok(board)
}

/// Refuses what two boards have, in the line of the later one.
fn check_distinct<T: Ord + Debug>(
    what: &str,
    values: impl Iterator<Item = T>,
    place: impl Fn(usize) -> Range<usize>,
) -> Result<(), Fault> {
    let mut owners = BTreeMap::new();
    for (slot, value) in values.enumerate() {
        if let Some(other) = owners.insert(value, slot) {
            let at = if place(slot).start > place(other).start { place(slot) } else { place(other) };
            return Fault::new(at, format!("GPU {other} and GPU {slot} have one {what}"));
        }
    }
    Ok(())
}

/// Refuses a GPU that the node does not have.
pub(super) fn check_slot(slot: &Slot, gpus: usize) -> Result<(), Fault> {
    let index = *slot.get_ref();
    if index < gpus {
        return Ok(());
    }
    Fault::new(slot.span(), format!("there is no GPU {index}: the node has {gpus}, and the first is 0"))
}

/// Refuses a division that a GPU of this kind cannot have.
pub(super) fn check_profiles(product: &Product, profiles: &Spanned<Vec<Profile>>) -> Result<(), Fault> {
    let slices: u64 = profiles.get_ref().iter().map(|profile| u64::from(profile.slices)).sum();
    let bytes: u64 = profiles.get_ref().iter().map(Profile::bytes).sum();
    if slices > 0 && !product.mig {
        return Fault::new(profiles.span(), format!("{} has no MIG", product.product_name));
    }
    if slices > 7 || bytes > product.memory_bytes {
        return Fault::new(profiles.span(), format!("{} has no room for all of these", product.product_name));
    }
    Ok(())
}
