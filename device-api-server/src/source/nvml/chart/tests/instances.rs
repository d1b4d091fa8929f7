// SPDX-License-Identifier: Apache-2.0
//! MIG devices and their GPU.

use super::*;

#[test]
fn an_xid_of_an_instance_marks_that_instance_only() {
    let (one, two) = (mig(1, 0), mig(2, 0));
    let mut chart = healthy();
    chart.event(&xid_on(48, 1, Some(0)), at(1));
    assert_eq!(on(&chart, XID_HEALTHY, Some(&one)), "False Xid48");
    assert_eq!(on(&chart, NVML_READY, Some(&one)), "False XidError");
    assert_eq!(on(&chart, RESET_REQUIRED, Some(&one)), "True GpuReset");
    assert_eq!(
        chart.recommended_action(Some(&one)),
        Some(device_api_core::resource::RecommendedAction::ComponentReset)
    );
    for other in [None, Some(&two)] {
        assert_eq!(on(&chart, XID_HEALTHY, other), "True NoXid");
        assert_eq!(on(&chart, NVML_READY, other), "True Healthy");
        assert_eq!(on(&chart, RESET_REQUIRED, other), "-");
        assert_eq!(chart.recommended_action(other), None);
    }
    assert!(message(&chart, XID_HEALTHY).contains("XID 48 on GPU instance 1, compute instance 0"), "the GPU shows it");
    assert!(chart.needs_attention());
}

#[test]
fn an_xid_of_the_whole_gpu_marks_it_and_all_its_instances() {
    let mut chart = healthy();
    chart.event(&xid(79), at(1));
    for part in [None, Some(&mig(1, 0)), Some(&mig(2, 1))] {
        assert_eq!(on(&chart, XID_HEALTHY, part), "False Xid79");
        assert_eq!(chart.xids(part).len(), 1);
    }
}

#[test]
fn an_xid_of_a_gpu_instance_marks_all_its_compute_instances() {
    let mut chart = healthy();
    chart.event(&xid_on(95, 3, None), at(1));
    for (part, marked) in [(mig(3, 0), true), (mig(3, 1), true), (mig(4, 0), false)] {
        assert_eq!(on(&chart, XID_HEALTHY, Some(&part)).starts_with("False"), marked, "{part:?}");
    }
    chart.event(&xid_on(95, 4, Some(1)), at(1));
    for (part, marked) in [(mig(4, 0), false), (mig(4, 1), true)] {
        assert_eq!(on(&chart, XID_HEALTHY, Some(&part)).starts_with("False"), marked, "{part:?}");
    }
}

#[test]
fn the_gpu_lists_all_xids_and_an_instance_its_own_and_the_gpus() {
    let mut chart = healthy();
    for event in [xid_on(94, 1, Some(0)), xid_on(94, 2, Some(0)), xid(31)] {
        chart.event(&event, at(1));
    }
    assert_eq!(chart.xids(None).len(), 3);
    let own: Vec<_> = chart.xids(Some(&mig(1, 0))).iter().map(|record| (record.xid, record.gpu_instance_id)).collect();
    assert_eq!(own, [(94, Some(1)), (31, None)]);
}

#[test]
fn what_the_gpu_does_not_answer_its_instances_do_not_either() {
    let mut chart = healthy();
    chart.unreachable(&DriverError::GpuLost);
    assert_eq!(on(&chart, NVML_READY, Some(&mig(1, 0))), "False GPULost");
}

#[test]
fn only_the_instance_that_was_marked_says_that_it_recovered() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid_on(48, 1, Some(0)), at(1));
    for _ in 2..4 {
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
    }
    assert_eq!(on(&chart, NVML_READY, Some(&mig(1, 0))), "True Recovered");
    assert_eq!(on(&chart, NVML_READY, Some(&mig(2, 0))), "True Healthy");
    assert_eq!(of(&chart, NVML_READY), "True Healthy");
}
