// SPDX-License-Identifier: Apache-2.0
//! Every promise of the contract, through the client, a real socket and the real binary.

mod support;

use std::time::Duration;

use device_api_client::Api;
use device_api_core::resource::Gpu;
use device_api_core::testing::contract::{ContractCase, World, cases};
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

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(AT_ONCE));
    let trials = DATASTORES.iter().flat_map(|(datastore, flags)| {
        cases().into_iter().map(move |case| {
            let name = format!("wire::{datastore}::{}", case.name);
            Trial::test(name, move || run(&case, flags))
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit()
}

fn run(case: &ContractCase<Remote>, flags: &[&str]) -> Result<(), Failed> {
    let mut remote = Remote { daemon: Daemon::start(flags) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async { tokio::time::timeout(HANGS, case.run(&remote)).await });
    // Before the server is told to stop, so that no connection keeps it.
    drop(runtime);
    ended.map_err(|_| format!("it hangs: no end after {} s", HANGS.as_secs()))?;
    let status = remote.daemon.stop();
    if status.success() { Ok(()) } else { Err(format!("the server: {status}\n{}", remote.daemon.stderr()).into()) }
}
