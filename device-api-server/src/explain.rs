// SPDX-License-Identifier: Apache-2.0
//! `device-apiserver explain-xid`: what an XID means, by NVIDIA's catalogue and by the policy that is in force.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Args;

use crate::error::ServerError;
use crate::source::SourceError;
use crate::source::nvml::policy::Policy;

/// The flags of `device-apiserver explain-xid`.
#[derive(Clone, Debug, Args)]
#[non_exhaustive]
pub struct ExplainConfig {
    /// The number, such as 79
    #[arg(value_parser = xid)]
    pub xid: u32,

    /// The policy file of the source: what it makes of the XID is said, too
    #[arg(long, env = "DEVICE_API_NVML_POLICY_FILE", value_name = "FILE")]
    pub nvml_policy_file: Option<PathBuf>,

    /// The XIDs that the source ignores, with commas between
    #[arg(long, env = "DEVICE_API_NVML_IGNORED_XIDS", value_name = "XIDS", value_delimiter = ',')]
    pub nvml_ignored_xids: Vec<u32>,
}

fn xid(text: &str) -> Result<u32, String> {
    let wanted = "write an XID's number, which stands in the kernel's log after \"NVRM: Xid\": 79";
    text.parse().map_err(|_| wanted.to_owned())
}

/// Says to stdout what an XID means.
///
/// # Errors
/// When the policy file cannot be used, or nobody takes what is said.
pub fn explain_xid(config: &ExplainConfig) -> Result<(), ServerError> {
    let policy = match &config.nvml_policy_file {
        Some(file) => Policy::load(file).map_err(|error| ServerError::config(SourceError::Policy(error)))?,
        None => Policy::default(),
    };
    let policy = policy.with_ignored(config.nvml_ignored_xids.iter().copied());
    writeln!(io::stdout(), "{}", policy.explain(config.xid))
        .map_err(|source| ServerError::Start { what: "a stdout that takes the answer", source })
}
