// SPDX-License-Identifier: Apache-2.0
//! What a GPU's status says of the device: what it is, what it measures, which XIDs it reported.
//!
//! Whatever is not known is absent, never zero.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{GpuStatus, RecommendedAction, Timestamp, object};
use crate::error::FieldViolation;

/// The longest text of a status that has no limit of its own, in bytes.
const MAX_TEXT: usize = 253;
/// How many XIDs a status may have: the last that a person may want to see.
pub(crate) const MAX_XIDS: usize = 32;
/// How many reasons for low clocks a telemetry may have: NVML has a bit for each, in 64.
pub(crate) const MAX_THROTTLE_REASONS: usize = 64;

/// What the device is and where it sits: facts that change with a driver, a slot or an administrator,
/// not by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpuDevice {
    /// NVML's index: the order of the PCI bus, which may differ after a reboot or a driver reload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The N of `/dev/nvidiaN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minor_number: Option<u32>,
    /// The product, such as `NVIDIA H100 80GB HBM3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product_name: Option<String>,
    /// The brand, such as `Nvidia` or `GeForce`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand: Option<String>,
    /// The architecture, such as `Hopper`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The serial number that is printed on the board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// The board's part number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board_part_number: Option<String>,
    /// The PCI address with a domain of eight digits, such as `00000000:3B:00.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pci_bus_id: Option<String>,
    /// The highest PCIe generation that the device and its slot allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_generation_max: Option<u32>,
    /// The greatest number of PCIe lanes that the device and its slot allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_width_max: Option<u32>,
    /// The NUMA node that is nearest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// The memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// CUDA's compute capability, such as `9.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// Whether the device is in MIG mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_enabled: Option<bool>,
    /// Whether it will be after the next reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig_pending: Option<bool>,
    /// The driver's version, such as `580.95.05`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver_version: Option<String>,
    /// The newest CUDA that the driver supports, such as `13.0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_driver_version: Option<String>,
    /// The version of the video BIOS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vbios_version: Option<String>,
    /// What part of which GPU this is; absent for a whole one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mig: Option<MigDevice>,
}

/// What part of a GPU a MIG device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MigDevice {
    /// The UUID of the GPU that it is a part of, as NVML gives it.
    pub parent_uuid: String,
    /// The GPU instance's id on that GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_instance_id: Option<u32>,
    /// The compute instance's id in that GPU instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_instance_id: Option<u32>,
    /// The profile, such as `1g.10gb`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// What the device measured at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GpuTelemetry {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<Timestamp>,
    /// The GPU's temperature, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<u32>,
    /// The power that is drawn, in milliwatts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_milliwatts: Option<u32>,
    /// The power that may be drawn, in milliwatts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_limit_milliwatts: Option<u32>,
    /// The clock of the streaming multiprocessors, in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sm_clock_mhz: Option<u32>,
    /// The memory's clock, in MHz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// How much of the time some kernel ran, in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization_percent: Option<u32>,
    /// The memory in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_used_bytes: Option<u64>,
    /// The PCIe generation that is in use now; an idle device lowers it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_generation: Option<u32>,
    /// The number of PCIe lanes in use now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcie_width: Option<u32>,
    /// ECC errors since the driver was loaded that were corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc_corrected_volatile: Option<u64>,
    /// ECC errors since the driver was loaded that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc_uncorrected_volatile: Option<u64>,
    /// ECC errors in the device's life that were corrected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc_corrected_aggregate: Option<u64>,
    /// ECC errors in the device's life that were not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ecc_uncorrected_aggregate: Option<u64>,
    /// Memory rows that were remapped after correctable errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remapped_rows_correctable: Option<u32>,
    /// Memory rows that were remapped after uncorrectable errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remapped_rows_uncorrectable: Option<u32>,
    /// Whether a row waits for a reset to be remapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remapping_pending: Option<bool>,
    /// Whether a row could not be remapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remapping_failed: Option<bool>,
    /// Memory pages that were retired, on devices that do not remap rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retired_pages: Option<u32>,
    /// Why the clocks are held down, as NVML names it, such as `SwPowerCap`; sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "object::null_is_default")]
    pub throttle_reasons: Vec<String>,
    /// How many processes use the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
}

