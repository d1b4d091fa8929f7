// SPDX-License-Identifier: Apache-2.0
//! What every source file has, and what no source file says outside the one place for it.

use tidy::{Source, code, names, sources};

/// Files that may be longer than [`LONGEST`]: generated ones, and tables of cases.
const MAY_BE_LONG: &[&str] = &["/generated/"];
/// The longest source file, in lines. Aim for 300.
const LONGEST: usize = 500;

fn rust() -> Vec<Source> {
    let found = sources(&["rs"]);
    assert!(found.len() > 10, "only {} sources found", found.len());
    found
}

/// What is compiled for users of the crates, generated files left out.
fn shipped() -> impl Iterator<Item = Source> {
    rust().into_iter().filter(|source| {
        let path = &source.path;
        path.starts_with("device-api-")
            && path.contains("/src/")
            && !path.contains("/generated/")
            && !path.contains("/tests/")
            && !path.ends_with("tests.rs")
    })
}

/// The shipped files outside `home` whose code names one of `words`.
fn strangers(folder: &str, home: &[&str], words: &[&str]) -> Vec<String> {
    shipped()
        .filter(|source| source.path.starts_with(folder) && !home.iter().any(|home| source.path.contains(home)))
        .filter(|source| words.iter().any(|word| names(&code(&source.text), word)))
        .map(|source| source.path)
        .collect()
}

const NONE: [String; 0] = [];

#[test]
fn every_source_file_names_its_licence() {
    let mut files = rust();
    files.extend(sources(&["proto", "py", "sh"]));
    let line = "SPDX-License-Identifier: Apache-2.0";
    // After `#!` in a script.
    let bare = files.into_iter().filter(|file| !file.text.lines().take(2).any(|first| first.contains(line)));
    let bare: Vec<_> = bare.map(|file| file.path).filter(|path| !path.contains("/generated/")).collect();
    assert_eq!(bare, NONE);
}

#[test]
fn every_module_says_what_it_is() {
    let mute = shipped().filter(|source| !source.text.lines().nth(1).is_some_and(|line| line.starts_with("//! ")));
    assert_eq!(mute.map(|source| source.path).collect::<Vec<_>>(), NONE);
}

#[test]
fn no_source_file_is_longer_than_500_lines() {
    let long = rust().into_iter().filter(|source| {
        source.text.lines().count() > LONGEST && !MAY_BE_LONG.iter().any(|part| source.path.contains(part))
    });
    assert_eq!(long.map(|source| source.path).collect::<Vec<_>>(), NONE);
}

#[test]
fn every_doctest_runs() {
    fn is_skipped(line: &str) -> bool {
        let line = line.trim_start();
        (line.starts_with("///") || line.starts_with("//!")) && line.contains("```") && line.contains("ignore")
    }
    assert!(is_skipped("    /// ```rust,ignore"));
    let skipping = rust().into_iter().filter(|source| source.text.lines().any(is_skipped));
    assert_eq!(skipping.map(|source| source.path).collect::<Vec<_>>(), NONE);
}

#[test]
fn nothing_is_left_unfinished() {
    // In two halves, or this file would be found.
    let marks = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("TO", "DO"), concat!("FIX", "ME")];
    let unfinished = rust().into_iter().filter(|source| {
        // The line that an example in the documentation hides is no code of ours.
        let mut lines = source.text.lines().filter(|line| !line.trim_start().starts_with("//! #"));
        lines.any(|line| marks.iter().any(|mark| line.contains(mark)))
    });
    assert_eq!(unfinished.map(|source| source.path).collect::<Vec<_>>(), NONE);
}

#[test]
fn in_core_only_proto_names_prost_and_tonic() {
    let words = ["prost", "prost_types", "tonic", "tonic_prost", "tonic_types"];
    assert_eq!(strangers("device-api-core/", &["/src/proto/"], &words), NONE);
}

#[test]
fn the_registry_names_no_resource_type() {
    for folder in ["registry", "storage", "selector", "patch", "lease"] {
        let found = strangers(&format!("device-api-core/src/{folder}"), &[], &["Gpu", "GpuStrategy", "gpus"]);
        assert_eq!(found, NONE);
    }
    for store in ["device-api-store-memory/", "device-api-store-sqlite/"] {
        assert_eq!(strangers(store, &[], &["Gpu", "gpus"]), NONE);
    }
}

#[test]
fn only_the_datastore_table_names_the_stores() {
    let words = ["device_api_store_memory", "device_api_store_sqlite"];
    // A test's server is on memory, always.
    assert_eq!(strangers("device-api-server/", &["/src/datastore.rs", "/src/testing/"], &words), NONE);
}

#[test]
fn grpc_holds_no_rule() {
    // What rules are made with: whoever names one of these decides something.
    let words = ["storage", "strategy", "Strategy", "FieldViolation", "selector", "Revision"];
    assert_eq!(strangers("device-api-server/src/grpc/", &[], &words), NONE);
}

#[test]
fn only_one_module_names_nvml() {
    assert_eq!(strangers("device-api-", &["/source/nvml/real"], &["nvml_wrapper", "nvml_wrapper_sys"]), NONE);
}

#[test]
fn unsafe_code_stands_in_the_nvml_binding_only() {
    assert_eq!(strangers("device-api-", &["/source/nvml/real/raw.rs"], &["unsafe", "unsafe_code"]), NONE);
}

#[test]
fn time_enters_in_one_place() {
    // clippy.toml bans the clocks; whoever lifts the ban must stand here.
    let home = ["/resource/time.rs", "/registry/options.rs", "/testing/"];
    assert_eq!(strangers("device-api-", &home, &["disallowed_methods"]), NONE);
}

#[test]
fn the_program_is_assembly() {
    let main = tidy::read("device-api-server/src/main.rs");
    assert!(main.lines().count() <= 100, "main.rs has {} lines", main.lines().count());
}
