// SPDX-License-Identifier: Apache-2.0
//! The driver behind NVIDIA's library, NVML.
//!
//! [`Nvml`] answers in async code; the calls themselves are made on threads of its own, a lane for the
//! system, one for events, and one for each GPU, so that a call which hangs keeps nobody else waiting.

mod describe;
mod events;
mod failure;
mod find;
mod health;
mod lane;
mod library;
mod raw;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use device_api_core::resource::GpuTelemetry;
use nvml_wrapper::Device;
use tokio::time::{Instant, sleep_until, timeout};

use self::events::Events;
use self::failure::answer;
use self::lane::Lanes;
use self::library::Library;
use super::driver::{Description, Driver, DriverError, Event, Found, System, Vitals};

/// The lanes that belong to no GPU; a GPU's lane has its UUID for a name.
const SYSTEM: &str = "system";
const EVENTS: &str = "events";

/// How long NVML waits for an event at a time: what is dropped or shut down is let go after it.
const SLICE: Duration = Duration::from_millis(200);

/// The longest wait for an event; who waits longer asks again.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How much longer a [`SLICE`] may last before it hangs.
const LATE: Duration = Duration::from_secs(1);

/// Where NVML is, and what it is called.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NvmlOptions {
    /// Below which folder the driver's files are: `/`; `/run/nvidia/driver` where the GPU operator's
    /// driver container has them.
    pub driver_root: PathBuf,
    /// The library's name: `libnvidia-ml.so.1`.
    pub library: String,
    /// Where the kernel tells of its devices: `/sys`.
    pub sysfs: PathBuf,
}

impl Default for NvmlOptions {
    fn default() -> Self {
        Self { driver_root: "/".into(), library: "libnvidia-ml.so.1".to_owned(), sysfs: "/sys".into() }
    }
}

impl NvmlOptions {
    /// Sets the folder below which the driver's files are.
    #[must_use]
    pub fn with_driver_root(mut self, driver_root: impl Into<PathBuf>) -> Self {
        self.driver_root = driver_root.into();
        self
    }

    /// Sets the library's name.
    #[must_use]
    pub fn with_library(mut self, library: impl Into<String>) -> Self {
        self.library = library.into();
        self
    }

    /// Sets where the kernel tells of its devices.
    #[must_use]
    pub fn with_sysfs(mut self, sysfs: impl Into<PathBuf>) -> Self {
        self.sysfs = sysfs.into();
        self
    }
}

/// The GPUs of this node, through NVML.
///
/// ```
/// use device_api_server::source::nvml::driver::Driver;
/// use device_api_server::source::nvml::real::{Nvml, NvmlOptions};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let nvml = Nvml::new(NvmlOptions::default());
/// match nvml.init().await {
///     Ok(system) => println!("driver {:?}, {} GPUs", system.driver_version, nvml.list().await.map_or(0, |found| found.len())),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
///
/// Dropped, it gives the library back as [`Driver::shutdown`] does, and does not wait for it.
#[derive(Debug)]
pub struct Nvml {
    options: NvmlOptions,
    library: Arc<Library>,
    events: Arc<Events>,
    lanes: Lanes,
}

impl Nvml {
    /// Loads nothing yet: [`Driver::init`] does.
    #[must_use]
    pub fn new(options: NvmlOptions) -> Self {
        let library = Arc::new(Library::new(options.clone()));
        Self { options, library, events: Arc::default(), lanes: Lanes::default() }
    }

    /// Makes calls about one GPU, which is looked up for each: a handle may be another GPU's after a reload.
    async fn about<T: Send + 'static>(
        &self,
        uuid: &str,
        call: &'static str,
        work: impl FnOnce(&Device<'_>) -> Result<T, DriverError> + Send + 'static,
    ) -> Result<T, DriverError> {
        let (library, name) = (Arc::clone(&self.library), uuid.to_owned());
        let look_up = move || {
            library.with(|nvml| {
                let device = answer("nvmlDeviceGetHandleByUUID", find::gpu(nvml, &name))?;
                work(&device)
            })
        };
        self.lanes.get(uuid)?.call(call, look_up).await
    }

