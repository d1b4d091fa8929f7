// SPDX-License-Identifier: Apache-2.0
//! Whether memory errors are of consequence, whatever is left of the XIDs.

use super::super::super::xid::{Action, explain};
use super::*;

/// So many uncorrected errors, with a driver that says this, or tells nothing.
fn errors(count: u64, action: Option<RecoveryAction>) -> Vitals {
    Vitals { recovery_action: action, ecc_uncorrected_volatile: Some(count), ..Vitals::default() }
}

const NOTHING: Option<RecoveryAction> = Some(RecoveryAction::None);

fn stored(chart: &Chart) -> GpuStatus {
    GpuStatus { conditions: chart.conditions(None), xids: chart.xids(None), ..GpuStatus::default() }
}

/// A GPU without errors, in a new process that found this object.
fn started(status: &GpuStatus, boot_id: &str, reading: &Vitals) -> Chart {
    let mut chart = Chart::new(Arc::default(), Some(boot_id.to_owned()));
    chart.driver_version(Some(driver_of(reading)));
    chart.adopt(status);
    chart.subscribed(Ok(()));
    chart.vitals(Ok(reading));
    chart
}

/// XIDs that change nothing, more than an object has room for.
fn harmless() -> impl Iterator<Item = u32> {
    (1..200).filter(|xid| *xid != 94 && !explain(*xid).action.stands())
}

#[test]
fn with_a_driver_that_tells_nothing_uncorrected_errors_are_a_fault_until_the_count_is_zero_again() {
    let mut chart = healthy_on(Policy::default(), &errors(0, None));
    assert_eq!(of(&chart, ECC_HEALTHY), "True Ok");
    for _ in 0..5 {
        chart.vitals(Ok(&errors(2, None)));
        assert_eq!(of(&chart, ECC_HEALTHY), "False UncorrectedErrors");
        assert_eq!(action(&chart).as_deref(), Some("COMPONENT_RESET"));
        assert!(chart.needs_attention());
    }
    chart.vitals(Ok(&errors(0, None)));
    assert_eq!((of(&chart, ECC_HEALTHY), action(&chart)), ("True Ok".into(), None));
}

#[test]
fn errors_are_in_doubt_until_the_driver_has_said_twice_that_nothing_is_to_be_done() {
    let mut chart = healthy_on(Policy::default(), &errors(0, NOTHING));
    for _ in 0..5 {
        chart.vitals(Ok(&errors(0, NOTHING)));
    }
    for count in [1, 2] {
        chart.vitals(Ok(&errors(count, NOTHING)));
        assert_eq!((of(&chart, ECC_HEALTHY), action(&chart)), ("Unknown UncorrectedErrors".into(), None));
        assert!(chart.needs_attention(), "it is asked again soon");
        chart.early_vitals(&errors(count, NOTHING));
        assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors");
        chart.vitals(Ok(&errors(count, NOTHING)));
        assert_eq!((of(&chart, ECC_HEALTHY), action(&chart)), ("True RecoveryActionNone".into(), None));
        assert!(!chart.needs_attention());
    }
    // It changes its mind.
    chart.vitals(Ok(&errors(2, Some(RecoveryAction::GpuReset))));
    assert_eq!(of(&chart, ECC_HEALTHY), "False UncorrectedErrors");
    chart.vitals(Ok(&errors(2, NOTHING)));
    assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors");
    chart.vitals(Ok(&errors(0, NOTHING)));
    assert_eq!(of(&chart, ECC_HEALTHY), "True Ok");
}

#[test]
fn a_contained_error_is_harmless_as_soon_as_the_driver_says_so_once() {
    let reset = Some(RecoveryAction::GpuReset);
    for (event, told, policy, expected) in [
        (xid(94), NOTHING, Policy::default(), "True RecoveryActionNone"),
        (xid_on(94, 1, None), NOTHING, Policy::default(), "True RecoveryActionNone"),
        (xid(94), reset, Policy::default(), "False UncorrectedErrors"),
        (xid(94), None, Policy::default(), "False UncorrectedErrors"),
        // Somebody wants the GPU reset then.
        (xid(94), NOTHING, Policy::default().with_action(94, Action::ResetGpu), "False UncorrectedErrors"),
    ] {
        let mut chart = healthy_on(policy, &errors(0, told));
        chart.event(&event, at(1));
        chart.vitals(Ok(&errors(1, told)));
        assert_eq!(of(&chart, ECC_HEALTHY), expected, "{event:?}, {told:?}");
    }
}

#[test]
fn that_one_error_was_contained_says_nothing_of_the_next() {
    for reported_first in [true, false] {
        let mut chart = healthy_on(Policy::default(), &errors(0, NOTHING));
        for count in [1, 2] {
            if reported_first {
                chart.event(&xid(94), at(1));
            }
            chart.vitals(Ok(&errors(count, NOTHING)));
            if !reported_first {
                assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors");
                chart.event(&xid(94), at(1));
            }
            assert_eq!(of(&chart, ECC_HEALTHY), "True RecoveryActionNone");
        }
        chart.vitals(Ok(&errors(3, NOTHING)));
        assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors", "of this one nobody knows");
    }
}

#[test]
fn errors_after_the_count_was_set_back_are_not_those_that_were_contained_before() {
    let mut chart = healthy_on(Policy::default(), &errors(0, NOTHING));
    for count in 1..=5 {
        chart.event(&xid(94), at(1));
        chart.vitals(Ok(&errors(count, NOTHING)));
    }
    chart.vitals(Ok(&errors(0, NOTHING)));
    assert_eq!(of(&chart, ECC_HEALTHY), "True Ok");
    chart.vitals(Ok(&errors(1, NOTHING)));
    assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors");
}

