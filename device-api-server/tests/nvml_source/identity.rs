// SPDX-License-Identifier: Apache-2.0
//! GPUs that cannot be told apart, or named.

use device_api_core::health::Verdict;

use crate::bench::{Bench, action, name, node, on, seconds, step, uuid, xids};

#[tokio::test(start_paused = true)]
async fn of_two_gpus_with_one_uuid_neither_hides_what_is_wrong_with_the_other() {
    let steps = step("60s", "xid", "gpu = 0, xid = 142");
    let bench = Bench::before_start(&(node(3) + &steps), |_| {}).await;
    bench.driver.change(|faults| faults.alias = Some((1, uuid(0))));
    let mut bench = bench;
    bench.start();
    let gpu = bench.until_on(0, "NVMLReady", "Unknown DuplicateUUID").await;
    assert!(gpu.status.conditions.iter().all(|condition| condition.status.as_str() == "Unknown"), "{gpu:#?}");
    bench.at(59).await;
    assert_eq!(bench.api.names().await, [name(0), name(2)]);
    assert_eq!(bench.verdicts([0, 2]).await, [Verdict::Unknown, Verdict::Healthy]);
    // An XID of one of them stands for both.
    let gpu = bench.until_on(0, "XidHealthy", "False Xid142").await;
    assert_eq!((xids(&gpu).len(), action(&gpu)), (1, "CONTACT_SUPPORT"));
    // Nothing is written again and again meanwhile.
    let then = bench.api.diary.now() + seconds(2);
    bench.at(300).await;
    assert_eq!(bench.api.diary.since(&name(0), then).len(), 0);

    bench.driver.change(|faults| faults.alias = None);
    bench.until_on(1, "NVMLReady", "True Healthy").await;
    bench.until(0, |gpu| on(gpu, "NVMLReady") == "False XidError").await;
}

#[tokio::test(start_paused = true)]
async fn a_gpu_whose_uuid_cannot_be_a_name_costs_no_write_and_hides_no_loss() {
    for odd in ["", "N/A", "GPU_1"] {
        let bench = Bench::plays(&node(2)).await;
        bench.at(20).await;
        bench.driver.change(|faults| faults.alias = Some((1, odd.to_owned())));
        // It may be the one that is missing: nobody claims that it is lost.
        bench.until_on(1, "NVMLReady", "Unknown NVMLError").await;
        assert_eq!(bench.verdicts([0, 1]).await, [Verdict::Healthy, Verdict::Unknown]);
        let (then, began) = (bench.api.diary.now() + seconds(2), bench.moment(200));
        bench.at(300).await;
        assert_eq!(bench.api.diary.all().iter().filter(|entry| entry.at >= then).count(), 0);
        assert_eq!(bench.api.names().await, [name(0), name(1)]);
        let calls = bench.driver.count_since(began);
        assert!(calls < 150, "{calls} calls in 100 s");
        bench.driver.change(|faults| faults.alias = None);
        bench.until_on(1, "NVMLReady", "True Recovered").await;
    }
}
