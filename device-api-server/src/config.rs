// SPDX-License-Identifier: Apache-2.0
//! The flags of `device-apiserver`, each also an environment variable.

use std::time::Duration;

use clap::Args;
use device_api_core::registry::{History, LedgerOptions, Limits};
use device_api_core::storage::Endpoint;

use crate::address::{Group, SocketPath};
use crate::cli::LogFlags;
use crate::datastore;
use crate::listen::SocketOptions;
use crate::server::ServeOptions;
use crate::source::NvmlFlags;
use crate::units::{Size, Span, at_least};

/// Exit codes and examples, as `--help` ends with them.
pub(crate) const AFTER_HELP: &str = "\
Durations are whole numbers with ms, s, m or h; sizes with B, KiB, MiB or GiB. A flag outranks its
environment variable.

Exit codes:
  0  stopped by SIGTERM or SIGINT; every request in flight was answered
  2  a flag or an environment variable is not valid, or the datastore endpoint cannot be used: an
     unknown option, no permission for its folder, something that is no file in its place
  3  the datastore cannot be opened: in use by another process, corrupt, of a newer version, on a
     disk that is full, read-only or fails
  4  the socket cannot be bound: another server is live on it, something that is not a socket has
     its path, no permission
  5  serving failed, the datastore could not be closed, or the shutdown was cut short: by the grace
     period with requests not answered yet, or by a second signal

Examples:
  device-apiserver
  device-apiserver --bind-address unix:///tmp/gpu.sock --datastore-endpoint memory://
  DEVICE_API_SOCKET_GROUP=video device-apiserver --log-format json

Clients mount or open the folder of the socket: a restart replaces the socket itself.";

/// The flags of the server.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct Config {
    /// The unix socket to serve on: unix:///PATH, unix:PATH or a plain path of at most 107 bytes. A
    /// missing folder is made, with mode 0755 whatever the umask
    #[arg(
        long,
        env = "DEVICE_API_BIND_ADDRESS",
        value_name = "ADDRESS",
        default_value = "unix:///var/run/nvidia-device-api/device-api.sock"
    )]
    pub bind_address: SocketPath,

    /// The socket's permission bits, in octal: who may write to it may connect
    #[arg(long, env = "DEVICE_API_SOCKET_MODE", value_name = "MODE", default_value = "0660", value_parser = mode)]
    pub socket_mode: u32,

    /// The socket's group, by number or by its name in /etc/group [default: the process's own]
    #[arg(long, env = "DEVICE_API_SOCKET_GROUP", value_name = "GROUP", value_parser = group)]
    pub socket_group: Option<Group>,

    /// Where objects are kept: sqlite:///PATH survives restarts, memory:// does not. SQLite takes the
    /// options ?synchronous=full|normal and &max_size_mib=N
    #[arg(long, env = "DEVICE_API_DATASTORE_ENDPOINT", value_name = "URL", hide_env_values = true,
          default_value = "sqlite:///var/lib/nvidia-device-api/state.db", value_parser = datastore::parse)]
    pub datastore_endpoint: Endpoint,

    /// How long requests in flight may take to end after SIGTERM, before they are cut
    #[arg(long, env = "DEVICE_API_SHUTDOWN_GRACE_PERIOD", value_name = "DURATION", default_value = "10s")]
    pub shutdown_grace_period: Span,

    /// How long history is kept for watches to resume from
    #[arg(long, env = "DEVICE_API_HISTORY_MAX_AGE", value_name = "DURATION", default_value = "1h",
          value_parser = at_least(SECOND))]
    pub history_max_age: Span,

    /// How many events history keeps at most
    #[arg(long, env = "DEVICE_API_HISTORY_MAX_EVENTS", value_name = "COUNT", default_value_t = 100_000,
          value_parser = at_least(1_usize))]
    pub history_max_events: usize,

    /// How much memory history takes at most
    #[arg(long, env = "DEVICE_API_HISTORY_MAX_BYTES", value_name = "SIZE", default_value = "64MiB",
          value_parser = at_least(Size(1 << 20)))]
    pub history_max_bytes: Size,

    /// How many objects there may be
    #[arg(long, env = "DEVICE_API_MAX_OBJECTS", value_name = "COUNT", default_value_t = 10_000,
          value_parser = at_least(1_usize))]
    pub max_objects: usize,

    /// How large one object may be, as JSON
    #[arg(long, env = "DEVICE_API_MAX_OBJECT_BYTES", value_name = "SIZE", default_value = "1MiB",
          value_parser = at_least(KIBIBYTE))]
    pub max_object_bytes: Size,

    /// How many connections are served at once; further ones wait, and idle ones are closed for them
    #[arg(long, env = "DEVICE_API_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 256,
          value_parser = at_least(1_usize))]
    pub max_connections: usize,

    /// How many requests and watches one connection may have open at once; further ones wait
    #[arg(long, env = "DEVICE_API_MAX_CONCURRENT_STREAMS", value_name = "COUNT", default_value_t = 100,
          value_parser = at_least(1_u32))]
    pub max_concurrent_streams: u32,

    /// How long a request may take until its answer begins, and how long an answer may wait for its
    /// reader. A watch's answer begins at once: this does not end it as long as it is read
    #[arg(long, env = "DEVICE_API_REQUEST_TIMEOUT", value_name = "DURATION", default_value = "60s",
          value_parser = at_least(Span(Duration::from_millis(100))))]
    pub request_timeout: Span,

    /// How large one request message may be
    #[arg(long, env = "DEVICE_API_MAX_REQUEST_BYTES", value_name = "SIZE", default_value = "1MiB",
          value_parser = at_least(KIBIBYTE))]
    pub max_request_bytes: Size,

    /// How long a watch lasts at most, up to a tenth less; then it ends well, and its client resumes
    #[arg(long, env = "DEVICE_API_WATCH_MAX_DURATION", value_name = "DURATION", default_value = "60m",
          value_parser = at_least(SECOND))]
    pub watch_max_duration: Span,

    /// How often a quiet watch that asked for bookmarks gets one
    #[arg(long, env = "DEVICE_API_WATCH_BOOKMARK_INTERVAL", value_name = "DURATION", default_value = "60s",
          value_parser = at_least(SECOND))]
    pub watch_bookmark_interval: Span,

    /// The NVML source in the server's process.
    #[command(flatten)]
    pub source: NvmlFlags,

    /// What is logged.
    #[command(flatten)]
    pub log: LogFlags,
}

