// SPDX-License-Identifier: Apache-2.0
//! What a GPU's status says of the device.

use super::gpu::{action_from_wire, action_to_wire};
use super::meta::{time_from_wire, time_to_wire};
use super::v1alpha1 as wire;
use crate::Result;
use crate::error::FieldViolation;
use crate::resource::{GpuDevice, GpuTelemetry, MigDevice, XidRecord};

impl From<&GpuDevice> for wire::GpuDevice {
    fn from(device: &GpuDevice) -> Self {
        let GpuDevice {
            index,
            minor_number,
            product_name,
            brand,
            architecture,
            serial,
            board_part_number,
            pci_bus_id,
            pcie_generation_max,
            pcie_width_max,
            numa_node,
            memory_bytes,
            compute_capability,
            mig_enabled,
            mig_pending,
            driver_version,
            cuda_driver_version,
            vbios_version,
            mig,
        } = device;
        Self {
            index: *index,
            minor_number: *minor_number,
            product_name: product_name.clone(),
            brand: brand.clone(),
            architecture: architecture.clone(),
            serial: serial.clone(),
            board_part_number: board_part_number.clone(),
            pci_bus_id: pci_bus_id.clone(),
            pcie_generation_max: *pcie_generation_max,
            pcie_width_max: *pcie_width_max,
            numa_node: *numa_node,
            memory_bytes: *memory_bytes,
            compute_capability: compute_capability.clone(),
            mig_enabled: *mig_enabled,
            mig_pending: *mig_pending,
            driver_version: driver_version.clone(),
            cuda_driver_version: cuda_driver_version.clone(),
            vbios_version: vbios_version.clone(),
            mig: mig.as_ref().map(Into::into),
        }
    }
}

impl From<wire::GpuDevice> for GpuDevice {
    fn from(message: wire::GpuDevice) -> Self {
        let wire::GpuDevice {
            index,
            minor_number,
            product_name,
            brand,
            architecture,
            serial,
            board_part_number,
            pci_bus_id,
            pcie_generation_max,
            pcie_width_max,
            numa_node,
            memory_bytes,
            compute_capability,
            mig_enabled,
            mig_pending,
            driver_version,
            cuda_driver_version,
            vbios_version,
            mig,
        } = message;
        let mig = mig.map(Into::into);
        Self {
            index,
            minor_number,
            product_name,
            brand,
            architecture,
            serial,
            board_part_number,
            pci_bus_id,
            pcie_generation_max,
            pcie_width_max,
            numa_node,
            memory_bytes,
            compute_capability,
            mig_enabled,
            mig_pending,
            driver_version,
            cuda_driver_version,
            vbios_version,
            mig,
        }
    }
}

impl From<&MigDevice> for wire::MigDevice {
    fn from(mig: &MigDevice) -> Self {
        let MigDevice { parent_uuid, gpu_instance_id, compute_instance_id, profile } = mig;
        Self {
            parent_uuid: parent_uuid.clone(),
            gpu_instance_id: *gpu_instance_id,
            compute_instance_id: *compute_instance_id,
            profile: profile.clone(),
        }
    }
}

impl From<wire::MigDevice> for MigDevice {
    fn from(message: wire::MigDevice) -> Self {
        let wire::MigDevice { parent_uuid, gpu_instance_id, compute_instance_id, profile } = message;
        Self { parent_uuid, gpu_instance_id, compute_instance_id, profile }
    }
}

