// SPDX-License-Identifier: Apache-2.0
//! The numbers of the wire format: what the `.proto` says, and what `docs/api.md` has published.

use std::collections::BTreeSet;

use tidy::read;

/// Message, field, number.
type Field = (String, String, u32);

/// The fields in a `.proto` file that keeps to one field, or one brace, on each line.
fn declared(proto: &str) -> BTreeSet<Field> {
    let (mut fields, mut message) = (BTreeSet::new(), "");
    for line in proto.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            message = name;
        } else if let Some((left, number)) = line.strip_suffix(';').and_then(|field| field.split_once(" = "))
            && let (Some(name), Ok(number)) = (left.split_whitespace().last(), number.parse())
        {
            fields.insert((message.to_owned(), name.to_owned(), number));
        }
    }
    fields
}

/// The fields in tables whose rows are messages in backquotes, then fields in backquotes, each followed
/// by its number.
fn published(document: &str) -> BTreeSet<Field> {
    fn number(text: &str) -> Option<u32> {
        let text = text.trim_start();
        let digits = text.find(|at: char| !at.is_ascii_digit()).unwrap_or(text.len());
        text[..digits].parse().ok()
    }
    let mut fields = BTreeSet::new();
    for row in document.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = row.trim_matches('|').split(" | ");
        let (Some(messages), Some(cell)) = (cells.next(), cells.next()) else { continue };
        let parts: Vec<_> = cell.split('`').collect();
        for pair in parts[1..].chunks(2) {
            let [name, rest] = pair else { continue };
            let Some(number) = number(rest) else { continue };
            for message in messages.split('`').skip(1).step_by(2) {
                fields.insert((message.to_owned(), (*name).to_owned(), number));
            }
        }
    }
    fields
}

#[test]
fn the_wire_tables_are_those_of_the_proto() {
    let files = ["gpu", "lease"].map(|file| read(&format!("proto/nvidia/nvsentinel/v1alpha1/{file}.proto")));
    let declared: BTreeSet<Field> = files.iter().flat_map(|file| declared(file)).collect();
    assert!(declared.len() > 60, "{declared:?}");
    let document = read("docs/api.md");
    let section = document.split("\n## ").find(|section| section.starts_with("1. Wire")).unwrap();
    let published = published(section);
    let missing: Vec<_> = declared.difference(&published).collect();
    let gone: Vec<_> = published.difference(&declared).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "not in docs/api.md: {missing:?}; not in the .proto files: {gone:?}"
    );
}
