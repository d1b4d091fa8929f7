// SPDX-License-Identifier: Apache-2.0
//! GPUs that report no events, and GPUs that have no name.

use device_api_core::registry::ListParams;
use nvml_standin::Script;

use crate::node::{NVML_READY, XID_HEALTHY, all_healthy, breaks, name, real, said, says, server};
use crate::support::standin::Standin;

#[tokio::test]
async fn a_gpu_that_reports_no_events_is_healthy_by_what_it_answers_and_says_so() {
    let mut script = Script::with_gpus(2);
    script.gpus[0].event_types = 0;
    let standin = Standin::new(&script);
    let server = server(&real(&standin));
    let gpus = all_healthy(&server.api(), 2).await;
    assert_eq!((said(&gpus[0], NVML_READY), said(&gpus[0], XID_HEALTHY)), ("True NoXidReports".into(), "-".into()));
    assert_eq!((said(&gpus[1], NVML_READY), said(&gpus[1], XID_HEALTHY)), ("True Healthy".into(), "True NoXid".into()));
    standin.changes(|script| script.gpus[0].recovery_action = Some(1));
    says(&server.api(), &name(0), &[("ResetRequired", "True GpuReset"), (XID_HEALTHY, "-")]).await;
}

#[tokio::test]
async fn a_uuid_that_cannot_be_a_name_is_said_once() {
    let mut script = Script::with_gpus(2);
    script.gpus[1].uuid = "N/A".to_owned();
    let standin = Standin::new(&script);
    let server = server(&real(&standin));
    all_healthy(&server.api(), 1).await;
    let words = "\"N/A\" cannot be the name of an object";
    server.says(words).await;
    // The list that tells of this fault is at least the second one.
    standin.changes(|script| script.gpus[0].minor_number = 7);
    crate::node::becomes(&server.api(), &name(0), |gpu| {
        gpu.status.device.as_ref().is_some_and(|device| device.minor_number == Some(7))
    })
    .await;
    breaks(&standin, 0, 119);
    says(&server.api(), &name(0), &[(XID_HEALTHY, "False Xid119")]).await;
    assert_eq!(server.stderr().matches(words).count(), 1, "{}", server.stderr());
    assert_eq!(server.api().list(&ListParams::default()).await.unwrap().items.len(), 1);
}
