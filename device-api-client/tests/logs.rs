// SPDX-License-Identifier: Apache-2.0
//! What is logged of an error that nobody else is told of: itself, and what it came from.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};

use device_api_client::VerbsExt as _;
use device_api_client::controller::{Action, Controller};
use device_api_client::watcher::Config;
use device_api_core::error::Cause;
use device_api_core::registry::{Ledger, LedgerOptions, PostParams};
use device_api_core::resource::{Gpu, GpuStrategy};
use device_api_core::testing::{CallFault, CallFaults, FaultyVerbs, Verb};
use device_api_store_memory::Memory;
use tokio::sync::Notify;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The errors that were logged, each with its causes.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<String>>>);

impl Visit for Logged {
    fn record_error(&mut self, _: &Field, error: &(dyn Error + 'static)) {
        let (mut line, mut cause) = (error.to_string(), error.source());
        while let Some(error) = cause {
            line = format!("{line}: {error}");
            cause = error.source();
        }
        self.0.lock().unwrap().push(line);
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl Subscriber for Logged {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("device_api_client")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn unavailable() -> device_api_core::Error {
    let cause = Cause::of(io::Error::other("the cable is cut"));
    device_api_core::Error::Unavailable { why: "nobody answers".to_owned(), retry_after: None, cause }
}

#[tokio::test(start_paused = true)]
async fn what_a_controller_fails_from_is_logged_with_its_causes() {
    let logged = Logged::default();
    let _guard = tracing::subscriber::set_default(logged.clone());
    let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), LedgerOptions::default()).await.unwrap();
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    gpus.entry("a").or_create(&PostParams::default(), Gpu::default).await.unwrap();
    let faults = CallFaults::new();
    faults.next(Verb::Watch, CallFault::Fail(unavailable()));
    faults.next(Verb::Get, CallFault::Fail(unavailable()));
    // It fails, panics, and is done.
    let (looks, done) = (Arc::new(Mutex::new(0)), Arc::new(Notify::new()));
    let is_done = Arc::clone(&done);
    let look = move |_: Arc<Gpu>, looks: Arc<Mutex<u32>>| {
        let done = Arc::clone(&done);
        async move {
            let look = {
                let mut looks = looks.lock().unwrap();
                *looks += 1;
                *looks
            };
            match look {
                1 => return Err(unavailable()),
                2 => std::panic::panic_any("out of order"),
                _ => done.notify_one(),
            }
            Ok(Action::await_change())
        }
    };
    let controller = Controller::new(FaultyVerbs::new(gpus, &faults), Config::default());
    controller.graceful_shutdown_on(async move { is_done.notified().await }).run(look, looks).await.unwrap();
    let lines = logged.0.lock().unwrap();
    let whole = "the server is currently unable to handle the request: nobody answers: the cable is cut";
    assert_eq!(lines.iter().filter(|line| *line == whole).count(), 3, "a watch, a read, and the function: {lines:?}");
    assert!(lines.iter().any(|line| line.contains("out of order")), "{lines:?}");
}
