// SPDX-License-Identifier: Apache-2.0
//! Strategic merge patches, as Kubernetes has them.
//!
//! A merge patch, but the lists that a resource type names merge item by item by a key, and directives (keys
//! that begin with `$`) say where to replace or delete instead. [`PatchType::Strategic`](super::PatchType)
//! says which there are. Each one is checked before anything is merged, and none ends up in the object.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{merge, unprocessable};
use crate::Result;

const PATCH: &str = "$patch";
const SET_ELEMENT_ORDER: &str = "$setElementOrder/";

/// What `$patch` says; an object without it merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Directive {
    /// The directive of an object whose directives were checked.
    fn of(object: &Map<String, Value>) -> Self {
        object.get(PATCH).and_then(Self::parse).unwrap_or(Self::Merge)
    }

    fn parse(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "merge" => Some(Self::Merge),
            "replace" => Some(Self::Replace),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// Parses a patch and checks its directives.
pub(super) fn parse(data: &[u8]) -> Result<Value> {
    let patch = merge::parse(data)?;
    check_directives(&mut String::new(), &patch)?;
    Ok(patch)
}

/// Merges a patch into the document. `keys` are pointers to lists, each with the field that is its key.
pub(super) fn apply(document: &mut Value, patch: &Value, keys: &[(&str, &str)]) -> Result<()> {
    let Value::Object(patch) = patch else { return Err(unprocessable("a merge patch must be a JSON object")) };
    Merge { keys, path: String::new() }.object(document, patch)
}

/// Checks every directive at and below `path`.
fn check_directives(path: &mut String, value: &Value) -> Result<()> {
    match value {
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            if name == PATCH {
                let known = Directive::parse(value).is_some();
                return if known { Ok(()) } else { refuse(path, "$patch must be merge, replace or delete") };
            }
            if name.starts_with(SET_ELEMENT_ORDER) {
                return if value.is_array() { Ok(()) } else { refuse(path, format_args!("{name} must be a list")) };
            }
            if is_directive(name) {
                return refuse(path, format_args!("the directive {name} is not supported"));
            }
            let length = descend(path, name);
            check_directives(path, value)?;
            path.truncate(length);
            Ok(())
        }),
        Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
            let length = descend(path, &index.to_string());
            check_directives(path, item)?;
            path.truncate(length);
            Ok(())
        }),
        _ => Ok(()),
    }
}

struct Merge<'a> {
    keys: &'a [(&'a str, &'a str)],
    /// Where in the patch we are. After a failure it stays there.
    path: String,
}

impl Merge<'_> {
    fn object(&mut self, target: &mut Value, patch: &Map<String, Value>) -> Result<()> {
        if !target.is_object() || Directive::of(patch) != Directive::Merge {
            *target = Value::Object(Map::new());
        }
        let Value::Object(target) = target else { return Ok(()) };
        if Directive::of(patch) == Directive::Delete {
            return Ok(());
        }
        for (name, value) in patch.iter().filter(|(name, _)| !is_directive(name)) {
            if value.is_null() {
                target.remove(name);
                continue;
            }
            let length = descend(&mut self.path, name);
            self.value(target.entry(name.as_str()).or_insert(Value::Null), value)?;
            self.path.truncate(length);
        }
        Ok(())
    }

    fn value(&mut self, target: &mut Value, patch: &Value) -> Result<()> {
        match patch {
            Value::Object(patch) => return self.object(target, patch),
            Value::Array(items) => {
                if let Some((_, key)) = self.keys.iter().find(|(list, _)| *list == self.path) {
                    return self.list(target, items, key);
                }
                refuse_directives(&self.path, patch)?;
            }
            _ => {}
        }
        *target = patch.clone();
        Ok(())
    }

    /// Merges a list by key. As in Kubernetes, deletions come first wherever they stand, so that one patch
    /// can delete an item and add it anew.
    fn list(&mut self, target: &mut Value, patch: &[Value], key: &str) -> Result<()> {
        let mut replace = false;
        let mut deleted = HashSet::new();
        let mut named = HashSet::new();
        let mut merged = Vec::new();
        for (index, item) in patch.iter().enumerate() {
            let length = descend(&mut self.path, &index.to_string());
            let Value::Object(item) = item else { return refuse(&self.path, "must be an object") };
            match (Directive::of(item), item.get(key).filter(|name| !name.is_null())) {
                (Directive::Replace, _) if item.len() == 1 => replace = true,
                (Directive::Replace, _) => return refuse(&self.path, "$patch: replace must be alone in its item"),
                (Directive::Merge, _) if item.contains_key(PATCH) => {
                    return refuse(&self.path, "$patch: merge is not supported in a list");
                }
                (_, None) => return refuse(&self.path, format_args!("must have {key:?}, the key of the list")),
                (Directive::Delete, Some(name)) => {
                    deleted.insert(name);
                }
                // Of two that contradict each other, the later would win in silence.
                (Directive::Merge, Some(name)) if !named.insert(name) => {
                    return refuse(&self.path, format_args!("{key} {name} is there twice"));
                }
                (Directive::Merge, Some(name)) => merged.push((index, name, item)),
            }
            self.path.truncate(length);
        }
        let mut items = match target.take() {
            Value::Array(items) if !replace => items,
            _ => Vec::new(),
        };
        items.retain(|item| item.get(key).is_none_or(|name| !deleted.contains(name)));
        // An index, since both lists may hold thousands of items.
        let mut places: HashMap<Value, usize> = HashMap::new();
        for (place, item) in items.iter().enumerate() {
            if let Some(name) = item.get(key) {
                places.entry(name.clone()).or_insert(place);
            }
        }
        for (index, name, item) in merged {
            let place = *places.entry(name.clone()).or_insert_with(|| {
                items.push(Value::Null);
                items.len() - 1
            });
            let length = descend(&mut self.path, &index.to_string());
            if let Some(target) = items.get_mut(place) {
                self.object(target, item)?;
            }
            self.path.truncate(length);
        }
        *target = Value::Array(items);
        Ok(())
    }
}

/// A list without a key is replaced as a whole: there is nothing for a directive to say in it.
fn refuse_directives(path: &str, value: &Value) -> Result<()> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| refuse_directives(path, item)),
        Value::Object(members) => members.iter().try_for_each(|(name, value)| {
            if is_directive(name) {
                return refuse(path, format_args!("{name} means nothing in a list that is replaced as a whole"));
            }
            refuse_directives(path, value)
        }),
        _ => Ok(()),
    }
}

fn is_directive(name: &str) -> bool {
    name.starts_with('$')
}

/// Extends a JSON pointer (RFC 6901) by a token, and returns the length to truncate it to on the way back. One
/// buffer for all places keeps the whole walk linear, however long the names are.
fn descend(path: &mut String, token: &str) -> usize {
    let length = path.len();
    path.push('/');
    for c in token.chars() {
        match c {
            '~' => path.push_str("~0"),
            '/' => path.push_str("~1"),
            c => path.push(c),
        }
    }
    length
}

fn refuse(path: &str, why: impl std::fmt::Display) -> Result<()> {
    Err(unprocessable(format_args!("{}: {why}", if path.is_empty() { "the patch" } else { path })))
}
