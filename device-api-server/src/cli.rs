// SPDX-License-Identifier: Apache-2.0
//! The command line of `device-apiserver`: the server, and what else the program does.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _};

use clap::{Arg, Args, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::config::{AFTER_HELP, Config};
use crate::explain::ExplainConfig;
use crate::log::{Log, level};
use crate::quarantine::QuarantineConfig;
use crate::simulate::SimulateConfig;
use crate::source::NvmlFlags;

/// The node-local Device API server: GPU resources with the semantics of the Kubernetes API, over
/// gRPC on a unix socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "device-apiserver", version, after_help = AFTER_HELP, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
#[non_exhaustive]
pub struct Cli {
    /// What to do; the server runs when there is nothing here.
    #[command(subcommand)]
    pub action: Option<Action>,

    /// How the server runs.
    #[command(flatten)]
    pub server: Config,
}

/// What the program does beside serving.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Action {
    /// Runs the NVML source alone, as a client of a server that runs elsewhere with --nvml=off
    NvmlProvider(Box<ProviderConfig>),

    /// Shows what the datastore of a stopped server holds and cannot read, and removes it once somebody has looked
    Quarantine(Box<QuarantineConfig>),

    /// Makes something happen in a simulation that runs: an XID, a loss, a reset, a hang
    Simulate(SimulateConfig),

    /// Says what an XID means, what to do about it, and what ends it
    ExplainXid(ExplainConfig),
}

/// The flags of `device-apiserver nvml-provider`.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct ProviderConfig {
    /// The server's socket: unix:///PATH, unix:PATH or a plain path [default: what
    /// NVIDIA_DEVICE_API_PATH or NVIDIA_DEVICE_API_SOCK says, or the server's default]
    #[arg(long, env = "DEVICE_API_TARGET", value_name = "ADDRESS")]
    pub target: Option<String>,

    /// The source.
    #[command(flatten)]
    pub source: NvmlFlags,

    /// What is logged.
    #[command(flatten)]
    pub log: LogFlags,
}

/// The flags of logging.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[non_exhaustive]
pub struct LogFlags {
    /// What to log, to stderr: error, warn, info, debug, trace, off, or tracing's filter syntax
    #[arg(long, env = "DEVICE_API_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = level::filter)]
    pub log_level: String,

    /// How to log
    #[arg(long, env = "DEVICE_API_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object on each line.
    Json,
}

impl Cli {
    /// The command line of this process, and the environment. A variable that is empty is not set.
    ///
    /// Ends the process as clap does: after `--help`, or with what was wrong, which is said here.
    #[must_use]
    pub fn read(log: &Log) -> Self {
        let matches = heeding_what_is_set(Self::command()).try_get_matches();
        matches.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| {
            if !error.use_stderr() {
                error.exit();
            }
            let (words, code) = (error.render(), error.exit_code());
            // clap itself would wait for whoever reads stderr.
            let words = if io::stderr().is_terminal() { words.ansi().to_string() } else { words.to_string() };
            log.last_word(words.trim_end());
            std::process::exit(code)
        })
    }

    /// The names of environment variables that look like those of flags and are none, the first few of them. What is
    /// misspelt would be missed in silence.
    #[must_use]
    pub fn unknown_variables() -> Option<String> {
        unknown_variables(std::env::vars_os().map(|(name, _)| name))
    }

    /// How to log.
    #[must_use]
    pub fn log(&self) -> &LogFlags {
        match &self.action {
            Some(Action::NvmlProvider(config)) => &config.log,
            _ => &self.server.log,
        }
    }
}

/// How many unknown variables are named, and how much of each name is shown, in characters.
const MOST_UNKNOWN: (usize, usize) = (8, 64);

fn unknown_variables(names: impl Iterator<Item = OsString>) -> Option<String> {
    let command = Cli::command();
    let commands = std::iter::once(&command).chain(command.get_subcommands());
    let known: BTreeSet<_> = commands.flat_map(Command::get_arguments).filter_map(Arg::get_env).collect();
    let is_unknown =
        |name: &OsString| name.as_encoded_bytes().starts_with(b"DEVICE_API_") && !known.contains(name.as_os_str());
    let unknown: BTreeSet<OsString> = names.filter(is_unknown).collect();
    let shown = |name: &OsString| name.to_string_lossy().chars().take(MOST_UNKNOWN.1).collect::<String>();
    let mut listed = unknown.iter().take(MOST_UNKNOWN.0).map(shown).collect::<Vec<_>>().join(", ");
    if unknown.len() > MOST_UNKNOWN.0 {
        listed.push_str(&format!(" and {} more", unknown.len() - MOST_UNKNOWN.0));
    }
    (!listed.is_empty()).then_some(listed)
}

fn heeding_what_is_set(command: Command) -> Command {
    let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|flag| match flag.get_env() {
            Some(name) if is_empty(name) => flag.env(None::<&'static str>),
            _ => flag,
        })
        .mut_subcommands(heeding_what_is_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_are_of_no_flag_are_named_a_few_of_them() {
        let unknown = |names: &[&str]| unknown_variables(names.iter().map(OsString::from));
        assert_eq!(
            unknown(&["DEVICE_API_SOCKET_MODE", "DEVICE_API_TARGET", "DEVICE_API", "NVIDIA_DEVICE_API_PATH"]),
            None
        );
        let misspelt = ["DEVICE_API_SOCKET_GRUOP", "PATH", "DEVICE_API_LOGLEVEL"];
        assert_eq!(unknown(&misspelt).unwrap(), "DEVICE_API_LOGLEVEL, DEVICE_API_SOCKET_GRUOP");
        let many: Vec<_> = (0..1000).map(|number| format!("DEVICE_API_{number:04}{}", "X".repeat(1 << 16))).collect();
        let listed = unknown(&many.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert!(listed.len() < 1000 && listed.ends_with(" and 992 more"), "{listed}");
    }
}
