// SPDX-License-Identifier: Apache-2.0
//! The rules of a chart, each by its name.

mod adoption;
mod ecc;
mod history;
mod instances;
mod recovery;
mod silence;
mod vitals;
mod xids;

use device_api_core::resource::{Condition, ConditionStatus, GpuStatus, condition};

use super::*;

const BOOT: &str = "boot-1";

/// So many seconds after the start of the test.
fn at(second: i64) -> Timestamp {
    Timestamp::from_unix(1_800_000_000 + second, 0).unwrap()
}

fn xid(xid: u32) -> EventKind {
    EventKind::Xid { xid, gpu_instance_id: None, compute_instance_id: None }
}

fn xid_on(xid: u32, gpu: u32, compute: Option<u32>) -> EventKind {
    EventKind::Xid { xid, gpu_instance_id: Some(gpu), compute_instance_id: compute }
}

fn mig(gpu: u32, compute: u32) -> MigDevice {
    let parent_uuid = "GPU-0".to_owned();
    MigDevice { parent_uuid, gpu_instance_id: Some(gpu), compute_instance_id: Some(compute), profile: None }
}

/// A GPU is divided into these.
fn divide(chart: &mut Chart, parts: &[MigDevice]) {
    let part = |mig: &MigDevice| {
        let uuid = format!("MIG-{:?}-{:?}", mig.gpu_instance_id, mig.compute_instance_id);
        (uuid, GpuDevice { mig: Some(mig.clone()), ..GpuDevice::default() })
    };
    chart.divided(&parts.iter().map(part).collect::<Vec<_>>());
}

/// A reading of a driver that tells its recovery action.
fn verdict(action: RecoveryAction) -> Vitals {
    Vitals { recovery_action: Some(action), ..Vitals::default() }
}

/// A driver whose recovery action speaks of all that any does, and one that has none.
const SPEAKS: &str = "580.95.05";
const SILENT: &str = "535.261.03";

/// The driver that says this.
fn driver_of(reading: &Vitals) -> &'static str {
    if reading.recovery_action.is_some() { SPEAKS } else { SILENT }
}

/// A GPU that answered and whose driver delivers its events.
fn healthy_on(policy: Policy, reading: &Vitals) -> Chart {
    let mut chart = Chart::new(Arc::new(policy), Some(BOOT.to_owned()));
    chart.driver_version(Some(driver_of(reading)));
    chart.subscribed(Ok(()));
    chart.vitals(Ok(reading));
    chart
}

/// The same, of a driver that tells nothing more.
fn healthy() -> Chart {
    healthy_on(Policy::default(), &Vitals::default())
}

/// The same, of a driver that tells its recovery action.
fn healthy_with_verdict() -> Chart {
    healthy_on(Policy::default(), &verdict(RecoveryAction::None))
}

/// Status and reason of the condition of this type, such as `True NoXid`; `-` where there is none.
fn on(chart: &Chart, type_: &str, mig: Option<&MigDevice>) -> String {
    let conditions = chart.conditions(mig);
    let found = condition::find(&conditions, type_);
    found.map_or("-".to_owned(), |Condition { status, reason, .. }| format!("{status} {reason}"))
}

fn of(chart: &Chart, type_: &str) -> String {
    on(chart, type_, None)
}

fn action(chart: &Chart) -> Option<String> {
    chart.recommended_action(None).map(|action| action.to_string())
}

fn message(chart: &Chart, type_: &str) -> String {
    condition::find(&chart.conditions(None), type_).unwrap().message.clone()
}

