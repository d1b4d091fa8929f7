// SPDX-License-Identifier: Apache-2.0
//! What docs/operations.md says of the program is what the program says of itself.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use device_api_server::Cli;

const DOCUMENT: &str = include_str!("../../docs/operations.md");

/// The cells of the document's table rows whose first cell is in backquotes and begins so.
fn rows(start: &str) -> Vec<Vec<&'static str>> {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with(&format!("| `{start}")));
    rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// A default that is a value; empty for words.
fn default_of(cell: &str) -> String {
    if cell.starts_with('`') { cell.to_owned() } else { String::new() }
}

#[test]
fn every_flag_and_its_default_is_in_the_document_and_no_other() {
    let command = Cli::command();
    let flags = command.get_arguments().map(|flag| {
        let defaults: Vec<_> = flag.get_default_values().iter().map(|value| value.to_str().unwrap()).collect();
        let default = match defaults.as_slice() {
            // Words for what there is without it.
            [] => String::new(),
            [default] => format!("`{default}`"),
            several => several.join(","),
        };
        (format!("`--{}`", flag.get_long().unwrap()), default)
    });
    let documented = rows("--").into_iter().map(|row| (row[0].to_owned(), default_of(row[1])));
    assert_eq!(documented.collect::<BTreeSet<_>>(), flags.collect::<BTreeSet<_>>());
}

#[test]
fn every_exit_code_is_in_the_document_and_no_other() {
    let help = Cli::command().get_after_help().unwrap().to_string();
    let codes = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let codes: BTreeSet<_> = codes.filter_map(|(code, _)| code.parse::<u8>().ok()).collect();
    let documented = (0..=9).flat_map(|digit| rows(&digit.to_string()));
    let documented: BTreeSet<_> = documented.filter_map(|row| row[0].trim_matches('`').parse().ok()).collect();
    assert!(codes.len() > 3, "{help}");
    assert_eq!(documented, codes);
}
