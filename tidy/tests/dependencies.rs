// SPDX-License-Identifier: Apache-2.0
//! Which crate may depend on which, and on what from outside.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tidy::{metadata, packaged, read, tree};

/// The crates of the workspace that each may depend on: `ARCHITECTURE.md`, "Crates".
const EDGES: &[(&str, &[&str])] = &[
    ("device-api-core", &[]),
    ("device-api-store-memory", &["device-api-core"]),
    ("device-api-store-sqlite", &["device-api-core"]),
    ("device-api-client", &["device-api-core"]),
    (
        "device-api-server",
        &["device-api-client", "device-api-core", "device-api-store-memory", "device-api-store-sqlite"],
    ),
    (
        "device-api-examples",
        &[
            "device-api-client",
            "device-api-core",
            "device-api-server",
            "device-api-store-memory",
            "device-api-store-sqlite",
        ],
    ),
    ("nvml-standin", &[]),
    ("tidy", &[]),
];

/// Crates that speak the wire format.
const WIRE: &[&str] = &["h2", "http", "hyper", "prost", "prost-types", "tonic", "tonic-prost", "tonic-types"];
/// Crates that reach a database.
const DATABASE: &[&str] = &["libsqlite3-sys", "rusqlite", "sqlx", "sqlx-core", "sqlx-sqlite"];
/// Crates that reach sockets and files; `mio` is what tokio does it with.
const SYSTEM: &[&str] = &["mio", "rustix", "socket2"];
/// Crates that belong to a program, not to a library.
const PROGRAM: &[&str] = &["clap", "tracing-subscriber", "nvml-wrapper"];

fn assert_has_none(package: &str, features: &str, banned: &[&[&str]]) {
    let tree = tree(package, features);
    assert!(tree.contains(package), "cargo tree shows {tree:?}");
    let found: Vec<_> = banned.iter().copied().flatten().filter(|name| tree.contains(**name)).collect();
    assert!(found.is_empty(), "{package} with features [{features}] pulls in {found:?}");
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn members(metadata: &Value) -> Vec<&Value> {
    let ids = metadata["workspace_members"].as_array().unwrap();
    metadata["packages"].as_array().unwrap().iter().filter(|package| ids.contains(&package["id"])).collect()
}

/// Dependencies of a member that its users build too.
fn shipped(package: &Value) -> impl Iterator<Item = &Value> {
    package["dependencies"].as_array().unwrap().iter().filter(|dependency| dependency["kind"] != "dev")
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let metadata = metadata();
    let packages = members(&metadata);
    let names: BTreeSet<_> = packages.iter().map(|package| text(package, "name")).collect();
    let found: BTreeMap<_, BTreeSet<_>> = packages
        .iter()
        .map(|package| {
            let edges = shipped(package).map(|dependency| text(dependency, "name"));
            (text(package, "name"), edges.filter(|name| names.contains(name)).collect())
        })
        .collect();
    let drawn: BTreeMap<_, BTreeSet<_>> =
        EDGES.iter().map(|(name, edges)| (*name, edges.iter().copied().collect())).collect();
    assert_eq!(found, drawn);
}

#[test]
fn core_by_default_builds_no_wire_format_database_or_socket() {
    assert_has_none("device-api-core", "", &[WIRE, DATABASE, SYSTEM, PROGRAM]);
}

#[test]
fn core_with_grpc_client_builds_no_server_and_no_database() {
    assert_has_none("device-api-core", "grpc-client", &[DATABASE, PROGRAM, &["axum"]]);
}

#[test]
fn stores_know_no_wire_format() {
    for store in ["device-api-store-memory", "device-api-store-sqlite"] {
        assert_has_none(store, "", &[WIRE, PROGRAM]);
    }
}

#[test]
fn the_client_knows_no_store_and_no_server() {
    let ours = ["device-api-server", "device-api-store-memory", "device-api-store-sqlite"];
    assert_has_none("device-api-client", "", &[DATABASE, PROGRAM, &ours]);
}

#[test]
fn the_feature_kube_of_the_client_builds_no_kube() {
    let kube = ["k8s-openapi", "kube", "kube-client", "kube-core", "kube-runtime"];
    assert_has_none("device-api-client", "kube", &[DATABASE, PROGRAM, &kube]);
}

#[test]
fn no_dependency_asks_for_a_newer_rust_than_we_promise() {
    fn version(text: &str) -> Vec<u32> {
        let mut parts: Vec<_> = text.split('.').map(|part| part.parse().unwrap()).collect();
        parts.resize(3, 0);
        parts
    }
    let metadata = metadata();
    let promised = version(text(members(&metadata)[0], "rust_version"));
    let newer: Vec<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|package| package["rust_version"].as_str().is_some_and(|wanted| version(wanted) > promised))
        .map(|package| format!("{} {} wants {}", package["name"], package["version"], package["rust_version"]))
        .collect();
    assert!(newer.is_empty(), "rust-version is {promised:?}, but {newer:?}");
}

#[test]
fn every_published_crate_says_what_crates_io_asks_for() {
    for package in members(&metadata()) {
        assert_eq!(text(package, "license"), "Apache-2.0", "{}", package["name"]);
        assert!(!text(package, "description").is_empty(), "{}", package["name"]);
        assert!(package["rust_version"].is_string(), "{}", package["name"]);
    }
}

/// What a user of crates.io gets is the package alone, and docs.rs builds a crate without features unless its manifest says otherwise.
#[test]
fn every_published_crate_carries_its_licence_readme_and_metadata() {
    let metadata = metadata();
    let published: Vec<_> = members(&metadata).into_iter().filter(|package| package["publish"].is_null()).collect();
    assert_eq!(published.len(), 5);
    for package in published {
        let name = text(package, "name");
        let files = packaged(name);
        for file in ["LICENSE", "README.md", "src/lib.rs"] {
            assert!(files.contains(file), "{name} has no {file}: {files:?}");
        }
        assert_eq!(text(package, "readme"), "README.md", "{name}");
        let own = read(&format!("{name}/README.md"));
        assert!(own.starts_with(&format!("# {name}\n")) && own.contains("not NVIDIA's"), "{name}");
        assert_eq!(read(&format!("{name}/LICENSE")), read("LICENSE"), "{name}");
        // Nobody is sent to a repository that is not this project's.
        assert_eq!(package["repository"], Value::Null, "{name}");
        let docs = &package["metadata"]["docs"]["rs"];
        assert_eq!(docs["all-features"], true, "{name}");
        assert_eq!(docs["targets"], serde_json::json!(["x86_64-unknown-linux-gnu"]), "{name}");
    }
    let protos = packaged("device-api-core").into_iter().filter(|file| file.ends_with(".proto")).count();
    assert!(protos >= 2, "{protos} .proto files in the package of core");
}
