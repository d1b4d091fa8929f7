// SPDX-License-Identifier: Apache-2.0
//! The devices of the node as a bridge tells of them: what the reflector holds, judged.

use std::sync::Arc;
use std::time::Duration;

use device_api_client::core::health::{Polarities, Verdict};
use device_api_client::core::resource::{Condition, Gpu};
use device_api_client::{Store, Subscription};
use futures_util::{Stream, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How long the server may say nothing before nobody can say how a device is. A server with default options sends a bookmark
/// every 60 s; what is more than that is for its restarts, over which nothing should change.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked whether the server is silent for too long, or a report is due.
const BEAT: Duration = Duration::from_secs(1);

/// How long a DNS label may be, in bytes.
const MAX_LABEL: usize = 63;

/// All devices; cheap to clone. All bridges of a process read one reflector.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    store: Store<Gpu>,
    polarities: Arc<Polarities>,
}

/// One device, and how it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Device {
    pub(crate) gpu: Arc<Gpu>,
    pub(crate) verdict: Verdict,
    /// The conditions that stand against it.
    pub(crate) reasons: Vec<Condition>,
    /// Verdict and reasons, in one line for people.
    pub(crate) why: String,
}

impl Device {
    /// What Kubernetes calls the device, in slices, claims and health alike: a DNS label, where the API has subdomains.
    ///
    /// A name that is none is cut and loses its dots, and a hash of it all keeps it apart from others: two devices of one
    /// name, and the API server refuses the slice. The hash, FNV-1a, must stay as it is, since claims have the name.
    pub(crate) fn label(&self) -> String {
        let name = self.gpu.metadata.name.as_str();
        if name.len() <= MAX_LABEL && !name.contains('.') {
            return name.to_owned();
        }
        let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = format!("-{:016x}", name.bytes().fold(0xcbf2_9ce4_8422_2325, step));
        let start: String = name.replace('.', "-").chars().take(MAX_LABEL - hash.len()).collect();
        start + &hash
    }
}

impl Devices {
    pub(crate) fn new(store: Store<Gpu>, polarities: Polarities) -> Self {
        Self { store, polarities: Arc::new(polarities) }
    }

    /// How they are now. Silence is not health: while the server is out of reach, nobody can say.
    pub(crate) fn list(&self) -> Vec<Device> {
        let is_lost = self.store.last_contact().is_none_or(|age| age > PATIENCE);
        let device = |gpu: Arc<Gpu>| match is_lost {
            false => {
                let health = self.polarities.judge(&gpu.status.conditions);
                Device { verdict: health.verdict, why: health.to_string(), reasons: health.reasons, gpu }
            }
            true => {
                let why = "Unknown: the Device API's server is out of reach".to_owned();
                Device { verdict: Verdict::Unknown, why, reasons: Vec::new(), gpu }
            }
        };
        self.store.list().into_iter().map(device).collect()
    }

    /// What `tell` makes of them: as soon as all are known, whenever it comes to something else, and at the latest after
    /// `repeat`. It ends with the reflector. Nothing piles up where it is not read.
    pub(crate) fn follow<T, F>(&self, repeat: Option<Duration>, tell: F) -> impl Stream<Item = T> + Send + use<T, F>
    where
        T: Clone + PartialEq + Send,
        F: Fn(&[Device]) -> T + Send,
    {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let follower =
            Follower { devices: self.clone(), changes: self.store.subscribe(), beat, repeat, tell, told: None };
        stream::unfold(follower, |mut follower| async move {
            let told = follower.next().await?;
            Some((told, follower))
        })
    }
}

struct Follower<T, F> {
    devices: Devices,
    changes: Subscription<Gpu>,
    beat: Interval,
    repeat: Option<Duration>,
    tell: F,
    /// The last word, and when.
    told: Option<(T, Instant)>,
}

impl<T: Clone + PartialEq, F: Fn(&[Device]) -> T> Follower<T, F> {
    async fn next(&mut self) -> Option<T> {
        loop {
            tokio::select! {
                change = self.changes.next() => drop(change?),
                _ = self.beat.tick() => if !self.devices.store.is_ready() { continue },
            }
            let word = (self.tell)(&self.devices.list());
            let is_due = self
                .told
                .as_ref()
                .is_none_or(|(told, at)| *told != word || self.repeat.is_some_and(|repeat| at.elapsed() >= repeat));
            if is_due {
                self.told = Some((word.clone(), Instant::now()));
                return Some(word);
            }
        }
    }
}