#[test]
fn the_word_of_a_driver_of_which_nobody_knows_the_version_makes_no_error_harmless() {
    let mut chart = healthy_on(Policy::default(), &errors(0, NOTHING));
    chart.driver_version(None);
    for _ in 0..5 {
        chart.vitals(Ok(&errors(1, NOTHING)));
        assert_eq!(of(&chart, ECC_HEALTHY), "False UncorrectedErrors");
    }
}

#[test]
fn while_an_xid_of_a_memory_error_stands_the_errors_are_of_consequence() {
    let mut chart = healthy_on(Policy::default(), &errors(0, NOTHING));
    divide(&mut chart, &[mig(1, 0), mig(2, 0)]);
    chart.event(&xid(140), at(1));
    for _ in 0..5 {
        chart.vitals(Ok(&errors(1, NOTHING)));
        assert_eq!(of(&chart, ECC_HEALTHY), "False UncorrectedErrors");
    }
    chart.acknowledge(&Acknowledgement::All);
    assert_eq!(of(&chart, ECC_HEALTHY), "True RecoveryActionNone");
    // The memory of instances is their own.
    chart.event(&xid_on(95, 1, Some(0)), at(1));
    assert_eq!(on(&chart, ECC_HEALTHY, Some(&mig(1, 0))), "False UncorrectedErrors");
    for other in [None, Some(&mig(2, 0))] {
        assert_eq!(on(&chart, ECC_HEALTHY, other), "True RecoveryActionNone");
    }
}

#[test]
fn no_number_of_harmless_xids_changes_the_health_of_a_gpu_or_its_instances() {
    assert!(harmless().count() > 35);
    let parts: Vec<_> = (7..14).map(|instance| mig(instance, 0)).collect();
    let healths = |chart: &Chart| {
        let all = std::iter::once(None).chain(parts.iter().map(Some));
        all.map(|part| (chart.conditions(part), chart.recommended_action(part))).collect::<Vec<_>>()
    };
    for driver_is_settled in [false, true] {
        let mut chart = healthy_on(Policy::default(), &errors(0, NOTHING));
        divide(&mut chart, &parts);
        // Behind it in the history, but what decides.
        for event in [xid(94), xid(48), xid(63), xid_on(109, 7, Some(0)), xid(119)] {
            chart.event(&event, at(1));
        }
        for _ in 0..if driver_is_settled { 5 } else { 1 } {
            chart.vitals(Ok(&errors(1, NOTHING)));
        }
        let before = healths(&chart);
        for (second, number) in (100..).zip(harmless()) {
            chart.event(&xid(number), at(second));
            chart.event(&xid_on(number, 9, Some(0)), at(second));
            assert_eq!(healths(&chart), before, "XID {number}");
        }
        let mut after = started(&stored(&chart), BOOT, &errors(1, NOTHING));
        divide(&mut after, &parts);
        let said = |healths: &[(Vec<Condition>, _)]| {
            let all = healths.iter().flat_map(|(conditions, _)| conditions);
            all.map(|at| format!("{} {} {}", at.type_, at.status, at.reason)).collect::<Vec<_>>()
        };
        if driver_is_settled {
            assert_eq!(said(&healths(&after)), said(&before));
        }
    }
}

#[test]
fn after_a_restart_on_a_store_that_lost_everything_errors_are_in_doubt_and_then_as_the_driver_says() {
    let mut chart = started(&GpuStatus::default(), BOOT, &errors(1, NOTHING));
    assert_eq!((of(&chart, ECC_HEALTHY), action(&chart)), ("Unknown UncorrectedErrors".into(), None));
    chart.vitals(Ok(&errors(1, NOTHING)));
    assert_eq!(of(&chart, ECC_HEALTHY), "True RecoveryActionNone");
    let chart = started(&GpuStatus::default(), BOOT, &errors(1, Some(RecoveryAction::GpuReset)));
    assert_eq!(of(&chart, ECC_HEALTHY), "False UncorrectedErrors");
}

#[test]
fn what_the_driver_said_of_errors_holds_over_a_restart_and_not_over_a_reboot() {
    let mut settled = healthy_on(Policy::default(), &errors(1, NOTHING));
    settled.vitals(Ok(&errors(1, NOTHING)));
    settled.event(&xid(13), at(1));
    let mut contained = healthy_on(Policy::default(), &errors(0, NOTHING));
    contained.event(&xid(94), at(1));
    for status in [stored(&settled), stored(&contained)] {
        let mut chart = started(&status, BOOT, &errors(1, NOTHING));
        assert_eq!(of(&chart, ECC_HEALTHY), "True RecoveryActionNone");
        chart.driver_reloaded();
        chart.vitals(Ok(&errors(1, NOTHING)));
        assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors", "these are others");
        let chart = started(&status, "boot-2", &errors(1, NOTHING));
        assert_eq!(of(&chart, ECC_HEALTHY), "Unknown UncorrectedErrors", "these are others");
    }
}

#[test]
fn a_verdict_that_is_missing_once_makes_no_fault_of_errors() {
    let mut chart = healthy_on(Policy::default(), &errors(1, NOTHING));
    chart.vitals(Ok(&errors(1, NOTHING)));
    chart.vitals(Ok(&errors(1, None)));
    assert_eq!((of(&chart, ECC_HEALTHY), action(&chart)), ("Unknown UncorrectedErrors".into(), None));
    chart.vitals(Ok(&errors(1, NOTHING)));
    assert_eq!(of(&chart, ECC_HEALTHY), "True RecoveryActionNone");
}
