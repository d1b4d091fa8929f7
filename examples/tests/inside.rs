// SPDX-License-Identifier: Apache-2.0
//! The tests inside the examples. Cargo would build an example either as a program, which `run.rs`
//! needs, or with its tests.
#![allow(dead_code)] // what only the programs use

#[path = "../controller.rs"]
mod controller;
#[path = "../own_backend/main.rs"]
mod own_backend;
#[path = "../test_with_memory.rs"]
mod test_with_memory;
