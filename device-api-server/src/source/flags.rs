// SPDX-License-Identifier: Apache-2.0
//! The flags of the NVML source, for the server and for the source in a process of its own.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::nvml::SourceOptions;
use super::nvml::driver::Driver;
use super::nvml::policy::{Policy, PolicyError};
use super::nvml::real::{Nvml, NvmlOptions};
use super::simulated::{Door, DoorError, Scenario, ScenarioError, Simulated};
use crate::units::{Span, at_least, between};

/// The flags of the NVML source.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "The NVML source")]
#[non_exhaustive]
pub struct NvmlFlags {
    /// Where GPUs come from: auto uses NVML once its library is there, on expects it, off serves what
    /// clients write alone, and simulated:SPEC plays GPUs that are none. SPEC is a number of GPUs, the name
    /// of a ready-made scenario such as xid-79, or a file: docs/simulation.md
    #[arg(long, env = "DEVICE_API_NVML", value_name = "MODE", default_value = "auto")]
    pub nvml: NvmlMode,

    /// A socket for the owner of this process alone, through which things can be made to happen in a
    /// simulation that runs: device-apiserver simulate [default: none]
    #[arg(long, env = "DEVICE_API_NVML_SIMULATION_SOCKET", value_name = "PATH")]
    pub nvml_simulation_socket: Option<PathBuf>,

    /// The root of the driver's files, under which its library is looked for before the system's; in a
    /// container often /run/nvidia/driver
    #[arg(long, env = "DEVICE_API_NVML_DRIVER_ROOT", value_name = "FOLDER", default_value = "/")]
    pub nvml_driver_root: PathBuf,

    /// XIDs that are recorded but never make a GPU unhealthy, with commas between
    #[arg(long, env = "DEVICE_API_NVML_IGNORED_XIDS", value_name = "XIDS", value_delimiter = ',')]
    pub nvml_ignored_xids: Vec<u32>,

    /// A TOML file that says what single XIDs mean: docs/nvml.md [default: NVIDIA's catalogue]
    #[arg(long, env = "DEVICE_API_NVML_POLICY_FILE", value_name = "FILE")]
    pub nvml_policy_file: Option<PathBuf>,

    /// How often every GPU is looked at and declared anew
    #[arg(long, env = "DEVICE_API_NVML_RESYNC_INTERVAL", value_name = "DURATION", default_value = "30s",
          value_parser = at_least(SECOND))]
    pub nvml_resync_interval: Span,

    /// How often a GPU on which a fault stands is looked at, at first
    #[arg(long, env = "DEVICE_API_NVML_FAULT_POLL_INTERVAL", value_name = "DURATION", default_value = "10s",
          value_parser = at_least(SECOND))]
    pub nvml_fault_poll_interval: Span,

    /// How often it is looked at when the fault has stood for long
    #[arg(long, env = "DEVICE_API_NVML_FAULT_POLL_MAX_INTERVAL", value_name = "DURATION", default_value = "60s",
          value_parser = at_least(SECOND))]
    pub nvml_fault_poll_max_interval: Span,

    /// How long a call to the driver may take before it counts as hung
    #[arg(long, env = "DEVICE_API_NVML_CALL_TIMEOUT", value_name = "DURATION", default_value = "10s",
          value_parser = between(TENTH, LONGEST_CALL))]
    pub nvml_call_timeout: Span,

    /// How long one wait for the driver's events lasts; an event ends it at once
    #[arg(long, env = "DEVICE_API_NVML_EVENT_WAIT", value_name = "DURATION", default_value = "5s",
          value_parser = between(TENTH, LONGEST_WAIT))]
    pub nvml_event_wait: Span,

    /// The pause before a driver that is not ready is tried again, at first; it doubles each time
    #[arg(long, env = "DEVICE_API_NVML_RETRY_INTERVAL", value_name = "DURATION", default_value = "1s",
          value_parser = at_least(TENTH))]
    pub nvml_retry_interval: Span,

    /// That pause at most
    #[arg(long, env = "DEVICE_API_NVML_RETRY_MAX_INTERVAL", value_name = "DURATION", default_value = "60s",
          value_parser = at_least(TENTH))]
    pub nvml_retry_max_interval: Span,

    /// How often temperature, power, clocks and counters are written to the objects: each sample is a
    /// write and an event for every watcher [default: never]
    #[arg(long, env = "DEVICE_API_NVML_TELEMETRY_INTERVAL", value_name = "DURATION", value_parser = at_least(SECOND))]
    pub nvml_telemetry_interval: Option<Span>,

    /// How long the API believes what the source said after its last sign of life, which it gives three
    /// times as often
    #[arg(long, env = "DEVICE_API_NVML_LEASE_DURATION", value_name = "DURATION", default_value = "30s",
          value_parser = between(SECOND, LONGEST_LEASE))]
    pub nvml_lease_duration: Span,
}

const SECOND: Span = Span(Duration::from_secs(1));
const TENTH: Span = Span(Duration::from_millis(100));

