// SPDX-License-Identifier: Apache-2.0
//! How a GPU that was unhealthy becomes healthy again, and how not.

use super::super::super::xid::Action;
use super::*;

fn stands(chart: &Chart) -> bool {
    of(chart, XID_HEALTHY).starts_with("False")
}

#[test]
fn a_fault_is_over_when_the_driver_says_twice_that_nothing_is_to_be_done() {
    for number in [48, 79, 119] {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(number), at(1));
        chart.vitals(Ok(&verdict(RecoveryAction::GpuReset)));
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
        assert!(stands(&chart) && chart.needs_attention(), "once is not enough");
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
        assert_eq!(of(&chart, NVML_READY), "True Recovered");
        assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
        assert_eq!(of(&chart, RESET_REQUIRED), "False RecoveryActionNone");
        assert_eq!(action(&chart), None);
        assert!(!chart.needs_attention());
        let record = &chart.xids(None)[0];
        assert_eq!((record.count, record.standing), (1, false), "the history keeps it");
    }
}

#[test]
fn the_two_readings_come_after_the_last_xid_and_in_a_row() {
    let nothing = verdict(RecoveryAction::None);
    let failed = DriverError::Other { call: "vitals", why: "busy".to_owned() };
    let interruptions: [fn(&mut Chart, &DriverError); 5] = [
        |chart, _| {
            chart.event(&xid(48), at(3));
        },
        |chart, _| chart.vitals(Ok(&verdict(RecoveryAction::GpuReset))),
        |chart, _| chart.vitals(Ok(&Vitals::default())),
        |chart, failed| chart.vitals(Err(failed)),
        |chart, _| chart.unreachable(&DriverError::GpuLost),
    ];
    for interrupt in interruptions {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(48), at(1));
        chart.vitals(Ok(&nothing));
        interrupt(&mut chart, &failed);
        chart.vitals(Ok(&nothing));
        assert!(stands(&chart));
        chart.vitals(Ok(&nothing));
        assert!(!stands(&chart));
    }
}

#[test]
fn a_reading_that_began_before_an_event_brings_facts_and_confirms_nothing() {
    let nothing = verdict(RecoveryAction::None);
    for number in [48, 154, 168] {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(number), at(1));
        let before = of(&chart, XID_HEALTHY);
        chart.early_vitals(&nothing);
        chart.early_vitals(&nothing);
        assert_eq!(of(&chart, XID_HEALTHY), before);
        assert!(chart.xids(None)[0].standing, "{number}");
        chart.early_vitals(&verdict(RecoveryAction::GpuReset));
        assert_eq!(of(&chart, RESET_REQUIRED), "True GpuReset");
    }
    let mut chart = healthy_with_verdict();
    chart.event(&EventKind::DoubleBitEcc, at(1));
    chart.early_vitals(&nothing);
    assert!(chart.needs_attention());
    chart.vitals(Ok(&nothing));
    assert!(!chart.needs_attention());
}

#[test]
fn a_reading_that_began_before_an_event_hides_neither_a_fault_nor_a_reset() {
    let nothing = verdict(RecoveryAction::None);
    let mut chart = healthy_with_verdict();
    chart.event(&xid(120), at(1));
    chart.vitals(Ok(&nothing));
    chart.early_vitals(&verdict(RecoveryAction::GpuReset));
    chart.vitals(Ok(&nothing));
    assert!(stands(&chart), "the readings that say that nothing is to be done are not in a row");

    let waits = |waits| Vitals { remapping_pending: Some(waits), ..Vitals::default() };
    let mut chart = healthy_on(Policy::default(), &waits(false));
    chart.event(&xid(64), at(1));
    chart.vitals(Ok(&waits(true)));
    chart.early_vitals(&waits(false));
    assert!(stands(&chart));
    chart.vitals(Ok(&waits(false)));
    assert!(!stands(&chart), "a reset used the row");
}

