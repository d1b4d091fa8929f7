// SPDX-License-Identifier: Apache-2.0
//! A node in virtual time: a driver that plays a scenario, the source at work on it, and an API that it writes to.

use std::sync::Arc;
use std::time::Duration;

use device_api_core::health::{Verdict, health};
use device_api_core::lease::{LeaseVerbs, Leases};
use device_api_core::patch::Patch;
use device_api_core::registry::{Clock, Ledger, LedgerOptions, PatchParams, Registry, Verbs};
use device_api_core::resource::{Condition, Gpu, GpuStrategy, Timestamp, condition};
use device_api_server::source::nvml::driver::Driver;
use device_api_server::source::nvml::{self, SourceOptions};
use device_api_server::source::simulated::{Scenario, Simulated};
use device_api_store_memory::Memory;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::diary::Diary;
use crate::probe::Probe;

/// How long a test waits for what must come, in virtual time.
const PATIENCE: Duration = Duration::from_secs(600);

/// An API in memory, with the keeper of its leases. Its times are those of tokio's clock.
pub(crate) struct Api {
    pub(crate) ledger: Ledger,
    pub(crate) gpus: Registry<Gpu>,
    pub(crate) leases: Leases,
    pub(crate) diary: Diary,
    keeper: JoinHandle<()>,
}

impl Api {
    pub(crate) async fn new() -> Self {
        Self::at(clock()).await
    }

