// SPDX-License-Identifier: Apache-2.0
//! Registers a GPU and keeps one condition of it up to date, as a health monitor does.
//!
//! ```console
//! cargo run --example provider                      # gpu-0 is healthy
//! cargo run --example provider -- gpu-0 False       # now it is not
//! ```
#![allow(clippy::print_stdout)] // a program for a terminal

use std::sync::Arc;

use device_api_client::core::Result;
use device_api_client::core::patch::Patch;
use device_api_client::core::registry::{PatchParams, PostParams, Verbs};
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta};
use device_api_client::{Api, Client};
use device_api_examples::InWords;
use serde_json::json;

#[tokio::main]
async fn main() -> std::result::Result<(), InWords> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "gpu-0".to_owned());
    let health = arguments.next().as_deref().map_or(ConditionStatus::True, ConditionStatus::from);
    let gpus: Api<Gpu> = Api::all(Client::try_default().await?);
    report(&gpus, &name, health).await?;
    Ok(())
}

/// Writes down how a GPU is, whether it is known already or not: whoever calls it again changes nothing.
async fn report(gpus: &impl Verbs<Gpu>, name: &str, health: ConditionStatus) -> Result<Arc<Gpu>> {
    let reason = if health == ConditionStatus::True { "SelfTestPassed" } else { "SelfTestFailed" };
    // No time: the server keeps the old one as long as the status does not change.
    let condition = Condition::new("ExampleHealthy", health).with_reason(reason);
    let spec = GpuSpec { uuid: format!("GPU-{}", name.trim_start_matches("gpu-")) };

    // Device and first health in one call, so that nobody ever sees the one without the other.
    let mut gpu = Gpu { metadata: ObjectMeta::named(name), spec: spec.clone(), ..Gpu::default() };
    gpu.status.conditions.push(condition.clone());
    match gpus.create(&PostParams::default().manager("example-provider"), &gpu).await {
        Ok(created) => {
            println!("created {} at version {}", created.metadata.name, created.metadata.resource_version);
            return Ok(created);
        }
        Err(error) if error.is_already_exists() => {}
        Err(error) => return Err(error),
    }

    // It was there. A patch of nothing but our own parts leaves those of other providers alone, needs no
    // read before it, and never conflicts; one that changes nothing leaves the version as it was.
    let writer = PatchParams::default().manager("example-provider");
    gpus.patch(name, &writer, &Patch::merge(&json!({"spec": spec}))?).await?;
    let ours = Patch::strategic(&json!({"status": {"conditions": [condition]}}))?;
    let stored = gpus.patch_status(name, &writer, &ours).await?;
    println!("updated {} at version {}", stored.metadata.name, stored.metadata.resource_version);
    Ok(stored)
}
