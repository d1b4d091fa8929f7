// SPDX-License-Identifier: Apache-2.0
//! The example `bridges`, met by tests that do what the kubelet, or the scheduler, does at the other end.
#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exception for tests does not reach their functions

mod device_plugin_tests;
mod dra_health_tests;
mod node;
mod program;
mod taints_tests;

#[path = "../../bridges/device_plugin.rs"]
mod device_plugin;
#[path = "../../bridges/devices.rs"]
mod devices;
#[path = "../../bridges/dra_health.rs"]
mod dra_health;
#[path = "../../bridges/kubelet/mod.rs"]
mod kubelet;
#[path = "../../bridges/socket.rs"]
mod socket;
#[path = "../../bridges/taints.rs"]
mod taints;
