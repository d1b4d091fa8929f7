// SPDX-License-Identifier: Apache-2.0
//! What health (`grpc.health.v1`) says of the server and of each of its services.

use device_api_core::registry::{Ledger, LedgerState};
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use crate::parts::Absent;

/// What health says of each service and, without a name, of the server. They have one ledger, and parts of their own.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    /// What it said last of each.
    said: Vec<(&'static str, ServingStatus)>,
}

impl Health {
    /// Of these services and of the server, each SERVING; and the service that says it.
    pub(crate) async fn of(names: &[&'static str]) -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = health_reporter();
        let said = names.iter().copied().chain([""]).map(|name| (name, ServingStatus::Unknown)).collect();
        let mut health = Self { reporter, said };
        health.say(|_| true).await;
        (health, service)
    }

    /// Says NOT_SERVING of all.
    pub(crate) async fn end(&mut self) {
        self.say(|_| false).await;
    }

    /// Says this of each, where it is news.
    async fn say(&mut self, is_serving: impl Fn(&str) -> bool) {
        for (name, said) in &mut self.said {
            let now = if is_serving(name) { ServingStatus::Serving } else { ServingStatus::NotServing };
            if std::mem::replace(said, now) != now {
                self.reporter.set_service_status(*name, now).await;
            }
        }
    }

    /// Says whether the ledger takes writes, new clients find the server, and all is there that a service needs, until the ledger
    /// is closed.
    pub(crate) async fn follow(
        &mut self,
        ledger: &Ledger,
        mut reachable: watch::Receiver<bool>,
        mut absent: watch::Receiver<Absent>,
    ) {
        let mut state = ledger.state();
        loop {
            let now = *state.borrow_and_update();
            let is_reachable = *reachable.borrow_and_update();
            let missing = absent.borrow_and_update().clone();
            let is_missed = |name: &str| missing.values().any(|feeds| feeds.concerns(name));
            self.say(|name| now == LedgerState::Open && is_reachable && !is_missed(name)).await;
            if matches!(now, LedgerState::Closed | LedgerState::Failed) {
                return;
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                Ok(()) = reachable.changed() => {}
                Ok(()) = absent.changed() => {}
            }
        }
    }
}
