// SPDX-License-Identifier: Apache-2.0
//! Writes on SQLite with `synchronous=FULL`, beside one transaction for each write.

use std::path::Path;
use std::sync::Arc;

use device_api_core::registry::{Ledger, LedgerOptions, PostParams, Registry};
use device_api_core::resource::{Gpu, GpuStrategy};
use device_api_core::storage::Endpoint;
use device_api_server::datastore;
use tempfile::TempDir;

use crate::callers::{self, Callers};
use crate::calls::{Calls, Server};
use crate::echo::Echo;
use crate::gpus;
use crate::one_by_one::OneByOne;
use crate::plan::{Pair, Plan};
use crate::serving::{answers, create_gpus};
use crate::support::Daemon;
use crate::table::{Row, Target, rate};

const CALLERS: usize = 64;

/// Both databases are on the disk of the build, where a sync is one: a folder for temporary files is
/// often in memory.
fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub fn sqlite(plan: &Plan) -> Vec<Row> {
    vec![in_process(plan), over_the_socket(plan)]
}

fn row(what: &str, Pair { ours, other, ratio }: Pair) -> Row {
    Row {
        what: format!("UpdateGpuStatus, SQLite, {CALLERS} callers, {what}"),
        ours: rate(ours),
        other: format!("one transaction each: {}", rate(other)),
        value: ratio,
        unit: "",
        target: Target::AtLeast(8.0),
    }
}

fn over_the_socket(plan: &Plan) -> Row {
    let folder = folder();
    let endpoint = format!("--datastore-endpoint={}", url(folder.path()));
    let daemon = Daemon::start(&[&endpoint]);
    callers::runtime().block_on(async {
        let ours = Server::connect(daemon.socket(), 4).await;
        create_gpus(&ours).await;
        let (get, update) = answers(&ours).await;
        let echo = Echo::start(&get, &update, Some(&folder.path().join("one.db")));
        let other = Server::connect(&echo.socket(), 4).await;
        let calls = Calls::update(CALLERS);
        let pair = plan
            .alternate(async |slice| ours.rate(&calls, slice).await, async |slice| other.rate(&calls, slice).await)
            .await;
        row("over the socket", pair)
    })
}

fn in_process(plan: &Plan) -> Row {
    let folder = folder();
    callers::runtime().block_on(async {
        let gpus = registry(folder.path()).await;
        let one_by_one = Arc::new(OneByOne::open(&folder.path().join("one.db")).await);
        let callers = Callers::new(CALLERS);
        let pair = plan
            .alternate(
                async |slice| {
                    let gpus = gpus.clone();
                    let write = move |caller, turn| replace_status(gpus.clone(), gpus::gpu(caller, turn));
                    callers.rate(slice, write).await
                },
                async |slice| {
                    let one_by_one = Arc::clone(&one_by_one);
                    let write = move |caller, turn| write_one(Arc::clone(&one_by_one), gpus::gpu(caller, turn));
                    callers.rate(slice, write).await
                },
            )
            .await;
        gpus.ledger().close().await.unwrap();
        row("in process", pair)
    })
}

fn url(folder: &Path) -> String {
    format!("sqlite://{}/state.db?synchronous=full", folder.display())
}

async fn registry(folder: &Path) -> Registry<Gpu> {
    let storage = datastore::open(&Endpoint::parse(&url(folder)).unwrap()).await.unwrap();
    let ledger = Ledger::open(storage, LedgerOptions::default()).await.unwrap();
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    for index in 0..CALLERS {
        gpus.create(&PostParams::default(), &gpus::gpu(index, 0)).await.unwrap();
    }
    gpus
}

async fn replace_status(gpus: Registry<Gpu>, gpu: Gpu) {
    gpus.replace_status(&gpu.metadata.name, &PostParams::default(), &gpu).await.unwrap();
}

async fn write_one(one_by_one: Arc<OneByOne>, gpu: Gpu) {
    one_by_one.write(&serde_json::to_vec(&gpu).unwrap()).await;
}
