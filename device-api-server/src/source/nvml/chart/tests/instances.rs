// SPDX-License-Identifier: Apache-2.0
//! MIG devices and their GPU.

use super::*;

#[test]
fn an_xid_of_an_instance_marks_that_instance_only() {
    let (one, two) = (mig(1, 0), mig(2, 0));
    let mut chart = healthy();
    divide(&mut chart, &[one.clone(), two.clone()]);
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
    divide(&mut chart, &[mig(3, 0), mig(3, 1), mig(4, 0), mig(4, 1)]);
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
    divide(&mut chart, &[mig(1, 0), mig(2, 0)]);
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
    divide(&mut chart, &[mig(1, 0), mig(2, 0)]);
    chart.event(&xid_on(48, 1, Some(0)), at(1));
    for _ in 2..4 {
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
    }
    assert_eq!(on(&chart, NVML_READY, Some(&mig(1, 0))), "True Recovered");
    assert_eq!(on(&chart, NVML_READY, Some(&mig(2, 0))), "True Healthy");
    assert_eq!(of(&chart, NVML_READY), "True Healthy");
}

/// Which of these are marked, the GPU first.
fn marked(chart: &Chart, parts: &[MigDevice]) -> Vec<bool> {
    let all = std::iter::once(None).chain(parts.iter().map(Some));
    all.map(|part| on(chart, XID_HEALTHY, part) != "True NoXid").collect()
}

#[test]
fn an_xid_that_names_what_is_not_there_marks_the_gpu_and_all_its_instances() {
    let parts = [mig(1, 0), mig(2, 0)];
    for (event, number) in [
        // No such GPU instance, and no such compute instance.
        (xid_on(95, 9, Some(0)), 95),
        (xid_on(95, 1, Some(3)), 95),
        (xid_on(95, 9, None), 95),
        (xid_on(4711, 9, Some(0)), 4711),
    ] {
        let mut chart = healthy();
        divide(&mut chart, &parts);
        chart.event(&event, at(1));
        assert_eq!(marked(&chart, &parts), [true; 3], "{event:?}");
        assert_eq!(chart.xids(Some(&parts[0]))[0].xid, number);
        if number == 95 {
            assert_eq!(chart.recommended_action(None), chart.recommended_action(Some(&parts[1])));
            assert_eq!(action(&chart).as_deref(), Some("COMPONENT_RESET"));
        }
    }
    // On a GPU that is not divided, and on one of which nobody knows yet.
    for is_described in [true, false] {
        let mut chart = healthy();
        if is_described {
            divide(&mut chart, &[]);
        }
        chart.event(&xid_on(95, 1, Some(0)), at(1));
        assert_eq!(of(&chart, XID_HEALTHY), "False Xid95");
        divide(&mut chart, &[]);
        assert_eq!(of(&chart, XID_HEALTHY), "False Xid95");
    }
}

#[test]
fn what_is_no_fault_and_names_what_is_not_there_is_in_the_gpus_history_alone() {
    let part = mig(1, 0);
    let mut chart = healthy();
    divide(&mut chart, std::slice::from_ref(&part));
    chart.event(&xid_on(13, 9, Some(0)), at(1));
    assert_eq!(marked(&chart, std::slice::from_ref(&part)), [false; 2]);
    assert_eq!((chart.xids(None).len(), chart.xids(Some(&part)).len()), (1, 0));
}

#[test]
fn an_xid_about_what_all_instances_share_marks_them_all_whichever_it_names() {
    let parts = [mig(1, 0), mig(2, 0)];
    for number in [46, 54, 61, 62, 64, 74, 78, 79, 110, 119, 120, 136, 140, 143, 145, 150, 151, 154, 158, 159, 167, 169]
    {
        let mut chart = healthy();
        divide(&mut chart, &parts);
        chart.event(&xid_on(number, 1, Some(0)), at(1));
        assert_eq!(marked(&chart, &parts), [true; 3], "XID {number}");
    }
    for number in [48, 95, 109, 142, 171] {
        let mut chart = healthy();
        divide(&mut chart, &parts);
        chart.event(&xid_on(number, 1, Some(0)), at(1));
        assert_eq!(marked(&chart, &parts), [false, true, false], "XID {number}");
    }
}

#[test]
fn an_xid_of_an_instance_that_is_listed_a_little_later_is_that_instances() {
    let parts = [mig(1, 0), mig(2, 0)];
    let mut chart = healthy();
    divide(&mut chart, &[]);
    chart.event(&xid_on(95, 1, Some(0)), at(1));
    assert_eq!(marked(&chart, &parts), [true; 3], "until then it may be anything's");
    divide(&mut chart, &parts);
    assert_eq!(marked(&chart, &parts), [false, true, false]);
}

#[test]
fn a_fault_of_an_instance_that_is_no_more_is_the_gpus() {
    let (old, new) = ([mig(1, 0), mig(2, 0)], [mig(3, 0)]);
    for parts in [&new[..], &[]] {
        let mut chart = healthy();
        divide(&mut chart, &old);
        chart.event(&xid_on(95, 1, Some(0)), at(1));
        divide(&mut chart, parts);
        assert_eq!(marked(&chart, parts), vec![true; parts.len() + 1]);
        assert_eq!(
            (of(&chart, RESET_REQUIRED), action(&chart).as_deref()),
            ("True GpuReset".into(), Some("COMPONENT_RESET"))
        );
        assert!(message(&chart, XID_HEALTHY).contains("GPU instance 1, compute instance 0, which is no more"));
        assert!(chart.xids(None)[0].instance_gone);
        // A reset is a reset.
        chart.driver_reloaded();
        chart.subscribed(Ok(()));
        chart.vitals(Ok(&Vitals::default()));
        assert_eq!(marked(&chart, parts), vec![false; parts.len() + 1]);
    }
}

