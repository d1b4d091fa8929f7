// SPDX-License-Identifier: Apache-2.0
//! Which GPUs there are, and what they are.

use std::fs;
use std::path::Path;

use device_api_core::resource::{GpuDevice, MigDevice};
use nvml_wrapper::enum_wrappers::device::Brand;
use nvml_wrapper::enums::device::DeviceArchitecture;
use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor};

use super::failure::{answer, fact, reading};
use super::raw;
use crate::source::nvml::driver::{Description, DriverError, Found, Identity, System};

/// The kernel's name for this boot: random(4).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

pub(super) fn boot_id() -> Option<String> {
    let boot_id = fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned());
    boot_id.inspect_err(|error| tracing::warn!(%error, "{BOOT_ID} cannot be read")).ok()
}

pub(super) fn system(nvml: &Nvml) -> Result<System, DriverError> {
    let cuda = fact("nvmlSystemGetCudaDriverVersion_v2", nvml.sys_cuda_driver_version())?;
    Ok(System {
        driver_version: fact("nvmlSystemGetDriverVersion", nvml.sys_driver_version())?,
        cuda_driver_version: cuda
            .map(|version| format!("{}.{}", cuda_driver_version_major(version), cuda_driver_version_minor(version))),
    })
}

pub(super) fn list(nvml: &Nvml) -> Result<Vec<Found>, DriverError> {
    let count = answer("nvmlDeviceGetCount_v2", nvml.device_count())?;
    Ok((0..count).map(|index| Found { index, identity: identity(nvml, index) }).collect())
}

fn identity(nvml: &Nvml, index: u32) -> Result<Identity, DriverError> {
    let device = answer("nvmlDeviceGetHandleByIndex_v2", nvml.device_by_index(index))?;
    let uuid = answer("nvmlDeviceGetUUID", device.uuid())?;
    // Who it is was told already; where it is may be missing.
    let pci_bus_id = device.pci_info().ok().map(|pci| pci_bus_id(&pci.bus_id));
    Ok(Identity { uuid, pci_bus_id })
}

/// What a GPU is; `sysfs` is where the kernel tells of PCI devices.
pub(super) fn describe(device: &Device<'_>, uuid: &str, sysfs: &Path) -> Result<Description, DriverError> {
    let pci_bus_id = fact("nvmlDeviceGetPciInfo_v3", device.pci_info())?.map(|pci| pci_bus_id(&pci.bus_id));
    let architecture = fact("nvmlDeviceGetArchitecture", device.architecture())?;
    let compute = fact("nvmlDeviceGetCudaComputeCapability", device.cuda_compute_capability())?;
    let mode = reading("nvmlDeviceGetMigMode", device.mig_mode());
    let mig = mode.as_ref().ok().cloned().flatten();
    let System { driver_version, cuda_driver_version, .. } = system(device.nvml())?;
    let whole = GpuDevice {
        index: fact("nvmlDeviceGetIndex", device.index())?,
        minor_number: fact("nvmlDeviceGetMinorNumber", device.minor_number())?,
        product_name: fact("nvmlDeviceGetName", device.name())?,
        brand: fact("nvmlDeviceGetBrand", device.brand())?.and_then(brand),
        architecture: architecture.filter(|at| *at != DeviceArchitecture::Unknown).map(|at| at.to_string()),
        serial: fact("nvmlDeviceGetSerial", device.serial())?,
        board_part_number: fact("nvmlDeviceGetBoardPartNumber", device.board_part_number())?,
        numa_node: pci_bus_id.as_deref().and_then(|id| numa_node(sysfs, id)),
        pci_bus_id,
        pcie_generation_max: fact("nvmlDeviceGetMaxPcieLinkGeneration", device.max_pcie_link_gen())?,
        pcie_width_max: fact("nvmlDeviceGetMaxPcieLinkWidth", device.max_pcie_link_width())?,
        memory_bytes: fact("nvmlDeviceGetMemoryInfo_v2", device.memory_info())?.map(|memory| memory.total),
        compute_capability: compute.map(|version| format!("{}.{}", version.major, version.minor)),
        mig_enabled: mig.as_ref().map(|mode| mode.current != 0),
        mig_pending: mig.as_ref().map(|mode| mode.pending != 0),
        driver_version,
        cuda_driver_version,
        vbios_version: fact("nvmlDeviceGetVbiosVersion", device.vbios_version())?,
        mig: None,
    };
    let parts = mode.and_then(|mode| match mode {
        Some(mode) if mode.current != 0 => mig_devices(device, uuid, &whole),
        _ => Ok(Vec::new()),
    });
    // What fails says nothing of the parts that were there.
    let mig_devices = match parts {
        Err(error @ (DriverError::Other { .. } | DriverError::NotFound)) => {
            tracing::debug!(%error, gpu = uuid, "NVML does not tell the MIG devices");
            None
        }
        parts => Some(parts?),
    };
    Ok(Description { device: whole, mig_devices })
}

