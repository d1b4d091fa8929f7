// SPDX-License-Identifier: Apache-2.0
//! Databases that releases wrote open with all that they hold. `fixtures/` has one of each format, and beside it what it holds.
//!
//! When this fails, a server of today cannot read, or reads otherwise, what one of an earlier release has left on a node. Mend that, and leave the
//! old fixtures as they are. Where the format itself is another one, raise it, and write the fixture of the new one:
//!
//! ```console
//! DEVICE_API_WRITE_FIXTURE=1 cargo test --package device-api-store-sqlite --test formats
//! ```

// Clippy takes only the tests themselves for tests, not the functions that they call.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use device_api_core::lease::{AcquireLease, LeaseVerbs as _, Leases};
use device_api_core::registry::{DeleteParams, Ledger, LedgerOptions, ListParams, PostParams, WatchParams};
use device_api_core::resource::{Gpu, GpuStrategy};
use device_api_store_sqlite::{SqliteOptions, SqliteStorage};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

/// Set when the fixture of today's format is to be written.
const WRITE: &str = "DEVICE_API_WRITE_FIXTURE";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A GPU with something in every field.
fn full() -> Value {
    json!({
        "apiVersion": "device.nvidia.com/v1alpha1",
        "kind": "GPU",
        "metadata": {"name": "full", "labels": {"example.com/tray": "left"}, "annotations": {"example.com/note": "\u{e4}\n\u{10ffff}"}},
        "spec": {"uuid": "GPU-4b1f2a90"},
        "status": {
            "conditions": [{
                "type": "NVMLReady", "status": "False", "observedGeneration": 1,
                "lastTransitionTime": "2026-11-24T13:48:17.123456789Z", "reason": "Xid79", "message": "it fell off the bus"
            }],
            "recommendedAction": "RESTART_VM",
            "device": {
                "index": 0, "minorNumber": 1, "productName": "NVIDIA H100 80GB HBM3", "brand": "Nvidia", "architecture": "Hopper", "serial": "1",
                "boardPartNumber": "900", "pciBusId": "00000000:3B:00.0", "pcieGenerationMax": 5, "pcieWidthMax": 16, "numaNode": 0,
                "memoryBytes": 85520809984_u64, "computeCapability": "9.0", "migEnabled": true, "migPending": false, "driverVersion": "570.86.15",
                "cudaDriverVersion": "12.8", "vbiosVersion": "96.00",
                "mig": {"parentUuid": "GPU-4b1f2a90", "gpuInstanceId": 1, "computeInstanceId": 0, "profile": "1g.10gb"}
            },
            "telemetry": {
                "sampledAt": "2026-11-24T13:48:17Z", "temperatureCelsius": 41, "powerMilliwatts": 123456, "powerLimitMilliwatts": 700000,
                "smClockMhz": 1980, "memoryClockMhz": 2619, "utilizationPercent": 7, "memoryUsedBytes": 1, "pcieGeneration": 5, "pcieWidth": 16,
                "eccCorrectedVolatile": 1, "eccUncorrectedVolatile": 2, "eccCorrectedAggregate": 3, "eccUncorrectedAggregate": 4,
                "remappedRowsCorrectable": 5, "remappedRowsUncorrectable": 6, "remappingPending": true, "remappingFailed": false,
                "retiredPages": 8, "throttleReasons": ["SwPowerCap"], "processes": 2
            },
            "xids": [{
                "xid": 79, "count": 2, "firstSeen": "2026-11-24T13:50:02Z", "lastSeen": "2026-11-24T13:50:09Z", "gpuInstanceId": 1,
                "computeInstanceId": 0, "recommendedAction": "RESTART_VM", "standing": true, "bootId": "b"
            }]
        }
    })
}

/// Writes a database as a node has it, and returns what it holds.
async fn write(path: &Path) -> Value {
    let ledger = open(path).await;
    let (gpus, leases) = (ledger.registry(GpuStrategy).await.unwrap(), Leases::open(&ledger).await.unwrap());
    let params = PostParams::default();
    let gpu: Gpu = serde_json::from_value(full()).unwrap();
    let created = gpus.create(&params, &gpu).await.unwrap();
    let mut stored = serde_json::to_value(&*created).unwrap();
    for added in ["namespace", "uid", "resourceVersion", "generation", "creationTimestamp"] {
        stored["metadata"].as_object_mut().unwrap().remove(added).unwrap();
    }
    assert_eq!(stored, full(), "the fixture has every field");
    for name in ["gone", "plain"] {
        let plain = json!({"metadata": {"name": name}, "spec": {"uuid": ""}});
        gpus.create(&params, &serde_json::from_value(plain).unwrap()).await.unwrap();
    }
    gpus.delete("gone", &DeleteParams::default()).await.unwrap();
    let request = AcquireLease::new("nvml").with_condition_types(["NVMLReady"]).with_holder_identity("me");
    leases.acquire(&request.with_duration(Duration::from_secs(45))).await.unwrap();
    drop((gpus, leases));
    ledger.close().await.unwrap();
    let ledger = open(path).await;
    let held = holds(&ledger).await;
    ledger.close().await.unwrap();
    held
}

