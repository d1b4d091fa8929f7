// SPDX-License-Identifier: Apache-2.0
//! What a scenario is, and where it comes from.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use super::super::nvml::driver::System;
use super::action::Step;
use super::error::ScenarioError;
use super::file;
use super::product::Product;
use super::words::{PciBusId, Profile, Uuid};

/// The greatest number of GPUs on a simulated node.
pub(super) const MOST_GPUS: usize = 64;
/// The largest file that is read, in bytes.
const MOST_BYTES: u64 = 1 << 20;

macro_rules! ready_made {
    [$($name:literal),* $(,)?] => {
        &[$(($name, include_str!(concat!("../../../scenarios/", $name, ".toml")))),*]
    };
}

/// The scenarios that come with the program, by name.
const READY_MADE: &[(&str, &str)] = ready_made![
    "healthy-8",
    "xid-79",
    "contained-error",
    "storm",
    "off-the-bus-and-back",
    "driver-reload",
    "hung-call",
    "mig-on-and-off",
    "replaced-gpu",
];

/// A node's GPUs, and what happens to them at what time.
///
/// ```
/// use device_api_server::source::simulated::Scenario;
///
/// assert_eq!(Scenario::from_spec("8")?.gpus(), 8);
/// # Ok::<(), device_api_server::source::simulated::ScenarioError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scenario {
    pub(super) system: System,
    /// The boot of the node that all of it happens in.
    pub(super) boot_id: String,
    /// Whether the driver is one that has a recovery action.
    pub(super) tells_recovery_action: bool,
    /// The GPUs at the start, by slot.
    pub(super) boards: Vec<Board>,
    /// In the order of their times.
    pub(super) steps: Vec<Step>,
    /// After how long the steps are taken again.
    pub(super) repeat: Option<Duration>,
}

/// A GPU in its slot.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) product: &'static Product,
    pub(super) uuid: Uuid,
    pub(super) serial: String,
    pub(super) pci_bus_id: PciBusId,
    pub(super) numa_node: u32,
    /// Empty: it is not divided.
    pub(super) mig: Vec<Profile>,
}

impl Scenario {
    /// The scenario that a text means: a number of GPUs (`8`), all healthy; the name of a
    /// [ready-made](Self::ready_made) one (`xid-79`); or the path of a file, in which stands a `/` or a `.`.
    ///
    /// # Errors
    /// When it means none, or what it means cannot be read; see [`ScenarioError`].
    pub fn from_spec(spec: &str) -> Result<Self, ScenarioError> {
        if let Some((name, text)) = READY_MADE.iter().find(|(name, _)| *name == spec) {
            Self::parse(name, text)
        } else if !spec.is_empty() && spec.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::healthy(spec)
        } else if spec.contains(['/', '.']) {
            Self::read(Path::new(spec))
        } else {
            let known = Self::ready_made().collect::<Vec<_>>().join(", ");
            Err(ScenarioError::Unknown { name: spec.to_owned(), known })
        }
    }

    /// The scenario in a text of [the format](https://toml.io) that `docs/simulation.md` describes; `file`
    /// is what errors call it.
    ///
    /// # Errors
    /// [`ScenarioError::Invalid`], with the line.
    pub fn parse(file: &str, text: &str) -> Result<Self, ScenarioError> {
        file::parse(file, text)
    }

    /// The names of the scenarios that come with the program.
    pub fn ready_made() -> impl Iterator<Item = &'static str> {
        READY_MADE.iter().map(|(name, _)| *name)
    }

    /// How many GPUs the node has.
    #[must_use]
    pub fn gpus(&self) -> usize {
        self.boards.len()
    }

    fn healthy(number: &str) -> Result<Self, ScenarioError> {
        let gpus = number.parse().ok().filter(|gpus| (1..=MOST_GPUS).contains(gpus));
        let gpus = gpus.ok_or_else(|| ScenarioError::Gpus { text: number.to_owned(), most: MOST_GPUS })?;
        Self::parse(number, &format!("[node]\ngpus = {gpus}\n"))
    }

    fn read(path: &Path) -> Result<Self, ScenarioError> {
        let mut text = String::new();
        let file = File::open(path);
        let read = file.and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
        match read {
            Ok(read) if read as u64 <= MOST_BYTES => Self::parse(&path.display().to_string(), &text),
            Ok(_) => Err(ScenarioError::TooLarge { path: path.to_owned(), most: MOST_BYTES }),
            Err(source) => Err(ScenarioError::Read { path: path.to_owned(), source }),
        }
    }
}

impl Board {
    /// What sits in a slot when nothing else is said. The places are those of NVIDIA's HGX boards: eight
    /// GPUs, four at each socket.
    pub(super) fn new(slot: usize, product: &'static Product) -> Self {
        const BUSES: [&str; 8] = ["1B", "43", "52", "61", "9D", "C3", "D1", "DF"];
        Self {
            product,
            uuid: Uuid::numbered(slot, 0),
            serial: Self::serial(slot, 0),
            pci_bus_id: PciBusId(format!("{:08X}:{}:00.0", slot / 8, BUSES[slot % 8])),
            numa_node: u32::try_from(slot / 4).unwrap_or_default(),
            mig: Vec::new(),
        }
    }

    /// The serial number of the `generation`th board in a slot: 13 digits, as on boards of data centres.
    pub(super) fn serial(slot: usize, generation: u16) -> String {
        format!("165{generation:05}{slot:05}")
    }
}
