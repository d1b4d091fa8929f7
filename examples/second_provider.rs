// SPDX-License-Identifier: Apache-2.0
//! A second provider on the GPUs of another: it reads the temperatures that the NVML source measures, and says in a condition
//! of its own which GPUs are too hot. What the source says it never touches.
//!
//! ```console
//! cargo run --bin device-apiserver -- --nvml=simulated:8 --nvml-telemetry-interval=5s
//! cargo run --example second_provider -- 60      # from 60 degrees Celsius on
//! ```
//!
//! It holds a lease: when it is killed, its condition turns Unknown after a while, and the source's stay as they are.
#![allow(clippy::print_stdout)] // a program for a terminal

use std::collections::BTreeMap;

use device_api_client::core::Result;
use device_api_client::core::lease::AcquireLease;
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu, Key};
use device_api_client::watcher::{Config, Event, Watcher};
use device_api_client::{Api, Client, Declaration, LeaseApi, Provider};
use device_api_examples::InWords;

/// The condition. True is bad, as in NVSentinel, which made the type known.
const THERMAL: &str = "GpuThermalWatch";

#[tokio::main]
async fn main() -> std::result::Result<(), InWords> {
    let limit = std::env::args().nth(1).map_or(Ok(85), |degrees| degrees.parse())?;
    let client = Client::try_default().await?;
    let gpus: Api<Gpu> = Api::all(client.clone());
    // The newest process of this name is believed: one that was restarted goes on at once.
    let lease = AcquireLease::new("example-thermal").with_condition_types([THERMAL]).take_over();
    let provider = Provider::start(gpus.clone(), LeaseApi::new(client), lease).await?;
    tokio::select! {
        outcome = judge_all(gpus, limit, &provider) => Ok(outcome?),
        replaced = provider.lost() => Err(replaced.into()),
    }
}

/// Follows all GPUs, and declares anew whenever one of them is judged otherwise than before.
async fn judge_all(gpus: Api<Gpu>, limit: u32, provider: &Provider) -> Result<()> {
    let mut watcher = Watcher::new(gpus, Config::default());
    let mut judgements = BTreeMap::new();
    while let Some(event) = watcher.next().await {
        let changed = match event {
            Ok(Event::InitApply(gpu) | Event::Apply(gpu)) => {
                let condition = judge(&gpu, limit);
                let before = judgements.insert(key(&gpu)?, condition.clone());
                let is_new = before.as_ref() != Some(&condition);
                if is_new {
                    println!("{}: {THERMAL} is {} ({})", gpu.metadata.name, condition.status, condition.reason);
                }
                is_new
            }
            Ok(Event::Delete(gpu)) => judgements.remove(&key(&gpu)?).is_some(),
            Ok(Event::Init | Event::InitDone) => false,
            Err(error) => {
                // The watcher tries again by itself.
                println!("waiting: {error}");
                false
            }
        };
        if changed {
            // All that it says, each time; it writes only what differs from what is stored.
            let mut all = Declaration::default();
            for (key, condition) in &judgements {
                all = all.with_key(key.clone(), [condition.clone()])?;
            }
            provider.declare(all).await?;
        }
    }
    Ok(())
}

/// Says only what differs from one judgement to the next: a temperature in it would be a write for each sample.
fn judge(gpu: &Gpu, limit: u32) -> Condition {
    let sample = gpu.status.telemetry.as_ref();
    let (status, reason) = match sample.and_then(|sample| sample.temperature_celsius) {
        Some(degrees) if degrees >= limit => (ConditionStatus::True, "TooHot"),
        Some(_) => (ConditionStatus::False, "WithinLimit"),
        // Silence is not health.
        None => (ConditionStatus::Unknown, "NotMeasured"),
    };
    Condition::new(THERMAL, status).with_reason(reason)
}

fn key(gpu: &Gpu) -> Result<Key> {
    Key::of::<Gpu>(&gpu.metadata.namespace, &gpu.metadata.name)
}
