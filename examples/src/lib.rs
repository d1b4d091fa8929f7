// SPDX-License-Identifier: Apache-2.0
//! Runnable examples, one program for each use; they stand beside this folder. This library is empty: it is
//! there for the documents' snippets to be compiled and run.

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
