// SPDX-License-Identifier: Apache-2.0
//! The numbers of this project, each beside what it is measured against: `docs/benchmarks.md`.
//!
//! `cargo bench --package device-api-server` measures everything and prints one Markdown table.
//! `cargo bench --package device-api-server -- GetGpu` measures what has this in its name. With
//! `--test`, and under `cargo test`, everything runs for a moment and there is no verdict: a number
//! that one cannot take any more is found before somebody needs it.

// clippy.toml's exceptions for tests do not reach here; and nobody calls a benchmark but people.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]
#![allow(missing_docs, unreachable_pub)]

mod callers;
mod calls;
mod echo;
mod gpus;
mod memory;
mod node;
mod one_by_one;
mod plan;
mod reads;
mod serving;
mod source;
mod standing_by;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod told;
mod watching;
mod writes;

use std::io::Write as _;

use plan::Plan;
use table::Row;

/// Takes numbers.
type Measure = fn(&Plan) -> Vec<Row>;

/// Every measurement: its name, and what takes it.
const MEASUREMENTS: &[(&str, Measure)] = &[
    ("Registry::get", reads::get),
    ("GetGpu", serving::get_gpu),
    ("UpdateGpuStatus, memory", serving::update_gpu_status),
    ("UpdateGpuStatus, SQLite", writes::sqlite),
    ("WatchGpus", watching::delay),
    ("resident memory", memory::idle),
    ("source, from the driver's event", source::delay),
    ("source, idle", standing_by::idle),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == echo::CHILD) {
        return echo::child(&arguments[1..]);
    }
    let is_measured = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // cargo gives --bench for `cargo bench`, and nothing for `cargo test`.
    let plan = if is_measured("--bench") && !is_measured("--test") { Plan::measure() } else { Plan::smoke() };
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = MEASUREMENTS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())));
    let mut out = std::io::stdout();
    if is_measured("--list") {
        chosen.for_each(|(name, _)| writeln!(out, "{name}: benchmark").unwrap());
        return;
    }
    let mut rows = Vec::new();
    for (name, measure) in chosen {
        // Progress goes to stderr, so that stdout is the table.
        eprintln!("{name} ...");
        rows.extend(measure(&plan));
    }
    out.write_all(table::markdown(&rows, plan.is_smoke()).as_bytes()).unwrap();
}
