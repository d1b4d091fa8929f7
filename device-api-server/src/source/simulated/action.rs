// SPDX-License-Identifier: Apache-2.0
//! What can happen to a simulated node.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::super::nvml::driver::{DriverError, RecoveryAction};
use super::words::{Count, Profile, Time, Uuid};

/// A step of the timeline.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// How long after the start.
    pub(super) time: Duration,
    pub(super) action: Action,
}

/// A GPU, by its index in the scenario; with its place in the file, for what is wrong with it.
pub(super) type Slot = Spanned<usize>;

/// What happens. The names and fields are those of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Action {
    /// The GPU reports an XID, or many of them, evenly over a time.
    Xid {
        gpu: Slot,
        xid: u32,
        #[serde(default)]
        count: Count,
        #[serde(default)]
        over: Time,
        gpu_instance: Option<u32>,
        compute_instance: Option<u32>,
    },
    /// The driver's verdict changes.
    #[serde(rename = "recovery_action")]
    Recovery {
        gpu: Slot,
        #[serde(with = "Verdict")]
        action: RecoveryAction,
    },
    /// Memory errors that were corrected.
    EccCorrected {
        gpu: Slot,
        #[serde(default)]
        count: Count,
    },
    /// Memory errors that were not.
    EccUncorrected {
        gpu: Slot,
        #[serde(default)]
        count: Count,
    },
    /// A memory row waits for a reset to be remapped.
    RemapPending { gpu: Slot },
    /// A memory row cannot be remapped.
    RemapFailed { gpu: Slot },
    /// The GPU falls off the bus: it is listed without a name, or not at all.
    Lost {
        gpu: Slot,
        #[serde(default = "yes")]
        listed: bool,
    },
    /// A lost GPU is there again, reset.
    Back { gpu: Slot },
    /// Somebody resets the GPU.
    Reset { gpu: Slot },
    /// Another board in the slot.
    Replace { gpu: Slot, uuid: Option<Spanned<Uuid>> },
    /// The GPU is divided (anew).
    MigOn { gpu: Slot, profiles: Spanned<Vec<Profile>> },
    /// It is a whole one again.
    MigOff { gpu: Slot },
    /// The driver is unloaded.
    DriverUnload {},
    /// The driver is loaded, and has reset what it found.
    DriverLoad {},
    /// The driver lists the GPUs in another order.
    Reorder { order: Spanned<Vec<usize>> },
    /// Calls do not return.
    Hang {
        call: Call,
        gpu: Option<Slot>,
        #[serde(rename = "for")]
        lasts: Option<Time>,
    },
    /// Calls fail.
    Fail {
        call: Call,
        error: Failure,
        gpu: Option<Slot>,
        #[serde(rename = "for")]
        lasts: Option<Time>,
    },
}

fn yes() -> bool {
    true
}

impl Action {
    /// The GPU that it is about.
    pub(super) fn slot(&self) -> Option<&Slot> {
        match self {
            Self::Xid { gpu, .. }
            | Self::Recovery { gpu, .. }
            | Self::EccCorrected { gpu, .. }
            | Self::EccUncorrected { gpu, .. }
            | Self::RemapPending { gpu }
            | Self::RemapFailed { gpu }
            | Self::Lost { gpu, .. }
            | Self::Back { gpu }
            | Self::Reset { gpu }
            | Self::Replace { gpu, .. }
            | Self::MigOn { gpu, .. }
            | Self::MigOff { gpu } => Some(gpu),
            Self::Hang { gpu, .. } | Self::Fail { gpu, .. } => gpu.as_ref(),
            Self::DriverUnload {} | Self::DriverLoad {} | Self::Reorder { .. } => None,
        }
    }
}

/// How a file writes a [`RecoveryAction`].
#[derive(Deserialize)]
#[serde(remote = "RecoveryAction", rename_all = "snake_case")]
enum Verdict {
    None,
    GpuReset,
    NodeReboot,
    #[serde(rename = "drain_p2p")]
    DrainP2P,
    DrainAndReset,
    Other(u32),
}

/// A call of [`Driver`](super::super::nvml::driver::Driver).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Init,
    List,
    Describe,
    Vitals,
    Telemetry,
    Subscribe,
    Event,
}

impl Call {
    /// Whether it is about one GPU.
    pub(super) fn has_gpu(self) -> bool {
        matches!(self, Self::Describe | Self::Vitals | Self::Telemetry | Self::Subscribe)
    }

    /// A function of NVML that the call needs.
    pub(super) fn symbol(self) -> &'static str {
        match self {
            Self::Init => "nvmlInit_v2",
            Self::List => "nvmlDeviceGetCount_v2",
            Self::Describe => "nvmlDeviceGetName",
            Self::Vitals => "nvmlDeviceGetFieldValues",
            Self::Telemetry => "nvmlDeviceGetTemperature",
            Self::Subscribe => "nvmlDeviceRegisterEvents",
            Self::Event => "nvmlEventSetWait_v2",
        }
    }
}

/// How a call fails: [`DriverError`] as a file writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Failure {
    LibraryNotFound,
    NoSuchFunction,
    DriverNotLoaded,
    VersionMismatch,
    Uninitialized,
    GpuLost,
    ResetRequired,
    NotFound,
    NotSupported,
    NoPermission,
    Hung,
    Other,
}

impl Failure {
    pub(super) fn of(self, call: Call) -> DriverError {
        match self {
            Self::LibraryNotFound => DriverError::LibraryNotFound { looked_for: "libnvidia-ml.so.1".into() },
            Self::NoSuchFunction => DriverError::NoSuchFunction { symbol: call.symbol().into() },
            Self::DriverNotLoaded => DriverError::DriverNotLoaded,
            Self::VersionMismatch => DriverError::VersionMismatch,
            Self::Uninitialized => DriverError::Uninitialized,
            Self::GpuLost => DriverError::GpuLost,
            Self::ResetRequired => DriverError::ResetRequired,
            Self::NotFound => DriverError::NotFound,
            Self::NotSupported => DriverError::NotSupported,
            Self::NoPermission => DriverError::NoPermission,
            Self::Hung => DriverError::Hung { call: call.symbol() },
            Self::Other => DriverError::Other { call: call.symbol(), why: "as the scenario says".into() },
        }
    }
}
