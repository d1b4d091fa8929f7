// SPDX-License-Identifier: Apache-2.0
//! Changes to a part of an object: merge patches, JSON patches and strategic merge patches.
//!
//! A [`Patch`] is what a client sends. It is parsed once, in the task of the caller, and the
//! [`ParsedPatch`] is applied to the latest object where no other write can come between. Applying is
//! bounded by the object's size and the patch's, whatever the patch asks for.

mod json;
mod measure;
mod merge;
mod strategic;

use std::fmt;
use std::str::FromStr;

use json_patch::PatchOperation;
use serde::Serialize;
use serde_json::Value;

use self::measure::{depth, encoded_size};
use crate::resource::{Resource, document};
use crate::{Error, Result};

/// The longest patch, in bytes.
pub(crate) const MAX_PATCH: usize = 64 * 1024;
/// How deep objects and lists may be nested in a patch, and in an object after it: far from the 128 levels
/// that serde_json reads back.
const MAX_DEPTH: usize = 32;
/// How much of an error's text is kept, in characters: it may repeat what the client sent.
const MAX_WHY: usize = 512;

/// How a patch is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PatchType {
    /// A JSON merge patch (RFC 7386): `null` removes, objects merge, all else replaces.
    Merge,
    /// A JSON patch (RFC 6902): a list of operations.
    Json,
    /// A merge patch in which the lists named by [`MERGE_KEYS`](Resource::MERGE_KEYS) merge item by item.
    ///
    /// Kubernetes' directives `$patch: delete` and `$patch: replace` work in objects and in the items of
    /// those lists, `$patch: merge` in objects. `$setElementOrder/…` is accepted and ignored: such a list
    /// is a map, its order means nothing. Any other key that begins with `$` is refused.
    Strategic,
}

impl PatchType {
    /// The media type.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

impl fmt::Display for PatchType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for PatchType {
    type Err = Error;

    /// Takes the media type, or its short name: `merge`, `json` or `strategic`.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "application/merge-patch+json" | "merge" => Ok(Self::Merge),
            "application/json-patch+json" | "json" => Ok(Self::Json),
            "application/strategic-merge-patch+json" | "strategic" => Ok(Self::Strategic),
            other => Err(Error::UnsupportedMediaType { patch_type: other.chars().take(64).collect() }),
        }
    }
}

/// A change to a part of an object, as a client sends it.
///
/// ```
/// use device_api_core::patch::{Patch, PatchType};
/// use device_api_core::resource::{Condition, ConditionStatus, Gpu};
/// use serde_json::json;
///
/// let mut gpu = Gpu::default();
/// gpu.status.conditions.push(Condition::new("Healthy", ConditionStatus::True));
///
/// // Several providers share one object: each patches the conditions of its own.
/// let condition = json!({"type": "Reachable", "status": "False"});
/// let patch = Patch::strategic(&json!({"status": {"conditions": [condition]}}))?;
/// assert_eq!(patch.patch_type(), PatchType::Strategic);
///
/// let patched = patch.parse()?.apply(&gpu, 1 << 20)?;
/// assert_eq!(patched.status.conditions.len(), 2);
/// # Ok::<(), device_api_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Patch {
    patch_type: PatchType,
    data: Vec<u8>,
}

impl Patch {
    /// A patch of this type; `data` is JSON, which [`Self::parse`] checks.
    #[must_use]
    pub fn new(patch_type: PatchType, data: impl Into<Vec<u8>>) -> Self {
        Self { patch_type, data: data.into() }
    }

    /// A JSON merge patch.
    ///
    /// # Errors
    /// [`Error::UnprocessablePatch`] when the value does not serialise.
    pub fn merge(patch: &impl Serialize) -> Result<Self> {
        Self::of(PatchType::Merge, patch)
    }

    /// A JSON patch: a list of operations, such as a [`json_patch::Patch`] or a [`serde_json::Value`].
    ///
    /// # Errors
    /// [`Error::UnprocessablePatch`] when the operations do not serialise.
    pub fn json(operations: &impl Serialize) -> Result<Self> {
        Self::of(PatchType::Json, operations)
    }

