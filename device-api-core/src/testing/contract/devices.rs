// SPDX-License-Identifier: Apache-2.0
//! Rule 2.11: what a status says of the device, its telemetry and its XIDs.

use serde_json::Value;

use super::{ContractCase, World, list, ready};
use crate::registry::{PostParams, Verbs};
use crate::resource::{
    Gpu, GpuDevice, GpuStatus, GpuTelemetry, MigDevice, RecommendedAction, Timestamp, XidRecord, condition,
};
use crate::testing::expect::{Events, refused_field};
use crate::testing::given::{
    create, get, gpu, merge, patch_status, replace_status, strategic, version, with_conditions,
};

pub(super) fn cases<W: World>() -> Vec<ContractCase<W>> {
    list![
        rule_2_11_device_telemetry_and_xids_are_kept_as_they_were_sent,
        rule_2_11_zero_is_not_absent,
        rule_2_11_a_watch_shows_them,
        rule_2_11_a_condition_patch_leaves_them_alone,
        rule_2_11_a_patch_changes_one_fact_and_replaces_the_xids,
        rule_2_11_an_empty_action_is_no_action,
        rule_2_11_the_zero_time_of_go_is_no_time_however_it_is_sent,
        rule_2_11_32_xids_are_kept_and_33_are_invalid,
        rule_2_11_64_throttle_reasons_are_kept_and_65_are_invalid,
        rule_2_11_each_text_has_at_most_253_bytes,
    ]
}

/// A time with nanoseconds.
fn noon() -> Timestamp {
    "2026-11-24T12:00:00.000000007Z".parse().expect("a test's time is in range")
}

/// A device of which every fact is known; each text is this one.
fn device(text: &str) -> GpuDevice {
    let text = || Some(text.to_owned());
    GpuDevice {
        index: Some(7),
        minor_number: Some(6),
        product_name: text(),
        brand: text(),
        architecture: text(),
        serial: text(),
        board_part_number: text(),
        pci_bus_id: text(),
        pcie_generation_max: Some(5),
        pcie_width_max: Some(16),
        numa_node: Some(1),
        memory_bytes: Some(u64::MAX),
        compute_capability: text(),
        mig_enabled: Some(true),
        mig_pending: Some(true),
        driver_version: text(),
        cuda_driver_version: text(),
        vbios_version: text(),
        mig: Some(MigDevice {
            parent_uuid: text().unwrap_or_default(),
            gpu_instance_id: Some(u32::MAX),
            compute_instance_id: Some(3),
            profile: text(),
        }),
    }
}

/// A device that measures everything.
fn telemetry(reasons: &[&str]) -> GpuTelemetry {
    GpuTelemetry {
        sampled_at: Some(noon()),
        temperature_celsius: Some(41),
        power_milliwatts: Some(71_250),
        power_limit_milliwatts: Some(700_000),
        sm_clock_mhz: Some(1_980),
        memory_clock_mhz: Some(2_619),
        utilization_percent: Some(99),
        memory_used_bytes: Some(1 << 36),
        pcie_generation: Some(4),
        pcie_width: Some(8),
        ecc_corrected_volatile: Some(11),
        ecc_uncorrected_volatile: Some(12),
        ecc_corrected_aggregate: Some(u64::MAX),
        ecc_uncorrected_aggregate: Some(14),
        remapped_rows_correctable: Some(15),
        remapped_rows_uncorrectable: Some(16),
        remapping_pending: Some(true),
        remapping_failed: Some(true),
        retired_pages: Some(19),
        throttle_reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
        processes: Some(u32::MAX),
    }
}

/// An XID of which everything is known.
fn xid(number: u32, text: &str) -> XidRecord {
    XidRecord {
        xid: number,
        count: u64::MAX,
        first_seen: Some(noon()),
        last_seen: Some(Timestamp::from_unix(1_800_000_000, 999_999_999).expect("a test's time is in range")),
        gpu_instance_id: Some(1),
        compute_instance_id: Some(2),
        recommended_action: Some(RecommendedAction::Other(text.to_owned())),
        standing: true,
        boot_id: text.to_owned(),
        instance_gone: true,
        reset_requested: true,
    }
}

/// A GPU of this name that says everything that it can.
fn full(name: &str) -> Gpu {
    let mut gpu = with_conditions(&gpu(name), [ready("True")]);
    gpu.status.device = Some(device("Ä \u{0} text"));
    gpu.status.telemetry = Some(telemetry(&["SwPowerCap", "", "HwSlowdown"]));
    gpu.status.xids = vec![xid(13, "b"), xid(79, "a")];
    gpu
}