/// All occurrences of one XID on one GPU, or on one instance of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct XidRecord {
    /// The number, as in NVIDIA's XID catalogue.
    pub xid: u32,
    /// How often it occurred.
    pub count: u64,
    /// When it occurred first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Timestamp>,
    /// When it occurred last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Timestamp>,
    /// The GPU instance that it was about; absent when it was about the whole GPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_instance_id: Option<u32>,
    /// The compute instance that it was about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_instance_id: Option<u32>,
    /// What to do about it; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recommended_action: Option<RecommendedAction>,
    /// Whether it still needs that action.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
    /// The boot of the node in which it occurred last, as in `/proc/sys/kernel/random/boot_id`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
    /// Whether the instance that it was about is no more, so that what it still needs is the GPU's to get. Its ids may be those
    /// of another instance by now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub instance_gone: bool,
    /// Whether the driver has asked for a reset of the GPU since it occurred last and while it stands: that the driver asks no
    /// more shows that the GPU was reset.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset_requested: bool,
}

/// What is wrong with so many items, before anything is done about each.
pub(crate) fn check_count(path: &str, count: usize, limit: usize) -> Option<FieldViolation> {
    let why = || format!("Too many: {count}: must have at most {limit} items");
    (count > limit).then(|| FieldViolation::new(path, why()))
}

/// What is wrong with a text, if it is too long. The path is written only then.
pub(super) fn check_text(path: impl fmt::Display, text: &str) -> Option<FieldViolation> {
    let why = || format!("must be no more than {MAX_TEXT} bytes");
    (text.len() > MAX_TEXT).then(|| FieldViolation::new(path.to_string(), why()))
}

/// Everything that is wrong with what a status says of the device, under the path of the status.
pub(super) fn validate(status: &GpuStatus) -> Vec<FieldViolation> {
    let mut found = Vec::new();
    if let Some(device) = &status.device {
        for (field, text) in device.texts() {
            found.extend(check_text(format_args!("status.device.{field}"), text));
        }
    }
    if let Some(GpuTelemetry { throttle_reasons, .. }) = &status.telemetry {
        let path = "status.telemetry.throttleReasons";
        found.extend(check_count(path, throttle_reasons.len(), MAX_THROTTLE_REASONS));
        for (index, text) in throttle_reasons.iter().take(MAX_THROTTLE_REASONS).enumerate() {
            found.extend(check_text(format_args!("{path}[{index}]"), text));
        }
    }
    found.extend(check_count("status.xids", status.xids.len(), MAX_XIDS));
    for (index, XidRecord { recommended_action, boot_id, .. }) in status.xids.iter().take(MAX_XIDS).enumerate() {
        let action = recommended_action.as_ref().map_or("", RecommendedAction::as_str);
        found.extend(check_text(format_args!("status.xids[{index}].recommendedAction"), action));
        found.extend(check_text(format_args!("status.xids[{index}].bootId"), boot_id));
    }
    found
}

fn text(text: &Option<String>) -> &str {
    text.as_deref().unwrap_or_default()
}

impl GpuDevice {
    /// Every text, by its field; an absent one is empty.
    fn texts(&self) -> [(&'static str, &str); 12] {
        let mig = self.mig.as_ref();
        [
            ("productName", text(&self.product_name)),
            ("brand", text(&self.brand)),
            ("architecture", text(&self.architecture)),
            ("serial", text(&self.serial)),
            ("boardPartNumber", text(&self.board_part_number)),
            ("pciBusId", text(&self.pci_bus_id)),
            ("computeCapability", text(&self.compute_capability)),
            ("driverVersion", text(&self.driver_version)),
            ("cudaDriverVersion", text(&self.cuda_driver_version)),
            ("vbiosVersion", text(&self.vbios_version)),
            ("mig.parentUuid", mig.map_or("", |mig| &mig.parent_uuid)),
            ("mig.profile", mig.map_or("", |mig| text(&mig.profile))),
        ]
    }
}
