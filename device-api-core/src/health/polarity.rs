// SPDX-License-Identifier: Apache-2.0
//! Whether `True` is good news, for each type of condition.

use std::collections::BTreeMap;

use self::Polarity::{TrueIsBad, TrueIsGood};

/// Whether a condition is good or bad news when it is `True`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Polarity {
    /// `True` is good, such as of `NVMLReady`.
    TrueIsGood,
    /// `True` is bad, such as of `GpuXidError`.
    TrueIsBad,
}

/// What this project's own source and others in the field write.
const KNOWN: &[(&str, Polarity)] = &[
    // Kubernetes' custom, and that of clients of the NVIDIA Device API.
    ("Ready", TrueIsGood),
    ("Healthy", TrueIsGood),
    // The NVML source.
    ("NVMLReady", TrueIsGood),
    ("XidHealthy", TrueIsGood),
    ("RowRemapHealthy", TrueIsGood),
    ("EccHealthy", TrueIsGood),
    ("ResetRequired", TrueIsBad),
    ("RebootRequired", TrueIsBad),
    ("DrainRequired", TrueIsBad),
    // The condition types that NVSentinel's documents list for its GPU and syslog health monitors
    // (github.com/NVIDIA/NVSentinel): a watch that is True has found a fault.
    ("GpuXidError", TrueIsBad),
    ("GpuMemWatch", TrueIsBad),
    ("GpuThermalWatch", TrueIsBad),
    ("GpuPowerWatch", TrueIsBad),
    ("GpuPcieWatch", TrueIsBad),
    ("GpuNvlinkWatch", TrueIsBad),
    ("GpuInforomWatch", TrueIsBad),
    ("GpuSmWatch", TrueIsBad),
    ("GpuMcuWatch", TrueIsBad),
    ("GpuPmuWatch", TrueIsBad),
    ("GpuDriverWatch", TrueIsBad),
    ("GpuNvswitchFatalWatch", TrueIsBad),
    ("GpuDcgmConnectivityFailure", TrueIsBad),
    ("SysLogsXIDError", TrueIsBad),
    ("SysLogsSXIDError", TrueIsBad),
    ("SysLogsGPUFallenOff", TrueIsBad),
];

/// The polarity of each type of condition that is known; by default of those that this project and
/// NVSentinel write.
///
/// Types are looked up without regard to case, since providers disagree.
///
/// ```
/// use device_api_core::health::{Polarities, Polarity};
///
/// let polarities = Polarities::default().with("FanBroken", Polarity::TrueIsBad);
/// assert_eq!(polarities.of("fanbroken"), Some(Polarity::TrueIsBad));
/// assert_eq!(polarities.of("NVMLReady"), Some(Polarity::TrueIsGood));
/// assert_eq!(polarities.of("FanSpinning"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polarities {
    /// In lower case.
    by_type: BTreeMap<String, Polarity>,
}

impl Default for Polarities {
    fn default() -> Self {
        KNOWN.iter().fold(Self::none(), |known, (type_, polarity)| known.with(type_, *polarity))
    }
}

impl Polarities {
    /// No type is known.
    #[must_use]
    pub fn none() -> Self {
        Self { by_type: BTreeMap::new() }
    }

    /// The same with this type, in place of what was known of it.
    #[must_use]
    pub fn with(mut self, type_: &str, polarity: Polarity) -> Self {
        self.by_type.insert(type_.to_ascii_lowercase(), polarity);
        self
    }

    /// The same without this type: whatever it says then decides nothing.
    #[must_use]
    pub fn without(mut self, type_: &str) -> Self {
        self.by_type.remove(&type_.to_ascii_lowercase());
        self
    }

    /// The polarity of a type; `None` when it is not known.
    #[must_use]
    pub fn of(&self, type_: &str) -> Option<Polarity> {
        self.by_type.get(&type_.to_ascii_lowercase()).copied()
    }
}
