// SPDX-License-Identifier: Apache-2.0
//! Reads the workspace, for the tests that hold it to `ARCHITECTURE.md` and `STYLE.md`.
//!
//! A member of its own, because these tests belong to no crate and need none of them: they build in
//! seconds, before anything else does. Every function here panics when the workspace cannot be read,
//! as a test does.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A text file of the workspace.
#[derive(Debug)]
pub struct Source {
    /// Its path, relative to the workspace's root.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A file of the workspace, by its path from the root.
///
/// # Panics
/// When there is no such file.
#[must_use]
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of the workspace with one of these extensions, sorted by path. Build output and hidden
/// folders do not belong to it, and links lead to what is there once already.
///
/// # Panics
/// When a folder or file cannot be read.
#[must_use]
pub fn sources(extensions: &[&str]) -> Vec<Source> {
    let (root, mut folders, mut found) = (root(), vec![root()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_output = name == "target" || name.starts_with('.');
            if path.is_dir() && !is_output {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extensions.iter().any(|one| extension == *one)) {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().display().to_string(), text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// What `cargo metadata` knows of the workspace and of everything it depends on, on any target: who has only built the
/// workspace has not fetched all of it, and cargo does so now.
///
/// # Panics
/// When cargo fails: `Cargo.lock` is not up to date, or a dependency cannot be fetched.
#[must_use]
pub fn metadata() -> Value {
    serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--locked"])).unwrap()
}

/// The crates that `package` builds with for its users, by name: no development dependencies, on any
/// target, with these features of its own and no default ones.
///
/// # Panics
/// When cargo fails.
#[must_use]
pub fn tree(package: &str, features: &str) -> BTreeSet<String> {
    let out = cargo(&[
        "tree",
        "--locked",
        "--target=all",
        "--edges=normal",
        "--prefix=none",
        "--format={lib}",
        "--no-default-features",
        &format!("--features={features}"),
        &format!("--package={package}"),
    ]);
    out.lines().filter_map(|line| line.split_whitespace().next()).map(|name| name.replace('_', "-")).collect()
}

/// The files that the package of a crate consists of.
///
/// # Panics
/// When cargo fails.
#[must_use]
pub fn packaged(package: &str) -> BTreeSet<String> {
    let out = cargo(&["package", "--list", "--allow-dirty", &format!("--package={package}")]);
    out.lines().map(str::to_owned).collect()
}

fn cargo(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(out.status.success(), "cargo {arguments:?}:\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// What a source file says to the compiler outside its tests: no comments, and nothing from its
/// `mod tests { … }` on, which stands at the end of a file.
#[must_use]
pub fn code(text: &str) -> String {
    let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    shipped.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether `word` stands in `text` as a whole identifier.
///
/// ```
/// assert!(tidy::names("use tonic::Status;", "tonic"));
/// assert!(!tidy::names("use tonic_types::pb;", "tonic"));
/// ```
#[must_use]
pub fn names(text: &str, word: &str) -> bool {
    text.split(|at: char| !at.is_alphanumeric() && at != '_').any(|found| found == word)
}
