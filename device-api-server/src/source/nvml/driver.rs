// SPDX-License-Identifier: Apache-2.0
//! What the source asks of a driver: as little as it needs, plain data out.

use std::fmt;
use std::time::Duration;

use device_api_core::resource::{GpuDevice, GpuTelemetry};

/// A driver of GPUs: NVML, or one that is played from a scenario.
///
/// Every call may hang. The caller gives each a time and drops the future after it; an implementation
/// that cannot cancel then answers [`DriverError::Hung`] for what still hangs, and at once. A call about
/// one GPU that hangs must not keep calls about others from being answered.
///
/// No implementation keeps a handle over an [`init`](Self::init): devices are named by their UUID, as NVML
/// gives it (`GPU-…`).
#[async_trait::async_trait]
pub trait Driver: fmt::Debug + Send + Sync + 'static {
    /// This boot of the node, as in `/proc/sys/kernel/random/boot_id`; `None` where nobody knows. It does not ask the
    /// driver, and is known before it is initialised.
    fn boot_id(&self) -> Option<String> {
        None
    }

    /// Loads the driver's library and initialises it; shuts it down first where it was initialised before.
    /// All subscriptions are forgotten.
    async fn init(&self) -> Result<System, DriverError>;

    /// Gives the library back. What fails is logged.
    async fn shutdown(&self);

    /// The GPUs that there are now, MIG devices not among them.
    async fn list(&self) -> Result<Vec<Found>, DriverError>;

    /// What a GPU is, with its MIG devices. Single facts that the driver does not tell are absent.
    async fn describe(&self, uuid: &str) -> Result<Description, DriverError>;

    /// What a GPU says of its health, its MIG devices included.
    async fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError>;

    /// What a GPU measures; `sampled_at` is the caller's part.
    async fn telemetry(&self, uuid: &str) -> Result<GpuTelemetry, DriverError>;

    /// Begins to deliver the events of a GPU through [`Self::next_event`].
    async fn subscribe(&self, uuid: &str) -> Result<(), DriverError>;

    /// Waits for an event of a GPU that was subscribed to, and no longer than `wait`; `None` when there was none.
    async fn next_event(&self, wait: Duration) -> Result<Option<Event>, DriverError>;

    /// Does what the driver has to do of its own while a source follows it. It never ends, and may be dropped at any time.
    async fn attend(&self) {
        std::future::pending().await
    }

    /// Whether its devices are not real.
    fn is_simulated(&self) -> bool {
        false
    }
}

/// What the driver says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// The driver's version.
    pub driver_version: Option<String>,
    /// The newest CUDA that it supports, such as `13.0`.
    pub cuda_driver_version: Option<String>,
}

/// A place in the driver's list of GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The place.
    pub index: u32,
    /// Which GPU has it. A GPU that is lost may not say who it is.
    pub identity: Result<Identity, DriverError>,
}

/// Which GPU, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The UUID, as NVML gives it.
    pub uuid: String,
    /// The PCI address with a domain of eight digits; `None` where the driver does not tell.
    pub pci_bus_id: Option<String>,
}

/// What a GPU is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The GPU itself, the versions of [`System`] included.
    pub device: GpuDevice,
    /// Its MIG devices: the UUID (`MIG-…`) and the facts of each, `mig` among them. `None` where the driver cannot say now
    /// which there are.
    pub mig_devices: Option<Vec<(String, GpuDevice)>>,
}

/// What a GPU says of its health. What it does not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// What the driver (R565 or newer) wants done.
    pub recovery_action: Option<RecoveryAction>,
    /// Uncorrected ECC errors since the driver was loaded.
    pub ecc_uncorrected_volatile: Option<u64>,
    /// Whether a memory row waits for a reset to be remapped.
    pub remapping_pending: Option<bool>,
    /// Whether a memory row could not be remapped.
    pub remapping_failed: Option<bool>,
}

