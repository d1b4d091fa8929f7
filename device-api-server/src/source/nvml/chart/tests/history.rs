// SPDX-License-Identifier: Apache-2.0
//! What is kept of the XIDs.

use super::*;

#[test]
fn a_storm_is_one_record_with_an_exact_count() {
    let mut chart = healthy();
    for number in 0..10_000 {
        chart.event(&xid(31), at(number));
    }
    let [record] = chart.xids(None).try_into().unwrap();
    assert_eq!((record.xid, record.count), (31, 10_000));
    assert_eq!((record.first_seen, record.last_seen), (Some(at(0)), Some(at(9_999))));
    assert_eq!(record.recommended_action, None);
}

#[test]
fn a_storm_of_a_standing_xid_changes_no_condition() {
    let mut chart = healthy();
    chart.event(&xid(48), at(1));
    let before = chart.conditions(None);
    for second in 2..1_000 {
        chart.event(&xid(48), at(second));
    }
    assert_eq!(chart.conditions(None), before);
}

#[test]
fn the_latest_stands_last() {
    let mut chart = healthy();
    for number in [13, 31, 48, 13] {
        chart.event(&xid(number), at(number.into()));
    }
    let numbers: Vec<_> = chart.xids(None).iter().map(|record| (record.xid, record.count)).collect();
    assert_eq!(numbers, [(31, 1), (48, 1), (13, 2)]);
}

#[test]
fn the_last_32_are_kept() {
    let mut chart = healthy();
    for number in 1000..1100 {
        // Ignored, so that none stands.
        chart.event(&xid_on(13, number, None), at(number.into()));
    }
    let instances: Vec<_> = chart.xids(None).iter().map(|record| record.gpu_instance_id.unwrap()).collect();
    assert_eq!(instances, (1068..1100).collect::<Vec<_>>());
}

#[test]
fn one_that_stands_is_not_pushed_out_by_ones_that_do_not() {
    let mut chart = healthy();
    chart.event(&xid(79), at(0));
    for number in 0..100 {
        chart.event(&xid_on(13, number, None), at(number.into()));
        chart.event(&xid(5000 + number), at(number.into()));
    }
    assert_eq!(chart.xids(None).len(), 32);
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid79");
}

#[test]
fn each_instance_has_its_own_record() {
    let mut chart = healthy();
    for event in [xid(94), xid_on(94, 1, None), xid_on(94, 1, Some(0)), xid_on(94, 2, Some(0)), xid_on(94, 1, Some(0))]
    {
        chart.event(&event, at(1));
    }
    let counts: Vec<_> = chart.xids(None).iter().map(|record| record.count).collect();
    assert_eq!(counts, [1, 1, 1, 2]);
}

#[test]
fn of_more_than_32_that_stand_the_gravest_are_shown_and_then_the_newest() {
    let mut chart = healthy();
    chart.event(&xid(142), at(0));
    chart.event(&xid(79), at(1));
    for number in 0..40 {
        chart.event(&xid(5000 + number), at(10 + i64::from(number)));
    }
    chart.event(&xid(48), at(100));
    chart.event(&xid(13), at(200));
    let shown: Vec<_> = chart.xids(None).iter().map(|record| record.xid).collect();
    let newest = 5011..5040;
    assert_eq!(shown, [142, 79].into_iter().chain(newest).chain([48]).collect::<Vec<_>>());
}

#[test]
fn what_is_not_shown_is_counted_all_the_same() {
    let mut chart = healthy();
    let all = || (0..40).map(|instance| xid_on(13, instance, None));
    for round in 0..5 {
        for event in all() {
            chart.event(&event, at(round));
        }
    }
    assert!(chart.xids(None).iter().all(|record| record.count == 5));
    // One that was not shown comes again.
    chart.event(&xid_on(13, 0, None), at(9));
    assert_eq!(chart.xids(None).last().map(|record| (record.gpu_instance_id, record.count)), Some((Some(0), 6)));
}

#[test]
fn a_harmless_xid_takes_the_place_of_none_that_stands() {
    let mut chart = healthy();
    for number in 0..600 {
        chart.event(&xid(5000 + number), at(i64::from(number)));
    }
    chart.event(&xid(13), at(1000));
    assert!(chart.xids(None).iter().all(|record| record.standing));
    assert_eq!(of(&chart, XID_HEALTHY), "Unknown Xid5088", "they are many, and bounded");
}

#[test]
fn a_drain_that_is_due_is_due_over_a_restart_whatever_came_since() {
    let mut chart = healthy();
    chart.event(&xid(48), at(0));
    chart.event(&xid(63), at(30));
    for number in 0..40 {
        chart.event(&xid_on(13, number, None), at(3600));
    }
    chart.event(&xid(63), at(7200));
    let status = GpuStatus { conditions: chart.conditions(None), xids: chart.xids(None), ..GpuStatus::default() };
    let mut after = Chart::new(Arc::default(), Some(BOOT.to_owned()));
    after.driver_version(Some(SILENT));
    after.adopt(&status);
    after.subscribed(Ok(()));
    after.vitals(Ok(&Vitals::default()));
    assert_eq!(after.conditions(None), status.conditions);
    assert_eq!(of(&after, DRAIN_REQUIRED), "True DrainAndReset");
}
