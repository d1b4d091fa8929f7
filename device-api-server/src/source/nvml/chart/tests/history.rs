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
