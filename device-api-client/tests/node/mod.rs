// SPDX-License-Identifier: Apache-2.0
//! A server that dies and comes back, behind a way to it that fails on purpose.
#![allow(clippy::unwrap_used, dead_code)] // clippy.toml's exception for tests does not reach their modules; not each test uses all

mod remote;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use device_api_client::core::Error;
use device_api_client::core::error::Cause;
use device_api_client::core::registry::{History, Ledger, LedgerOptions, Registry};
use device_api_client::core::resource::{Gpu, GpuStrategy, ObjectMeta};
use device_api_core::registry::Clock;
use device_api_core::resource::Timestamp;
use device_api_core::testing::ManualClock;
use device_api_store_memory::Memory;
use tokio::sync::watch;

pub(crate) use self::remote::{Fault, Remote};

/// A server in this process. Clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clock: ManualClock,
    options: LedgerOptions,
    server: Mutex<Server>,
    /// Rings when the server dies.
    lives: watch::Sender<u64>,
    /// What the next calls meet.
    faults: Mutex<Box<dyn Faults>>,
}

#[derive(Debug)]
struct Server {
    memory: Memory,
    running: Option<(Ledger, Registry<Gpu>)>,
}

/// Says what a call meets: a list, or the opening of a watch.
pub(crate) trait Faults: std::fmt::Debug + Send {
    fn next(&mut self) -> Fault;
}

/// No faults.
#[derive(Debug)]
struct Well;

impl Faults for Well {
    fn next(&mut self) -> Fault {
        Fault::None
    }
}

/// The same for ever.
#[derive(Debug)]
struct Always(Fault);

impl Faults for Always {
    fn next(&mut self) -> Fault {
        self.0.clone()
    }
}

/// These faults, and then none.
#[derive(Debug)]
struct Once(std::vec::IntoIter<Fault>);

impl Faults for Once {
    fn next(&mut self) -> Fault {
        self.0.next().unwrap_or(Fault::None)
    }
}

#[derive(Debug)]
struct NodeClock(ManualClock);

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl Node {
    /// A server that runs, with this much history.
    pub(crate) async fn start(history: History) -> Self {
        let clock = ManualClock::default();
        let options = LedgerOptions::default().with_clock(Arc::new(NodeClock(clock.clone()))).with_history(history);
        let server = Mutex::new(Server { memory: Memory::new(), running: None });
        let shared =
            Shared { clock, options, server, lives: watch::Sender::new(0), faults: Mutex::new(Box::new(Well)) };
        let node = Self { shared: Arc::new(shared) };
        node.restart().await;
        node
    }

    /// The way to it that a reflector takes.
    pub(crate) fn remote(&self) -> Remote {
        Remote::new(self.clone())
    }

    pub(crate) fn clock(&self) -> &ManualClock {
        &self.shared.clock
    }

    /// The server itself, without faults; `None` while it is dead.
    pub(crate) fn gpus(&self) -> Option<Registry<Gpu>> {
        self.shared.server.lock().unwrap().running.as_ref().map(|(_, gpus)| gpus.clone())
    }

    /// Kills the server: whoever is connected hears of it, but not of what happened last.
    pub(crate) async fn kill(&self) {
        let running = self.shared.server.lock().unwrap().running.take();
        self.shared.lives.send_modify(|lives| *lives += 1);
        if let Some((ledger, _)) = running {
            ledger.close().await.unwrap();
        }
    }

    /// Starts the server, with what it had, unless it runs.
    pub(crate) async fn restart(&self) {
        let memory = {
            let server = self.shared.server.lock().unwrap();
            if server.running.is_some() {
                return;
            }
            server.memory.clone()
        };
        let ledger = Ledger::open(Box::new(memory.open().unwrap()), self.shared.options.clone()).await.unwrap();
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        self.shared.server.lock().unwrap().running = Some((ledger, gpus));
    }

    /// Kills the server and starts it with nothing, under higher versions.
    pub(crate) async fn reset(&self) {
        self.kill().await;
        self.shared.server.lock().unwrap().memory = Memory::new();
        // However its clock was set in between, no version is used twice: that is for operators to see to.
        let days = u32::try_from(*self.shared.lives.borrow()).unwrap();
        self.clock().set(ManualClock::default().now());
        self.clock().advance(Duration::from_secs(24 * 60 * 60) * days);
        self.restart().await;
    }

    /// From now on the calls meet what this says.
    pub(crate) fn meets(&self, faults: impl Faults + 'static) {
        *self.shared.faults.lock().unwrap() = Box::new(faults);
    }

    /// The next calls meet these, the later ones nothing.
    pub(crate) fn meets_once(&self, faults: impl Into<Vec<Fault>>) {
        self.meets(Once(faults.into().into_iter()));
    }

    /// From now on all calls meet this.
    pub(crate) fn meets_always(&self, fault: Fault) {
        self.meets(Always(fault));
    }

    /// From now on the calls meet nothing.
    pub(crate) fn is_well(&self) {
        self.meets(Well);
    }

    fn next_fault(&self) -> Fault {
        self.shared.faults.lock().unwrap().next()
    }

    fn lives(&self) -> watch::Receiver<u64> {
        self.shared.lives.subscribe()
    }
}

pub(crate) fn lost() -> Error {
    let why = "the connection was lost on purpose".to_owned();
    Error::Unavailable { why, retry_after: Some(Duration::ZERO), cause: Cause::unknown() }
}

pub(crate) fn gpu(name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() }
}

pub(crate) fn with_uuid(name: &str, uuid: &str) -> Gpu {
    let mut gpu = gpu(name);
    gpu.spec.uuid = uuid.to_owned();
    gpu
}
