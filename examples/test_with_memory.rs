// SPDX-License-Identifier: Apache-2.0
//! How to test code that uses the API: written against [`Verbs`], it takes the client's `Api` in production
//! and a registry over memory in its tests, with no server, no socket and no waiting.
//!
//! The code at hand cordons sick GPUs, that is labels them. `cargo test --example test_with_memory` runs its
//! tests, below.
#![allow(clippy::print_stdout)] // a program for a terminal

use device_api_client::core::Result;
use device_api_client::core::patch::Patch;
use device_api_client::core::registry::{ListParams, PatchParams, Verbs};
use device_api_client::core::resource::Gpu;
use device_api_client::{Api, Client};
use device_api_examples::InWords;
use serde_json::json;

#[tokio::main]
async fn main() -> std::result::Result<(), InWords> {
    let gpus: Api<Gpu> = Api::all(Client::try_default().await?);
    println!("cordoned {}", cordon(&gpus).await?);
    Ok(())
}

/// Labels every GPU that is known to be sick and has no such label yet; returns how many.
async fn cordon(gpus: &impl Verbs<Gpu>) -> Result<usize> {
    let sick = ListParams::default().fields("status.conditions[ExampleHealthy]=False").labels("!example.com/cordoned");
    let found = gpus.list_all(&sick).await?.items;
    let label = Patch::merge(&json!({"metadata": {"labels": {"example.com/cordoned": "true"}}}))?;
    for gpu in &found {
        let gpus = gpus.namespaced(&gpu.metadata.namespace);
        gpus.patch(&gpu.metadata.name, &PatchParams::default(), &label).await?;
    }
    Ok(found.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
    use device_api_core::resource::{Condition, ConditionStatus, GpuStrategy, ObjectMeta};
    use device_api_core::testing::ManualClock;
    use device_api_store_memory::Memory;

    use super::*;

    /// The real registry over memory: its conflicts, selectors and watches are those of production.
    async fn registry(clock: &ManualClock) -> Registry<Gpu> {
        let options = LedgerOptions::default().with_clock(Arc::new(clock.clone()));
        let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), options).await.unwrap();
        ledger.registry(GpuStrategy).await.unwrap()
    }

    async fn given(gpus: &Registry<Gpu>, name: &str, health: ConditionStatus) {
        let mut gpu = Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() };
        gpu.status.conditions.push(Condition::new("ExampleHealthy", health));
        gpus.create(&PostParams::default(), &gpu).await.unwrap();
    }

    #[tokio::test]
    async fn only_what_is_known_to_be_sick_is_cordoned() {
        let gpus = registry(&ManualClock::default()).await;
        given(&gpus, "well", ConditionStatus::True).await;
        given(&gpus, "sick", ConditionStatus::False).await;
        given(&gpus, "silent", ConditionStatus::Unknown).await;

        assert_eq!(cordon(&gpus).await.unwrap(), 1);
        let cordoned = gpus.list(&ListParams::default().labels("example.com/cordoned=true")).await.unwrap().items;
        assert_eq!(cordoned.iter().map(|gpu| &gpu.metadata.name).collect::<Vec<_>>(), ["sick"]);
        assert_eq!(cordon(&gpus).await.unwrap(), 0, "a second time there is nothing to do");
    }

    #[tokio::test]
    async fn a_cordon_does_not_touch_the_time_of_the_condition() {
        // Time stands still until the test moves it.
        let clock = ManualClock::default();
        let gpus = registry(&clock).await;
        given(&gpus, "sick", ConditionStatus::False).await;
        clock.advance(Duration::from_secs(90));
        cordon(&gpus).await.unwrap();
        let since = gpus.get("sick").await.unwrap().status.conditions[0].last_transition_time.unwrap();
        assert_eq!(since.to_string(), "2026-01-01T00:00:00Z");
    }
}
