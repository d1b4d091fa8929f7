// SPDX-License-Identifier: Apache-2.0
//! Holds a source's lease: as long as it is renewed, the API believes what the source has said.

use std::time::Duration;

use device_api_core::lease::{AcquireLease, LeaseState, LeaseVerbs, unique_identity};
use tokio::sync::watch;
use tokio::time::sleep;

use super::merge::Ownership;
use super::pause::{Backoff, jittered};

/// The pause after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Holds the lease and says through `held` whether it does; ends when nobody listens.
///
/// The newest process of a source wins, so that a restart takes effect at once. The one that was replaced stands
/// by: it acquires the lease again only when it has become free.
pub(super) async fn hold<L: LeaseVerbs>(
    leases: L,
    ownership: Ownership,
    duration: Duration,
    held: watch::Sender<bool>,
) {
    // The identity finds a lease again whose id the source was not told of.
    let wanted = AcquireLease::new(ownership.source)
        .with_holder_identity(unique_identity())
        .with_duration(duration)
        .with_condition_types(ownership.condition_types.iter().copied());
    let mut current: Option<String> = None;
    let mut backoff = Backoff::new(RETRY);
    let mut may_take_over = true;
    while !held.is_closed() {
        let request = match &current {
            Some(id) => wanted.clone().with_id(id),
            None if may_take_over => wanted.clone().take_over(),
            None => wanted.clone(),
        };
        let pause = match leases.acquire(&request).await {
            Ok(lease) => {
                if current.is_none() {
                    tracing::info!(lease = lease.name, "acquired the lease");
                }
                if current.is_some() && lease.state == LeaseState::Expired {
                    tracing::warn!(lease = lease.name, "the lease had expired: declaring everything anew");
                    say(&held, false);
                }
                current = Some(lease.id);
                say(&held, true);
                backoff.reset();
                jittered(duration / 3)
            }
            Err(error) if error.is_conflict() => {
                if current.is_some() || may_take_over {
                    tracing::warn!(lease = ownership.source, %error, "another process has the lease: standing by");
                }
                may_take_over = false;
                current = None;
                say(&held, false);
                jittered(duration / 3)
            }
            // The server has lost what it knew of us.
            Err(error) if error.is_not_found() && current.is_some() => {
                current = None;
                say(&held, false);
                continue;
            }
            Err(error) => {
                let pause = backoff.next();
                tracing::warn!(lease = ownership.source, %error, ?pause, "cannot renew the lease");
                pause
            }
        };
        sleep(pause).await;
    }
}

/// Says whether the lease is held, where that is news: it makes the listener look at all objects anew.
fn say(held: &watch::Sender<bool>, is_held: bool) {
    held.send_if_modified(|known| std::mem::replace(known, is_held) != is_held);
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
