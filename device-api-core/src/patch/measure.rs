// SPDX-License-Identifier: Apache-2.0
//! How deep and how large JSON is, without writing it down.

use std::io;

use serde::Serialize;
use serde_json::Value;

use crate::{Error, Result};

/// How many objects and lists are nested in a value: 0 for a scalar, 1 for `{}`.
///
/// The recursion is bounded: every value here came from a parser that stops at 128 levels, or from
/// operations that were checked one by one.
pub(super) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// How many bytes a value takes as JSON.
pub(super) fn encoded_size(value: &impl Serialize) -> Result<usize> {
    let mut counter = Counter(0);
    serde_json::to_writer(&mut counter, value)
        .map_err(|error| Error::internal(format!("an object does not serialise: {error}")))?;
    Ok(counter.0)
}

/// A sink that counts.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn depth_counts_objects_and_lists() {
        for (value, expected) in
            [(json!(1), 0), (json!({}), 1), (json!([1]), 1), (json!({"a": [], "b": {"c": [0]}}), 3)]
        {
            assert_eq!(depth(&value), expected, "{value}");
        }
    }

    #[test]
    fn the_size_is_that_of_the_text() {
        for value in [json!(null), json!("a\"\u{1}ü"), json!({"a": [1.5, true, {"b": "c"}]})] {
            assert_eq!(encoded_size(&value).unwrap(), value.to_string().len());
        }
    }
}
