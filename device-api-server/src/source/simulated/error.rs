// SPDX-License-Identifier: Apache-2.0
//! Why there is no scenario to play.

use std::path::PathBuf;

/// Why a text names no scenario, or a file holds none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The number of GPUs is none that a node has.
    #[error("a simulated node cannot have {text} GPUs: write a number from 1 to {most}")]
    Gpus {
        /// The number, as it was written.
        text: String,
        /// The greatest that is simulated.
        most: usize,
    },
    /// It is no number, no ready-made scenario, and no file is meant by it.
    #[error("there is no scenario {name:?}: write a number of GPUs, the path of a file, or one of {known}")]
    Unknown {
        /// What was written.
        name: String,
        /// The ready-made ones.
        known: String,
    },
    /// The file cannot be read.
    #[error("cannot read the scenario {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is so large that it is no scenario.
    #[error("the scenario {} is larger than {most} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        most: u64,
    },
    /// Something in the file is wrong.
    #[error("{file}:{line}: {why}")]
    Invalid {
        /// The file, or the name that was given for it.
        file: String,
        /// The line, from 1 on.
        line: usize,
        /// What is wrong there, and what to write.
        why: String,
    },
}
