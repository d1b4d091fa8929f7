// SPDX-License-Identifier: Apache-2.0
//! How the suite opens a backend, and how it runs.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use libtest_mimic::{Arguments, Failed, Trial};

use super::seed::SEED_VARIABLE;
use super::{LISTS, suite};
use crate::storage::{Storage, StorageError};

/// Longer than any case takes on the slowest machine: a case that is still running then hangs.
const HANGS: Duration = Duration::from_secs(180);
/// How long a failed case's tasks may take to stop.
const STOPS: Duration = Duration::from_secs(5);

/// How the suite opens a backend.
#[async_trait]
pub trait Backend: Debug + Send + Sync + 'static {
    /// The name in the list of tests, such as `sqlite`.
    fn name(&self) -> &str;

    /// A new, empty store.
    ///
    /// # Errors
    /// When there is none to be had; the case fails.
    async fn create(&self) -> Result<Box<dyn Site>, StorageError>;
}

/// One store: opened again after a close or a drop, it holds what was committed ("restart").
#[async_trait]
pub trait Site: Debug + Send + Sync {
    /// Opens the store.
    ///
    /// # Errors
    /// What the backend's own open gives.
    async fn open(&self) -> Result<Box<dyn Storage>, StorageError>;

    /// What a power cut leaves of the store as it is now: a copy of it, elsewhere, whose last write is [torn](Tear::apply). The store
    /// is open meanwhile, and stays so. `None` where nothing outlives the process.
    ///
    /// # Errors
    /// When there is no copy to be had; the case fails.
    async fn tear(&self, tear: &Tear) -> Result<Option<Box<dyn Site>>, StorageError>;
}

/// A write of which only a part has reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tear {
    /// How much has, in 256ths of what was to be written.
    pub kept: u8,
    /// What is where the rest should be.
    pub rest: Rest,
}

/// What is found where a disk did not write: any of these was seen, by file system and disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rest {
    /// The file is shorter.
    Gone,
    /// The file has its length, which is written before what is in it.
    Zeros,
    /// Something else, as of a file that was deleted, with ends of lines in it.
    Garbage,
}

impl Tear {
    /// Tears the last write to a file, which began at `start` and goes to the end.
    pub fn apply(&self, file: &mut Vec<u8>, start: usize) {
        let written = file.len().saturating_sub(start);
        let kept = start + (written * usize::from(self.kept) / 256).min(written.saturating_sub(1));
        match self.rest {
            Rest::Gone => file.truncate(kept),
            Rest::Zeros => file.iter_mut().skip(kept).for_each(|byte| *byte = 0),
            Rest::Garbage => {
                for (index, byte) in file.iter_mut().enumerate().skip(kept) {
                    *byte = match index % 97 {
                        0 => b'\n',
                        _ => byte.wrapping_mul(31).wrapping_add(index as u8 | 1),
                    };
                }
            }
        }
    }
}

/// What a case does: it panics when the backend breaks a promise.
pub type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One named case of the suite.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The name, after the list that it stands in, such as `journal::a_new_store_is_empty`.
    pub name: &'static str,
    run: fn(Arc<dyn Site>) -> CaseFuture,
}

impl Case {
    /// A case.
    #[must_use]
    pub const fn new(name: &'static str, run: fn(Arc<dyn Site>) -> CaseFuture) -> Self {
        Self { name, run }
    }
}

/// Runs a case in a runtime of its own.
pub(super) fn check(case: impl Future<Output = Result<(), Failed>> + Send + 'static) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        // A task of its own, so that a case that never yields is noticed too.
        match tokio::time::timeout(HANGS, tokio::spawn(case)).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(failure)) => Err(failure.try_into_panic().map_or_else(Failed::from, |panic| message(&*panic))),
            Err(_) => Err(Failed::from(format!("it hangs: no end after {} s", HANGS.as_secs()))),
        }
    });
    runtime.shutdown_timeout(STOPS);
    outcome
}

/// Runs every case of every list against a backend, as the `main` of a test with
/// `harness = false`. It takes the arguments of `cargo test`, such as a filter, and each case gets
/// a store and a runtime of its own.
pub fn run(backend: impl Backend) -> ! {
    let arguments = Arguments::from_args();
    let backend: Arc<dyn Backend> = Arc::new(backend);
    let kind = backend.name().to_owned();
    let trial = |case: &Case| {
        let (case, backend) = (*case, Arc::clone(&backend));
        let run = async move {
            let site: Arc<dyn Site> = backend.create().await?.into();
            (case.run)(site).await;
            Ok(())
        };
        Trial::test(case.name, move || check(run)).with_kind(kind.as_str())
    };
    let storage = LISTS.iter().copied().flatten().map(trial);
    libtest_mimic::run(&arguments, storage.chain(suite::trials(&backend)).collect()).exit()
}

/// The text of a panic.
fn message(panic: &(dyn std::any::Any + Send)) -> Failed {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    Failed::from(text.unwrap_or("it panicked"))
}

/// The random numbers of a case. It prints the seed; [`SEED_VARIABLE`] sets it, to see a failure
/// again.
pub(crate) fn random(case: &str) -> fastrand::Rng {
    let given = std::env::var(SEED_VARIABLE).ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |seed| seed.parse().expect("the seed is a number"));
    eprintln!("seed of {case}: {SEED_VARIABLE}={seed}");
    fastrand::Rng::with_seed(seed)
}
