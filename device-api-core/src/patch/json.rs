// SPDX-License-Identifier: Apache-2.0
//! JSON patches (RFC 6902): what they may cost. The crate `json_patch` carries the operations out.
//!
//! Most operations cost no more than the patch is long, for which there is a limit. Those that do have a
//! budget: `copy` makes the document grow, so that twenty of them, nested, ask for a gigabyte, and both
//! `copy` and `move` must be measured to know how deep the outcome is. A list shifts what follows an item.

use json_patch::jsonptr::Pointer;
use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value;

use super::{check_depth, depth, encoded_size, too_large, unprocessable};
use crate::resource::document::Unique;
use crate::{Error, Result};

/// The most operations in one patch.
const MAX_OPERATIONS: usize = 1_000;
/// How many times an object's limit a patch may have measured or shifted. One pass over a whole object takes
/// milliseconds, and no patch made for a purpose needs many.
const PASSES: usize = 4;

/// Parses the operations, and checks the depth of what they add.
pub(super) fn parse(data: &[u8]) -> Result<Vec<PatchOperation>> {
    // One by one, so that an error can say which.
    let operations: Vec<Unique> =
        serde_json::from_slice(data).map_err(|error| unprocessable(format_args!("a list of operations: {error}")))?;
    if operations.len() > MAX_OPERATIONS {
        let what = format!("a patch of {} operations", operations.len());
        return Err(too_large(what, format!("{MAX_OPERATIONS} operations"), "send it in parts"));
    }
    let parse = |(index, Unique(operation))| {
        let operation: PatchOperation = serde_json::from_value(operation)
            .map_err(|error| unprocessable(format_args!("operation {index}: {error}")))?;
        if let PatchOperation::Add(json_patch::AddOperation { path, value })
        | PatchOperation::Replace(json_patch::ReplaceOperation { path, value }) = &operation
        {
            check_depth(&format!("operation {index}"), path.count().saturating_add(depth(value)))?;
        }
        Ok(operation)
    };
    operations.into_iter().enumerate().map(parse).collect()
}

/// Carries the operations out. Where one fails, the document is left as it is then.
pub(super) fn apply(document: &mut Value, operations: &[PatchOperation], max_bytes: usize) -> Result<()> {
    let mut budget = Budget::new(document, max_bytes)?;
    for (index, operation) in operations.iter().enumerate() {
        budget.charge(document, operation).map_err(|error| match error {
            Error::TooLarge { what, limit, hint } => {
                Error::TooLarge { what: format!("operation {index} ({}): {what}", name(operation)), limit, hint }
            }
            other => other,
        })?;
        if let PatchOperation::Test(test) = operation
            && holds(document, test)
        {
            continue;
        }
        json_patch::patch_unsafe(document, std::slice::from_ref(operation)).map_err(|error| {
            let why = match error.kind {
                PatchErrorKind::TestFailed => "the value there is another".to_owned(),
                kind => kind.to_string(),
            };
            unprocessable(format_args!("operation {index} ({}): {why}", name(operation)))
        })?;
    }
    Ok(())
}

/// Whether a test holds. What does not here, json-patch refuses, and says why.
///
/// That a member is `null` holds where its object has none, as in Kubernetes, whose clients so make sure that nothing is
/// there yet.
fn holds(document: &Value, test: &json_patch::TestOperation) -> bool {
    match document.pointer(test.path.as_str()) {
        Some(found) => equal(found, &test.value),
        None => {
            let parent = test.path.split_back().and_then(|(parent, _)| document.pointer(parent.as_str()));
            test.value.is_null() && parent.is_some_and(Value::is_object)
        }
    }
}

/// Equality as RFC 6902, 4.6 has it: of numbers by their value, so that `1` is `1.0`.
fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || whole(left).is_some_and(|number| whole(right) == Some(number))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().all(|(name, left)| right.get(name).is_some_and(|right| equal(left, right)))
        }
        _ => left == right,
    }
}

/// The integer that a number is, exactly. Objects hold integers of 64 bits.
fn whole(number: &serde_json::Number) -> Option<i128> {
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= 2_f64.powi(64));
    number.as_i128().or_else(|| float().map(|float| float as i128))
}

fn name(operation: &PatchOperation) -> String {
    let name = match operation {
        PatchOperation::Add(_) => "add",
        PatchOperation::Remove(_) => "remove",
        PatchOperation::Replace(_) => "replace",
        PatchOperation::Move(_) => "move",
        PatchOperation::Copy(_) => "copy",
        PatchOperation::Test(_) => "test",
    };
    let path: String = operation.path().as_str().chars().take(128).collect();
    format!("{name} {path:?}")
}

/// What a patch may still use up, in bytes of JSON.
struct Budget {
    /// By how much `copy` may make the document grow. What is removed gives nothing back: a patch that
    /// copies and removes by turns would cost without end.
    growth: usize,
    /// How much may be measured or shifted.
    work: usize,
}

impl Budget {
    fn new(document: &Value, max_bytes: usize) -> Result<Self> {
        let growth = max_bytes.saturating_sub(encoded_size(document)?);
        Ok(Self { growth, work: max_bytes.saturating_mul(PASSES) })
    }

    /// Checks an operation before it is carried out. One that will fail costs nothing.
    fn charge(&mut self, document: &Value, operation: &PatchOperation) -> Result<()> {
        match operation {
            PatchOperation::Add(add) => self.spend(shifted(document, &add.path)),
            PatchOperation::Remove(remove) => self.spend(shifted(document, &remove.path)),
            PatchOperation::Move(step) => {
                self.relocate(document, &step.from, &step.path)?;
                self.spend(shifted(document, &step.from))
            }
            PatchOperation::Copy(copy) => {
                let size = self.relocate(document, &copy.from, &copy.path)?;
                self.growth = self
                    .growth
                    .checked_sub(size)
                    .ok_or_else(|| too_large("the growth by what is copied", "the object's size", "copy less"))?;
                Ok(())
            }
            // A comparison stops where the document differs from the patch, which is bounded.
            PatchOperation::Replace(_) | PatchOperation::Test(_) => Ok(()),
        }
    }

    /// Checks that what `from` points to may go to `path`, and returns its size.
    fn relocate(&mut self, document: &Value, from: &Pointer, path: &Pointer) -> Result<usize> {
        let Some(source) = document.pointer(from.as_str()) else { return Ok(0) };
        let size = encoded_size(source)?;
        self.spend(size.saturating_add(shifted(document, path)))?;
        check_depth("the outcome", path.count().saturating_add(depth(source)))?;
        Ok(size)
    }

    fn spend(&mut self, work: usize) -> Result<()> {
        self.work = self.work.checked_sub(work).ok_or_else(|| {
            too_large("what is moved and copied", format!("{PASSES} times the object's limit"), "send it in parts")
        })?;
        Ok(())
    }
}

/// How many items stand in the list, if it is one, that an operation changes.
fn shifted(document: &Value, path: &Pointer) -> usize {
    let parent = path.split_back().and_then(|(parent, _)| document.pointer(parent.as_str()));
    parent.and_then(Value::as_array).map_or(0, Vec::len)
}
