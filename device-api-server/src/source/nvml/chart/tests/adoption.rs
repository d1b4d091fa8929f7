// SPDX-License-Identifier: Apache-2.0
//! What our own restart keeps, and what a reboot clears.

use super::*;

/// What the object of this chart holds.
fn stored(chart: &Chart) -> GpuStatus {
    GpuStatus { conditions: chart.conditions(None), xids: chart.xids(None), ..GpuStatus::default() }
}

/// The chart of a new process that found this object, and asked the GPU.
fn restarted(status: &GpuStatus, policy: Policy, boot_id: Option<&str>, reading: &Vitals) -> Chart {
    let mut chart = Chart::new(Arc::new(policy), boot_id.map(str::to_owned));
    chart.driver_version(Some(driver_of(reading)));
    chart.adopt(status);
    chart.subscribed(Ok(()));
    chart.vitals(Ok(reading));
    chart
}

#[test]
fn our_own_restart_clears_nothing() {
    let mut chart = healthy();
    chart.event(&xid(48), at(1));
    chart.event(&xid(63), at(2));
    chart.event(&xid_on(95, 1, Some(0)), at(3));
    chart.event(&xid(4711), at(4));
    let before = stored(&chart);
    let mut after = restarted(&before, Policy::default(), Some(BOOT), &Vitals::default());
    assert_eq!(after.xids(None), before.xids);
    assert_eq!(of(&after, XID_HEALTHY), "False Xid48");
    assert_eq!(of(&after, DRAIN_REQUIRED), "True DrainAndReset");
    assert_eq!(on(&after, XID_HEALTHY, Some(&mig(1, 0))), on(&chart, XID_HEALTHY, Some(&mig(1, 0))));
    after.event(&xid(48), at(2000));
    let record = after.xids(None).pop().unwrap();
    assert_eq!((record.count, record.first_seen, record.last_seen), (2, Some(at(1)), Some(at(2000))));
}

#[test]
fn a_restart_of_a_healthy_gpus_provider_changes_nothing() {
    let full = Vitals {
        ecc_uncorrected_volatile: Some(0),
        remapping_pending: Some(false),
        remapping_failed: Some(false),
        ..verdict(RecoveryAction::None)
    };
    for fault in [false, true] {
        let mut chart = healthy_on(Policy::default(), &full);
        if fault {
            chart.unreachable(&DriverError::GpuLost);
            chart.vitals(Ok(&full));
        }
        let before = stored(&chart);
        assert_eq!(stored(&restarted(&before, Policy::default(), Some(BOOT), &full)), before);
    }
}

#[test]
fn a_restart_changes_nothing_while_xids_stand_that_imply_what_the_driver_does_not_tell() {
    for xids in [&[79][..], &[119], &[48, 63], &[142]] {
        let mut chart = healthy();
        for number in xids {
            chart.event(&xid(*number), at(1));
        }
        let before = stored(&chart);
        assert_eq!(stored(&restarted(&before, Policy::default(), Some(BOOT), &Vitals::default())), before);
    }
}

#[test]
fn before_the_first_reading_what_was_stored_is_unknown_and_not_gone() {
    let full = Vitals { ecc_uncorrected_volatile: Some(9), ..verdict(RecoveryAction::GpuReset) };
    let status = stored(&healthy_on(Policy::default(), &full));
    let mut chart = Chart::new(Arc::default(), None);
    chart.adopt(&status);
    for type_ in [NVML_READY, XID_HEALTHY, RESET_REQUIRED, REBOOT_REQUIRED, DRAIN_REQUIRED, ECC_HEALTHY] {
        assert_eq!(of(&chart, type_), "Unknown Initialized");
    }
    assert_eq!(of(&chart, ROW_REMAP_HEALTHY), "-");
}

