// SPDX-License-Identifier: Apache-2.0
//! What the library says, as a test writes it.

use std::fs;
use std::io;
use std::path::Path;

use nvml_wrapper_sys::bindings::{
    NVML_DEVICE_ARCH_HOPPER, nvmlBrandType_enum_NVML_BRAND_NVIDIA, nvmlClocksThrottleReasonSwPowerCap,
    nvmlEventMigConfigChange, nvmlEventTypeDoubleBitEccError, nvmlEventTypeGpuRecoveryAction,
    nvmlEventTypeSingleBitEccError, nvmlEventTypeXidCriticalError,
};
use serde::{Deserialize, Serialize};

/// The whole of it. Whatever is `None` is "not supported".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The driver's version.
    pub driver_version: String,
    /// The newest CUDA, as NVML writes it: `13000` for 13.0.
    pub cuda_driver_version: i32,
    /// How often the driver was loaded. Whoever was initialised before the last time gets errors, until they
    /// shut down all that they initialised and begin anew.
    pub loads: u32,
    /// The GPUs, in NVML's order.
    pub gpus: Vec<Gpu>,
    /// What goes wrong; the first fault that fits a call decides.
    pub faults: Vec<Fault>,
    /// What happened, the oldest first; it only grows. A set of events has those that were added after
    /// it was made, for the GPUs and types that were registered with it.
    pub events: Vec<Event>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the answer of the NVML function of the same name")]
pub struct Gpu {
    pub uuid: String,
    pub pci_bus_id: String,
    pub minor_number: u32,
    pub name: String,
    /// `nvmlBrandType_t`.
    pub brand: u32,
    /// `nvmlDeviceArchitecture_t`.
    pub architecture: u32,
    pub serial: Option<String>,
    pub board_part_number: Option<String>,
    pub vbios_version: String,
    pub pcie_generation_max: u32,
    pub pcie_width_max: u32,
    pub memory_bytes: u64,
    /// Major and minor.
    pub compute_capability: (i32, i32),
    /// MIG mode, now and after the next reset.
    pub mig_mode: Option<(u32, u32)>,
    pub mig_devices: Vec<Mig>,
    /// `nvmlDeviceGpuRecoveryAction_t`.
    pub recovery_action: Option<u32>,
    pub remapped: Option<Remapped>,
    pub ecc: Option<Ecc>,
    /// Bits of `nvmlEventType…`.
    pub event_types: u64,
    pub temperature: u32,
    pub power_milliwatts: u32,
    pub power_limit_milliwatts: u32,
    pub sm_clock_mhz: u32,
    pub memory_clock_mhz: u32,
    pub utilization_percent: Option<u32>,
    pub memory_used_bytes: u64,
    pub pcie_generation: u32,
    pub pcie_width: u32,
    /// For double-bit errors.
    pub retired_pages: Option<u32>,
    /// Bits of `nvmlClocksEventReason…`.
    pub throttle_reasons: u64,
    pub compute_pids: Vec<u32>,
    pub graphics_pids: Vec<u32>,
}

/// A MIG device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the answer of the NVML function of the same name")]
pub struct Mig {
    pub uuid: String,
    pub gpu_instance_id: u32,
    pub compute_instance_id: u32,
    /// Such as `1g.10gb`: the end of its name.
    pub profile: String,
    pub memory_bytes: u64,
}

/// Remapped memory rows, as field values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the field value of the same name")]
pub struct Remapped {
    pub correctable: u32,
    pub uncorrectable: u32,
    pub pending: u32,
    pub failed: u32,
}

/// Counts of ECC errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each is the counter of the same name")]
pub struct Ecc {
    pub corrected_volatile: u64,
    pub uncorrected_volatile: u64,
    pub corrected_aggregate: u64,
    pub uncorrected_aggregate: u64,
}

/// What a function does instead of answering.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The function's name; `*` for all that are about the GPU.
    pub function: String,
    /// Only when it is asked about this GPU, by UUID; its MIG devices are part of it.
    pub gpu: Option<String>,
    /// What it does.
    pub outcome: Outcome,
}

/// What a function does instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It returns this `nvmlReturn_t`.
    Fails(u32),
    /// It does not return as long as the script says so.
    Hangs,
}

/// Something that a GPU reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The GPU's UUID.
    pub gpu: String,
    /// One bit of `nvmlEventType…`.
    pub event_type: u64,
    /// The number of an XID.
    pub data: u64,
    /// The GPU instance and the compute instance that it is about.
    pub instance: Option<(u32, u32)>,
    /// How often, as fast as it is asked for; 0 is once, too.
    pub times: u64,
}

impl Script {
    /// A node with so many healthy GPUs.
    #[must_use]
    pub fn with_gpus(count: u32) -> Self {
        let gpus = (0..count).map(Gpu::h100).collect();
        Self { driver_version: "580.95.05".to_owned(), cuda_driver_version: 13000, gpus, ..Self::default() }
    }

    /// Adds a fault of a function, whomever it is asked about.
    #[must_use]
    pub fn with_fault(self, function: &str, outcome: Outcome) -> Self {
        self.with(Fault { function: function.to_owned(), gpu: None, outcome })
    }

    /// Adds a fault of a function that is asked about this GPU.
    #[must_use]
    pub fn with_gpu_fault(self, function: &str, gpu: usize, outcome: Outcome) -> Self {
        let gpu = self.gpus.get(gpu).map(|gpu| gpu.uuid.clone());
        self.with(Fault { function: function.to_owned(), gpu, outcome })
    }

    fn with(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Reads a script.
    ///
    /// # Errors
    /// When there is none, or it is none.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    }

    /// Writes the script in one step, so that nobody reads half of it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(self)?)?;
        fs::rename(new, path)
    }
}

impl Gpu {
    /// An H100 of eighty gigabytes at this place, healthy and busy.
    #[must_use]
    pub fn h100(place: u32) -> Self {
        let types = nvmlEventTypeSingleBitEccError
            | nvmlEventTypeDoubleBitEccError
            | nvmlEventTypeXidCriticalError
            | nvmlEventMigConfigChange
            | nvmlEventTypeGpuRecoveryAction;
        Self {
            uuid: format!("GPU-00000000-0000-4000-8000-{place:012x}"),
            pci_bus_id: format!("00000000:{:02X}:00.0", 0x1b + place),
            minor_number: place,
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            brand: nvmlBrandType_enum_NVML_BRAND_NVIDIA,
            architecture: NVML_DEVICE_ARCH_HOPPER,
            serial: Some(format!("165492301{place:04}")),
            board_part_number: Some("692-2G520-0200-000".to_owned()),
            vbios_version: "96.00.74.00.01".to_owned(),
            pcie_generation_max: 5,
            pcie_width_max: 16,
            memory_bytes: 85_520_809_984,
            compute_capability: (9, 0),
            mig_mode: Some((0, 0)),
            mig_devices: Vec::new(),
            recovery_action: Some(0),
            remapped: Some(Remapped::default()),
            ecc: Some(Ecc::default()),
            event_types: types.into(),
            temperature: 54,
            power_milliwatts: 412_500,
            power_limit_milliwatts: 700_000,
            sm_clock_mhz: 1_755,
            memory_clock_mhz: 2_619,
            utilization_percent: Some(97),
            memory_used_bytes: 64 << 30,
            pcie_generation: 5,
            pcie_width: 16,
            retired_pages: None,
            throttle_reasons: nvmlClocksThrottleReasonSwPowerCap.into(),
            compute_pids: vec![4_242, 4_243],
            graphics_pids: vec![4_243],
        }
    }
}
