// SPDX-License-Identifier: Apache-2.0
//! A driver that notes every call, and can be worse than a scenario tells.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use device_api_core::resource::GpuTelemetry;
use device_api_server::source::nvml::driver::{Description, Driver, DriverError, Event, Found, System, Vitals};
use device_api_server::source::simulated::Simulated;
use tokio::time::{Instant, sleep};

/// A simulated driver whose calls are noted.
#[derive(Debug)]
pub(crate) struct Probe {
    inner: Simulated,
    // Held to push, to read or to set.
    calls: Mutex<Vec<Call>>,
    faults: Mutex<Faults>,
    /// Since the last initialisation.
    is_subscribed: AtomicBool,
}

/// A call that was made.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) at: Instant,
    pub(crate) name: &'static str,
    /// The GPU that it is about; empty for the others.
    pub(crate) uuid: String,
}

/// How the driver is worse than its scenario.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Each wait for events returns at once, without one.
    pub(crate) waits_return_at_once: bool,
    /// Each wait for events fails at once.
    pub(crate) waits_fail: Option<DriverError>,
    /// A description takes this long, and is of the time at which it was asked for.
    pub(crate) describe_takes: Duration,
    /// A reading of the vitals takes this long, and is of the time at which it was asked for.
    pub(crate) vitals_take: Duration,
    /// Each wait for events fails once a GPU was subscribed to.
    pub(crate) subscribed_waits_fail: Option<DriverError>,
    /// A list takes this long.
    pub(crate) list_takes: Duration,
    /// The place of the driver's list whose GPU says that it is this one.
    pub(crate) alias: Option<(u32, String)>,
    /// MIG devices have the UUIDs of drivers before R470, which cannot be names of objects.
    pub(crate) old_parts: bool,
    /// It does not tell its version when it is initialised.
    pub(crate) hides_version: bool,
    /// The place of the driver's list that does not say which GPU it is, and why.
    pub(crate) nameless: Option<(u32, DriverError)>,
}

impl Probe {
    pub(crate) fn new(inner: Simulated) -> Self {
        Self { inner, calls: Mutex::default(), faults: Mutex::default(), is_subscribed: AtomicBool::default() }
    }

    /// Makes the driver worse, or better again.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.noted().clone()
    }

    /// When a call was made about a GPU.
    pub(crate) fn times(&self, name: &str, uuid: &str) -> Vec<Instant> {
        self.noted().iter().filter(|call| call.name == name && call.uuid == uuid).map(|call| call.at).collect()
    }

    /// How many calls were made since then.
    pub(crate) fn count_since(&self, then: Instant) -> usize {
        self.noted().iter().filter(|call| call.at >= then).count()
    }

    fn noted(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, name: &'static str, uuid: &str) -> Faults {
        let mut calls = self.noted();
        // A source that spins in virtual time makes no progress: no test would end.
        assert!(calls.len() < 1_000_000, "the source spins: the last calls are {:?}", &calls[calls.len() - 5..]);
        calls.push(Call { at: Instant::now(), name, uuid: uuid.to_owned() });
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait::async_trait]
impl Driver for Probe {
    fn boot_id(&self) -> Option<String> {
        self.inner.boot_id()
    }

    async fn init(&self) -> Result<System, DriverError> {
        let hides_version = self.note("init", "").hides_version;
        self.is_subscribed.store(false, Ordering::Relaxed);
        let mut system = self.inner.init().await?;
        system.driver_version.take_if(|_| hides_version);
        Ok(system)
    }

    async fn shutdown(&self) {
        self.note("shutdown", "");
        self.inner.shutdown().await;
    }

    async fn list(&self) -> Result<Vec<Found>, DriverError> {
        let Faults { nameless, alias, list_takes, .. } = self.note("list", "");
        sleep(list_takes).await;
        let mut found = self.inner.list().await?;
        if let Some((index, why)) = nameless {
            found[index as usize].identity = Err(why);
        }
        if let Some((index, uuid)) = alias
            && let Ok(identity) = &mut found[index as usize].identity
        {
            identity.uuid = uuid;
        }
        Ok(found)
    }

    async fn describe(&self, uuid: &str) -> Result<Description, DriverError> {
        let Faults { describe_takes, old_parts, .. } = self.note("describe", uuid);
        let mut description = self.inner.describe(uuid).await;
        if let Ok(Description { mig_devices: Some(parts), .. }) = &mut description
            && old_parts
        {
            parts.iter_mut().zip(7..).for_each(|((part, _), id)| *part = format!("MIG-{uuid}/{id}/0"));
        }
        sleep(describe_takes).await;
        description
    }

    async fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError> {
        let takes = self.note("vitals", uuid).vitals_take;
        let vitals = self.inner.vitals(uuid).await;
        sleep(takes).await;
        vitals
    }

    async fn telemetry(&self, uuid: &str) -> Result<GpuTelemetry, DriverError> {
        self.note("telemetry", uuid);
        self.inner.telemetry(uuid).await
    }

    async fn subscribe(&self, uuid: &str) -> Result<(), DriverError> {
        self.note("subscribe", uuid);
        self.inner.subscribe(uuid).await.inspect(|()| self.is_subscribed.store(true, Ordering::Relaxed))
    }

    async fn next_event(&self, wait: Duration) -> Result<Option<Event>, DriverError> {
        let faults = self.note("event", "");
        // Or nobody else would ever run.
        tokio::task::yield_now().await;
        let of_subscribed = faults.subscribed_waits_fail.filter(|_| self.is_subscribed.load(Ordering::Relaxed));
        match faults.waits_fail.or(of_subscribed) {
            Some(why) => Err(why),
            None if faults.waits_return_at_once => Ok(None),
            None => self.inner.next_event(wait).await,
        }
    }

    fn is_simulated(&self) -> bool {
        true
    }
}
