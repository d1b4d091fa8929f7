// SPDX-License-Identifier: Apache-2.0
//! The labels of a GPU's object, for selectors.
//!
//! The keys are those that GPU feature discovery made known
//! (<https://github.com/NVIDIA/k8s-device-plugin/tree/main/docs/gpu-feature-discovery>), where the meaning is the
//! same. What is no valid label value, such as a PCI address, is in the status only.

use std::collections::BTreeMap;

use device_api_core::resource::GpuDevice;

/// Set to `true` where the device is not real.
pub const SIMULATED: &str = "device.nvidia.com/simulated";

/// The longest label value, as in Kubernetes.
const MAX_VALUE: usize = 63;

/// The labels of a device.
pub(super) fn labels(device: &GpuDevice, is_simulated: bool) -> BTreeMap<String, String> {
    let (major, minor) = device.compute_capability.as_deref().and_then(|text| text.split_once('.')).unzip();
    let mebibytes = device.memory_bytes.map(|bytes| (bytes >> 20).to_string());
    let facts = [
        ("nvidia.com/gpu.product", device.product_name.as_deref().map(value)),
        ("nvidia.com/gpu.family", device.architecture.as_deref().map(|name| value(&name.to_ascii_lowercase()))),
        ("nvidia.com/gpu.memory", mebibytes),
        ("nvidia.com/gpu.compute.major", major.map(value)),
        ("nvidia.com/gpu.compute.minor", minor.map(value)),
        (SIMULATED, is_simulated.then(|| "true".to_owned())),
    ];
    let known = facts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), text?)));
    known.filter(|(_, text)| !text.is_empty()).collect()
}

/// A text as a label's value: as GPU feature discovery does it, with `-` for what is not allowed.
fn value(text: &str) -> String {
    let is_allowed = |at: char| at.is_ascii_alphanumeric() || matches!(at, '-' | '_' | '.');
    let text: String = text.chars().take(MAX_VALUE).map(|at| if is_allowed(at) { at } else { '-' }).collect();
    text.trim_matches(|at: char| !at.is_ascii_alphanumeric()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_those_of_gpu_feature_discovery() {
        let device = GpuDevice {
            product_name: Some("NVIDIA H100 80GB HBM3".to_owned()),
            architecture: Some("Hopper".to_owned()),
            memory_bytes: Some(81_559 << 20),
            compute_capability: Some("9.0".to_owned()),
            ..GpuDevice::default()
        };
        let expected = [
            ("nvidia.com/gpu.compute.major", "9"),
            ("nvidia.com/gpu.compute.minor", "0"),
            ("nvidia.com/gpu.family", "hopper"),
            ("nvidia.com/gpu.memory", "81559"),
            ("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),
        ];
        let found = labels(&device, false);
        assert_eq!(found.iter().map(|(key, text)| (key.as_str(), text.as_str())).collect::<Vec<_>>(), expected);
        assert_eq!(labels(&device, true).get(SIMULATED).map(String::as_str), Some("true"));
    }

    #[test]
    fn what_is_not_known_has_no_label() {
        assert!(labels(&GpuDevice::default(), false).is_empty());
        let device = GpuDevice { product_name: Some("(?)".to_owned()), ..GpuDevice::default() };
        assert!(labels(&device, false).is_empty(), "no value is made up");
    }
}
