// SPDX-License-Identifier: Apache-2.0
//! `device-apiserver simulate`: makes something happen in a simulation that runs.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::source::simulated::{LONGEST, OK, REFUSED};

/// How long the simulation may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The flags of `device-apiserver simulate`.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct SimulateConfig {
    /// The simulation's socket: what --nvml-simulation-socket says where it runs
    #[arg(long, env = "DEVICE_API_NVML_SIMULATION_SOCKET", value_name = "PATH")]
    pub socket: PathBuf,

    /// What happens: xid, lost, reset or another event of docs/simulation.md
    pub event: String,

    /// Its keys, such as gpu=0 xid=79
    #[arg(value_name = "KEY=VALUE")]
    pub keys: Vec<String>,
}

/// Why nothing happened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// It is no key with a value.
    #[error("{text:?} is no KEY=VALUE: write one such as gpu=0")]
    Key {
        /// What was written.
        text: String,
    },
    /// It is too long to be one.
    #[error("an event is {LONGEST} bytes at most")]
    TooLong,
    /// No simulation listens.
    #[error("no simulation answers on {}: start one with --nvml=simulated:… --nvml-simulation-socket={}", socket.display(), socket.display())]
    Reach {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not do that.
    #[error("the simulation {answer}")]
    Refused {
        /// What it says.
        answer: String,
    },
}

/// Makes it happen, and waits until it has.
///
/// # Errors
/// When it cannot happen, or no simulation is there.
pub fn simulate(config: &SimulateConfig) -> Result<(), SimulateError> {
    let event = step(config)?;
    let reach = |source| SimulateError::Reach { socket: config.socket.clone(), source };
    let talk = || {
        let mut stream = UnixStream::connect(&config.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(event.as_bytes())?;
        stream.shutdown(Shutdown::Write)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer: String = talk().map_err(reach)?;
    match answer.trim_end() {
        OK => Ok(()),
        answer if answer.starts_with(REFUSED) => Err(SimulateError::Refused { answer: answer.to_owned() }),
        answer => Err(SimulateError::Refused { answer: format!("answered {answer:?}") }),
    }
}

/// The step, as a scenario's file has it. A value that is none of TOML's is a text.
fn step(SimulateConfig { event, keys, .. }: &SimulateConfig) -> Result<String, SimulateError> {
    let mut step = format!("event = {event:?}\n");
    for key in keys {
        let is_bare = |name: &str| !name.is_empty() && name.chars().all(|at| at.is_ascii_alphanumeric() || at == '_');
        let Some((name, value)) = key.split_once('=').filter(|(name, _)| is_bare(name)) else {
            return Err(SimulateError::Key { text: key.clone() });
        };
        let _ = match value.parse::<toml::Value>() {
            Ok(_) => writeln!(step, "{name} = {value}"),
            Err(_) => writeln!(step, "{name} = {value:?}"),
        };
    }
    // The simulation hangs up on one that is longer, and what it says of it may be lost with the connection.
    if step.len() as u64 > LONGEST { Err(SimulateError::TooLong) } else { Ok(step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(event: &str, keys: &[&str]) -> Result<String, SimulateError> {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        step(&SimulateConfig { socket: PathBuf::new(), event: event.to_owned(), keys })
    }

    #[test]
    fn a_step_is_that_of_a_file_and_what_is_no_value_is_a_text() {
        let step = of("xid", &["gpu=0", "xid=79", "over=5s", "profiles=[\"1g.10gb\"]", "listed=false"]).unwrap();
        let expected = "event = \"xid\"\ngpu = 0\nxid = 79\nover = \"5s\"\nprofiles = [\"1g.10gb\"]\nlisted = false\n";
        assert_eq!(step, expected);
        // Nothing that is written in a value becomes another key.
        assert_eq!(of("xid", &["gpu=0\nxid = 79"]).unwrap(), "event = \"xid\"\ngpu = \"0\\nxid = 79\"\n");
    }

    #[test]
    fn what_is_no_key_with_a_value_is_named() {
        for odd in ["gpu", "=1", "a b=1", "x.y=1"] {
            assert!(of("xid", &[odd]).unwrap_err().to_string().contains(odd));
        }
    }
}
