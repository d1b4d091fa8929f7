// SPDX-License-Identifier: Apache-2.0
//! Whatever the driver answers, and however long: the program waits, and does not spin.

use std::time::Duration;

use device_api_core::registry::ListParams;
use nvml_standin::Script;

use crate::node::{NVML_READY, all_healthy, name, real, says, server};
use crate::outcomes::{
    DRIVER_NOT_LOADED, GPU_IS_LOST, NO_PERMISSION, NOT_FOUND, UNINITIALIZED, UNKNOWN, VERSION_MISMATCH,
};
use crate::process::load;
use crate::support::standin::Standin;

/// The part of a core that a program takes which spins is a hundred percent; the aim is one. This bound is for a debug build
/// of program and stand-in, which looks at its script two hundred times a second.
const BUSY: f64 = 15.0;

#[tokio::test]
async fn a_gpu_that_is_lost_for_ever_costs_next_to_nothing() {
    let standin = Standin::new(&Script::with_gpus(8));
    let server = server(&real(&standin));
    all_healthy(&server.api(), 8).await;
    let lost = || Script::with_gpus(8).with_gpu_fault("*", 3, GPU_IS_LOST);
    // Some drivers fail every wait for events then, some do not.
    for script in [lost(), lost().with_fault("nvmlEventSetWait_v2", GPU_IS_LOST)] {
        standin.plays(&script);
        says(&server.api(), &name(3), &[(NVML_READY, "False GPULost")]).await;
        let load = load(server.pid(), Duration::from_secs(5)).await;
        eprintln!("with a lost GPU: {load:.1} % of a core");
        assert!(load < BUSY, "{load:.1} % of a core");
    }
}

#[tokio::test]
async fn whichever_call_fails_for_ever_nothing_spins() {
    const FUNCTIONS: [&str; 8] = [
        "nvmlInit_v2",
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetUUID",
        "nvmlDeviceGetHandleByUUID",
        "nvmlDeviceGetTemperature",
        "nvmlEventSetCreate",
        "nvmlEventSetWait_v2",
    ];
    let outcomes = [UNINITIALIZED, NO_PERMISSION, NOT_FOUND, DRIVER_NOT_LOADED, GPU_IS_LOST, VERSION_MISMATCH, UNKNOWN];
    let mut tests = tokio::task::JoinSet::new();
    for outcome in outcomes {
        tests.spawn(async move {
            let standin = Standin::new(&Script::with_gpus(4));
            let server = server(&real(&standin));
            all_healthy(&server.api(), 4).await;
            let mut worst = (0.0, String::new());
            for (loads, function) in (1..).zip(FUNCTIONS) {
                // Everything is done anew, from the initialisation on.
                standin.plays(&Script { loads, ..Script::with_gpus(4) }.with_fault(function, outcome));
                let load = load(server.pid(), Duration::from_secs(3)).await;
                if load > worst.0 {
                    worst = (load, format!("{function} answers {outcome:?}"));
                }
                server.api().list(&ListParams::default()).await.unwrap();
            }
            // It has forgotten none of them.
            standin.plays(&Script { loads: 99, ..Script::with_gpus(4) });
            all_healthy(&server.api(), 4).await;
            worst
        });
    }
    for (load, case) in tests.join_all().await {
        eprintln!("{case}: {load:.1} % of a core");
        assert!(load < BUSY, "{case}: {load:.1} % of a core");
    }
}
