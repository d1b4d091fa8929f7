// SPDX-License-Identifier: Apache-2.0
//! Calls that hang in the driver: the API answers meanwhile, and the server ends when it is told to.

use std::time::Duration;

use device_api_core::health::{Verdict, health};
use device_api_core::registry::ListParams;
use nvml_standin::{Outcome, Script};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::node::{NVML_READY, XID_HEALTHY, all_healthy, becomes, breaks, name, real, says, server};
use crate::process::Provider;
use crate::support::Daemon;
use crate::support::standin::Standin;

/// How long a server with nothing in flight may take to end, which has ten seconds for what is in flight.
const GRACE: Duration = Duration::from_secs(10);

fn hangs(standin: &Standin, function: &str, gpu: Option<usize>) {
    standin.changes(|script| {
        *script = match gpu {
            Some(gpu) => script.clone().with_gpu_fault(function, gpu, Outcome::Hangs),
            None => script.clone().with_fault(function, Outcome::Hangs),
        };
    });
}

/// Everybody is answered, and the server ends well and in time.
async fn assert_serves_and_ends(mut server: Daemon, gpus: usize) {
    let api = server.api();
    let answered = async {
        for gpu in api.list(&ListParams::default()).await.unwrap().items {
            api.get(&gpu.metadata.name).await.unwrap();
        }
        api.list(&ListParams::default()).await.unwrap().items.len()
    };
    assert_eq!(timeout(GRACE, answered).await.unwrap(), gpus);
    let begin = Instant::now();
    let status = server.stop();
    assert!(status.success(), "{status}");
    assert!(begin.elapsed() < GRACE, "it took {:?} to end", begin.elapsed());
}

#[tokio::test]
async fn an_init_that_hangs_makes_all_unknown_and_keeps_nobody_waiting() {
    let folder = TempDir::new().unwrap();
    let standin = Standin::new(&Script::with_gpus(2));
    let flags = real(&standin);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut server = Daemon::start_in(folder.path(), &flags);
    all_healthy(&server.api(), 2).await;
    assert!(server.stop().success());

    hangs(&standin, "nvmlInit_v2", None);
    let server = Daemon::start_in(folder.path(), &flags);
    for gpu in 0..2 {
        says(&server.api(), &name(gpu), &[(NVML_READY, "Unknown NVMLHung"), (XID_HEALTHY, "Unknown NVMLHung")]).await;
    }
    standin.changes(|script| script.faults.clear());
    for gpu in 0..2 {
        says(&server.api(), &name(gpu), &[(NVML_READY, "True Recovered")]).await;
    }
    hangs(&standin, "nvmlDeviceGetCount_v2", None);
    server.says("cannot list the GPUs").await;
    breaks(&standin, 1, 119);
    says(&server.api(), &name(1), &[(XID_HEALTHY, "False Xid119")]).await;
    says(&server.api(), &name(0), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
    assert_eq!(server.stderr().matches("cannot list the GPUs").count(), 1);
    assert_serves_and_ends(server, 2).await;
}

#[tokio::test]
async fn a_wait_for_events_that_hangs_makes_all_unknown_and_keeps_nobody_waiting() {
    let standin = Standin::new(&Script::with_gpus(2));
    let server = server(&real(&standin));
    all_healthy(&server.api(), 2).await;
    hangs(&standin, "nvmlEventSetWait_v2", None);
    for gpu in 0..2 {
        let gpu = says(&server.api(), &name(gpu), &[(NVML_READY, "Unknown NVMLHung")]).await;
        assert_eq!(health(&gpu).verdict, Verdict::Unknown);
    }
    standin.changes(|script| script.faults.clear());
    for gpu in 0..2 {
        says(&server.api(), &name(gpu), &[(NVML_READY, "True Recovered"), (XID_HEALTHY, "True NoXid")]).await;
    }
    breaks(&standin, 1, 119);
    says(&server.api(), &name(1), &[(XID_HEALTHY, "False Xid119")]).await;
    hangs(&standin, "nvmlEventSetWait_v2", None);
    says(&server.api(), &name(0), &[(NVML_READY, "Unknown NVMLHung")]).await;
    assert_serves_and_ends(server, 2).await;
}

#[tokio::test]
async fn a_query_that_hangs_takes_its_gpu_alone_and_the_others_report_meanwhile() {
    let standin = Standin::new(&Script::with_gpus(3));
    let server = server(&real(&standin));
    let gpus = server.api();
    all_healthy(&gpus, 3).await;
    hangs(&standin, "nvmlDeviceGetTemperature", Some(1));
    says(&gpus, &name(1), &[(NVML_READY, "Unknown NVMLHung"), (XID_HEALTHY, "Unknown NVMLHung")]).await;
    breaks(&standin, 2, 119);
    says(&gpus, &name(2), &[(NVML_READY, "False XidError"), (XID_HEALTHY, "False Xid119")]).await;
    // The one that hangs reports, too: that comes by another way.
    standin.xid(1, 79, None);
    says(&gpus, &name(1), &[(NVML_READY, "Unknown NVMLHung"), (XID_HEALTHY, "False Xid79")]).await;
    says(&gpus, &name(0), &[(NVML_READY, "True Healthy"), (XID_HEALTHY, "True NoXid")]).await;
    server.says("hangs").await;
    let log = server.stderr();
    let warnings = log.lines().filter(|line| line.contains(" WARN ") && line.contains("error=a call hangs")).count();
    assert_eq!(warnings, 1, "{log}");

    standin.changes(|script| script.faults.clear());
    becomes(&gpus, &name(1), |gpu| health(gpu).reasons.iter().all(|condition| condition.reason != "NVMLHung")).await;
    hangs(&standin, "*", Some(0));
    says(&gpus, &name(0), &[(NVML_READY, "Unknown NVMLHung")]).await;
    assert_serves_and_ends(server, 3).await;
}

#[tokio::test]
async fn a_provider_in_which_everything_hangs_ends_when_it_is_told_to() {
    let standin = Standin::new(&Script::with_gpus(1));
    let server = server(&["--nvml=off".to_owned()]);
    let provider = Provider::start(server.socket(), &real(&standin));
    all_healthy(&server.api(), 1).await;
    for function in ["nvmlDeviceGetCount_v2", "nvmlEventSetWait_v2", "nvmlDeviceGetTemperature", "nvmlShutdown"] {
        hangs(&standin, function, None);
    }
    says(&server.api(), &name(0), &[(NVML_READY, "Unknown NVMLHung")]).await;
    let begin = Instant::now();
    let status = provider.stop().await;
    assert!(status.success(), "{status}");
    assert!(begin.elapsed() < GRACE, "it took {:?} to end", begin.elapsed());
}