impl Config {
    /// The bounds of serving.
    #[must_use]
    pub fn serve_options(&self) -> ServeOptions {
        ServeOptions {
            grace_period: self.shutdown_grace_period.0,
            max_connections: self.max_connections,
            max_concurrent_streams: self.max_concurrent_streams,
            request_timeout: self.request_timeout.0,
            max_request_bytes: self.max_request_bytes.0,
        }
    }

    /// How the ledger behaves.
    #[must_use]
    pub fn ledger_options(&self) -> LedgerOptions {
        let history = History::default()
            .with_max_age(self.history_max_age.0)
            .with_max_events(self.history_max_events)
            .with_max_bytes(self.history_max_bytes.0);
        let limits =
            Limits::default().with_max_objects(self.max_objects).with_max_object_bytes(self.max_object_bytes.0);
        LedgerOptions::default()
            .with_history(history)
            .with_limits(limits)
            .with_max_watch(self.watch_max_duration.0)
            .with_bookmark_interval(self.watch_bookmark_interval.0)
    }

    /// How the socket is made.
    #[must_use]
    pub fn socket_options(&self) -> SocketOptions {
        let options = SocketOptions::new(self.bind_address.clone()).with_mode(self.socket_mode);
        match &self.socket_group {
            Some(group) => options.with_group(group.clone()),
            None => options,
        }
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("{text:?} is not a mode: write up to three octal digits, such as 0660"))
}

fn group(text: &str) -> Result<Group, String> {
    let group = Group::new(text);
    match group.gid() {
        Ok(_) => Ok(group),
        Err(error) => Err(format!("{error}: write the number of a group, or the name of one that there is")),
    }
}

/// Less than these would serve nobody: watches that end or expire before their first event, and
/// clients that come back for that without a pause.
const SECOND: Span = Span(Duration::from_secs(1));
const KIBIBYTE: Size = Size(1 << 10);

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;
    use crate::cli::Cli;

    fn parse(flags: &[&str]) -> Result<Config, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"device-apiserver").chain(flags)).map(|cli| cli.server)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_an_environment_variable_of_its_name() {
        let cli = Cli::command();
        let provider = cli.find_subcommand("nvml-provider").unwrap();
        for argument in cli.get_arguments().chain(provider.get_arguments()) {
            let name = argument.get_long().unwrap();
            let expected = format!("DEVICE_API_{}", name.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().unwrap(), expected.as_str());
            assert!(argument.get_help().is_some(), "{name}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let config = parse(&[]).unwrap();
        assert_eq!(config.serve_options(), ServeOptions::default());
        let (ledger, library) = (config.ledger_options(), LedgerOptions::default());
        assert_eq!(ledger.history, library.history);
        assert_eq!(ledger.limits, library.limits);
        assert_eq!(ledger.max_watch, library.max_watch);
        assert_eq!(ledger.bookmark_interval, library.bookmark_interval);
        assert_eq!(config.socket_mode, 0o660);
    }

    #[test]
    fn a_mode_is_octal_and_has_permission_bits_only() {
        for (text, bits) in [("0660", 0o660), ("600", 0o600), ("0", 0)] {
            assert_eq!(mode(text), Ok(bits));
        }
        for text in ["", "4660", "0o660", "-1", "888"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_less_than_serves_anybody_is_refused_with_the_least() {
        let least = [
            ("--history-max-age=999ms", "1s"),
            ("--history-max-events=0", "1"),
            ("--history-max-bytes=1023KiB", "1MiB"),
            ("--max-objects=0", "1"),
            ("--max-object-bytes=0B", "1KiB"),
            ("--request-timeout=99ms", "100ms"),
            ("--max-request-bytes=1023B", "1KiB"),
            ("--watch-max-duration=0s", "1s"),
            ("--watch-bookmark-interval=0ms", "1s"),
        ];
        for (flag, least) in least {
            let refusal = parse(&[flag]).unwrap_err().to_string();
            assert!(refusal.contains(&format!("at least {least}")), "{flag}: {refusal}");
            let (name, _) = flag.split_once('=').unwrap();
            assert!(parse(&[&format!("{name}={least}")]).is_ok(), "{name}={least}");
        }
        assert!(parse(&["--shutdown-grace-period=0ms"]).is_ok());
        for flag in ["--max-connections=0", "--max-concurrent-streams=0", "--max-connections=x"] {
            assert!(parse(&[flag]).unwrap_err().to_string().contains("at least 1"), "{flag}");
        }
    }
}