impl From<&GpuTelemetry> for wire::GpuTelemetry {
    fn from(telemetry: &GpuTelemetry) -> Self {
        let GpuTelemetry {
            sampled_at,
            temperature_celsius,
            power_milliwatts,
            power_limit_milliwatts,
            sm_clock_mhz,
            memory_clock_mhz,
            utilization_percent,
            memory_used_bytes,
            pcie_generation,
            pcie_width,
            ecc_corrected_volatile,
            ecc_uncorrected_volatile,
            ecc_corrected_aggregate,
            ecc_uncorrected_aggregate,
            remapped_rows_correctable,
            remapped_rows_uncorrectable,
            remapping_pending,
            remapping_failed,
            retired_pages,
            throttle_reasons,
            processes,
        } = telemetry;
        Self {
            sampled_at: sampled_at.map(time_to_wire),
            temperature_celsius: *temperature_celsius,
            power_milliwatts: *power_milliwatts,
            power_limit_milliwatts: *power_limit_milliwatts,
            sm_clock_mhz: *sm_clock_mhz,
            memory_clock_mhz: *memory_clock_mhz,
            utilization_percent: *utilization_percent,
            memory_used_bytes: *memory_used_bytes,
            pcie_generation: *pcie_generation,
            pcie_width: *pcie_width,
            ecc_corrected_volatile: *ecc_corrected_volatile,
            ecc_uncorrected_volatile: *ecc_uncorrected_volatile,
            ecc_corrected_aggregate: *ecc_corrected_aggregate,
            ecc_uncorrected_aggregate: *ecc_uncorrected_aggregate,
            remapped_rows_correctable: *remapped_rows_correctable,
            remapped_rows_uncorrectable: *remapped_rows_uncorrectable,
            remapping_pending: *remapping_pending,
            remapping_failed: *remapping_failed,
            retired_pages: *retired_pages,
            throttle_reasons: throttle_reasons.clone(),
            processes: *processes,
        }
    }
}

/// Fails with the violation of a path relative to the telemetry.
impl TryFrom<wire::GpuTelemetry> for GpuTelemetry {
    type Error = FieldViolation;

    fn try_from(message: wire::GpuTelemetry) -> Result<Self, FieldViolation> {
        let wire::GpuTelemetry {
            sampled_at,
            temperature_celsius,
            power_milliwatts,
            power_limit_milliwatts,
            sm_clock_mhz,
            memory_clock_mhz,
            utilization_percent,
            memory_used_bytes,
            pcie_generation,
            pcie_width,
            ecc_corrected_volatile,
            ecc_uncorrected_volatile,
            ecc_corrected_aggregate,
            ecc_uncorrected_aggregate,
            remapped_rows_correctable,
            remapped_rows_uncorrectable,
            remapping_pending,
            remapping_failed,
            retired_pages,
            throttle_reasons,
            processes,
        } = message;
        let sampled_at = time_from_wire("sampledAt", sampled_at)?;
        Ok(Self {
            sampled_at,
            temperature_celsius,
            power_milliwatts,
            power_limit_milliwatts,
            sm_clock_mhz,
            memory_clock_mhz,
            utilization_percent,
            memory_used_bytes,
            pcie_generation,
            pcie_width,
            ecc_corrected_volatile,
            ecc_uncorrected_volatile,
            ecc_corrected_aggregate,
            ecc_uncorrected_aggregate,
            remapped_rows_correctable,
            remapped_rows_uncorrectable,
            remapping_pending,
            remapping_failed,
            retired_pages,
            throttle_reasons,
            processes,
        })
    }
}

impl From<&XidRecord> for wire::XidRecord {
    fn from(record: &XidRecord) -> Self {
        let XidRecord {
            xid,
            count,
            first_seen,
            last_seen,
            gpu_instance_id,
            compute_instance_id,
            recommended_action,
            standing,
            boot_id,
            instance_gone,
            reset_requested,
        } = record;
        Self {
            xid: *xid,
            count: *count,
            first_seen: first_seen.map(time_to_wire),
            last_seen: last_seen.map(time_to_wire),
            gpu_instance_id: *gpu_instance_id,
            compute_instance_id: *compute_instance_id,
            recommended_action: action_to_wire(recommended_action.as_ref()),
            standing: *standing,
            boot_id: boot_id.clone(),
            instance_gone: *instance_gone,
            reset_requested: *reset_requested,
        }
    }
}

/// Fails with the violation of a path relative to the record.
impl TryFrom<wire::XidRecord> for XidRecord {
    type Error = FieldViolation;

    fn try_from(message: wire::XidRecord) -> Result<Self, FieldViolation> {
        let wire::XidRecord {
            xid,
            count,
            first_seen,
            last_seen,
            gpu_instance_id,
            compute_instance_id,
            recommended_action,
            standing,
            boot_id,
            instance_gone,
            reset_requested,
        } = message;
        let first_seen = time_from_wire("firstSeen", first_seen)?;
        let last_seen = time_from_wire("lastSeen", last_seen)?;
        let recommended_action = action_from_wire(&recommended_action);
        Ok(Self {
            xid,
            count,
            first_seen,
            last_seen,
            gpu_instance_id,
            compute_instance_id,
            recommended_action,
            standing,
            boot_id,
            instance_gone,
            reset_requested,
        })
    }
}
