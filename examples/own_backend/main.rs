// SPDX-License-Identifier: Apache-2.0
//! A storage backend of one's own: a file with a line of JSON for each commit. `jsonl/` is the backend, and
//! `tests/own_backend.rs` holds it to everything that a backend promises.
//!
//! ```console
//! cargo run --example own_backend -- /tmp/gpus.jsonl
//! cargo test --package device-api-examples --test own_backend
//! ```
#![allow(clippy::print_stdout)] // a program for a terminal

mod jsonl;

use std::path::Path;

use device_api_core::registry::{Ledger, LedgerOptions, ListParams, PostParams};
use device_api_core::resource::{Gpu, GpuStrategy, ObjectMeta};
use device_api_examples::InWords;

#[tokio::main]
async fn main() -> Result<(), InWords> {
    let path = std::env::args().nth(1).ok_or("name a file")?;
    // Versions, conflicts, history, lists and watches are the ledger's part. A backend is a journal.
    let storage = jsonl::JsonLines::open(Path::new(&path)).await?;
    let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await?;
    let gpus = ledger.registry(GpuStrategy).await?;

    let count = gpus.list(&ListParams::default()).await?.items.len();
    let gpu = Gpu { metadata: ObjectMeta::named(format!("gpu-{count}")), ..Gpu::default() };
    let created = gpus.create(&PostParams::default(), &gpu).await?;
    println!("{count} GPUs from earlier runs; created {}", created.metadata.name);
    Ok(ledger.close().await?)
}

#[cfg(test)]
mod tests {
    use device_api_core::storage::{Storage as _, StorageErrorKind};

    use super::*;

    // What the conformance suite cannot know: how this backend's file looks.

    /// Two lines as they are written: the mark of revision 7, and a commit of nothing.
    const LINES: [&str; 2] = ["04293749 {\"Marks\":[7,7]}\n", "c485fec1 {\"Commit\":[]}\n"];

    #[tokio::test]
    async fn a_line_that_was_damaged_before_the_last_one_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gpus.jsonl");
        let text = LINES.concat().replace("[7,7]", "[7,6]");
        std::fs::write(&path, &text).unwrap();
        let error = jsonl::JsonLines::open(&path).await.unwrap_err();
        assert_eq!(error.kind(), StorageErrorKind::Corrupt);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        std::fs::write(&path, LINES.concat()).unwrap();
        let found = jsonl::JsonLines::open(&path).await.unwrap().load().await.unwrap();
        assert_eq!((found.last.0, found.compacted.0, found.records), (7, 7, Vec::new()));
    }
}