async fn open(path: &Path) -> Ledger {
    let storage = SqliteStorage::open_path(path, SqliteOptions::default()).await.unwrap();
    // History is as old as the fixture.
    let history = device_api_core::registry::History::default().with_max_age(Duration::MAX);
    Ledger::open(Box::new(storage), LedgerOptions::default().with_history(history)).await.unwrap()
}

/// What a database holds, as its users see it.
async fn holds(ledger: &Ledger) -> Value {
    let (gpus, leases) = (ledger.registry(GpuStrategy).await.unwrap(), Leases::open(ledger).await.unwrap());
    let list = gpus.list(&ListParams::default()).await.unwrap();
    let leases: Vec<_> = leases
        .list()
        .await
        .unwrap()
        .into_iter()
        .map(|lease| {
            json!({"name": lease.name, "id": lease.id, "holderIdentity": lease.holder_identity, "seconds": lease.duration.as_secs(),
                "types": lease.condition_types, "acquiredAt": lease.acquired_at.to_string(), "renewedAt": lease.renewed_at.to_string()})
        })
        .collect();
    assert!(ledger.quarantined().borrow().is_empty(), "{:?}", ledger.quarantined().borrow());
    let gpus: Vec<&Gpu> = list.items.iter().map(|gpu| &**gpu).collect();
    json!({"version": list.metadata.resource_version, "gpus": gpus, "leases": leases})
}

/// The format of a database, and how its tables are made.
async fn format(path: &Path) -> (i64, Vec<String>) {
    let mut connection = SqliteConnectOptions::new().filename(path).read_only(true).connect().await.unwrap();
    let format = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut connection).await.unwrap();
    // The quarantine is made where it is needed, and is no part of the format.
    let tables = sqlx::query_scalar("SELECT sql FROM sqlite_schema WHERE name <> 'quarantine' ORDER BY name");
    let tables = tables.fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (format, tables)
}

#[tokio::test]
async fn every_format_that_was_ever_written_opens_with_all_that_it_holds() {
    let mut found = 0;
    for entry in fs::read_dir(fixtures()).unwrap() {
        let fixture = entry.unwrap().path();
        if fixture.extension().is_none_or(|extension| extension != "sqlite") {
            continue;
        }
        found += 1;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::write(&path, fs::read(&fixture).unwrap()).unwrap();
        let expected: Value =
            serde_json::from_str(&fs::read_to_string(fixture.with_extension("json")).unwrap()).unwrap();
        let ledger = open(&path).await;
        let held = holds(&ledger).await;
        for what in ["gpus", "leases"] {
            assert_eq!(held[what], expected[what], "{}", fixture.display());
        }
        // It is taken over, not only read: what is written to it comes after what it held, and is there with it.
        ledger.close().await.unwrap();
        let ledger = open(&path).await;
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        // Who saw the last version of then resumes from it.
        let version = expected["version"].as_str().unwrap();
        gpus.watch(&WatchParams::default().at(version)).await.unwrap();
        let new = json!({"metadata": {"name": "new"}, "spec": {"uuid": ""}});
        let new = gpus.create(&PostParams::default(), &serde_json::from_value(new).unwrap()).await.unwrap();
        assert!(new.metadata.resource_version.parse::<u64>().unwrap() > version.parse::<u64>().unwrap());
        ledger.close().await.unwrap();
        let ledger = open(&path).await;
        let gpus = ledger.registry(GpuStrategy).await.unwrap();
        assert_eq!(gpus.list(&ListParams::default()).await.unwrap().items.len(), 3);
        ledger.close().await.unwrap();
        let today = format(&path).await;
        let new = tempfile::tempdir().unwrap();
        open(&new.path().join("state.db")).await.close().await.unwrap();
        assert_eq!(
            today,
            format(&new.path().join("state.db")).await,
            "{} was not brought to today's format",
            fixture.display()
        );
    }
    assert!(found > 0);
}

#[tokio::test]
async fn todays_format_has_a_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let held = write(&path).await;
    let (number, tables) = format(&path).await;
    let fixture = fixtures().join(format!("format-{number}.sqlite"));
    if std::env::var_os(WRITE).is_some() && !fixture.exists() {
        fs::write(&fixture, fs::read(&path).unwrap()).unwrap();
        fs::write(fixture.with_extension("json"), serde_json::to_string_pretty(&held).unwrap() + "\n").unwrap();
    }
    assert!(fixture.exists(), "format {number} has no fixture: write it as the beginning of this file says");
    let copy = folder.path().join("copy.db");
    fs::write(&copy, fs::read(&fixture).unwrap()).unwrap();
    assert_eq!(
        format(&copy).await,
        (number, tables),
        "the tables are others than those of format {number}, which is in the field: raise the format, bring older files to it, and write its fixture"
    );
}
