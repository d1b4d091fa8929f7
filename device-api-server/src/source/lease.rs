// SPDX-License-Identifier: Apache-2.0
//! A source's lease: as long as it is renewed, the API believes what the source has said.

use std::time::Duration;

use device_api_client::LeaseHolder;
use device_api_core::lease::{AcquireLease, LeaseVerbs};
use tokio::sync::watch;

use super::doubt::Doubted;
use super::merge::Ownership;

/// Holds the lease and says through `held` whether it does; ends when nobody listens.
///
/// The newest process of a source wins, so that a restart takes effect at once. The one that was replaced stands
/// by: it acquires the lease again only when it has become free.
pub(super) async fn hold<L: LeaseVerbs>(
    leases: L,
    ownership: Ownership,
    duration: Duration,
    held: watch::Sender<bool>,
    mut doubted: Doubted,
) {
    let request = AcquireLease::new(ownership.source)
        .with_duration(duration)
        .with_condition_types(ownership.condition_types.iter().copied())
        .take_over();
    let mut holder = LeaseHolder::new(leases, request).standing_by();
    let tenure = holder.tenure();
    let telling = async {
        loop {
            let number = tenure.number();
            if tenure.is_held() {
                // One that had expired and is held again is news, too: the listener looks at all objects anew.
                held.send_replace(true);
                tenure.ended(number).await;
            } else {
                held.send_if_modified(|known| std::mem::replace(known, false));
                tenure.renumbered(number).await;
            }
        }
    };
    let mut confirmed = tenure.clone();
    let answering = async {
        loop {
            doubted.asked().await;
            let question = doubted.question();
            confirmed.confirm().await;
            doubted.answer(question);
        }
    };
    tokio::select! {
        () = held.closed() => {}
        _ = holder.hold() => {}
        () = telling => {}
        () = answering => {}
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
