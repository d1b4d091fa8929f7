// SPDX-License-Identifier: Apache-2.0
//! What the documents say is there, and is so.

use tidy::{names, read, root, sources};

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

/// To test code that uses the API is to be no work: the README's example stays as short as it was made.
#[test]
fn the_readmes_test_with_a_test_server_has_at_most_15_lines() {
    let readme = read("README.md");
    let blocks: Vec<_> = readme.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let mut tests = blocks.iter().filter(|block| names(block, "TestServer")).peekable();
    assert!(tests.peek().is_some(), "README.md has no test");
    assert!(tests.all(|test| test.lines().count() <= 15), "{tests:?}");
}

#[test]
fn the_code_of_each_guide_is_compiled_and_run() {
    let included = read("examples/src/lib.rs");
    let guides: Vec<_> = sources(&["md"]).into_iter().filter(|file| file.path.starts_with("docs/guide-")).collect();
    assert!(guides.len() >= 4, "only {} guides", guides.len());
    for guide in guides {
        assert!(included.contains(&format!("include_str!(\"../../{}\")", guide.path)), "{} is no doctest", guide.path);
        // Such as `ignore` and `no_run`.
        let kept_back: Vec<_> = guide.text.lines().filter(|line| line.starts_with("```rust,")).collect();
        assert!(kept_back.is_empty(), "{}: {kept_back:?}", guide.path);
        assert!(guide.text.contains("\n```rust\n"), "{} has no code", guide.path);
    }
}