    /// One whose times are those of this clock: a store that is made later has later versions.
    pub(crate) async fn at(clock: Arc<dyn Clock>) -> Self {
        let options = LedgerOptions::default().with_clock(clock);
        let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), options).await.unwrap();
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        let leases = Leases::open(&ledger).await.unwrap();
        let (keeping, kept) = (leases.clone(), gpus.clone());
        let keeper = tokio::spawn(async move { keeping.keep(kept).await });
        let diary = Diary::of(&gpus).await;
        Self { ledger, gpus, leases, diary, keeper }
    }

    /// The object, as soon as it is so.
    pub(crate) async fn until(&self, name: &str, is_so: impl Fn(&Gpu) -> bool) -> Arc<Gpu> {
        let wanted = async {
            loop {
                if let Some(gpu) = self.gpus.get_opt(name).await.unwrap()
                    && is_so(&gpu)
                {
                    return gpu;
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        match timeout(PATIENCE, wanted).await {
            Ok(gpu) => gpu,
            Err(_) => panic!("it never was so: {:#?}", self.gpus.get_opt(name).await),
        }
    }

    /// Until there is no such object.
    pub(crate) async fn until_gone(&self, name: &str) {
        let gone = async {
            while self.gpus.get_opt(name).await.unwrap().is_some() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(timeout(PATIENCE, gone).await.is_ok(), "{name} is still there");
    }

    /// The names of all objects.
    pub(crate) async fn names(&self) -> Vec<String> {
        let list = self.gpus.list(&Default::default()).await.unwrap();
        list.items.iter().map(|gpu| gpu.metadata.name.clone()).collect()
    }

    /// Another writer's patch of labels, annotations or spec.
    pub(crate) async fn patch(&self, name: &str, patch: Value) -> Arc<Gpu> {
        self.gpus.patch(name, &PatchParams::default(), &Patch::merge(&patch).unwrap()).await.unwrap()
    }

    /// Another writer's patch of the status; conditions are merged by their type.
    pub(crate) async fn patch_status(&self, name: &str, patch: Value) -> Arc<Gpu> {
        self.gpus.patch_status(name, &PatchParams::default(), &Patch::strategic(&patch).unwrap()).await.unwrap()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A source at work.
pub(crate) struct Source {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Source {
    pub(crate) fn start(
        driver: &Arc<Probe>,
        options: &SourceOptions,
        gpus: impl Verbs<Gpu>,
        leases: impl LeaseVerbs,
    ) -> Self {
        let (driver, stop): (Arc<dyn Driver>, _) = (driver.clone(), CancellationToken::new());
        let task = tokio::spawn(nvml::run(driver, options.clone(), gpus, leases, stop.clone()));
        Self { stop, task }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        (&mut self.task).await.unwrap();
    }

    /// As `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.unwrap_err().is_cancelled());
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All of it.
pub(crate) struct Bench {
    pub(crate) api: Api,
    pub(crate) driver: Arc<Probe>,
    pub(crate) options: SourceOptions,
    pub(crate) source: Option<Source>,
    began: Instant,
}

impl Bench {
    /// A source that plays this scenario, from now on.
    pub(crate) async fn plays(scenario: &str) -> Self {
        Self::with(scenario, |_| {}).await
    }

    /// The same, behaving like this.
    pub(crate) async fn with(scenario: &str, change: impl FnOnce(&mut SourceOptions)) -> Self {
        let mut bench = Self::before_start(scenario, change).await;
        bench.start();
        bench
    }

    /// The same before its source has started.
    pub(crate) async fn before_start(scenario: &str, change: impl FnOnce(&mut SourceOptions)) -> Self {
        let mut options = SourceOptions::default();
        options.clock = clock();
        change(&mut options);
        let driver = Arc::new(Probe::new(simulated(scenario)));
        Self { api: Api::new().await, driver, options, source: None, began: Instant::now() }
    }

    /// Starts the source; its scenario begins now, unless it plays already.
    pub(crate) fn start(&mut self) {
        let Api { gpus, leases, .. } = &self.api;
        self.source = Some(Source::start(&self.driver, &self.options, gpus.clone(), leases.clone()));
    }

    /// Ends the source in order and starts it again; the driver plays on.
    pub(crate) async fn restart(&mut self) {
        self.source.take().unwrap().end().await;
        self.start();
    }

    /// Ends the source and starts one on another scenario, which begins now.
    pub(crate) async fn restart_with(&mut self, scenario: &str) {
        if let Some(source) = self.source.take() {
            source.end().await;
        }
        self.driver = Arc::new(Probe::new(simulated(scenario)));
        self.start();
    }

    /// Waits until so many seconds after the start.
    pub(crate) async fn at(&self, seconds: u64) {
        let then = self.moment(seconds);
        assert!(then >= Instant::now(), "it is later than {seconds} s already: {:?}", self.now());
        sleep_until(then).await;
    }

    /// So many seconds after the start.
    pub(crate) fn moment(&self, seconds: u64) -> Instant {
        self.began + Duration::from_secs(seconds)
    }

    /// The time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The GPU in this slot, as it is now.
    pub(crate) async fn gpu(&self, slot: usize) -> Arc<Gpu> {
        self.api.gpus.get(&name(slot)).await.unwrap()
    }

    /// The GPU in this slot, as soon as it is so.
    pub(crate) async fn until(&self, slot: usize, is_so: impl Fn(&Gpu) -> bool) -> Arc<Gpu> {
        self.api.until(&name(slot), is_so).await
    }

    /// The GPU in this slot, as soon as its condition is that.
    pub(crate) async fn until_on(&self, slot: usize, type_: &str, wanted: &str) -> Arc<Gpu> {
        self.until(slot, |gpu| on(gpu, type_) == wanted).await
    }

    /// The verdicts on these slots.
    pub(crate) async fn verdicts(&self, slots: impl IntoIterator<Item = usize>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for slot in slots {
            verdicts.push(health(&*self.gpu(slot).await).verdict);
        }
        verdicts
    }
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn simulated(scenario: &str) -> Simulated {
    Simulated::new(Scenario::parse("test.toml", scenario).unwrap_or_else(|error| panic!("{error}")))
}

/// A node of so many GPUs, before its steps.
pub(crate) fn node(gpus: usize) -> String {
    format!("[node]\ngpus = {gpus}\n")
}

/// A step of a scenario.
pub(crate) fn step(time: &str, event: &str, keys: &str) -> String {
    // A list has its own commas.
    let keys = if keys.contains('[') { keys.replace(", profiles", "\nprofiles") } else { keys.replace(", ", "\n") };
    format!("[[at]]\ntime = \"{time}\"\nevent = \"{event}\"\n{keys}\n")
}

/// The UUID of the first GPU in a slot, as the driver gives it.
pub(crate) fn uuid(slot: usize) -> String {
    format!("GPU-51500000-0000-4000-8000-0000{slot:08x}")
}

/// The name of its object.
pub(crate) fn name(slot: usize) -> String {
    uuid(slot).to_ascii_lowercase()
}

/// Status and reason of a condition, such as `True Healthy`; `-` where there is none.
pub(crate) fn on(gpu: &Gpu, type_: &str) -> String {
    let found = condition::find(&gpu.status.conditions, type_);
    found.map_or("-".to_owned(), |Condition { status, reason, .. }| format!("{status} {reason}"))
}

/// What is recommended, as on the wire.
pub(crate) fn action(gpu: &Gpu) -> &str {
    gpu.status.recommended_action.as_ref().map_or("-", |action| action.as_str())
}

/// Number, count and whether it stands, of each XID that a GPU has reported.
pub(crate) fn xids(gpu: &Gpu) -> Vec<(u32, u64, bool)> {
    gpu.status.xids.iter().map(|record| (record.xid, record.count, record.standing)).collect()
}

/// A clock that goes as tokio's does.
fn clock() -> Arc<dyn Clock> {
    #[derive(Debug)]
    struct Virtual(Instant);

    impl Clock for Virtual {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix(1_800_000_000, 0).unwrap().plus(self.0.elapsed())
        }
    }

    Arc::new(Virtual(Instant::now()))
}