#[test]
fn what_another_process_found_to_be_over_is_over_and_what_came_later_is_not() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(142), at(1));
    chart.event(&xid(61), at(1));
    let mut stored = chart.xids(None);
    chart.heed(&stored);
    assert!(chart.xids(None).iter().all(|record| record.standing), "what stands there stands here");
    for record in &mut stored {
        record.standing = false;
    }
    chart.event(&xid(61), at(30));
    chart.heed(&stored);
    let standing: Vec<_> = chart.xids(None).iter().map(|record| (record.xid, record.standing)).collect();
    assert_eq!(standing, [(142, false), (61, true)]);
}

#[test]
fn an_application_that_keeps_failing_delays_no_recovery() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(48), at(1));
    for second in 2..4 {
        chart.event(&xid(31), at(second));
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
    }
    assert!(!stands(&chart));
}

#[test]
fn a_driver_that_tells_no_verdict_makes_nothing_well_by_answering() {
    for number in [48, 79] {
        let mut chart = healthy();
        chart.event(&xid(number), at(1));
        for _ in 2..50 {
            chart.vitals(Ok(&Vitals::default()));
        }
        assert!(stands(&chart), "XID {number}");
    }
}

#[test]
fn a_reload_of_the_driver_cures_what_a_reset_cures() {
    for (number, cured) in
        [(46, true), (48, true), (78, true), (167, true), (54, false), (79, false), (142, false), (151, false)]
    {
        let mut chart = healthy();
        chart.event(&xid(number), at(1));
        chart.driver_reloaded();
        assert!(of(&chart, NVML_READY).starts_with("Unknown"), "nobody asked the GPU since");
        chart.subscribed(Ok(()));
        chart.vitals(Ok(&Vitals::default()));
        let expected = if cured { "True NoXid".to_owned() } else { format!("False Xid{number}") };
        assert_eq!(of(&chart, XID_HEALTHY), expected);
    }
}

#[test]
fn the_drivers_verdict_is_not_about_cables_software_or_support() {
    for (number, cured) in [(48, true), (79, true), (54, false), (78, false), (142, false), (151, false)] {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(number), at(1));
        for _ in 2..10 {
            chart.vitals(Ok(&verdict(RecoveryAction::None)));
        }
        assert_eq!(stands(&chart), !cured, "XID {number}");
    }
}

#[test]
fn a_person_acknowledges_all_or_some() {
    let both = || {
        let mut chart = healthy();
        chart.event(&xid(79), at(1));
        chart.event(&xid(48), at(1));
        chart
    };
    let mut chart = both();
    chart.acknowledge(&"79".parse().unwrap());
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid48");
    let mut chart = both();
    chart.acknowledge(&Acknowledgement::All);
    assert_eq!((of(&chart, XID_HEALTHY), of(&chart, NVML_READY)), ("True NoXid".into(), "True Recovered".into()));
    assert_eq!(chart.xids(None).len(), 2);
    chart.event(&xid(79), at(3));
    assert!(stands(&chart), "it is about what was, not about what comes");
}

#[test]
fn what_acknowledges_nothing_is_refused() {
    for text in ["", "79,", "everything", "-1", "4294967296"] {
        assert!(text.parse::<Acknowledgement>().is_err(), "{text:?}");
    }
    for text in ["all", "48,79"] {
        assert_eq!(text.parse::<Acknowledgement>().unwrap().to_string(), text);
    }
    assert!("x".repeat(1 << 20).parse::<Acknowledgement>().unwrap_err().to_string().len() < 200);
}

#[test]
fn an_xid_of_unknown_meaning_is_in_doubt_until_the_driver_says_twice_that_nothing_is_to_be_done() {
    let nothing_to_do = verdict(RecoveryAction::None);
    let mut chart = healthy_on(Policy::default(), &nothing_to_do);
    chart.event(&xid(4711), at(1));
    chart.vitals(Ok(&nothing_to_do));
    assert_eq!((of(&chart, XID_HEALTHY), action(&chart)), ("Unknown Xid4711".to_owned(), None));
    assert!(chart.needs_attention());
    chart.vitals(Ok(&nothing_to_do));
    assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
    assert_eq!(of(&chart, NVML_READY), "True Healthy", "it was never taken away");
}

