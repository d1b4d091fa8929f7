// SPDX-License-Identifier: Apache-2.0
//! Finds a GPU by its UUID, whatever is wrong with the others.

use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};

/// The GPU with this UUID.
///
/// NVML looks at one GPU after the other, and says what is wrong with *any* of them: `nvmlDeviceGetHandleByUUID` fails with
/// `NVML_ERROR_GPU_IS_LOST` "if any GPU has fallen off the bus" (nvml.h), likewise for power cables and interrupts. By its place
/// in the list a GPU is found all the same.
pub(super) fn gpu<'nvml>(nvml: &'nvml Nvml, uuid: &str) -> Result<Device<'nvml>, NvmlError> {
    match nvml.device_by_uuid(uuid) {
        Err(why @ (NvmlError::GpuLost | NvmlError::InsufficientPower | NvmlError::IrqIssue)) => {
            by_place(nvml, uuid).ok_or(why)
        }
        found => found,
    }
}

fn by_place<'nvml>(nvml: &'nvml Nvml, uuid: &str) -> Option<Device<'nvml>> {
    let mut places = 0..nvml.device_count().ok()?;
    places.find_map(|place| {
        let device = nvml.device_by_index(place).ok()?;
        device.uuid().is_ok_and(|found| found.eq_ignore_ascii_case(uuid)).then_some(device)
    })
}
