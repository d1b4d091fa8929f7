// SPDX-License-Identifier: Apache-2.0
//! Calls to the driver about one GPU, each with a time limit.

use std::sync::Arc;
use std::time::Duration;

use device_api_core::resource::GpuTelemetry;
use tokio::time::timeout;

use super::driver::{Description, Driver, DriverError, Found, Vitals};

/// What came of a call.
pub(super) enum Answer {
    Listed(Result<Vec<Found>, DriverError>),
    Inspected { uuid: String, inspection: Box<Inspection> },
    Measured { uuid: String, outcome: Box<Result<GpuTelemetry, DriverError>> },
}

/// What a GPU is asked beside its vitals.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Questions {
    pub(super) describe: bool,
    pub(super) subscribe: bool,
}

/// What it said, as far as it was asked. After a call that hangs it is not asked further.
#[derive(Default)]
pub(super) struct Inspection {
    pub(super) subscription: Option<Result<(), DriverError>>,
    pub(super) description: Option<Result<Description, DriverError>>,
    pub(super) vitals: Option<Result<Vitals, DriverError>>,
}

/// Asks a GPU. Its events are subscribed to first, so that nothing falls between them and its vitals.
pub(super) async fn inspect(driver: Arc<dyn Driver>, uuid: String, questions: Questions, limit: Duration) -> Answer {
    let mut inspection = Inspection::default();
    let hung = 'asked: {
        if questions.subscribe {
            let Ok(outcome) = timeout(limit, driver.subscribe(&uuid)).await else { break 'asked Some("subscribe") };
            inspection.subscription = Some(outcome);
        }
        if questions.describe {
            let Ok(outcome) = timeout(limit, driver.describe(&uuid)).await else { break 'asked Some("describe") };
            inspection.description = Some(outcome);
        }
        let Ok(outcome) = timeout(limit, driver.vitals(&uuid)).await else { break 'asked Some("vitals") };
        inspection.vitals = Some(outcome);
        None
    };
    if let Some(call) = hung {
        inspection.vitals = Some(Err(DriverError::Hung { call }));
    }
    Answer::Inspected { uuid, inspection: Box::new(inspection) }
}
