// SPDX-License-Identifier: Apache-2.0
//! A controller: it cordons GPUs that stay sick, that is labels them, and takes the label away when they are well.
//!
//! ```console
//! cargo run --example controller                # against a server, until Ctrl-C
//! cargo run --example controller -- --embedded  # on a registry in this process, with no server at all
//! ```
//!
//! What it does, `control` and `cordon`, is written once. It runs against the socket, in process, and in the tests below, under faults too,
//! where half a minute takes no time.
#![allow(clippy::print_stdout)] // a program for a terminal

use std::sync::Arc;
use std::time::Duration;

use device_api_client::controller::{Action, Controller};
use device_api_client::core::Result;
use device_api_client::core::patch::Patch;
use device_api_client::core::registry::{
    Clock, Ledger, LedgerOptions, PatchParams, PostParams, Registry, SystemClock, Verbs,
};
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu, GpuStrategy, condition};
use device_api_client::watcher::Config;
use device_api_client::{Api, Client, ConnectOptions, Target, VerbsExt as _};
use device_api_examples::InWords;
use device_api_store_memory::Memory;
use serde_json::json;

/// What a cordoned GPU has.
const CORDONED: &str = "example.com/cordoned";

#[tokio::main]
async fn main() -> std::result::Result<(), InWords> {
    // It may be sick for so long before it is cordoned.
    let (clock, patience) = (Arc::new(SystemClock), Duration::from_secs(1));
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let stop = async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    if std::env::args().any(|argument| argument == "--embedded") {
        let ledger = Ledger::open(Box::new(Memory::new().open()?), LedgerOptions::default()).await?;
        let gpus = ledger.registry(GpuStrategy).await?;
        report(&gpus, "gpu-0", ConditionStatus::False).await?;
        control(gpus, clock, patience, stop).await?;
        ledger.close().await?;
    } else {
        // A lazy client may start before the server does.
        let client = Client::lazy(&Target::from_env()?, ConnectOptions::default());
        control(Api::<Gpu>::all(client), clock, patience, stop).await?;
    }
    println!("stopped");
    Ok(())
}

/// What all looks at GPUs share. It holds no state: that is in the objects, so that a restart forgets nothing.
struct Context<V> {
    gpus: V,
    clock: Arc<dyn Clock>,
    patience: Duration,
}

/// Cordons and uncordons the GPUs of any handle until `stop` is done.
async fn control(
    gpus: impl Verbs<Gpu>,
    clock: Arc<dyn Clock>,
    patience: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let context = Arc::new(Context { gpus: gpus.clone(), clock, patience });
    Controller::new(gpus, Config::default()).concurrency(4).graceful_shutdown_on(stop).run(cordon, context).await
}

/// Makes the label of one GPU what it should be now. It is called whenever the GPU has changed, and when it asked to be.
async fn cordon<V: Verbs<Gpu>>(gpu: Arc<Gpu>, context: Arc<Context<V>>) -> Result<Action> {
    let Some(health) = condition::find(&gpu.status.conditions, "ExampleHealthy") else {
        return Ok(Action::await_change());
    };
    let should_be = match health.status {
        ConditionStatus::True => None,
        ConditionStatus::False => {
            let now = context.clock.now();
            let sick_for = now.since(health.last_transition_time.unwrap_or(now));
            let left = context.patience.saturating_sub(sick_for);
            if !left.is_zero() {
                return Ok(Action::requeue(left));
            }
            Some("true")
        }
        // Nobody knows: it stays as it is.
        _ => return Ok(Action::await_change()),
    };
    if gpu.metadata.labels.get(CORDONED).map(String::as_str) != should_be {
        let label = Patch::merge(&json!({"metadata": {"labels": {CORDONED: should_be}}}))?;
        let writer = PatchParams::default().manager("example-controller");
        context.gpus.namespaced(&gpu.metadata.namespace).patch(&gpu.metadata.name, &writer, &label).await?;
        println!("{} {}", if should_be.is_some() { "cordoned" } else { "uncordoned" }, gpu.metadata.name);
    }
    Ok(Action::await_change())
}

/// Stands for a provider, of which there is none in an embedded registry.
async fn report(gpus: &Registry<Gpu>, name: &str, health: ConditionStatus) -> Result<Arc<Gpu>> {
    let params = PostParams::default().manager("example-provider");
    gpus.entry(name).or_create(&params, Gpu::default).await?;
    gpus.set_condition(name, &params, &Condition::new("ExampleHealthy", health)).await
}

#[cfg(test)]
mod tests {
    use device_api_core::registry::WatchParams;
    use device_api_core::testing::{CallFault, CallFaults, FaultyVerbs, ManualClock, Verb, WatchFault};
    use tokio::sync::oneshot;

    use super::*;

    /// Waits until a GPU is cordoned, or no longer so.
    async fn until(gpus: &Registry<Gpu>, name: &str, is_cordoned: bool) {
        let mut changes = gpus.watch(&WatchParams::default()).await.unwrap();
        while gpus.get(name).await.unwrap().metadata.labels.contains_key(CORDONED) != is_cordoned {
            changes.next().await.unwrap().unwrap();
        }
    }

    // Timers jump to the next one that is due; the clock stands still until it is moved.
    #[tokio::test(start_paused = true)]
    async fn who_stays_sick_is_cordoned_until_it_is_well_and_who_recovers_is_not() {
        let clock = ManualClock::default();
        let options = LedgerOptions::default().with_clock(Arc::new(clock.clone()));
        let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), options).await.unwrap();
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        let patience = Duration::from_secs(30);
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let controller = tokio::spawn(control(gpus.clone(), Arc::new(clock.clone()), patience, stopped));

        report(&gpus, "brief", ConditionStatus::False).await.unwrap();
        report(&gpus, "stays", ConditionStatus::False).await.unwrap();
        tokio::time::sleep(patience / 2).await;
        report(&gpus, "brief", ConditionStatus::True).await.unwrap();
        clock.advance(patience);
        until(&gpus, "stays", true).await;
        assert!(!gpus.get("brief").await.unwrap().metadata.labels.contains_key(CORDONED));

        report(&gpus, "stays", ConditionStatus::True).await.unwrap();
        until(&gpus, "stays", false).await;
        stop.send(()).unwrap();
        controller.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_fail_and_watches_that_break_off_delay_it_and_no_more() {
        let clock = ManualClock::default();
        let options = LedgerOptions::default().with_clock(Arc::new(clock.clone()));
        let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), options).await.unwrap();
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        let faults = CallFaults::default();
        faults.nth_watch(1, WatchFault::CutAfter(1));
        faults.next(Verb::Get, CallFault::Fail(CallFaults::lost()));
        faults.nth(Verb::Patch, 1, CallFault::Fail(CallFaults::lost()));
        faults.nth(Verb::Patch, 2, CallFault::LoseReply);
        report(&gpus, "sick", ConditionStatus::False).await.unwrap();
        clock.advance(Duration::from_secs(30));

        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let patience = Duration::from_secs(30);
        let faulty = FaultyVerbs::new(gpus.clone(), &faults);
        let controller = tokio::spawn(control(faulty, Arc::new(clock.clone()), patience, stopped));
        until(&gpus, "sick", true).await;
        report(&gpus, "sick", ConditionStatus::True).await.unwrap();
        until(&gpus, "sick", false).await;
        assert!(faults.calls(Verb::Patch) >= 3, "the one that failed was made again");
        stop.send(()).unwrap();
        controller.await.unwrap().unwrap();
    }
}