#[test]
fn another_instance_with_the_same_ids_is_not_the_one_that_was() {
    let old = MigDevice { profile: Some("3g.40gb".to_owned()), ..mig(1, 0) };
    let new = MigDevice { profile: Some("4g.40gb".to_owned()), ..mig(1, 0) };
    for between in [None, Some([])] {
        let mut chart = healthy_with_verdict();
        divide(&mut chart, std::slice::from_ref(&old));
        chart.event(&xid_on(13, 1, Some(0)), at(1));
        chart.event(&xid_on(48, 1, Some(0)), at(1));
        for _ in 2..4 {
            chart.vitals(Ok(&verdict(RecoveryAction::None)));
        }
        assert_eq!(on(&chart, NVML_READY, Some(&old)), "True Recovered");
        if let Some(between) = between {
            divide(&mut chart, &between);
        }
        divide(&mut chart, std::slice::from_ref(&new));
        assert_eq!(on(&chart, NVML_READY, Some(&new)), "True Healthy");
        assert_eq!(chart.xids(Some(&new)), []);
        assert_eq!(chart.xids(None).len(), 2, "the GPU's history has them");
        // What the new one reports is its own.
        chart.event(&xid_on(48, 1, Some(0)), at(9));
        assert_eq!(marked(&chart, std::slice::from_ref(&new)), [false, true]);
        assert_eq!(chart.xids(Some(&new))[0].count, 1);
        // And the GPU's, once it is no more, either.
        divide(&mut chart, &[]);
        let records = chart.xids(None);
        assert_eq!(records.iter().map(|record| (record.xid, record.count)).collect::<Vec<_>>(), [(13, 1), (48, 2)]);
        assert_eq!(marked(&chart, &[]), [true]);
    }
}

#[test]
fn an_instance_that_is_still_there_keeps_its_fault_however_it_is_described() {
    let part = MigDevice { profile: Some("1g.10gb".to_owned()), ..mig(1, 0) };
    let mut chart = healthy();
    divide(&mut chart, &[part.clone(), mig(2, 0)]);
    chart.event(&xid_on(95, 1, Some(0)), at(1));
    let nameless = MigDevice { gpu_instance_id: None, ..mig(2, 0) };
    for parts in [vec![part.clone()], vec![mig(1, 0)], vec![nameless], vec![part.clone(), mig(9, 0)]] {
        divide(&mut chart, &parts);
        assert!(!chart.xids(None)[0].instance_gone, "{parts:?}");
    }
    assert_eq!(marked(&chart, &[part, mig(9, 0)]), [false, true, false]);
}

#[test]
fn what_moved_to_the_gpu_stays_there_over_a_restart() {
    let (old, new) = (mig(1, 0), mig(1, 0));
    let mut chart = healthy();
    divide(&mut chart, std::slice::from_ref(&old));
    chart.event(&xid_on(13, 1, Some(0)), at(1));
    chart.event(&xid_on(95, 1, Some(0)), at(1));
    divide(&mut chart, &[]);
    let status = GpuStatus { conditions: chart.conditions(None), xids: chart.xids(None), ..GpuStatus::default() };
    let mut after = Chart::new(Arc::default(), Some(BOOT.to_owned()));
    after.driver_version(Some(SILENT));
    after.adopt(&status);
    after.subscribed(Ok(()));
    divide(&mut after, std::slice::from_ref(&new));
    after.vitals(Ok(&Vitals::default()));
    assert_eq!(marked(&after, std::slice::from_ref(&new)), [true; 2], "the reset is due");
    after.acknowledge(&Acknowledgement::All);
    assert_eq!(after.xids(Some(&new)), [], "and what was not its own is not its own");
    assert_eq!(after.xids(None).len(), 2);
}

#[test]
fn what_a_stored_instance_reported_is_its_own_after_a_restart_if_it_is_still_there() {
    let mut chart = healthy();
    divide(&mut chart, &[mig(1, 0), mig(2, 0)]);
    chart.event(&xid_on(95, 1, Some(0)), at(1));
    let status = GpuStatus { conditions: chart.conditions(None), xids: chart.xids(None), ..GpuStatus::default() };
    for (profile, expected) in [(None, [false, true, false]), (Some("another".to_owned()), [true; 3])] {
        let mut after = Chart::new(Arc::default(), Some(BOOT.to_owned()));
        after.driver_version(Some(SILENT));
        after.adopt(&status);
        let stored = MigDevice { profile: Some("1g.10gb".to_owned()), ..mig(1, 0) };
        after.adopt_part("mig-some(1)-some(0)", &stored);
        after.adopt_part("mig-some(2)-some(0)", &mig(2, 0));
        after.subscribed(Ok(()));
        after.vitals(Ok(&Vitals::default()));
        let parts = [MigDevice { profile, ..mig(1, 0) }, mig(2, 0)];
        assert_eq!(marked(&after, &parts), [false, true, false], "until it is described");
        divide(&mut after, &parts);
        assert_eq!(marked(&after, &parts), expected);
    }
}
