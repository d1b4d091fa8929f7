// SPDX-License-Identifier: Apache-2.0
//! The objects: GPUs as health monitors write them, about a kilobyte each.

use device_api_core::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta};

/// As many as there are callers at most, so that each writes its own.
pub const COUNT: usize = 64;

/// The name of a GPU.
pub fn name(index: usize) -> String {
    format!("gpu-6f1e8c5a-3b52-4d0e-9c1f-{index:012x}")
}

/// One GPU. Two turns in a row differ, or a write would change nothing.
pub fn gpu(index: usize, turn: usize) -> Gpu {
    let mut gpu = Gpu {
        metadata: ObjectMeta::named(name(index))
            .with_label("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3")
            .with_label("nvidia.com/gpu.family", "hopper")
            .with_annotation("nvidia.com/gpu.pci-address", format!("0000:{index:02x}:00.0")),
        spec: GpuSpec { uuid: format!("GPU-6f1e8c5a-3b52-4d0e-9c1f-{index:012x}") },
        ..Gpu::default()
    };
    for aspect in ["NVMLReady", "ThermalHealthy", "MemoryHealthy", "NVLinkHealthy"] {
        let condition = Condition::new(aspect, ConditionStatus::True)
            .with_reason("CheckPassed")
            .with_message(format!("All checks of this aspect passed in turn {}", turn % 2));
        gpu.status.conditions.push(condition);
    }
    gpu
}
