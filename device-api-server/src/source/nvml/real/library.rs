// SPDX-License-Identifier: Apache-2.0
//! Where NVML's library is, and from its initialisation to its shutdown.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use nvml_wrapper::error::NvmlError;

use super::NvmlOptions;
use super::failure::answer;
use crate::source::nvml::driver::DriverError;

/// Where distributions and the GPU operator's driver container put the library, below the driver's root.
const FOLDERS: [&str; 6] =
    ["usr/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "lib64", "lib"];

/// How long a shutdown waits for the calls that are still in the library, which end within milliseconds
/// unless they hang.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// NVML from an initialisation to the shutdown, which happens when nobody uses it any more. NVML counts its
/// initialisations, so a new one does not need to wait for what hangs in an old one.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) nvml: nvml_wrapper::Nvml,
    /// Hangs up when NVML was shut down; it stands last, for fields are dropped in order.
    ended: mpsc::SyncSender<()>,
}

/// The library, and the session in it, if there is one.
#[derive(Debug)]
pub(super) struct Library {
    options: NvmlOptions,
    // A plain lock: held to take or to copy, never over a call.
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    session: Arc<Session>,
    ended: mpsc::Receiver<()>,
}

impl Library {
    pub(super) fn new(options: NvmlOptions) -> Self {
        Self { options, current: Mutex::new(None) }
    }

    /// Initialises NVML, after a shutdown where it was initialised: a driver that was loaded anew answers
    /// only those who begin anew.
    pub(super) fn open(&self) -> Result<(), DriverError> {
        self.close();
        let nvml = self.load()?;
        let (hang_up, ended) = mpsc::sync_channel(0);
        let session = Arc::new(Session { nvml, ended: hang_up });
        *self.current() = Some(Current { session, ended });
        Ok(())
    }

    /// Shuts NVML down once its last call has ended; a call that hangs keeps it open.
    pub(super) fn close(&self) {
        let Some(Current { session, ended }) = self.current().take() else { return };
        release(session);
        if ended.recv_timeout(LAST_CALLS) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!("NVML is not shut down, for a call hangs in it");
        }
    }

    /// The session, for somebody who keeps it.
    pub(super) fn session(&self) -> Result<Arc<Session>, DriverError> {
        self.current().as_ref().map(|current| Arc::clone(&current.session)).ok_or(DriverError::Uninitialized)
    }

    /// Makes calls in the session; to be called on a thread that may hang, for the last one out shuts down.
    pub(super) fn with<T>(
        &self,
        work: impl FnOnce(&nvml_wrapper::Nvml) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let session = self.session()?;
        let result = work(&session.nvml);
        release(session);
        result
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads the first library that the loader takes, and initialises it.
    fn load(&self) -> Result<nvml_wrapper::Nvml, DriverError> {
        let mut refused = None;
        for candidate in self.candidates() {
            match nvml_wrapper::Nvml::builder().lib_path(candidate.as_os_str()).init() {
                // Such as one of another architecture: the right one may be in another folder.
                Err(NvmlError::LibloadingError(error)) => {
                    tracing::debug!(%error, candidate = %candidate.display(), "not loaded");
                    refused = refused.or_else(|| candidate.is_absolute().then(|| error.to_string()));
                }
                result => return answer("nvmlInit_v2", result),
            }
        }
        Err(match refused {
            Some(why) => DriverError::Other { call: "dlopen", why },
            None => DriverError::LibraryNotFound { looked_for: self.looked_for() },
        })
    }

    /// The files that are there, then the name alone, which the loader looks up as for any program.
    fn candidates(&self) -> Vec<PathBuf> {
        let NvmlOptions { driver_root, library, .. } = &self.options;
        let paths = FOLDERS.iter().map(|folder| driver_root.join(folder).join(library));
        let mut found: Vec<_> = paths.filter(|path| path.exists()).collect();
        found.push(Path::new(library).to_owned());
        found
    }

    fn looked_for(&self) -> String {
        let NvmlOptions { driver_root, library, .. } = &self.options;
        format!(
            "{library} in {} below {}, and where the system has its libraries",
            FOLDERS.join(", "),
            driver_root.display()
        )
    }
}

/// Lets go of a session, and says what fails when that shuts NVML down.
fn release(session: Arc<Session>) {
    if let Some(Session { nvml, ended }) = Arc::into_inner(session) {
        if let Err(error) = nvml.shutdown() {
            tracing::warn!(%error, "NVML did not shut down as it should");
        }
        drop(ended);
    }
}
