// SPDX-License-Identifier: Apache-2.0
//! Every promise of the contract, through the client, a real socket and the real binary.

mod support;

use std::time::Duration;

use device_api_client::{Api, LeaseApi};
use device_api_core::resource::Gpu;
use device_api_core::testing::contract::{World, cases};
use device_api_core::testing::leases::{LeaseWorld, lease_cases};
use libtest_mimic::{Arguments, Failed, Trial};
use support::Daemon;

/// Longer than any case takes on the slowest machine: a case that is still running then hangs.
const HANGS: Duration = Duration::from_secs(180);

/// How many cases run at once unless the arguments say: most of them wait most of the time.
const AT_ONCE: usize = 8;

/// Both datastores, with the flags that choose them.
const DATASTORES: [(&str, &[&str]); 2] = [("sqlite", &[]), ("memory", &["--datastore-endpoint=memory://"])];

/// A server of the case's own, in a folder of its own.
#[derive(Debug)]
struct Remote {
    daemon: Daemon,
}

impl World for Remote {
    type Api = Api<Gpu>;

    fn api(&self) -> Api<Gpu> {
        self.daemon.api()
    }
}

impl LeaseWorld for Remote {
    type Leases = LeaseApi;

    fn leases(&self) -> LeaseApi {
        LeaseApi::new(self.daemon.client())
    }
}

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let trials = DATASTORES.iter().flat_map(|(datastore, flags)| {
        let contract = cases().into_iter().map(move |case| {
            let name = format!("wire::{datastore}::{}", case.name);
            Trial::test(name, move || run(flags, async |remote| case.run(remote).await))
        });
        let leases = lease_cases().into_iter().map(move |case| {
            let name = format!("wire::{datastore}::leases::{}", case.name);
            Trial::test(name, move || run(flags, async |remote| case.run(remote).await))
        });
        contract.chain(leases)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit()
}

fn run(flags: &[&str], case: impl AsyncFnOnce(&Remote)) -> Result<(), Failed> {
    let mut remote = Remote { daemon: Daemon::start(flags) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async { tokio::time::timeout(HANGS, case(&remote)).await });
    // Before the server is told to stop, so that no connection keeps it.
    drop(runtime);
    ended.map_err(|_| format!("it hangs: no end after {} s", HANGS.as_secs()))?;
    let status = remote.daemon.stop();
    if status.success() { Ok(()) } else { Err(format!("the server: {status}\n{}", remote.daemon.stderr()).into()) }
}
