// SPDX-License-Identifier: Apache-2.0
//! Every promise of the contract, by a test's server: in process and through gRPC, with no socket. Over
//! sockets `wire.rs` has them, on the real binary.

mod worlds;

use std::fmt;
use std::time::Duration;

use device_api_client::Api;
use device_api_core::registry::{Registry, Verbs};
use device_api_core::resource::Gpu;
use device_api_core::testing::contract::{ContractCase, World, cases};
use device_api_server::testing::{FaultyVerbs, TestServer};
use libtest_mimic::{Arguments, Failed, Trial};

/// Longer than any case takes on the slowest machine: a case that is still running then hangs.
const HANGS: Duration = Duration::from_secs(180);

/// A server of the case's own, and the way to it.
struct Kit<V> {
    server: TestServer,
    api: fn(&TestServer) -> V,
}

impl<V> fmt::Debug for Kit<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kit").field("server", &self.server).finish_non_exhaustive()
    }
}

impl<V: Verbs<Gpu>> World for Kit<V> {
    type Api = V;

    fn api(&self) -> V {
        (self.api)(&self.server)
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let in_process = trials::<FaultyVerbs<Registry<Gpu>>>("in_process", TestServer::gpus);
    let through_grpc = trials::<Api<Gpu>>("through_grpc", worlds::through_grpc);
    libtest_mimic::run(&arguments, in_process.into_iter().chain(through_grpc).collect()).exit()
}

fn trials<V: Verbs<Gpu>>(way: &str, api: fn(&TestServer) -> V) -> Vec<Trial> {
    let trial = |case: ContractCase<Kit<V>>| Trial::test(format!("{way}::{}", case.name), move || run(&case, api));
    cases().into_iter().map(trial).collect()
}

fn run<V: Verbs<Gpu>>(case: &ContractCase<Kit<V>>, api: fn(&TestServer) -> V) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let kit = Kit { server: TestServer::builder().start().await, api };
        let ended = tokio::time::timeout(HANGS, case.run(&kit)).await;
        ended.map_err(|_| format!("it hangs: no end after {} s", HANGS.as_secs()).into())
    })
}
