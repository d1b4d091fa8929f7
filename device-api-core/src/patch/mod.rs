// SPDX-License-Identifier: Apache-2.0
//! stub
/// A patch. (Being written.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch;