#[test]
fn a_driver_that_tells_no_verdict_ends_no_doubt_by_readings_without_a_fault() {
    let mut chart = healthy();
    chart.event(&xid(4711), at(1));
    for _ in 2..10 {
        chart.vitals(Ok(&Vitals::default()));
    }
    assert_eq!(of(&chart, XID_HEALTHY), "Unknown Xid4711");
    chart.driver_reloaded();
    chart.subscribed(Ok(()));
    chart.vitals(Ok(&Vitals::default()));
    assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
}

#[test]
fn a_reading_with_a_fault_ends_no_doubt() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(4711), at(1));
    for _ in 2..10 {
        chart.vitals(Ok(&Vitals { remapping_pending: Some(true), ..verdict(RecoveryAction::None) }));
    }
    assert_eq!(of(&chart, XID_HEALTHY), "Unknown Xid4711");
}

#[test]
fn a_lost_gpu_that_comes_back_is_ready_again_but_what_stood_goes_on_standing() {
    let mut chart = healthy();
    chart.event(&xid(79), at(1));
    chart.unreachable(&DriverError::GpuLost);
    assert_eq!((of(&chart, NVML_READY), of(&chart, XID_HEALTHY)), ("False GPULost".into(), "False Xid79".into()));
    for _ in 3..10 {
        chart.vitals(Ok(&Vitals::default()));
        assert_eq!(of(&chart, NVML_READY), "False XidError", "coming back proves no reset");
    }
    chart.acknowledge(&Acknowledgement::All);
    assert_eq!(of(&chart, NVML_READY), "True Recovered");
}

#[test]
fn a_lost_gpu_without_an_xid_recovers_by_answering() {
    let mut chart = healthy();
    chart.vitals(Err(&DriverError::GpuLost));
    assert_eq!((of(&chart, NVML_READY), action(&chart).as_deref()), ("False GPULost".into(), Some("RESTART_BM")));
    chart.vitals(Ok(&Vitals::default()));
    assert_eq!((of(&chart, NVML_READY), action(&chart)), ("True Recovered".into(), None));
}

#[test]
fn a_row_that_waits_no_more_proves_a_reset() {
    let waits = |waits| Vitals { remapping_pending: Some(waits), ..Vitals::default() };
    let mut chart = healthy_on(Policy::default(), &waits(true));
    chart.event(&xid(48), at(1));
    chart.event(&xid(79), at(1));
    chart.vitals(Ok(&waits(true)));
    assert_eq!(chart.xids(None).iter().filter(|record| record.standing).count(), 2);
    chart.vitals(Ok(&waits(false)));
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid79", "48 is cured, 79 needs a reboot");
    assert_eq!(chart.xids(None).iter().filter(|record| record.standing).count(), 1);
}

#[test]
fn what_somebody_wants_done_otherwise_than_the_catalogue_is_not_over_by_the_drivers_word() {
    let policy = Policy::default()
        .with_action(31, Action::ResetGpu)
        .with_action(94, Action::ResetGpu)
        .with_action(13, Action::ContactSupport)
        .with_action(32, Action::AskDriver)
        .with_action(120, Action::ResetGpu);
    let mut chart = healthy_on(policy, &verdict(RecoveryAction::None));
    for number in [31, 94, 13, 32, 120] {
        chart.event(&xid(number), at(1));
    }
    let standing = |chart: &Chart| {
        let xids = chart.xids(None).into_iter();
        xids.filter(|record| record.standing).map(|record| record.xid).collect::<Vec<_>>()
    };
    for _ in 2..5 {
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
    }
    assert_eq!(standing(&chart), [31, 94, 13], "32 was for the driver to say, 120 is as the catalogue has it");
    chart.driver_reloaded();
    assert_eq!(standing(&chart), [13]);
}

