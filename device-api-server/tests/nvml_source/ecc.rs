// SPDX-License-Identifier: Apache-2.0
//! Whether memory errors are of consequence is the driver's to say, and hangs neither on what is left of the XIDs nor on what
//! the store has kept.

use device_api_core::health::{Verdict, health};
use device_api_core::resource::Gpu;

use crate::bench::{Api, Bench, Source, node, on, seconds, step, xids};
use crate::diary::Entry;

/// A divided GPU with a contained error at 5 s, which reports 36 other XIDs at 60 s. None of them needs anything.
fn contained() -> String {
    let profiles = ["\"1g.10gb\""; 7].join(", ");
    let error = step("5s", "ecc_uncorrected", "gpu = 0") + &step("5s", "xid", "gpu = 0, xid = 94");
    let harmless = [8, 11, 13, 25, 31, 32, 37, 38, 39, 40, 41, 43, 44, 45, 60, 66, 67, 68];
    let harmless = harmless.into_iter().chain(82..=86).chain(96..=105).chain(126..=128);
    let harmless: String = harmless.map(|xid| step("60s", "xid", &format!("gpu = 0, xid = {xid}"))).collect();
    format!("{}mig = [{profiles}]\n{error}{harmless}", node(1))
}

fn worst(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| health(&entry.gpu).verdict == Verdict::Unhealthy).collect()
}

fn is_settled(gpu: &Gpu) -> bool {
    on(gpu, "EccHealthy") == "True RecoveryActionNone"
}

#[tokio::test(start_paused = true)]
async fn a_contained_error_stays_harmless_however_many_xids_push_its_own_out() {
    let mut bench = Bench::plays(&contained()).await;
    bench.at(100).await;
    assert!(xids(&*bench.gpu(0).await).iter().all(|(xid, ..)| *xid != 94), "it was pushed out");
    let names = bench.api.names().await;
    assert_eq!(names.len(), 8);
    for name in &names {
        let gpu = bench.api.gpus.get(name).await.unwrap();
        assert!(is_settled(&gpu) && health(&gpu).verdict == Verdict::Healthy, "{gpu:#?}");
    }
    let seen = bench.api.diary.all().len();
    bench.restart().await;
    bench.at(300).await;
    let all = bench.api.diary.all();
    assert!(worst(&all).is_empty(), "{:#?}", worst(&all));
    assert!(all[seen..].is_empty(), "and the restart of the source is no news: {:#?}", &all[seen..]);
}

#[tokio::test(start_paused = true)]
async fn a_contained_error_is_no_fault_after_a_restart_on_memory_that_lost_everything() {
    let mut bench = Bench::plays(&contained()).await;
    bench.at(100).await;
    bench.source.take().unwrap().end().await;
    let empty = Api::new().await;
    let _source = Source::start(&bench.driver, &bench.options, empty.gpus.clone(), empty.leases.clone());
    for name in bench.api.names().await {
        let gpu = empty.until(&name, is_settled).await;
        assert_eq!(health(&gpu).verdict, Verdict::Healthy, "{gpu:#?}");
    }
    assert!(bench.now() < seconds(100 + 15), "the driver says it twice: {:?}", bench.now());
    let all = empty.diary.all();
    assert!(worst(&all).is_empty(), "{:#?}", worst(&all));
    let first = all.iter().find(|entry| entry.gpu.status.device.as_ref().is_some_and(|device| device.mig.is_none()));
    assert_eq!(on(&first.unwrap().gpu, "EccHealthy"), "Unknown UncorrectedErrors", "at first nobody can say");
}
