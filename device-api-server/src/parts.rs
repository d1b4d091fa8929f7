// SPDX-License-Identifier: Apache-2.0
//! What runs beside the services for as long as the server does: a part that ends before is begun anew, and health
//! says that it is not there.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::time::Duration;

use device_api_core::Result;
use device_api_core::lease::Leases;
use device_api_core::registry::Registry;
use device_api_core::resource::Resource;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::error::{ServerError, panic_text};
use crate::source::pause::Backoff;

/// The pause before a source begins anew, at first and at most. At most longer than a source's lease usually is: what
/// one claims that ends again and again is Unknown for most of the time.
const OF_SOURCES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// The pause before a keeper begins anew. Nobody else notices that a provider is lost.
const OF_KEEPERS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long the server goes on without a keeper that a bug ends each time. Then a start of the process is what is left.
const WITHOUT_A_KEEPER: Duration = Duration::from_secs(60);

/// The parts that are not there, by number, and whose health that is.
pub(crate) type Absent = BTreeMap<usize, Feeds>;

/// The services whose answers may be wrong while a part is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feeds {
    All,
    Service(&'static str),
}

impl Feeds {
    /// Whether a service is among them; the whole server, which has no name, always is.
    pub(crate) fn concerns(self, service: &str) -> bool {
        match self {
            Self::All => true,
            Self::Service(name) => service.is_empty() || service == name,
        }
    }
}

type Running = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A part of the server.
pub(crate) struct Part {
    name: String,
    feeds: Feeds,
    /// Before it begins anew, at first and at most.
    pauses: (Duration, Duration),
    /// How long nothing else goes on without it; `None`: for ever.
    patience: Option<Duration>,
    begin: Box<dyn Fn(CancellationToken) -> Running + Send + Sync>,
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Part {
    /// A source of the objects of this service. The server goes on without it: it has a lease, which runs out.
    pub(crate) fn source<F>(
        name: &str,
        service: &'static str,
        begin: impl Fn(CancellationToken) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self {
            name: format!("source {name}"),
            feeds: Feeds::Service(service),
            pauses: OF_SOURCES,
            patience: None,
            begin: Box::new(move |stop| Box::pin(begin(stop).map(Ok))),
        }
    }

    /// The keeper of these objects' conditions.
    pub(crate) fn keeper<R: Resource>(leases: &Leases, objects: Registry<R>) -> Self {
        let leases = leases.clone();
        let begin = move |stop: CancellationToken| {
            let (leases, objects) = (leases.clone(), objects.clone());
            let keeping = async move {
                leases.try_keep(objects).await?;
                // The ledger is closed, so there is nothing to keep.
                stop.cancelled().await;
                Ok(())
            };
            Box::pin(keeping) as Running
        };
        Self {
            name: format!("keeper of {}", R::PLURAL),
            feeds: Feeds::All,
            pauses: OF_KEEPERS,
            patience: Some(WITHOUT_A_KEEPER),
            begin: Box::new(begin),
        }
    }

    /// Runs it until it ends after it was told to stop, and begins it anew where it ends before.
    ///
    /// It is among the `absent` from its end on until it has run again for as long as the pause was: what ends as soon
    /// as it begins is not there.
    ///
    /// # Errors
    /// When the server is not to go on without it any longer.
    pub(crate) async fn run(
        self,
        number: usize,
        stop: CancellationToken,
        absent: watch::Sender<Absent>,
    ) -> Result<(), ServerError> {
        let mut backoff = Backoff::new(self.pauses);
        let mut pause = Duration::ZERO;
        let mut since = None;
        let mut said: Option<String> = None;
        loop {
            let began = Instant::now();
            let ended = {
                // What it holds, such as a lease that it renews, goes with it.
                let mut running = pin!(AssertUnwindSafe(async { (self.begin)(stop.clone()).await }).catch_unwind());
                tokio::select! {
                    ended = &mut running => ended,
                    () = sleep(pause), if since.is_some() => {
                        since = None;
                        absent.send_modify(|absent| absent.retain(|other, _| *other != number));
                        tracing::info!(part = self.name, "it is there again");
                        running.await
                    }
                }
            };
            if stop.is_cancelled() {
                return Ok(());
            }
            let (why, is_bug) = match ended {
                Ok(Ok(())) => ("it returned".to_owned(), true),
                Ok(Err(error)) => (error.to_string(), false),
                Err(panic) => (format!("it panicked: {}", panic_text(&*panic)), true),
            };
            if began.elapsed() > self.pauses.1 {
                backoff.reset();
            }
            absent.send_modify(|absent| absent.extend([(number, self.feeds)]));
            // Of trouble that lasts, such as a full disk, the log has one line.
            let is_said = since.is_some() && said.as_ref() == Some(&why);
            let away = since.get_or_insert_with(Instant::now).elapsed();
            if is_bug && self.patience.is_some_and(|patience| away >= patience) {
                tracing::error!(part = self.name, why, ?away, "a part of the server cannot be kept up");
                return Err(ServerError::PartLost { part: self.name });
            }
            pause = backoff.next();
            if is_said {
                tracing::debug!(part = self.name, why, ?pause, "a part of the server ended again: beginning it anew");
            } else {
                tracing::error!(
                    part = self.name,
                    why,
                    ?pause,
                    "a part of the server ended before its time: beginning it anew"
                );
            }
            said = Some(why);
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
