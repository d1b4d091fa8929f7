// SPDX-License-Identifier: Apache-2.0
//! The invariants of `ARCHITECTURE.md` are held by tests that run and that can fail.

#![allow(clippy::unwrap_used)]

use tidy::{Source, names, read, sources};

/// The macros that make a list of cases, which the test programs run.
const LISTS: &[&str] = &["list![", "cases!["];
/// What fails a test, beside everything that has `assert` in its name.
const VERDICTS: &[&str] = &["check", "expect", "panic", "refused"];

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

/// The tests that an invariant names: what stands in backquotes and looks like a function's name.
fn tests_of(invariant: &str) -> Vec<&str> {
    let is_name = |part: &&str| {
        part.contains('_') && part.bytes().all(|at| at.is_ascii_lowercase() || at.is_ascii_digit() || at == b'_')
    };
    invariant.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// A function as rustfmt writes it: its attributes, and what it does.
struct Function<'a> {
    attributes: Vec<&'a str>,
    body: Vec<&'a str>,
}

impl Function<'_> {
    fn find<'a>(text: &'a str, name: &str) -> Option<Function<'a>> {
        let lines: Vec<_> = text.lines().collect();
        let (head, tail) = (format!("fn {name}("), format!("fn {name}<"));
        let at = lines.iter().position(|line| line.contains(&head) || line.contains(&tail))?;
        let above = lines[..at].iter().rev().map(|line| line.trim());
        let attributes = above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
        let indent = &lines[at][..lines[at].len() - lines[at].trim_start().len()];
        let end = format!("{indent}}}");
        let body = lines[at + 1..].iter().take_while(|line| **line != end).copied();
        Some(Function { attributes, body: body.filter(|line| !line.trim_start().starts_with("//")).collect() })
    }

    fn is_test(&self) -> bool {
        let has = |start: &str| self.attributes.iter().any(|attribute| attribute.starts_with(start));
        (has("#[test]") || has("#[tokio::test")) && !has("#[ignore")
    }

    fn can_fail(&self) -> bool {
        let decides = |line: &&str| line.contains("assert") || VERDICTS.iter().any(|verdict| names(line, verdict));
        self.body.iter().any(decides)
    }
}

/// Whether a list of cases has this one.
fn is_listed(text: &str, case: &str) -> bool {
    let lists = LISTS.iter().flat_map(|list| text.split(list).skip(1));
    lists
        .filter_map(|rest| rest.split(']').next())
        .any(|list| list.lines().filter(|line| !line.trim_start().starts_with("//")).any(|line| names(line, case)))
}

/// Whether this source has such a test or case, and it can fail.
fn holds(source: &Source, test: &str) -> bool {
    Function::find(&source.text, test)
        .is_some_and(|found| (found.is_test() || is_listed(&source.text, test)) && found.can_fail())
}

#[test]
fn every_invariant_is_held_by_tests_that_run_and_can_fail() {
    let invariants = invariants(&read("ARCHITECTURE.md"));
    assert!(invariants.len() >= 20, "only {} invariants", invariants.len());
    let sources = sources(&["rs"]);
    for invariant in invariants {
        let tests = tests_of(&invariant);
        assert!(!tests.is_empty(), "no test holds this: {invariant}");
        for test in tests {
            assert!(sources.iter().any(|source| holds(source, test)), "{test} is no test that can fail: {invariant}");
        }
    }
}

#[test]
fn what_does_not_run_or_cannot_fail_holds_nothing() {
    let source = |text: &str| Source { path: String::new(), text: text.to_owned() };
    let fails = "fn a_b() {\n    assert!(false);\n}\n";
    for held in [
        format!("#[test]\n{fails}"),
        format!("#[tokio::test(flavor = \"multi_thread\")]\nasync {fails}"),
        format!("list![a_b]\n{fails}"),
        format!("cases![\"x\":\n    other,\n    a_b,\n]\n{fails}"),
    ] {
        assert!(holds(&source(&held), "a_b"), "{held}");
    }
    for loose in [
        fails.to_owned(),
        format!("list![other]\n{fails}"),
        format!("list![\n    // a_b,\n    other,\n]\n{fails}"),
        format!("#[test]\n#[ignore]\n{fails}"),
        "#[test]\nfn a_b() {\n    let fine = true;\n    // assert!(fine)\n}\n\nfn c() {\n    assert!(false);\n}\n"
            .to_owned(),
        format!("#[test]\nfn other() {{}}\n\n{fails}"),
    ] {
        assert!(!holds(&source(&loose), "a_b"), "{loose}");
    }
}
