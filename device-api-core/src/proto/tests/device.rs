// SPDX-License-Identifier: Apache-2.0
//! Devices, telemetry and XIDs as anybody may send them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::conversions::{action, timestamp};
use crate::proto::v1alpha1 as wire;
use crate::resource::{Gpu, GpuDevice, GpuTelemetry, MigDevice, XidRecord};

fn mig() -> impl Strategy<Value = MigDevice> {
    any::<(String, [Option<u32>; 2], Option<String>)>().prop_map(
        |(parent_uuid, [gpu_instance_id, compute_instance_id], profile)| MigDevice {
            parent_uuid,
            gpu_instance_id,
            compute_instance_id,
            profile,
        },
    )
}

pub(super) fn device() -> impl Strategy<Value = GpuDevice> {
    let scalars = any::<([Option<u32>; 5], Option<u64>, [Option<bool>; 2])>();
    (scalars, any::<[Option<String>; 10]>(), option::of(mig())).prop_map(
        |((numbers, memory_bytes, flags), texts, mig)| {
            let [index, minor_number, pcie_generation_max, pcie_width_max, numa_node] = numbers;
            let [mig_enabled, mig_pending] = flags;
            let [product_name, brand, architecture, serial, board_part_number, pci_bus_id, texts @ ..] = texts;
            let [compute_capability, driver_version, cuda_driver_version, vbios_version] = texts;
            GpuDevice {
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
        },
    )
}

pub(super) fn telemetry() -> impl Strategy<Value = GpuTelemetry> {
    let scalars = any::<([Option<u32>; 12], [Option<u64>; 5], [Option<bool>; 2])>();
    (option::of(timestamp()), scalars, vec(any::<String>(), 0..4)).prop_map(
        |(sampled_at, (small, large, flags), throttle_reasons)| {
            let [temperature_celsius, power_milliwatts, power_limit_milliwatts, sm_clock_mhz, small @ ..] = small;
            let [memory_clock_mhz, utilization_percent, pcie_generation, pcie_width, small @ ..] = small;
            let [remapped_rows_correctable, remapped_rows_uncorrectable, retired_pages, processes] = small;
            let [memory_used_bytes, ecc_corrected_volatile, ecc_uncorrected_volatile, large @ ..] = large;
            let [ecc_corrected_aggregate, ecc_uncorrected_aggregate] = large;
            let [remapping_pending, remapping_failed] = flags;
            GpuTelemetry {
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
            }
        },
    )
}

pub(super) fn xid() -> impl Strategy<Value = XidRecord> {
    let scalars = any::<(u32, u64, [Option<u32>; 2], [bool; 3], String)>();
    (scalars, option::of(timestamp()), option::of(timestamp()), option::of(action())).prop_map(
        |((xid, count, instance, flags, boot_id), first_seen, last_seen, recommended_action)| {
            let [gpu_instance_id, compute_instance_id] = instance;
            let [standing, instance_gone, reset_requested] = flags;
            XidRecord {
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
            }
        },
    )
}

#[test]
fn a_zero_is_sent_as_a_zero_and_what_is_not_known_is_not_sent() {
    let device = GpuDevice { index: Some(0), mig_enabled: Some(false), ..GpuDevice::default() };
    let message = wire::GpuDevice::from(&device);
    assert_eq!((message.index, message.minor_number), (Some(0), None));
    assert_eq!((message.mig_enabled, message.mig_pending), (Some(false), None));
    let telemetry = GpuTelemetry { processes: Some(0), ..GpuTelemetry::default() };
    let message = wire::GpuTelemetry::from(&telemetry);
    assert_eq!((message.processes, message.retired_pages), (Some(0), None));
}

#[test]
fn too_many_xids_and_reasons_are_named_before_anything_is_read() {
    let status = |xids, reasons| wire::GpuStatus {
        telemetry: Some(wire::GpuTelemetry { throttle_reasons: vec![String::new(); reasons], ..Default::default() }),
        xids: vec![wire::XidRecord::default(); xids],
        ..Default::default()
    };
    let gpu = |status| Gpu::try_from(wire::Gpu { status: Some(status), ..Default::default() });
    assert!(gpu(status(32, 64)).is_ok());
    let error = gpu(status(33, 65)).unwrap_err();
    let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["status.xids", "status.telemetry.throttleReasons"]);
}
