// SPDX-License-Identifier: Apache-2.0
//! The registry.
mod params;
mod strategy;
mod verbs;
pub use params::*;
pub use strategy::*;
pub use verbs::*;
/// stub
#[derive(Debug)]
pub struct Registry;
