// SPDX-License-Identifier: Apache-2.0
//! Follows the GPUs of the node, through restarts of the server too.
//!
//! With a number it ends after so many lines: `cargo run --example watch -- 3`.
#![allow(clippy::print_stdout)] // a program for a terminal

use std::collections::BTreeMap;
use std::time::Duration;

use device_api_client::core::Result;
use device_api_client::core::health::health;
use device_api_client::core::registry::{ListParams, WatchEvent, WatchParams};
use device_api_client::core::resource::{Gpu, ObjectMeta};
use device_api_client::{Api, Client, ConnectOptions, Target};
use device_api_examples::InWords;

#[tokio::main]
async fn main() -> std::result::Result<(), InWords> {
    let lines = std::env::args().nth(1).map_or(Ok(usize::MAX), |count| count.parse())?;
    // A lazy client may start before the server does.
    let client = Client::lazy(&Target::from_env()?, ConnectOptions::default());
    let mut follower = Follower { gpus: Api::all(client), version: String::new(), known: BTreeMap::new(), lines };
    while follower.lines > 0 {
        match follower.follow().await {
            // The server ends every watch sooner or later. We go on from the last version that we saw.
            Ok(()) => {}
            // What happened in between is forgotten: list again.
            Err(error) if error.is_expired() => follower.version.clear(),
            Err(error) if error.is_retryable() => {
                println!("WAITING {error}");
                tokio::time::sleep(error.retry_after().unwrap_or(Duration::from_secs(1))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

struct Follower {
    gpus: Api<Gpu>,
    /// Up to where everything was seen; empty: list first.
    version: String,
    /// The GPUs that there are, by namespace and name, with their versions.
    known: BTreeMap<(String, String), String>,
    /// How many lines are left to print.
    lines: usize,
}

impl Follower {
    /// Follows until the watch ends, fails, or enough is printed.
    async fn follow(&mut self) -> Result<()> {
        if self.version.is_empty() {
            self.list().await?;
        }
        // Bookmarks move the version on while nothing that we select changes, so that it does not expire.
        let mut events = self.gpus.watch(&WatchParams::default().at(&self.version).bookmarks()).await?;
        while self.lines > 0 {
            let Some(event) = events.next().await else { return Ok(()) };
            let event = event?;
            match &event {
                WatchEvent::Added(gpu) => self.show("ADDED", gpu),
                WatchEvent::Modified(gpu) => self.show("MODIFIED", gpu),
                WatchEvent::Deleted(gpu) => self.gone(&gpu.metadata),
                WatchEvent::Bookmark(_) => {}
            }
            event.resource_version().clone_into(&mut self.version);
        }
        Ok(())
    }

    /// Shows what differs from what is known: after a gap in the events that is all that can be told.
    async fn list(&mut self) -> Result<()> {
        let list = self.gpus.list_all(&ListParams::default()).await?;
        let mut vanished = self.known.clone();
        for gpu in &list.items {
            let version = vanished.remove(&(gpu.metadata.namespace.clone(), gpu.metadata.name.clone()));
            if version.as_ref() != Some(&gpu.metadata.resource_version) {
                self.show("LISTED", gpu);
            }
        }
        for (namespace, name) in vanished.into_keys() {
            self.gone(&ObjectMeta::named(name).with_namespace(namespace));
        }
        self.version = list.metadata.resource_version;
        Ok(())
    }

    fn show(&mut self, what: &str, gpu: &Gpu) {
        let ObjectMeta { namespace, name, resource_version, .. } = &gpu.metadata;
        // A provider's GPUs have conditions of several types, of which core knows what they mean together.
        let verdict = health(gpu);
        let says = if verdict.unrecognized.is_empty() {
            format!(" {verdict}")
        } else {
            let conditions = gpu.status.conditions.iter();
            conditions.map(|condition| format!(" {}={}", condition.type_, condition.status)).collect()
        };
        self.print(format!("{what} {name}{says} at version {resource_version}"));
        self.known.insert((namespace.clone(), name.clone()), resource_version.clone());
    }

    fn gone(&mut self, metadata: &ObjectMeta) {
        self.known.remove(&(metadata.namespace.clone(), metadata.name.clone()));
        self.print(format!("DELETED {}", metadata.name));
    }

    fn print(&mut self, line: String) {
        if self.lines > 0 {
            println!("{line}");
            self.lines -= 1;
        }
    }
}
