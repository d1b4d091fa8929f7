// SPDX-License-Identifier: Apache-2.0
//! Both directions of the wire, against each other.

mod conversions;
mod device;
mod lease;
mod status;
