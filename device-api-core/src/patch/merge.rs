// SPDX-License-Identifier: Apache-2.0
//! JSON merge patches (RFC 7386), as far as the crate `json_patch` does not do them.

use serde_json::Value;

use super::{check_depth, depth, unprocessable};
use crate::Result;
use crate::resource::document::Unique;

/// Parses a merge patch. One that is no object would replace the whole object with what cannot be one.
///
/// Merging puts values where they stand in the patch, so the outcome is never deeper than both.
pub(super) fn parse(data: &[u8]) -> Result<Value> {
    let Unique(patch) = serde_json::from_slice(data).map_err(unprocessable)?;
    if !patch.is_object() {
        return Err(unprocessable("a merge patch must be a JSON object"));
    }
    check_depth("the patch", depth(&patch))?;
    Ok(patch)
}
