// SPDX-License-Identifier: Apache-2.0
//! What to do about each XID on this node: the catalogue's table, and what its owner wants otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::xid::{Action, effect, ends, explain};

/// What to do about each XID: by default what NVIDIA's catalogue says ([`explain`]).
///
/// A policy file changes that for single XIDs:
///
/// ```
/// use device_api_server::source::nvml::policy::Policy;
/// use device_api_server::source::nvml::xid::Action;
///
/// let text = r#"
/// [[xid]]
/// number = 94
/// action = "reset-gpu"
/// "#;
/// let policy = Policy::parse("policy.toml", text)?.with_ignored([48]);
/// assert_eq!(policy.action(94), Action::ResetGpu);
/// assert_eq!(policy.action(48), Action::Ignore);
/// assert_eq!(policy.action(79), Action::RebootNode);
/// # Ok::<(), device_api_server::source::nvml::policy::PolicyError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// XIDs that never change a GPU's health, whatever else says so. They are recorded all the same.
    pub ignored: BTreeSet<u32>,
    /// What to do about these, instead of what the catalogue says.
    pub overrides: BTreeMap<u32, Action>,
}

impl Policy {
    /// The same policy, which ignores these XIDs too.
    #[must_use]
    pub fn with_ignored(mut self, xids: impl IntoIterator<Item = u32>) -> Self {
        self.ignored.extend(xids);
        self
    }

    /// The same policy, with another action for this XID.
    #[must_use]
    pub fn with_action(mut self, xid: u32, action: Action) -> Self {
        self.overrides.insert(xid, action);
        self
    }

    /// What to do about this XID.
    #[must_use]
    pub fn action(&self, xid: u32) -> Action {
        if self.ignored.contains(&xid) {
            return Action::Ignore;
        }
        self.overrides.get(&xid).copied().unwrap_or_else(|| explain(xid).action)
    }

    /// What to do about this XID where the driver is of this branch, such as 580 (0 where nobody knows its version), and tells
    /// its recovery action; `None`: one that tells none.
    ///
    /// What the catalogue says of the driver's word is about the catalogue's action. Whoever asks for another one wants it
    /// done.
    #[must_use]
    pub fn judge(&self, xid: u32, branch: Option<u32>) -> Judgement {
        let (action, explanation) = (self.action(xid), explain(xid));
        if action != explanation.action {
            return Judgement { action, heeds_driver: action == Action::AskDriver };
        }
        let is_spoken_of = explanation.spoken_of_from.is_some_and(|from| branch.is_some_and(|branch| branch >= from));
        match action {
            // It is the driver's own word that its recovery action has changed.
            Action::AskDriver if explanation.spoken_of_from.is_none() => {
                Judgement { action, heeds_driver: branch.is_some() }
            }
            Action::AskDriver if !is_spoken_of => {
                Judgement { action: explanation.action_without_driver, heeds_driver: false }
            }
            _ => Judgement { action, heeds_driver: is_spoken_of },
        }
    }

    /// What an XID means, and what this policy makes of it where that is something else than the catalogue does, in words.
    #[must_use]
    pub fn explain(&self, xid: u32) -> String {
        let (action, explanation) = (self.action(xid), explain(xid));
        let mut lines = vec![explanation.to_string()];
        if action != explanation.action {
            let (advice, name) = (action.advice(), action.as_str());
            lines.push(format!(
                "  policy: {advice} ({name}), in the place of the catalogue's {}",
                explanation.action.as_str()
            ));
            lines.extend(action.recommended().map(|action| format!("          recommendedAction {action}")));
            lines.push(format!("          XidHealthy {}", effect(action)));
            lines.extend(action.stands().then(|| format!("          ends by {}", ends(action, xid, None))));
        }
        lines.join("\n")
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// When the file cannot be read, or as [`Self::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let path = path.as_ref();
        let text =
            fs::read_to_string(path).map_err(|source| PolicyError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// Reads the text of a policy file; `path` is for the errors.
    ///
    /// # Errors
    /// When it is not TOML, has an unknown key or action, lacks one, or names an XID twice. The error has the line.
    pub fn parse(path: impl AsRef<Path>, text: &str) -> Result<Self, PolicyError> {
        let invalid = |offset: usize, why: String| PolicyError::Invalid {
            path: path.as_ref().to_owned(),
            line: line_of(text, offset),
            why,
        };
        let file: File = toml::from_str(text).map_err(|error| {
            let offset = error.span().map_or(text.len(), |span| span.start);
            invalid(offset, error.message().to_owned())
        })?;
        let mut policy = Self::default();
        for Entry { number, action } in file.xid {
            let Some(found) = Action::ALL.into_iter().find(|known| known.as_str() == action.as_ref().as_str()) else {
                let known: Vec<_> = Action::ALL.iter().map(|action| action.as_str()).collect();
                let why = format!("unknown action {:?}: use one of {}", action.as_ref(), known.join(", "));
                return Err(invalid(action.span().start, why));
            };
            let xid = *number.as_ref();
            if policy.overrides.insert(xid, found).is_some() {
                return Err(invalid(number.span().start, format!("XID {xid} has an action already: keep one of them")));
            }
        }
        Ok(policy)
    }
}

/// What to do about an XID, and whose word counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Judgement {
    /// What to do about it.
    pub action: Action,
    /// Whether it is over once the driver wants nothing done.
    pub heeds_driver: bool,
}

/// Why a policy file is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file could not be read.
    #[error("cannot read the XID policy {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file says something that is not understood.
    #[error("XID policy {}, line {line}: {why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    xid: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    number: Spanned<u32>,
    action: Spanned<String>,
}

/// The line that this byte stands on.
fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
