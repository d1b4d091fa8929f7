// SPDX-License-Identifier: Apache-2.0
//! Runs the examples as the programs that `cargo test` built beside the tests.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part, and clippy.toml's exception does not reach here

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// An example, pointed at a socket.
pub(crate) fn example(name: &str, socket: &Path) -> Command {
    // target/<profile>/deps/run-… is this test, target/<profile>/examples/… are the examples.
    let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned();
    let program = profile.join("examples").join(name);
    assert!(program.exists(), "{} is not built: run cargo test --package device-api-examples", program.display());
    let mut command = Command::new(program);
    command.env("NVIDIA_DEVICE_API_PATH", socket).env_remove("NVIDIA_DEVICE_API_SOCK").stdin(Stdio::null());
    command
}

/// What an example says, run to its end.
pub(crate) fn says(name: &str, socket: &Path, arguments: &[&str]) -> String {
    let output = example(name, socket).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// An example that runs on.
pub(crate) struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(name: &str, socket: &Path, arguments: &[&str]) -> Self {
        let mut child = example(name, socket).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line, without the version at its end, which differs each time.
    pub(crate) fn line(&mut self) -> String {
        let line = self.lines.next().unwrap().unwrap();
        line.split(" at version ").next().unwrap().to_owned()
    }

    pub(crate) fn stop(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.ends_well();
    }

    pub(crate) fn ends_well(&mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a test that fails leaves one running.
        let _ = self.child.kill();
    }
}
