// SPDX-License-Identifier: Apache-2.0
//! Runnable examples, one program for each use; they stand beside this folder. This library has how they end, and the
//! documents' snippets, which are there to be compiled and run.

use std::error::Error;
use std::fmt;

/// An error for `main` to return. Rust prints the `Debug` of what a program ends with: of this one it is what happened,
/// and why, in words.
pub struct InWords(Box<dyn Error>);

impl<E: Into<Box<dyn Error>>> From<E> for InWords {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Debug for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        // An error of the API says by itself why it came to it; its causes are for programs.
        if self.0.is::<device_api_core::Error>() {
            return Ok(());
        }
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-consumer.md")]
struct ConsumerGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-provider.md")]
struct ProviderGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-embedder.md")]
struct EmbedderGuide;

#[cfg(doctest)]
#[doc = include_str!("../../docs/guide-tester.md")]
struct TesterGuide;