    /// Ends the subscriptions, unless the thread for events hangs and keeps them.
    async fn forget_events(&self) {
        let events = Arc::clone(&self.events);
        let forget = async {
            let forget = move || {
                events.forget();
                Ok(())
            };
            self.lanes.get(EVENTS)?.call("nvmlEventSetFree", forget).await
        };
        let hung = |_elapsed| Err(DriverError::Hung { call: "nvmlEventSetFree" });
        if let Err(error) = timeout(SLICE + LATE, forget).await.unwrap_or_else(hung) {
            tracing::warn!(%error, "the subscriptions in NVML are not given back");
        }
    }
}

#[async_trait::async_trait]
impl Driver for Nvml {
    fn boot_id(&self) -> Option<String> {
        describe::boot_id()
    }

    async fn init(&self) -> Result<System, DriverError> {
        self.forget_events().await;
        self.lanes.forget_all_but(&[SYSTEM, EVENTS]);
        let library = Arc::clone(&self.library);
        let open = move || {
            library.open()?;
            library.with(describe::system)
        };
        self.lanes.get(SYSTEM)?.call("nvmlInit_v2", open).await
    }

    async fn shutdown(&self) {
        self.forget_events().await;
        let library = Arc::clone(&self.library);
        let close = async {
            let close = move || {
                library.close();
                Ok(())
            };
            self.lanes.get(SYSTEM)?.call("nvmlShutdown", close).await
        };
        if let Err(error) = close.await {
            tracing::warn!(%error, "NVML is not shut down");
        }
    }

    async fn list(&self) -> Result<Vec<Found>, DriverError> {
        let library = Arc::clone(&self.library);
        let list = move || library.with(describe::list);
        self.lanes.get(SYSTEM)?.call("nvmlDeviceGetHandleByIndex_v2", list).await
    }

    async fn describe(&self, uuid: &str) -> Result<Description, DriverError> {
        let (name, sysfs) = (uuid.to_owned(), self.options.sysfs.clone());
        self.about(uuid, "the description of a GPU", move |device| describe::describe(device, &name, &sysfs)).await
    }

    async fn vitals(&self, uuid: &str) -> Result<Vitals, DriverError> {
        self.about(uuid, "the vitals of a GPU", health::vitals).await
    }

    async fn telemetry(&self, uuid: &str) -> Result<GpuTelemetry, DriverError> {
        self.about(uuid, "the telemetry of a GPU", health::telemetry).await
    }

    async fn subscribe(&self, uuid: &str) -> Result<(), DriverError> {
        // First on the GPU's own lane: when it hangs, it hangs there, not in the events of all.
        let call = "nvmlDeviceGetSupportedEventTypes";
        let supported = self.about(uuid, call, move |device| answer(call, raw::supported_event_types(device))).await?;
        let (library, events, uuid) = (Arc::clone(&self.library), Arc::clone(&self.events), uuid.to_owned());
        let register = move || events.subscribe(&library, &uuid, supported);
        self.lanes.get(EVENTS)?.call("nvmlDeviceRegisterEvents", register).await
    }

    /// Errors, too, come after a fifth of a second: a GPU that is lost fails each wait at once, and who asks
    /// again and again must not spin.
    async fn next_event(&self, wait: Duration) -> Result<Option<Event>, DriverError> {
        let end = Instant::now() + wait.min(LONGEST_WAIT);
        loop {
            // What came while nobody waited comes first, so that a wait may be dropped at any time.
            if let Some(event) = self.events.next() {
                return Ok(Some(event));
            }
            let begin = Instant::now();
            let slice_end = end.min(begin + SLICE);
            let (library, events) = (Arc::clone(&self.library), Arc::clone(&self.events));
            let wait = move || events.wait(&library, slice_end - begin);
            let lasting = slice_end - begin + LATE;
            match self.lanes.get(EVENTS)?.call_lasting("nvmlEventSetWait_v2", lasting, wait).await {
                Ok(true) => continue,
                Ok(false) => sleep_until(slice_end).await,
                Err(error) => {
                    sleep_until(slice_end).await;
                    return Err(error);
                }
            }
            if slice_end == end {
                return Ok(None);
            }
        }
    }
}

impl Drop for Nvml {
    fn drop(&mut self) {
        if self.library.session().is_err() {
            return;
        }
        // On the lanes' threads, for NVML may hang in it.
        let (library, events) = (Arc::clone(&self.library), Arc::clone(&self.events));
        if let (Ok(on_events), Ok(on_system)) = (self.lanes.get(EVENTS), self.lanes.get(SYSTEM)) {
            on_events.post(move || events.forget());
            on_system.post(move || library.close());
        }
    }
}