/// The driver's own verdict: `nvmlDeviceGpuRecoveryAction_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecoveryAction {
    /// Nothing is to be done.
    None,
    /// Reset the GPU.
    GpuReset,
    /// Reboot the node.
    NodeReboot,
    /// Drain what uses peer-to-peer.
    DrainP2P,
    /// Drain all work, then reset the GPU.
    DrainAndReset,
    /// A value that this version does not know.
    Other(u32),
}

/// Something that a GPU reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The GPU, never a MIG device.
    pub uuid: String,
    /// What happened.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// An XID: an error that the driver reports by number.
    Xid {
        /// The number.
        xid: u32,
        /// The GPU instance that it was about; `None` for the whole GPU.
        gpu_instance_id: Option<u32>,
        /// The compute instance that it was about.
        compute_instance_id: Option<u32>,
    },
    /// An ECC error that was corrected.
    SingleBitEcc,
    /// An ECC error that was not.
    DoubleBitEcc,
    /// The recovery action has changed, or the GPU became unavailable: look at its vitals.
    RecoveryActionChanged,
    /// MIG devices came or went: describe the GPU again.
    MigConfigChanged,
    /// Something else, by its bit in NVML's event type.
    Other(u64),
}

/// Why a driver did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The driver's library is not on this node.
    #[error("NVML's library was not found: looked for {looked_for}")]
    LibraryNotFound {
        /// Where, and under which name.
        looked_for: String,
    },
    /// The library is there, but this version of it has no such function.
    #[error("NVML's library has no {symbol}: update the driver")]
    NoSuchFunction {
        /// The function.
        symbol: String,
    },
    /// The library is there, but the driver is not loaded, or has no device.
    #[error("the NVIDIA driver is not loaded")]
    DriverNotLoaded,
    /// The library is not of the driver's version, as during an update.
    #[error("NVML's library and the NVIDIA driver are of different versions")]
    VersionMismatch,
    /// The library is not initialised: [`Driver::init`] comes first.
    #[error("NVML is not initialised")]
    Uninitialized,
    /// The GPU fell off the bus or is otherwise out of reach.
    #[error("the GPU is lost")]
    GpuLost,
    /// The GPU answers nothing before it was reset.
    #[error("the GPU has to be reset before it can be used")]
    ResetRequired,
    /// There is no such GPU, any more.
    #[error("there is no such GPU")]
    NotFound,
    /// Another GPU has the same UUID.
    #[error("more than one GPU has this UUID, and nobody can tell them apart: {places}")]
    Ambiguous {
        /// Where they are.
        places: String,
    },
    /// This GPU cannot tell.
    #[error("the GPU does not support this")]
    NotSupported,
    /// This process may not ask.
    #[error("no permission to ask the driver")]
    NoPermission,
    /// An earlier call still hangs in the driver.
    #[error("a call hangs in the driver: {call}")]
    Hung {
        /// Which.
        call: &'static str,
    },
    /// Anything else.
    #[error("{call} failed: {why}")]
    Other {
        /// The call.
        call: &'static str,
        /// What the driver said.
        why: String,
    },
}

impl DriverError {
    /// Whether it is about one GPU, which takes part in nothing any more.
    pub(super) fn is_of_one_gpu(&self) -> bool {
        matches!(self, Self::GpuLost | Self::NotFound | Self::ResetRequired)
    }

    /// Whether it is about the driver, not about one GPU.
    pub(super) fn is_of_the_driver(&self) -> bool {
        use DriverError::{DriverNotLoaded, LibraryNotFound, Uninitialized, VersionMismatch};
        matches!(self, DriverNotLoaded | LibraryNotFound { .. } | Uninitialized | VersionMismatch)
    }

    /// The same of a call about all GPUs, which says nothing of a single one.
    pub(super) fn of_all(self) -> Self {
        if self.is_of_one_gpu() { Self::Other { call: "a call about all GPUs", why: self.to_string() } } else { self }
    }
}