#[test]
fn all_that_a_chart_says_is_valid_in_stable_order_and_short() {
    let full = Vitals {
        recovery_action: Some(RecoveryAction::Other(9)),
        ecc_uncorrected_volatile: Some(3),
        remapping_pending: Some(true),
        remapping_failed: Some(false),
    };
    let mut chart = healthy_on(Policy::default(), &full);
    assert_eq!(chart.conditions(None).iter().map(|condition| &condition.type_).collect::<Vec<_>>(), CONDITION_TYPES);
    for number in 0..300 {
        chart.event(&xid(number), at(number.into()));
    }
    let long = DriverError::Other { call: "nvmlDeviceGetName", why: "é".repeat(5000) };
    for broken in [false, true] {
        if broken {
            chart.unreachable(&long);
        }
        let conditions = chart.conditions(None);
        assert_eq!(condition::validate("status.conditions", &conditions), []);
        for condition in &conditions {
            assert!(!condition.reason.is_empty() && condition.message.len() <= 1024, "{condition:?}");
            assert!(!condition.message.is_empty() && condition.last_transition_time.is_none(), "{condition:?}");
        }
        assert!(conditions.iter().any(|condition| condition.message.ends_with('…')));
    }
}

#[test]
fn a_type_that_is_left_out_leaves_the_order_of_the_others() {
    for reading in [
        Vitals::default(),
        verdict(RecoveryAction::None),
        Vitals { ecc_uncorrected_volatile: Some(0), ..Vitals::default() },
        Vitals { remapping_failed: Some(false), ..Vitals::default() },
    ] {
        let conditions = healthy_on(Policy::default(), &reading).conditions(None);
        let place = |condition: &Condition| CONDITION_TYPES.iter().position(|type_| *type_ == condition.type_);
        assert!(conditions.iter().map(place).is_sorted_by(|one, next| one.is_some() && one < next), "{conditions:?}");
        assert!(conditions.iter().all(|condition| condition.status != ConditionStatus::Unknown), "{conditions:?}");
    }
}

#[test]
fn whatever_happens_the_chart_is_valid_bounded_and_never_well_while_an_xid_stands() {
    let seed = std::env::var("CHART_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("CHART_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut chart = Chart::new(Arc::default(), Some(BOOT.to_owned()));
    let parts = [None, Some(mig(0, 0)), Some(mig(1, 1))];
    let mut seen = 0;
    for second in 0..5_000 {
        match random.u8(0..13) {
            0 => chart.subscribed(if random.bool() { Ok(()) } else { Err(&DriverError::NotSupported) }),
            1 if random.bool() => chart.driver_reloaded(),
            1 => chart.driver_version(random.choice([None, Some(SPEAKS), Some(SILENT), Some("?")]).flatten()),
            12 => divide(&mut chart, &parts[random.usize(1..3)..].iter().flatten().cloned().collect::<Vec<_>>()),
            2 => chart.unreachable(&DriverError::GpuLost),
            3 => chart.vitals(Err(&DriverError::Hung { call: "vitals" })),
            4 => chart.acknowledge(&Acknowledgement::Xids([random.u32(0..200)].into())),
            5 => chart.adopt(&GpuStatus {
                conditions: chart.conditions(None),
                xids: chart.xids(None),
                ..GpuStatus::default()
            }),
            6..9 => {
                let wanted = [RecoveryAction::None, RecoveryAction::DrainAndReset, RecoveryAction::Other(8)];
                let reading = Vitals {
                    recovery_action: random.choice(wanted),
                    ecc_uncorrected_volatile: random.choice([None, Some(0), Some(1)]).flatten(),
                    remapping_pending: random.choice([None, Some(false), Some(true)]).flatten(),
                    remapping_failed: random.choice([None, Some(false), Some(true)]).flatten(),
                };
                chart.vitals(Ok(&reading));
            }
            _ => {
                let instance = random.choice([None, Some(0), Some(1)]).flatten();
                let xid = random.u32(0..200);
                chart.event(
                    &EventKind::Xid { xid, gpu_instance_id: instance, compute_instance_id: instance },
                    at(second),
                );
            }
        }
        assert!(chart.xids(None).len() <= 32);
        for part in &parts {
            let conditions = chart.conditions(part.as_ref());
            assert_eq!(condition::validate("status.conditions", &conditions), []);
            let well = on(&chart, XID_HEALTHY, part.as_ref()) == "True NoXid";
            let stands = chart
                .xids(part.as_ref())
                .iter()
                .any(|record| record.standing && (part.is_some() || record.gpu_instance_id.is_none()));
            assert!(!(well && stands), "{conditions:?}");
            seen += u32::from(well) + u32::from(stands);
        }
    }
    assert!(seen > 0);
}
