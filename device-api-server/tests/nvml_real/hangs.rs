// SPDX-License-Identifier: Apache-2.0
//! Calls that hang in NVML's library: they keep nobody else waiting, and are known by name.

use std::time::Duration;

use device_api_server::source::nvml::driver::{Driver, DriverError, EventKind};
use device_api_server::source::nvml::real::Nvml;
use nvml_standin::{Outcome, Script};
use tokio::time::{sleep, timeout};

use crate::support::PATIENCE;
use crate::support::standin::{Standin, event, uuid};

/// How long these tests wait for a call that hangs; a source waits longer.
const GIVE_UP: Duration = Duration::from_millis(300);

fn hangs(standin: &Standin, function: &str, gpu: Option<usize>) {
    standin.changes(|script| {
        *script = match gpu {
            Some(gpu) => script.clone().with_gpu_fault(function, gpu, Outcome::Hangs),
            None => script.clone().with_fault(function, Outcome::Hangs),
        };
    });
}

/// Asks and gives up, until it is told that something hangs.
async fn told<T: std::fmt::Debug>(call: impl AsyncFn() -> Result<T, DriverError>) -> DriverError {
    let told = async {
        loop {
            if let Ok(answer) = timeout(GIVE_UP, call()).await {
                return answer.unwrap_err();
            }
        }
    };
    timeout(PATIENCE, told).await.unwrap()
}

/// Asks until what hung has returned, and answers with that.
async fn answered<T>(call: impl AsyncFn() -> Result<T, DriverError>) -> Result<T, DriverError> {
    let answer = async {
        loop {
            match call().await {
                Err(DriverError::Hung { .. }) => sleep(Duration::from_millis(5)).await,
                other => return other,
            }
        }
    };
    timeout(PATIENCE, answer).await.unwrap()
}

#[tokio::test]
async fn a_query_that_hangs_keeps_only_its_gpu_from_answering() {
    let standin = Standin::new(&Script::with_gpus(2));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    hangs(&standin, "nvmlDeviceGetTotalEccErrors", Some(0));
    let hung = DriverError::Hung { call: "the vitals of a GPU" };
    assert_eq!(told(async || nvml.vitals(&uuid(0)).await).await, hung);
    assert_eq!(nvml.describe(&uuid(0)).await, Err(hung));
    nvml.vitals(&uuid(1)).await.unwrap();
    assert_eq!(nvml.list().await.unwrap().len(), 2);
    standin.xid(0, 79, None);
    let kind = EventKind::Xid { xid: 79, gpu_instance_id: None, compute_instance_id: None };
    assert_eq!(event(&nvml).await, (uuid(0), kind));

    standin.plays(&Script::with_gpus(2));
    answered(async || nvml.vitals(&uuid(0)).await).await.unwrap();
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_call_that_hangs_does_not_keep_nvml_from_being_initialised_anew() {
    let standin = Standin::new(&Script::with_gpus(2));
    let nvml = standin.started().await;
    hangs(&standin, "nvmlDeviceGetTemperature", Some(0));
    told(async || nvml.vitals(&uuid(0)).await).await;
    nvml.init().await.unwrap();
    nvml.vitals(&uuid(1)).await.unwrap();
    assert_eq!(nvml.vitals(&uuid(0)).await, Err(DriverError::Hung { call: "the vitals of a GPU" }));

    standin.plays(&Script::with_gpus(2));
    answered(async || nvml.vitals(&uuid(0)).await).await.unwrap();
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_init_that_hangs_is_told_at_once_to_the_next_one_until_it_returns() {
    let standin = Standin::new(&Script::with_gpus(1));
    hangs(&standin, "nvmlInit_v2", None);
    let nvml = Nvml::new(standin.options());
    let hung = DriverError::Hung { call: "nvmlInit_v2" };
    assert_eq!(told(async || nvml.init().await).await, hung);
    assert_eq!(nvml.list().await, Err(hung));

    standin.plays(&Script::with_gpus(1));
    answered(async || nvml.init().await).await.unwrap();
    assert_eq!(nvml.list().await.unwrap().len(), 1);
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_wait_for_events_that_hangs_is_noticed_and_gpus_still_answer() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    hangs(&standin, "nvmlEventSetWait_v2", None);
    // It was asked to wait, and is known to hang once it is late.
    let hung = DriverError::Hung { call: "nvmlEventSetWait_v2" };
    assert_eq!(told(async || nvml.next_event(PATIENCE).await).await, hung);
    nvml.vitals(&uuid(0)).await.unwrap();

    standin.plays(&Script::with_gpus(1));
    answered(async || nvml.next_event(Duration::ZERO).await).await.unwrap();
    standin.xid(0, 13, None);
    assert!(nvml.next_event(PATIENCE).await.unwrap().is_some());
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_wait_that_hung_delivers_nothing_after_a_new_beginning() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    hangs(&standin, "nvmlEventSetWait_v2", None);
    told(async || nvml.next_event(PATIENCE).await).await;
    nvml.init().await.unwrap();

    // It returns, with an event or without, for a subscription that is forgotten.
    standin.xid(0, 13, None);
    standin.changes(|script| script.faults.clear());
    let nothing = answered(async || nvml.next_event(Duration::ZERO).await).await;
    assert_eq!(nothing, Ok(None));
    standin.xid(0, 31, None);
    assert_eq!(nvml.next_event(Duration::from_millis(50)).await, Ok(None));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_what_hangs() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    hangs(&standin, "nvmlEventSetWait_v2", None);
    hangs(&standin, "nvmlDeviceGetTemperature", Some(0));
    told(async || nvml.vitals(&uuid(0)).await).await;
    told(async || nvml.next_event(PATIENCE).await).await;
    timeout(PATIENCE, nvml.shutdown()).await.unwrap();
    assert_eq!(nvml.list().await, Err(DriverError::Uninitialized));

    // What hung returns, and the last of it shuts NVML down; dropped before, nothing waits either.
    drop(nvml);
    standin.plays(&Script::with_gpus(1));
    let library = standin.library().display().to_string();
    let gone = async {
        while std::fs::read_to_string("/proc/self/maps").unwrap().contains(&library) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
