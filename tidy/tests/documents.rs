// SPDX-License-Identifier: Apache-2.0
//! What the documents say is there, and is so.

use tidy::{read, root, sources};

/// The command that runs every test, as the README gives it.
const TEST_COMMAND: &str = "cargo test --workspace";

#[test]
fn the_readme_and_ci_run_the_same_test_command() {
    let readme = read("README.md");
    assert!(readme.lines().any(|line| line.trim() == TEST_COMMAND), "README.md has no line {TEST_COMMAND:?}");
    let ci = read(".ci/run");
    let runs = |line: &str| line.strip_prefix("step ").is_some_and(|step| step.ends_with(TEST_COMMAND));
    assert!(ci.lines().any(runs), ".ci/run has no step {TEST_COMMAND:?}");
}

/// The tests that an invariant names: what stands in backquotes and looks like a function's name.
fn tests_of(invariant: &str) -> Vec<&str> {
    let is_name = |part: &&str| {
        part.contains('_') && part.bytes().all(|at| at.is_ascii_lowercase() || at.is_ascii_digit() || at == b'_')
    };
    invariant.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// Paragraphs that begin with `Invariant:`, each in one line.
fn invariants(text: &str) -> Vec<String> {
    let paragraphs = text.split("\n\n").flat_map(|paragraph| {
        let mut found: Vec<String> = Vec::new();
        for line in paragraph.lines() {
            match found.last_mut() {
                Some(last) if !line.starts_with("Invariant:") => {
                    last.push(' ');
                    last.push_str(line);
                }
                _ => found.push(line.to_owned()),
            }
        }
        found
    });
    paragraphs.filter(|paragraph| paragraph.starts_with("Invariant:")).collect()
}

#[test]
fn every_invariant_names_a_test_that_exists() {
    let invariants = invariants(&read("ARCHITECTURE.md"));
    assert!(invariants.len() >= 10, "only {} invariants", invariants.len());
    let code: String = sources(&["rs"]).into_iter().map(|source| source.text).collect();
    let is_there = |name: &str| code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"));
    let is_held = |invariant: &&String| {
        let tests = tests_of(invariant);
        !tests.is_empty() && tests.into_iter().all(is_there)
    };
    let loose: Vec<_> = invariants.iter().filter(|invariant| !is_held(invariant)).collect();
    assert!(loose.is_empty(), "no such test: {loose:#?}");
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    for document in sources(&["md"]) {
        let folder = root().join(&document.path).parent().unwrap().to_owned();
        for target in document.text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                dead.push(format!("{}: {target}", document.path));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_style_guide_is_short() {
    assert!(read("STYLE.md").lines().count() <= 150);
}
