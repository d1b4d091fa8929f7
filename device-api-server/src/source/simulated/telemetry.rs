// SPDX-License-Identifier: Apache-2.0
//! What simulated GPUs measure: plausible, and the same each time the scenario is played.

use std::time::Duration;

use device_api_core::resource::GpuTelemetry;

use super::node::Card;

/// How long the load takes to rise from nothing to all and to fall again.
const PERIOD: Duration = Duration::from_secs(120);

/// What the GPU measures so long after the start.
pub(super) fn sample(card: &Card, index: usize, elapsed: Duration) -> GpuTelemetry {
    let product = card.board.product;
    let load = load(index, elapsed);
    let part = |all: u32, least: u32| least + (all - least) / 100 * load;
    GpuTelemetry {
        sampled_at: None,
        temperature_celsius: Some(31 + u32::from(index % 2 == 1) + load * 2 / 5),
        power_milliwatts: Some(part(product.power_limit_milliwatts, product.power_limit_milliwatts / 10)),
        power_limit_milliwatts: Some(product.power_limit_milliwatts),
        sm_clock_mhz: Some(if load == 0 { 345 } else { product.sm_clock_mhz }),
        memory_clock_mhz: Some(product.memory_clock_mhz),
        utilization_percent: Some(load),
        memory_used_bytes: Some(product.memory_bytes / 100 * u64::from(load)),
        pcie_generation: Some(product.pcie_generation),
        pcie_width: Some(16),
        ecc_corrected_volatile: product.ecc.then_some(card.ecc_corrected.volatile),
        ecc_uncorrected_volatile: product.ecc.then_some(card.ecc_uncorrected.volatile),
        ecc_corrected_aggregate: product.ecc.then_some(card.ecc_corrected.aggregate),
        ecc_uncorrected_aggregate: product.ecc.then_some(card.ecc_uncorrected.aggregate),
        remapped_rows_correctable: product.remaps_rows.then_some(0),
        remapped_rows_uncorrectable: product.remaps_rows.then_some(card.remapped_rows),
        remapping_pending: product.remaps_rows.then_some(card.remapping_pending),
        remapping_failed: product.remaps_rows.then_some(card.remapping_failed),
        // Of boards that remap no rows and count errors, there is none among the products.
        retired_pages: None,
        throttle_reasons: if load == 0 { vec!["GpuIdle".into()] } else { Vec::new() },
        processes: Some(u32::from(load > 0)),
    }
}

/// The load in percent; each GPU is a little behind the one before it.
fn load(index: usize, elapsed: Duration) -> u32 {
    let phase = (elapsed.as_secs() + 7 * index as u64) % PERIOD.as_secs();
    let distance = phase.min(PERIOD.as_secs() - phase);
    u32::try_from(100 * distance / (PERIOD.as_secs() / 2)).unwrap_or(100)
}