/// What a status says beside its conditions.
fn facts(status: &GpuStatus) -> (&Option<GpuDevice>, &Option<GpuTelemetry>, &[XidRecord]) {
    (&status.device, &status.telemetry, &status.xids)
}

/// Create, status update and status patch of this status: each is refused for the field.
async fn refused_everywhere(api: &impl Verbs<Gpu>, status: GpuStatus, field: &str) {
    let post = PostParams::default();
    let existing = get(api, "existing").await;
    let sent = |name| Gpu { status: status.clone(), ..gpu(name) };
    refused_field(api.create(&post, &sent("new")).await, field, "create");
    refused_field(api.replace_status("existing", &post, &sent("existing")).await, field, "a status update");
    let change = merge(serde_json::json!({"status": status}));
    refused_field(api.patch_status("existing", &post, &change).await, field, "a status patch");
    assert_eq!(get(api, "existing").await, existing, "nothing is stored");
}

async fn rule_2_11_device_telemetry_and_xids_are_kept_as_they_were_sent(api: impl Verbs<Gpu>) {
    let created = create(&api, &full("x")).await;
    assert_eq!(facts(&created.status), facts(&full("x").status));
    assert_eq!(get(&api, "x").await, created);
    let again = replace_status(&api, &created).await;
    assert_eq!(version(&*again), version(&*created), "the same facts are no change");
    let bare = create(&api, &gpu("y")).await;
    assert_eq!(facts(&bare.status), facts(&GpuStatus::default()));
    let told = replace_status(&api, &Gpu { status: full("y").status, ..(*bare).clone() }).await;
    assert_eq!(facts(&told.status), facts(&full("y").status));
    let patched = patch_status(&api, "y", merge(serde_json::json!({"status": {"telemetry": null}}))).await;
    assert_eq!(patched.status.telemetry, None);
    assert_eq!((&patched.status.device, &patched.status.xids), (&told.status.device, &told.status.xids));
}

async fn rule_2_11_zero_is_not_absent(api: impl Verbs<Gpu>) {
    let mut zero = gpu("x");
    zero.status.device = Some(GpuDevice {
        index: Some(0),
        numa_node: None,
        serial: Some(String::new()),
        mig_enabled: Some(false),
        mig: Some(MigDevice { gpu_instance_id: Some(0), ..MigDevice::default() }),
        ..GpuDevice::default()
    });
    zero.status.telemetry = Some(GpuTelemetry { processes: Some(0), ..GpuTelemetry::default() });
    zero.status.xids = vec![XidRecord { gpu_instance_id: Some(0), ..XidRecord::default() }];
    let created = create(&api, &zero).await;
    assert_eq!(created.status, zero.status);
    assert_eq!(get(&api, "x").await, created);
    zero.status = GpuStatus {
        device: Some(GpuDevice::default()),
        telemetry: Some(GpuTelemetry::default()),
        ..GpuStatus::default()
    };
    let stored = replace_status(&api, &zero).await;
    assert_eq!(stored.status, zero.status, "a device of which nothing is known is not none");
}

async fn rule_2_11_a_watch_shows_them(api: impl Verbs<Gpu>) {
    let created = create(&api, &full("x")).await;
    let mut events = Events::of(&api, crate::registry::WatchParams::default()).await;
    assert_eq!(events.added::<Gpu>("x").await, created);
    let patch = serde_json::json!({"status": {"telemetry": {"temperatureCelsius": 90}}});
    let patched = patch_status(&api, "x", merge(patch)).await;
    assert_eq!(events.modified::<Gpu>("x").await, patched);
    assert_eq!(patched.status.telemetry.as_ref().and_then(|sample| sample.temperature_celsius), Some(90));
}

async fn rule_2_11_a_condition_patch_leaves_them_alone(api: impl Verbs<Gpu>) {
    create(&api, &full("x")).await;
    let change = serde_json::json!({"status": {"conditions": [{"type": "Hot", "status": "False"}]}});
    let patched = patch_status(&api, "x", strategic(change)).await;
    assert!(condition::find(&patched.status.conditions, "Hot").is_some());
    assert_eq!(facts(&patched.status), facts(&full("x").status));
}

async fn rule_2_11_a_patch_changes_one_fact_and_replaces_the_xids(api: impl Verbs<Gpu>) {
    create(&api, &full("x")).await;
    let change = serde_json::json!({"status": {"device": {"index": 0}, "xids": [{"xid": 94, "count": 1}]}});
    let patched = patch_status(&api, "x", strategic(change)).await;
    let device = GpuDevice { index: Some(0), ..full("x").status.device.unwrap_or_default() };
    assert_eq!(patched.status.device, Some(device));
    assert_eq!(patched.status.xids, [XidRecord { xid: 94, count: 1, ..XidRecord::default() }]);
}

