// SPDX-License-Identifier: Apache-2.0
//! `Registry::get` in process.

use std::hint::black_box;
use std::time::Instant;

use device_api_core::registry::{Ledger, LedgerOptions, PostParams};
use device_api_core::resource::GpuStrategy;
use device_api_core::storage::Endpoint;
use device_api_server::datastore;

use crate::gpus;
use crate::plan::{Plan, median};
use crate::table::{Row, Target};

/// How many reads are timed together: far longer than reading the clock takes.
const BATCH: usize = 10_000;

pub fn get(plan: &Plan) -> Vec<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let storage = datastore::open(&Endpoint::parse("memory://").unwrap()).await.unwrap();
        let ledger = Ledger::open(storage, LedgerOptions::default()).await.unwrap();
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        let names: Vec<String> = (0..gpus::COUNT).map(gpus::name).collect();
        for index in 0..gpus::COUNT {
            gpus.create(&PostParams::default(), &gpus::gpu(index, 0)).await.unwrap();
        }
        let mut nanos = Vec::new();
        for _ in 0..plan.rounds * 10 {
            let start = Instant::now();
            for name in names.iter().cycle().take(BATCH) {
                black_box(gpus.get(black_box(name)).await.unwrap());
            }
            nanos.push(start.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        }
        let value = median(nanos.into_iter());
        let what = format!("Registry::get in process, one of {} GPUs", gpus::COUNT);
        let ours = format!("{value:.0} ns");
        vec![Row { what, ours, other: String::new(), value, unit: " ns", target: Target::Below(200.0) }]
    })
}
