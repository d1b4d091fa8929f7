// SPDX-License-Identifier: Apache-2.0
//! Events, from NVML's set of events to the source.

use std::time::Duration;

use device_api_server::source::nvml::driver::{Driver, DriverError, Event, EventKind};
use nvml_standin::Script;
use tokio::time::timeout;

use crate::found;
use crate::outcomes::GPU_IS_LOST;
use crate::support::PATIENCE;
use crate::support::standin::{Standin, event, uuid};

#[tokio::test]
async fn an_xid_names_its_gpu_and_the_instance_that_it_is_about() {
    let standin = Standin::new(&Script::with_gpus(2));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    nvml.subscribe(&uuid(1)).await.unwrap();
    standin.xid(1, 94, Some((9, 2)));
    standin.xid(0, 79, None);
    let xid = |xid, gpu_instance_id, compute_instance_id| EventKind::Xid { xid, gpu_instance_id, compute_instance_id };
    assert_eq!(event(&nvml).await, (uuid(1), xid(94, Some(9), Some(2))));
    assert_eq!(event(&nvml).await, (uuid(0), xid(79, None, None)));
    nvml.shutdown().await;
}

#[tokio::test]
async fn each_type_of_event_is_told_apart() {
    let mut script = Script::with_gpus(1);
    script.gpus[0].event_types = 0xFFFF;
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    // Not asked for: a clock that changed.
    standin.reports(0, 0x10, 0, None);
    for (bit, kind) in [
        (0x1, EventKind::SingleBitEcc),
        (0x2, EventKind::DoubleBitEcc),
        (0x100, EventKind::MigConfigChanged),
        (0x4000, EventKind::RecoveryActionChanged),
        (0x8000, EventKind::RecoveryActionChanged),
    ] {
        standin.reports(0, bit, 0, None);
        assert_eq!(event(&nvml).await, (uuid(0), kind));
    }
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_xid_of_a_gpu_that_does_not_say_who_it_is_any_more_is_delivered() {
    let standin = Standin::new(&Script::with_gpus(2));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(1)).await.unwrap();
    standin.changes(|script| *script = script.clone().with_gpu_fault("*", 1, GPU_IS_LOST));
    standin.xid(1, 79, None);
    let kind = EventKind::Xid { xid: 79, gpu_instance_id: None, compute_instance_id: None };
    assert_eq!(event(&nvml).await, (uuid(1), kind));
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_event_that_comes_while_nobody_waits_is_kept() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    // A loop that looks at something else now and then drops its wait, which goes on in NVML for a moment.
    for xid in 1..=8 {
        timeout(Duration::from_millis(20), nvml.next_event(PATIENCE)).await.unwrap_err();
        standin.xid(0, xid, None);
        let EventKind::Xid { xid: found, .. } = event(&nvml).await.1 else { panic!("no XID") };
        assert_eq!(u64::from(found), xid);
    }
    nvml.shutdown().await;
}

#[tokio::test]
async fn an_event_that_came_before_another_initialisation_is_kept() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    let kept = async {
        loop {
            nvml.subscribe(&uuid(0)).await.unwrap();
            // A wait that is dropped goes on in NVML for a moment, and finds the XID, unless the moment was over.
            let _ = timeout(Duration::from_millis(20), nvml.next_event(PATIENCE)).await;
            standin.xid(0, 79, None);
            nvml.init().await.unwrap();
            if let Some(event) = nvml.next_event(Duration::ZERO).await.unwrap() {
                return event;
            }
        }
    };
    let kind = EventKind::Xid { xid: 79, gpu_instance_id: None, compute_instance_id: None };
    assert_eq!(timeout(PATIENCE, kept).await.unwrap(), Event { uuid: uuid(0), kind });
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_wait_for_events_ends_without_one() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    assert_eq!(nvml.next_event(Duration::ZERO).await, Ok(None));
    nvml.subscribe(&uuid(0)).await.unwrap();
    assert_eq!(nvml.next_event(Duration::from_millis(300)).await, Ok(None));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_gpu_without_xids_cannot_be_subscribed_to() {
    let mut script = Script::with_gpus(1);
    script.gpus[0].event_types = 0x3;
    let standin = Standin::new(&script);
    let nvml = standin.started().await;
    assert_eq!(nvml.subscribe(&uuid(0)).await, Err(DriverError::NotSupported));
    nvml.shutdown().await;
}

#[tokio::test]
async fn after_a_reload_gpus_are_found_in_their_new_order_and_report_again() {
    let standin = Standin::new(&Script::with_gpus(3));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(2)).await.unwrap();
    standin.changes(|script| {
        script.gpus.reverse();
        script.loads += 1;
    });
    assert!(nvml.list().await.is_err());
    nvml.init().await.unwrap();
    assert_eq!(nvml.list().await, Ok(vec![found(0, 2), found(1, 1), found(2, 0)]));
    assert_eq!(nvml.describe(&uuid(2)).await.unwrap().device.index, Some(0));
    // Subscriptions are forgotten, and the place of the one is now another's.
    standin.xid(0, 13, None);
    assert_eq!(nvml.next_event(Duration::from_millis(50)).await, Ok(None));
    nvml.subscribe(&uuid(2)).await.unwrap();
    standin.xid(0, 31, None);
    let kind = EventKind::Xid { xid: 31, gpu_instance_id: None, compute_instance_id: None };
    assert_eq!(event(&nvml).await, (uuid(2), kind));
    nvml.shutdown().await;
}
