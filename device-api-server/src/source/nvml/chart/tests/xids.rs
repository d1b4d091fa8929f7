// SPDX-License-Identifier: Apache-2.0
//! What an XID makes of a GPU that was healthy.

use super::super::super::xid::{Action, explain};
use super::*;

#[test]
fn every_xid_has_the_effect_of_its_action() {
    for number in 0..=200 {
        let mut chart = healthy();
        chart.event(&xid(number), at(1));
        let found = (of(&chart, NVML_READY), of(&chart, XID_HEALTHY), action(&chart));
        let fault = |action: Option<&str>| {
            ("False XidError".to_owned(), format!("False Xid{number}"), action.map(str::to_owned))
        };
        // This driver tells no recovery action.
        let expected = match explain(number).action_without_driver {
            Action::Ignore | Action::RestartApp => ("True Healthy".to_owned(), "True NoXid".to_owned(), None),
            Action::NonePublished | Action::AskDriver => {
                ("True Healthy".to_owned(), format!("Unknown Xid{number}"), None)
            }
            Action::CheckPower | Action::UpdateSoftware => fault(Some("CUSTOM")),
            Action::ResetGpu => fault(Some("COMPONENT_RESET")),
            Action::RestartVm => fault(Some("RESTART_VM")),
            Action::RebootNode => fault(Some("RESTART_BM")),
            Action::ContactSupport => fault(Some("CONTACT_SUPPORT")),
        };
        assert_eq!(found, expected, "XID {number}");
        let record = &chart.xids(None)[0];
        assert_eq!((record.xid, record.count, record.boot_id.as_str()), (number, 1, BOOT));
        assert_eq!(record.standing, explain(number).action.stands(), "XID {number}");
        assert_eq!(record.recommended_action, chart.recommended_action(None), "XID {number}");
        assert_eq!(chart.needs_attention(), record.standing, "XID {number}");
    }
}

#[test]
fn a_contained_error_takes_no_gpu_away_and_an_uncontained_one_does() {
    let mut chart =
        healthy_on(Policy::default(), &Vitals { ecc_uncorrected_volatile: Some(0), ..verdict(RecoveryAction::None) });
    chart.event(&xid(94), at(1));
    chart.vitals(Ok(&Vitals { ecc_uncorrected_volatile: Some(1), ..verdict(RecoveryAction::None) }));
    for (type_, expected) in
        [(NVML_READY, "True Healthy"), (XID_HEALTHY, "True NoXid"), (ECC_HEALTHY, "True RecoveryActionNone")]
    {
        assert_eq!(of(&chart, type_), expected);
    }
    assert_eq!(action(&chart), None);
    assert!(!chart.needs_attention());

    chart.event(&xid(95), at(3));
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid95");
    assert_eq!(action(&chart).as_deref(), Some("COMPONENT_RESET"));
}

#[test]
fn an_ignored_xid_is_recorded_and_changes_nothing() {
    let mut chart = healthy_on(Policy::default().with_ignored([79]), &Vitals::default());
    let before = chart.conditions(None);
    chart.event(&xid(79), at(1));
    assert_eq!(chart.conditions(None), before);
    assert_eq!((chart.xids(None)[0].count, chart.xids(None)[0].standing), (1, false));
}

#[test]
fn a_policy_makes_an_xid_as_grave_as_it_says() {
    let mut chart = healthy_on(Policy::default().with_action(13, Action::ContactSupport), &Vitals::default());
    chart.event(&xid(13), at(1));
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid13");
    assert_eq!(action(&chart).as_deref(), Some("CONTACT_SUPPORT"));
}

#[test]
fn ecc_events_are_no_xids() {
    let mut chart = healthy();
    let before = chart.conditions(None);
    chart.event(&EventKind::SingleBitEcc, at(1));
    assert!(!chart.needs_attention());
    chart.event(&EventKind::DoubleBitEcc, at(1));
    assert_eq!((chart.conditions(None), chart.xids(None)), (before, vec![]));
    assert!(chart.needs_attention(), "the vitals tell more");
    chart.vitals(Ok(&Vitals::default()));
    assert!(!chart.needs_attention());
}