#[test]
fn a_reboot_clears_what_stood_and_keeps_the_history() {
    for number in [46, 54, 78, 79, 142, 151, 4711] {
        let mut chart = healthy();
        chart.event(&xid(number), at(1));
        let status = stored(&chart);
        let after = restarted(&status, Policy::default(), Some("boot-2"), &Vitals::default());
        assert_eq!(of(&after, XID_HEALTHY), "True NoXid", "XID {number}");
        let [record] = after.xids(None).try_into().unwrap();
        assert_eq!((record.xid, record.count, record.boot_id.as_str()), (number, 1, BOOT));
        // Nobody can say whether the node was booted.
        let after = restarted(&status, Policy::default(), None, &Vitals::default());
        assert_ne!(of(&after, XID_HEALTHY), "True NoXid", "XID {number}");
    }
}

#[test]
fn a_gpu_that_was_marked_before_a_reboot_says_that_it_recovered() {
    let mut chart = healthy();
    chart.event(&xid(79), at(1));
    let after = restarted(&stored(&chart), Policy::default(), Some("boot-2"), &Vitals::default());
    assert_eq!(of(&after, NVML_READY), "True Recovered");
}

#[test]
fn the_policy_of_today_judges_the_xids_of_yesterday() {
    let mut chart = healthy();
    chart.event(&xid(48), at(1));
    chart.event(&xid(31), at(1));
    let policy = Policy::default().with_ignored([48]);
    let after = restarted(&stored(&chart), policy, Some(BOOT), &Vitals::default());
    assert_eq!(of(&after, XID_HEALTHY), "True NoXid");
    assert!(after.xids(None).iter().all(|record| !record.standing && record.recommended_action.is_none()));
}

#[test]
fn what_was_over_does_not_stand_again() {
    let mut chart = healthy();
    chart.event(&xid(79), at(1));
    chart.acknowledge(&Acknowledgement::All);
    let after = restarted(&stored(&chart), Policy::default(), Some(BOOT), &Vitals::default());
    assert_eq!(of(&after, XID_HEALTHY), "True NoXid");
}

#[test]
fn a_status_with_too_many_xids_is_cut_to_the_latest() {
    let record = |xid| XidRecord { xid, count: 1, last_seen: Some(at(0)), ..XidRecord::default() };
    let status = GpuStatus { xids: (0..100).map(record).collect(), ..GpuStatus::default() };
    let chart = restarted(&status, Policy::default(), None, &Vitals::default());
    assert_eq!(chart.xids(None).iter().map(|record| record.xid).collect::<Vec<_>>(), (68..100).collect::<Vec<_>>());
}

#[test]
fn a_reset_while_the_source_was_away_is_seen_by_what_the_driver_asked_for_before() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(119), at(1));
    let unasked = stored(&chart);
    chart.vitals(Ok(&verdict(RecoveryAction::GpuReset)));
    let mut asked = stored(&chart);
    // The source was away for so long that the server says so.
    for condition in &mut asked.conditions {
        (condition.status, condition.reason) = (ConditionStatus::Unknown, "ProviderLost".to_owned());
    }
    for (status, expected) in [(unasked, "False Xid119"), (asked, "True NoXid")] {
        let mut after = restarted(&status, Policy::default(), Some(BOOT), &verdict(RecoveryAction::None));
        assert_eq!(of(&after, XID_HEALTHY), "False Xid119");
        for _ in 2..12 {
            after.vitals(Ok(&verdict(RecoveryAction::None)));
        }
        assert_eq!(of(&after, XID_HEALTHY), expected);
    }
}

#[test]
fn until_the_driver_is_there_again_what_waits_for_its_word_goes_on_waiting() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(145), at(1));
    let status = stored(&chart);
    let mut after = Chart::new(Arc::default(), Some(BOOT.to_owned()));
    after.driver_version(Some(SPEAKS));
    after.adopt(&status);
    after.unreachable(&DriverError::DriverNotLoaded);
    assert_eq!(of(&after, XID_HEALTHY), "Unknown DriverNotLoaded");
    assert!(after.xids(None)[0].standing);
    after.subscribed(Ok(()));
    after.vitals(Ok(&verdict(RecoveryAction::None)));
    assert_eq!(of(&after, XID_HEALTHY), "True NoXid");
}
