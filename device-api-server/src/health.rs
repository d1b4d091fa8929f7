// SPDX-License-Identifier: Apache-2.0
//! What health (`grpc.health.v1`) says of the server and of each of its services.

use device_api_core::registry::{Ledger, LedgerState};
use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health as HealthApi, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

/// What health says. It says the same of every service, since they have one ledger.
#[derive(Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<&'static str>,
}

impl Health {
    /// Of these services and of the server, each SERVING; and the service that says it.
    pub(crate) async fn of(names: &[&'static str]) -> (Self, HealthServer<impl HealthApi>) {
        let (reporter, service) = health_reporter();
        let health = Self { reporter, names: names.iter().copied().chain([""]).collect() };
        health.say(ServingStatus::Serving).await;
        (health, service)
    }

    /// Says this of all.
    pub(crate) async fn say(&self, status: ServingStatus) {
        for name in &self.names {
            self.reporter.set_service_status(*name, status).await;
        }
    }

    /// Says whether the ledger takes writes and new clients find the server, until the ledger is closed.
    pub(crate) async fn follow(&self, ledger: &Ledger, mut reachable: watch::Receiver<bool>) {
        let mut state = ledger.state();
        loop {
            let now = *state.borrow_and_update();
            let is_reachable = *reachable.borrow_and_update();
            self.say(match (now, is_reachable) {
                (LedgerState::Open, true) => ServingStatus::Serving,
                _ => ServingStatus::NotServing,
            })
            .await;
            if matches!(now, LedgerState::Closed | LedgerState::Failed) {
                return;
            }
            tokio::select! {
                changed = state.changed() => if changed.is_err() { return },
                Ok(()) = reachable.changed() => {}
            }
        }
    }
}