fn mig_devices(device: &Device<'_>, parent: &str, whole: &GpuDevice) -> Result<Vec<(String, GpuDevice)>, DriverError> {
    let places = reading("nvmlDeviceGetMaxMigDeviceCount", device.mig_device_count())?.unwrap_or(0);
    let mut found = Vec::new();
    for place in 0..places {
        // Places that are free are not found.
        let part = match reading("nvmlDeviceGetMigDeviceHandleByIndex", device.mig_device_by_index(place)) {
            Err(DriverError::NotFound) | Ok(None) => continue,
            part => part?,
        };
        let Some(part) = part else { continue };
        let uuid = answer("nvmlDeviceGetUUID", part.uuid())?;
        found.push((uuid, mig_device(&part, parent, whole)?));
    }
    Ok(found)
}

/// A part has what its GPU has, save memory and place in the list.
fn mig_device(part: &Device<'_>, parent: &str, whole: &GpuDevice) -> Result<GpuDevice, DriverError> {
    let name = fact("nvmlDeviceGetName", part.name())?;
    Ok(GpuDevice {
        index: None,
        mig_enabled: None,
        mig_pending: None,
        memory_bytes: fact("nvmlDeviceGetMemoryInfo_v2", part.memory_info())?.map(|memory| memory.total),
        mig: Some(MigDevice {
            parent_uuid: parent.to_owned(),
            gpu_instance_id: fact("nvmlDeviceGetGpuInstanceId", raw::gpu_instance_id(part))?,
            compute_instance_id: fact("nvmlDeviceGetComputeInstanceId", raw::compute_instance_id(part))?,
            // Its name is the GPU's with this at the end: "NVIDIA H100 80GB HBM3 MIG 1g.10gb".
            profile: name.and_then(|name| Some(name.rsplit_once(" MIG ")?.1.to_owned())),
        }),
        ..whole.clone()
    })
}

/// The address with a domain of eight digits, in capitals, as `nvmlPciInfo_t.busId` and nvidia-smi have it.
fn pci_bus_id(told: &str) -> String {
    match told.split_once(':') {
        Some((domain, rest)) => format!("{domain:0>8}:{rest}").to_uppercase(),
        None => told.to_owned(),
    }
}

/// NVML's own answer is about GPUs that are a NUMA node of their own; the nearest one is known to the
/// kernel, which says -1 where there is none.
fn numa_node(sysfs: &Path, pci_bus_id: &str) -> Option<u32> {
    // sysfs has a domain of four digits, or of more where they are needed.
    let (domain, rest) = pci_bus_id.split_once(':')?;
    let domain = u32::from_str_radix(domain, 16).ok()?;
    let address = format!("{domain:04x}:{}", rest.to_lowercase());
    fs::read_to_string(sysfs.join("bus/pci/devices").join(address).join("numa_node")).ok()?.trim().parse().ok()
}

/// `nvmlBrandType_t` in words.
fn brand(brand: Brand) -> Option<String> {
    let word = match brand {
        Brand::Unknown => return None,
        Brand::Quadro => "Quadro",
        Brand::Tesla => "Tesla",
        Brand::NVS => "NVS",
        Brand::GRID => "GRID",
        Brand::GeForce => "GeForce",
        Brand::Titan => "Titan",
        Brand::VApps => "NVIDIA Virtual Applications",
        Brand::VPC => "NVIDIA Virtual PC",
        Brand::VCS => "NVIDIA Virtual Compute Server",
        Brand::VWS => "NVIDIA RTX Virtual Workstation",
        Brand::CloudGaming | Brand::VGaming => "NVIDIA Cloud Gaming",
        Brand::QuadroRTX => "Quadro RTX",
        Brand::NvidiaRTX => "NVIDIA RTX",
        Brand::Nvidia => "Nvidia",
        Brand::GeForceRTX => "GeForce RTX",
        Brand::TitanRTX => "Titan RTX",
    };
    Some(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pci_address_has_eight_digits_of_domain_and_capitals() {
        assert_eq!(pci_bus_id("0000:3b:00.0"), "00000000:3B:00.0");
        assert_eq!(pci_bus_id("00010000:3B:00.0"), "00010000:3B:00.0");
    }

    #[test]
    fn the_nearest_numa_node_is_the_kernels() {
        let sysfs = tempfile::tempdir().unwrap();
        for (address, node) in [("0000:3b:00.0", "1\n"), ("10000:00:02.0", "0\n"), ("0000:af:00.0", "-1\n")] {
            let folder = sysfs.path().join("bus/pci/devices").join(address);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("numa_node"), node).unwrap();
        }
        assert_eq!(numa_node(sysfs.path(), "00000000:3B:00.0"), Some(1));
        assert_eq!(numa_node(sysfs.path(), "00010000:00:02.0"), Some(0));
        assert_eq!(numa_node(sysfs.path(), "00000000:AF:00.0"), None);
        assert_eq!(numa_node(sysfs.path(), "00000000:D8:00.0"), None);
    }
}