#[test]
fn the_worst_xid_gives_reason_and_action_whatever_came_last() {
    for order in [[48, 79, 54], [79, 54, 48], [54, 48, 79]] {
        let mut chart = healthy();
        for number in order {
            chart.event(&xid(number), at(1));
        }
        assert_eq!(of(&chart, XID_HEALTHY), "False Xid79");
        assert_eq!(action(&chart).as_deref(), Some("RESTART_BM"));
        let message = message(&chart, XID_HEALTHY);
        assert!(["XID 79: ", "XID 48: ", "XID 54: "].iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn two_xids_that_take_turns_change_no_condition_after_the_first_time() {
    let mut chart = healthy();
    chart.event(&xid(119), at(1));
    chart.event(&xid(46), at(1));
    let before = chart.conditions(None);
    for second in 2..100 {
        chart.event(&xid(if second % 2 == 0 { 119 } else { 46 }), at(second));
        assert_eq!(chart.conditions(None), before);
    }
}

#[test]
fn xid_48_alone_needs_a_reset() {
    let mut chart = healthy();
    chart.event(&xid(48), at(1));
    assert_eq!(of(&chart, RESET_REQUIRED), "True GpuReset");
    assert_eq!(of(&chart, DRAIN_REQUIRED), "-");
    assert_eq!(action(&chart).as_deref(), Some("COMPONENT_RESET"));
}

#[test]
fn xid_48_with_63_or_64_within_a_minute_needs_a_drain_before_the_reset() {
    for (first, second, apart, drain) in [
        (48, 63, 60, true),
        (48, 64, 60, true),
        (63, 48, 60, true),
        (64, 48, 60, true),
        (48, 63, 61, false),
        (63, 48, 61, false),
        // It stands, however long ago it came.
        (64, 48, 3600, true),
        (48, 31, 1, false),
    ] {
        let mut chart = healthy();
        chart.event(&xid(first), at(0));
        chart.event(&xid(second), at(apart));
        let expected = if drain { ("True DrainAndReset", "True DrainAndReset") } else { ("-", "True GpuReset") };
        let found = (of(&chart, DRAIN_REQUIRED), of(&chart, RESET_REQUIRED));
        assert_eq!((found.0.as_str(), found.1.as_str()), expected, "{first}, {second} after {apart} s");
        assert_eq!(action(&chart).as_deref(), Some("COMPONENT_RESET"));
        assert_eq!(message(&chart, XID_HEALTHY).contains("drain all work"), drain);
    }
}

#[test]
fn a_later_63_does_not_undo_the_drain() {
    let mut chart = healthy();
    chart.event(&xid(48), at(0));
    chart.event(&xid(63), at(30));
    chart.event(&xid(63), at(3600));
    assert_eq!(of(&chart, DRAIN_REQUIRED), "True DrainAndReset");
}

#[test]
fn xid_154_asks_the_driver_and_stands_only_while_it_wants_something() {
    let mut chart = healthy_with_verdict();
    chart.event(&xid(154), at(1));
    assert_eq!(of(&chart, XID_HEALTHY), "Unknown Xid154");
    chart.vitals(Ok(&verdict(RecoveryAction::NodeReboot)));
    assert_eq!(of(&chart, XID_HEALTHY), "False Xid154");
    assert_eq!(of(&chart, REBOOT_REQUIRED), "True NodeReboot");
    assert_eq!(action(&chart).as_deref(), Some("RESTART_BM"));
    // The driver reports its being satisfied with an XID 154 as well.
    chart.event(&xid(154), at(3));
    chart.vitals(Ok(&verdict(RecoveryAction::None)));
    assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
    assert_eq!(of(&chart, REBOOT_REQUIRED), "False RecoveryActionNone");
}

#[test]
fn what_is_for_the_driver_to_say_is_unknown_until_its_next_word_and_asks_for_nothing() {
    for number in [74, 144, 145, 146, 147, 148, 149, 150, 159] {
        let mut chart = healthy_with_verdict();
        chart.event(&xid(number), at(1));
        assert_eq!(
            (of(&chart, NVML_READY), of(&chart, XID_HEALTHY)),
            ("True Healthy".into(), format!("Unknown Xid{number}"))
        );
        assert_eq!((of(&chart, RESET_REQUIRED), action(&chart)), ("False RecoveryActionNone".into(), None));
        assert!(message(&chart, XID_HEALTHY).contains("waits for what the driver's recovery action says"));
        assert!(chart.needs_attention());
        let asked = chart.clone();
        chart.early_vitals(&verdict(RecoveryAction::None));
        assert_eq!(of(&chart, XID_HEALTHY), format!("Unknown Xid{number}"), "that was read before");
        chart.vitals(Ok(&verdict(RecoveryAction::None)));
        assert_eq!((of(&chart, XID_HEALTHY), action(&chart)), ("True NoXid".into(), None), "XID {number}");

        let mut chart = asked;
        chart.vitals(Ok(&verdict(RecoveryAction::GpuReset)));
        assert_eq!(of(&chart, XID_HEALTHY), format!("False Xid{number}"));
        assert_eq!(
            (of(&chart, RESET_REQUIRED), action(&chart)),
            ("True GpuReset".into(), Some("COMPONENT_RESET".into()))
        );
    }
}

#[test]
fn what_no_driver_says_is_decided_by_the_table_or_stays_unknown_and_says_why() {
    for (version, tells) in [(Some(SILENT), false), (Some(SPEAKS), false), (None, true), (Some("?"), true)] {
        for number in [74, 144, 145, 146, 147, 148, 149, 150, 159] {
            let reading = if tells { verdict(RecoveryAction::None) } else { Vitals::default() };
            let mut chart = healthy_on(Policy::default(), &reading);
            chart.driver_version(version);
            chart.event(&xid(number), at(1));
            for _ in 2..5 {
                chart.vitals(Ok(&reading));
            }
            let is_reset = [74, 150, 159].contains(&number);
            let expected = format!("{} Xid{number}", if is_reset { "False" } else { "Unknown" });
            assert_eq!(of(&chart, XID_HEALTHY), expected, "{version:?}");
            assert_eq!(action(&chart).as_deref(), is_reset.then_some("COMPONENT_RESET"), "{number}, {version:?}");
            assert_eq!(chart.xids(None)[0].recommended_action, chart.recommended_action(None));
            let says_why = message(&chart, XID_HEALTHY).contains("only the kernel's log does");
            assert_eq!(says_why, !is_reset, "{number}, {version:?}");
            chart.acknowledge(&Acknowledgement::All);
            assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
        }
    }
}

#[test]
fn that_the_recovery_action_has_changed_is_in_doubt_as_long_as_the_driver_does_not_tell_it() {
    let mut chart = healthy();
    chart.event(&xid(154), at(1));
    for _ in 2..5 {
        chart.vitals(Ok(&Vitals::default()));
        assert_eq!(of(&chart, XID_HEALTHY), "Unknown Xid154");
        assert!(message(&chart, XID_HEALTHY).contains("only the kernel's log does"));
    }
    // Of which version it is does not matter: it is its own word.
    let mut chart = healthy_with_verdict();
    chart.driver_version(None);
    chart.event(&xid(154), at(1));
    chart.vitals(Ok(&verdict(RecoveryAction::None)));
    assert_eq!(of(&chart, XID_HEALTHY), "True NoXid");
}

#[test]
fn an_xid_of_which_the_driver_does_not_speak_needs_what_it_needs_whatever_the_driver_wants() {
    for (wanted, reset, expected) in [
        (RecoveryAction::None, "True GpuReset", "COMPONENT_RESET"),
        (RecoveryAction::DrainP2P, "True GpuReset", "COMPONENT_RESET"),
        (RecoveryAction::NodeReboot, "True GpuReset", "RESTART_BM"),
    ] {
        for number in [46, 119, 140] {
            let mut chart = healthy_with_verdict();
            chart.event(&xid(number), at(1));
            for _ in 2..5 {
                chart.vitals(Ok(&verdict(wanted)));
            }
            assert_eq!((of(&chart, RESET_REQUIRED).as_str(), action(&chart).as_deref()), (reset, Some(expected)));
            assert!(message(&chart, RESET_REQUIRED).contains(&format!("XID {number}")), "the XID asks for it");
        }
    }
    // Of what it speaks of it is asked first.
    let mut chart = healthy_with_verdict();
    chart.event(&xid(120), at(1));
    assert_eq!(of(&chart, RESET_REQUIRED), "False RecoveryActionNone");
}