    /// A strategic merge patch.
    ///
    /// # Errors
    /// [`Error::UnprocessablePatch`] when the value does not serialise.
    pub fn strategic(patch: &impl Serialize) -> Result<Self> {
        Self::of(PatchType::Strategic, patch)
    }

    fn of(patch_type: PatchType, patch: &impl Serialize) -> Result<Self> {
        serde_json::to_vec(patch).map(|data| Self { patch_type, data }).map_err(unprocessable)
    }

    /// How the patch is written down.
    #[must_use]
    pub fn patch_type(&self) -> PatchType {
        self.patch_type
    }

    /// The patch's JSON, unchecked.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Checks the patch's bounds and parses it.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it is over 64 KiB, 1,000 operations or 32 levels, and
    /// [`Error::UnprocessablePatch`] when it is not a patch of its type.
    pub fn parse(&self) -> Result<ParsedPatch> {
        if self.data.len() > MAX_PATCH {
            let what = format!("a patch of {} bytes", self.data.len());
            return Err(too_large(what, format!("{MAX_PATCH} bytes"), "send it in parts"));
        }
        Ok(ParsedPatch(match self.patch_type {
            PatchType::Merge => Parsed::Merge(merge::parse(&self.data)?),
            PatchType::Json => Parsed::Json(json::parse(&self.data)?),
            PatchType::Strategic => Parsed::Strategic(strategic::parse(&self.data)?),
        }))
    }
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patch")
            .field("patch_type", &self.patch_type)
            .field("data", &String::from_utf8_lossy(&self.data))
            .finish()
    }
}

/// A patch that was checked as far as that goes without the object.
#[derive(Clone, Debug)]
pub struct ParsedPatch(Parsed);

#[derive(Clone, Debug)]
enum Parsed {
    Merge(Value),
    Json(Vec<PatchOperation>),
    Strategic(Value),
}

impl ParsedPatch {
    /// The object after the patch: its JSON form, with `apiVersion` and `kind`, is what the patch sees. What
    /// the patch may touch is for the caller to enforce.
    ///
    /// # Errors
    /// [`Error::UnprocessablePatch`] when the patch does not apply to this object, or the outcome does not
    /// fit the type; [`Error::BadRequest`] when it has a field that the type has not; [`Error::TooLarge`] when the outcome is over `max_bytes` as JSON or over 32 levels, or a
    /// JSON patch copies or moves too much.
    pub fn apply<R: Resource>(&self, object: &R, max_bytes: usize) -> Result<R> {
        let mut document = serde_json::to_value(object)
            .map_err(|error| Error::internal(format!("an object does not serialise: {error}")))?;
        match &self.0 {
            Parsed::Merge(patch) => json_patch::merge(&mut document, patch),
            Parsed::Json(operations) => json::apply(&mut document, operations, max_bytes)?,
            Parsed::Strategic(patch) => strategic::apply(&mut document, patch, R::MERGE_KEYS)?,
        }
        check_depth("the object after the patch", depth(&document))?;
        let patched: R = document::read(document)?;
        let size = encoded_size(&patched)?;
        if size > max_bytes {
            let what = format!("the object of {size} bytes after the patch");
            return Err(too_large(what, format!("{max_bytes} bytes"), "shorten the object"));
        }
        Ok(patched)
    }
}

fn check_depth(what: &str, depth: usize) -> Result<()> {
    if depth <= MAX_DEPTH {
        return Ok(());
    }
    Err(too_large(format!("the depth of {what}"), format!("{MAX_DEPTH} levels"), "nest objects and lists less"))
}

fn too_large(what: impl Into<String>, limit: impl Into<String>, hint: &str) -> Error {
    Error::TooLarge { what: what.into(), limit: limit.into(), hint: hint.to_owned() }
}

/// The patch does not parse or apply. Messages end up in gRPC trailers, which have a limit of their own.
fn unprocessable(why: impl fmt::Display) -> Error {
    Error::unprocessable(why.to_string().chars().take(MAX_WHY).collect::<String>())
}

#[cfg(test)]
mod tests;