/// What the driver's word ends: NVIDIA's facts, by the column of the catalogue that says of which XIDs its recovery action
/// speaks.
#[test]
fn the_drivers_word_ends_what_it_speaks_of_from_the_branch_on_that_does_and_nothing_else() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/xid-catalogue.tsv"));
    let mut stood = Vec::new();
    for row in text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())) {
        let columns: Vec<_> = row.split('\t').collect();
        let (number, immediate, spoken_of): (u32, _, _) = (columns[0].parse().unwrap(), columns[1], columns[3]);
        let from = match spoken_of.split_once("driver R") {
            Some((_, branch)) => Some(branch.parse::<u32>().unwrap()),
            None => spoken_of.starts_with("yes").then_some(565),
        };
        for branch in [None, Some(560), Some(565), Some(570), Some(575), Some(580), Some(600)] {
            let version = branch.map(|branch| format!("{branch}.12.3"));
            let mut chart = healthy_with_verdict();
            chart.driver_version(version.as_deref());
            chart.event(&xid(number), at(1));
            for _ in 2..12 {
                chart.vitals(Ok(&verdict(RecoveryAction::None)));
            }
            let stands = match immediate {
                "IGNORE" | "RESTART_APP" | "WORKFLOW_XID_45" => false,
                // A doubt, and nobody else has a word on it.
                "" => false,
                // The driver's own word.
                "XID_154" => false,
                _ => from.is_none_or(|from| branch.is_none_or(|branch| branch < from)),
            };
            assert_eq!(chart.xids(None)[0].standing, stands, "{row}, {branch:?}");
            assert_eq!(of(&chart, XID_HEALTHY) == "True NoXid", !stands, "{row}, {branch:?}");
            if stands && branch == Some(600) {
                stood.push(number);
            }
        }
    }
    stood.retain(|number| {
        ![54, 78, 151].contains(number) && Policy::default().action(*number) != Action::ContactSupport
    });
    assert_eq!(stood, [46, 119, 140], "no driver speaks of these");
}

#[test]
fn a_reset_that_the_driver_asked_for_after_an_xid_and_asks_for_no_more_is_a_reset() {
    for (wanted, over) in [
        (RecoveryAction::GpuReset, true),
        (RecoveryAction::DrainAndReset, true),
        (RecoveryAction::Other(6), true),
        // These are no resets of the GPU.
        (RecoveryAction::NodeReboot, false),
        (RecoveryAction::DrainP2P, false),
        (RecoveryAction::Other(99), false),
    ] {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(119), at(1));
        chart.event(&xid(142), at(1));
        chart.vitals(Ok(&verdict(wanted)));
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
        assert!(chart.xids(None)[0].standing, "once is not enough");
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
        let standing: Vec<_> = chart.xids(None).iter().map(|record| record.standing).collect();
        assert_eq!(standing, [!over, true], "{wanted:?}");
    }
}

#[test]
fn a_reset_before_an_xid_does_not_end_it() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(119), at(1));
    chart.vitals(Ok(&verdict(RecoveryAction::GpuReset)));
    // It was reset, and that came again.
    chart.event(&xid(119), at(60));
    for _ in 2..12 {
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
    }
    assert!(stands(&chart), "nobody has asked for a reset since");

    let waits = |waits| Vitals { remapping_pending: Some(waits), ..Vitals::default() };
    let mut chart = healthy_on(Policy::default(), &waits(true));
    chart.event(&xid(48), at(1));
    chart.vitals(Ok(&waits(false)));
    assert!(stands(&chart), "the row may have been used before");
}

#[test]
fn a_reset_brings_no_other_software() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(78), at(1));
    chart.vitals(Ok(&Vitals { remapping_pending: Some(true), ..verdict(RecoveryAction::GpuReset) }));
    for _ in 2..12 {
        chart.vitals(Ok(&Vitals { remapping_pending: Some(false), ..verdict(RecoveryAction::None) }));
    }
    assert!(stands(&chart));
    chart.driver_reloaded();
    assert!(!chart.xids(None)[0].standing);
}
