// SPDX-License-Identifier: Apache-2.0
//! The NVML source: every GPU of the node, and its health.

pub mod chart;
pub mod driver;
pub mod policy;
pub mod xid;
