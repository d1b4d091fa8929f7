// SPDX-License-Identifier: Apache-2.0
//! Runnable examples, one program for each use; they stand beside this folder. This library is empty: it is
//! there for the documents' snippets to be compiled and run.

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
