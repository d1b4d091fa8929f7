// SPDX-License-Identifier: Apache-2.0
//! The example as the program that `cargo test` built beside this one.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};

use device_api_client::core::resource::ConditionStatus::True;
use device_api_client::{Client, ConnectOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::dra_health_tests::Kubelet;
use crate::kubelet::v1::dra_resource_health_client::DraResourceHealthClient;
use crate::kubelet::v1::{HealthStatus, NodeWatchResourcesRequest};
use crate::node::Node;

struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        // target/<profile>/deps/kubelet-… is this test, target/<profile>/examples/… are the examples.
        let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
        let program = profile.join("examples/bridges");
        assert!(program.exists(), "{} is not built: run cargo test --package device-api-examples", program.display());
        let mut command = Command::new(program);
        command.args(arguments).env("NVIDIA_DEVICE_API_PATH", node.server.address()).env("NODE_NAME", "node-a");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        tokio::task::block_in_place(|| self.lines.next().unwrap().unwrap())
    }

    fn ends_well_when_told_to(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let status = tokio::task::block_in_place(|| self.child.wait().unwrap());
        assert!(status.success(), "{status}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Only a test that fails leaves one running.
        let _ = self.child.kill();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_answers_the_kubelet_and_ends_though_it_listens_on() {
    let (node, folder) = (Node::start().await, TempDir::new().unwrap());
    let mut program = Program::start(&node, &["dra-health", folder.path().to_str().unwrap()]);
    let socket = folder.path().join("dra.sock");
    assert_eq!(program.line(), format!("serving on {}", socket.display()));

    let client = Client::lazy(&format!("unix://{}", socket.display()).parse().unwrap(), ConnectOptions::default());
    let reply =
        DraResourceHealthClient::new(client.transport()).node_watch_resources(NodeWatchResourcesRequest {}).await;
    let mut kubelet = Kubelet::new(reply.unwrap().into_inner());
    kubelet.until("gpu-0", HealthStatus::Healthy).await;
    assert_eq!(kubelet.health("gpu-1"), HealthStatus::Unhealthy);
    node.set("gpu-1", True).await;
    kubelet.until("gpu-1", HealthStatus::Healthy).await;
    program.ends_well_when_told_to();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_prints_a_slice_for_each_change() {
    let node = Node::start().await;
    let mut program = Program::start(&node, &["taints"]);
    let mut tainted = || {
        let slice: Value = serde_json::from_str(&program.line()).unwrap();
        let devices = slice["spec"]["devices"].as_array().unwrap().clone();
        devices.into_iter().filter(|device| !device["taints"].is_null()).count()
    };
    assert_eq!(tainted(), 2);
    node.set("gpu-1", True).await;
    assert_eq!(tainted(), 1);
    program.ends_well_when_told_to();
}