/// A call that hangs is noticed in 15 seconds, and so is a wait for events, which is given 8 more than it asked for.
const LONGEST_CALL: Span = Span(Duration::from_secs(15));
const LONGEST_WAIT: Span = Span(Duration::from_secs(7));

/// Longer is no lease: `AcquireLease` refuses it.
const LONGEST_LEASE: Span = Span(Duration::from_secs(3600));

/// A driver, and how to watch it.
pub type Source = (Arc<dyn Driver>, SourceOptions);

/// Where GPUs come from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NvmlMode {
    /// NVML, once its library is there.
    Auto,
    /// NVML, whose absence is a warning.
    On,
    /// Nowhere.
    Off,
    /// A scenario.
    Simulated(String),
}

impl FromStr for NvmlMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "on" => Ok(Self::On),
            None if text == "off" => Ok(Self::Off),
            Some(("simulated", spec)) if !spec.is_empty() => Ok(Self::Simulated(spec.to_owned())),
            _ => Err(format!("{text:?} is no mode: write auto, on, off or simulated:SPEC, such as simulated:8")),
        }
    }
}

/// Why a source cannot be made of the flags.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The scenario cannot be played.
    #[error("--nvml: the scenario cannot be played")]
    Scenario(#[from] ScenarioError),
    /// The simulation's socket cannot be made.
    #[error("--nvml-simulation-socket: the simulation has no door")]
    Door(#[from] DoorError),
    /// Nothing is simulated.
    #[error("--nvml-simulation-socket: nothing is simulated; leave it out, or write --nvml=simulated:SPEC")]
    NothingSimulated,
    /// The policy file cannot be used.
    #[error("--nvml-policy-file: the policy cannot be used")]
    Policy(#[from] PolicyError),
    /// A pause is longer at first than it may ever be.
    #[error(
        "--nvml-{name}-interval={first} is more than --nvml-{name}-max-interval={most}: write it no longer than that"
    )]
    Pauses {
        /// Which pause: `fault-poll` or `retry`.
        name: &'static str,
        /// At first.
        first: Span,
        /// At most.
        most: Span,
    },
}

impl NvmlFlags {
    /// The driver that the flags ask for, and how to watch it; `None` when they ask for none.
    ///
    /// # Errors
    /// When the scenario or the policy file cannot be read, or is not valid, a pause contradicts its limit, or the simulation's
    /// socket cannot be made.
    pub fn source(&self) -> Result<Option<Source>, SourceError> {
        let driver: Arc<dyn Driver> = match (&self.nvml, &self.nvml_simulation_socket) {
            (NvmlMode::Simulated(spec), socket) => {
                let simulated = Simulated::new(Scenario::from_spec(spec)?);
                // What is wrong with the other flags comes before anything is made.
                let options = self.options()?;
                let simulated = match socket {
                    Some(path) => simulated.with_door(Door::open(path)?),
                    None => simulated,
                };
                return Ok(Some((Arc::new(simulated), options)));
            }
            // Nobody may believe that hardware can be made to fail through it.
            (_, Some(_)) => return Err(SourceError::NothingSimulated),
            (NvmlMode::Off, None) => return Ok(None),
            (NvmlMode::Auto | NvmlMode::On, None) => Arc::new(Nvml::new(self.nvml_options())),
        };
        Ok(Some((driver, self.options()?)))
    }

    fn nvml_options(&self) -> NvmlOptions {
        let options = NvmlOptions::default().with_driver_root(self.nvml_driver_root.clone());
        // The driver container shows its whole root, with the node's devices: ours may not have them.
        let sysfs = self.nvml_driver_root.join("sys");
        if sysfs.join("bus/pci").is_dir() { options.with_sysfs(sysfs) } else { options }
    }

    fn options(&self) -> Result<SourceOptions, SourceError> {
        let policy = match &self.nvml_policy_file {
            Some(file) => Policy::load(file)?,
            None => Policy::default(),
        };
        Ok(SourceOptions {
            resync: self.nvml_resync_interval.0,
            fault_poll: pauses("fault-poll", self.nvml_fault_poll_interval, self.nvml_fault_poll_max_interval)?,
            call_timeout: self.nvml_call_timeout.0,
            event_wait: self.nvml_event_wait.0,
            retry: pauses("retry", self.nvml_retry_interval, self.nvml_retry_max_interval)?,
            telemetry: self.nvml_telemetry_interval.map(|interval| interval.0),
            lease: self.nvml_lease_duration.0,
            policy: Arc::new(policy.with_ignored(self.nvml_ignored_xids.iter().copied())),
            is_expected: self.nvml != NvmlMode::Auto,
            ..SourceOptions::default()
        })
    }
}

fn pauses(name: &'static str, first: Span, most: Span) -> Result<(Duration, Duration), SourceError> {
    if first <= most { Ok((first.0, most.0)) } else { Err(SourceError::Pauses { name, first, most }) }
}
