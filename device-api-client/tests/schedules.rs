// SPDX-License-Identifier: Apache-2.0
//! Reflectors under a thousand random schedules of faults.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)] // clippy.toml's exception for tests does not reach their functions

mod node;
mod schedule;

use schedule::{Seen, run};

/// Replays one schedule, by the seed that it printed.
const SEED_VARIABLE: &str = "DEVICE_API_SEED";
const SCHEDULES: u64 = 1000;

#[test]
fn after_any_faults_the_store_is_the_servers_and_no_change_is_lost_or_told_twice() {
    let (first, count) = match std::env::var(SEED_VARIABLE) {
        Ok(seed) => (seed.parse().unwrap(), 1),
        Err(_) => (fastrand::u64(..u64::MAX - SCHEDULES), SCHEDULES),
    };
    let mut seen = Seen::default();
    for seed in first..first + count {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(run(seed))));
        match ran {
            Ok(one) => seen.add(&one),
            Err(panic) => {
                eprintln!("to replay this failure: {SEED_VARIABLE}={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    eprintln!("{count} schedules from seed {first}: {seen:?}");
    // What never happened was not tested.
    assert!(count == 1 || seen.is_all_above(100), "{seen:?}");
}