async fn rule_2_11_an_empty_action_is_no_action(api: impl Verbs<Gpu>) {
    create(&api, &gpu("x")).await;
    let change = serde_json::json!({"status": {"xids": [{"xid": 13, "recommendedAction": ""}]}});
    let patched = patch_status(&api, "x", merge(change)).await;
    assert_eq!(patched.status.xids[0].recommended_action, None);
}

async fn rule_2_11_the_zero_time_of_go_is_no_time_however_it_is_sent(api: impl Verbs<Gpu>) {
    let sent = serde_json::json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "0001-01-01T00:00:00Z"}],
        "telemetry": {"sampledAt": "0001-01-01T00:00:00Z", "processes": 1},
        "xids": [{"xid": 13, "count": 1, "firstSeen": "0001-01-01T00:00:00Z", "lastSeen": "0001-01-01T00:00:00Z"}],
    }});
    let status: GpuStatus = serde_json::from_value(sent["status"].clone()).expect("a test's status is one");
    let created = create(&api, &Gpu { status: status.clone(), ..gpu("created") }).await;
    create(&api, &gpu("updated")).await;
    let updated = replace_status(&api, &Gpu { status, ..gpu("updated") }).await;
    create(&api, &gpu("merged")).await;
    let merged = patch_status(&api, "merged", merge(sent.clone())).await;
    create(&api, &gpu("patched")).await;
    let patched = patch_status(&api, "patched", strategic(sent)).await;
    for stored in [created, updated, merged, patched] {
        let GpuStatus { conditions, telemetry, xids, .. } = &stored.status;
        let name = &stored.metadata.name;
        assert!(conditions[0].last_transition_time >= stored.metadata.creation_timestamp, "{name}: the server's time");
        assert_eq!(telemetry.as_ref().and_then(|telemetry| telemetry.sampled_at), None, "{name}");
        assert_eq!((xids[0].first_seen, xids[0].last_seen), (None, None), "{name}");
    }
}

async fn rule_2_11_32_xids_are_kept_and_33_are_invalid(api: impl Verbs<Gpu>) {
    let mut existing = gpu("existing");
    existing.status.xids = (0..32).map(|number| xid(number, "text")).collect();
    assert_eq!(create(&api, &existing).await.status.xids, existing.status.xids);
    existing.status.xids.push(XidRecord::default());
    refused_everywhere(&api, existing.status, "status.xids").await;
}

async fn rule_2_11_64_throttle_reasons_are_kept_and_65_are_invalid(api: impl Verbs<Gpu>) {
    let mut existing = gpu("existing");
    existing.status.telemetry = Some(telemetry(&["Idle"; 64]));
    assert_eq!(create(&api, &existing).await.status.telemetry, existing.status.telemetry);
    existing.status.telemetry = Some(telemetry(&["Idle"; 65]));
    refused_everywhere(&api, existing.status, "status.telemetry.throttleReasons").await;
}

async fn rule_2_11_each_text_has_at_most_253_bytes(api: impl Verbs<Gpu>) {
    let long = "t".repeat(253);
    let mut existing = gpu("existing");
    existing.status.device = Some(device(&long));
    existing.status.telemetry = Some(telemetry(&[&long]));
    existing.status.xids = vec![xid(13, &long)];
    let created = create(&api, &existing).await;
    assert_eq!(facts(&created.status), facts(&existing.status));

    // One by one, by their names in JSON.
    let sound = serde_json::to_value(&existing).expect("a GPU has a JSON form");
    let mut paths = Vec::new();
    collect_texts(&sound["status"], "", &long, &mut paths);
    assert_eq!(paths.len(), 15, "{paths:?}");
    for path in paths {
        let mut sent = sound.clone();
        let text = sent["status"].pointer_mut(&path).expect("the path was just found");
        *text = Value::String("t".repeat(254));
        let sent: Gpu = serde_json::from_value(sent).expect("a text is of any length in JSON");
        // `/xids/0/bootId` is `xids[0].bootId`.
        let field = path.replace("/0", "[0]").replacen('/', "status.", 1).replace('/', ".");
        refused_everywhere(&api, sent.status, &field).await;
    }
}

/// The JSON pointers of all texts that are this one.
fn collect_texts(value: &Value, path: &str, text: &str, found: &mut Vec<String>) {
    match value {
        Value::String(one) if one == text => found.push(path.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect_texts(item, &format!("{path}/{index}"), text, found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                collect_texts(field, &format!("{path}/{name}"), text, found);
            }
        }
        _ => {}
    }
}
