// SPDX-License-Identifier: Apache-2.0
//! What a person reads in the log: which GPUs there are, what became of each, and what is over.

use std::fs;

use nvml_standin::Script;
use tempfile::TempDir;

use crate::node::{XID_HEALTHY, all_healthy, breaks, flags, real, says, server};
use crate::process::Provider;
use crate::support::standin::Standin;

/// GPU 0 hangs for a while, the list and the wait for events do, too, and GPU 1 has a fault that is no XID.
const SCENARIO: &str = r#"
[node]
gpus = 2

[[at]]
time = "2s"
event = "remap_pending"
gpu = 1

[[at]]
time = "2s"
event = "xid"
gpu = 0
xid = 79

[[at]]
time = "4s"
event = "hang"
call = "vitals"
gpu = 0
for = "5s"

[[at]]
time = "4s"
event = "hang"
call = "list"
for = "5s"

[[at]]
time = "10s"
event = "fail"
call = "event"
error = "other"
for = "1s"

[[at]]
time = "12s"
event = "reset"
gpu = 1
"#;

#[tokio::test]
async fn the_log_tells_each_gpu_each_change_of_its_verdict_and_the_end_of_each_hang() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("scenario.toml");
    fs::write(&file, SCENARIO).unwrap();
    let server = server(&flags(&[&format!("--nvml=simulated:{}", file.display())]));
    let uuid = |gpu: usize| format!("GPU-51500000-0000-4000-8000-0000{gpu:08x}");
    server.says("WARN device_api_server::source::nvml: the GPUs are simulated").await;
    says(&server.api(), &uuid(0).to_lowercase(), &[(XID_HEALTHY, "False Xid79")]).await;
    for over in
        ["it is over that a GPU does not answer", "the GPUs can be listed again", "events can be waited for again"]
    {
        server.says(over).await;
    }
    let line = |words: &[&str]| {
        let log = server.stderr();
        let found = log.lines().find(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned);
        found.unwrap_or_else(|| panic!("no line with {words:?} in\n{log}"))
    };
    for gpu in [0, 1] {
        let (uuid, index) = (uuid(gpu), format!("index={gpu}"));
        line(&["found a GPU, ", &uuid, &index, "pci=\"00000000:", "simulated=true", "NVIDIA H100"]);
    }
    let (first, second) = (uuid(0), uuid(1));
    line(&[
        "WARN",
        "Unhealthy: ",
        "XidHealthy is False (Xid79)",
        &first,
        "index=0",
        "pci=",
        "from=\"Healthy\"",
        "RESTART_BM",
        "XID 79: ",
    ]);
    // No XID, and said all the same.
    line(&[
        "WARN",
        "Unhealthy: RowRemapHealthy is False (RemapPending)",
        &second,
        "from=\"Healthy\"",
        "COMPONENT_RESET",
    ]);
    server.says(&format!("told: Healthy gpu=\"{second}\" index=1 pci=\"00000000:")).await;
}

#[tokio::test]
async fn as_many_gpus_as_a_node_can_have_are_told_of_one_by_one_and_their_parts_are_not_all() {
    let scenario = "[node]\ngpus = 16\nproduct = \"a100-80gb\"\nmig = [\"1g.10gb\", \"1g.10gb\", \"1g.10gb\", \"1g.10gb\", \"1g.10gb\"]\n";
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("scenario.toml");
    fs::write(&file, scenario).unwrap();
    let server = server(&flags(&[&format!("--nvml=simulated:{}", file.display())]));
    all_healthy(&server.api(), 96).await;
    server.says("found more GPUs or parts of them").await;
    let log = server.stderr();
    assert_eq!(log.matches("found a GPU, ").count(), 64, "{log}");
}

#[tokio::test]
async fn while_the_api_is_away_the_log_tells_what_becomes_of_a_gpu() {
    let standin = Standin::new(&Script::with_gpus(1));
    let mut server = server(&["--nvml=off".to_owned()]);
    let short = [real(&standin), vec!["--nvml-lease-duration=3s".to_owned()]].concat();
    let provider = Provider::start(server.socket(), &short);
    all_healthy(&server.api(), 1).await;
    server.kill();
    provider.says("nothing is written until it is").await;
    breaks(&standin, 0, 119);
    provider.says("XidHealthy is False (Xid119)").await;
}
