// SPDX-License-Identifier: Apache-2.0
//! The table.

/// One number beside what it is measured against.
#[derive(Debug)]
pub struct Row {
    pub what: String,
    pub ours: String,
    /// What it is measured against; empty where the target is a number.
    pub other: String,
    /// What the target bounds.
    pub value: f64,
    pub unit: &'static str,
    pub target: Target,
}

/// What a value must be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }

    fn text(self, unit: &str) -> String {
        match self {
            Self::AtLeast(bound) => format!("≥ {bound}{unit}"),
            Self::AtMost(bound) => format!("≤ {bound}{unit}"),
            Self::Below(bound) => format!("< {bound}{unit}"),
        }
    }
}

pub fn markdown(rows: &[Row], is_smoke: bool) -> String {
    let mut text =
        "| what | ours | beside it | result | target | |\n| --- | --- | --- | --- | --- | --- |\n".to_owned();
    for Row { what, ours, other, value, unit, target } in rows {
        let verdict = match (is_smoke, target) {
            (true, _) => "not measured",
            (false, target) if target.is_met(*value) => "met",
            (false, _) => "**missed**",
        };
        let digits = if *value < 10.0 { 2 } else { 1 };
        let target = target.text(unit);
        text += &format!("| {what} | {ours} | {other} | {value:.digits$}{unit} | {target} | {verdict} |\n");
    }
    text
}

/// A rate with three digits that mean something.
pub fn rate(per_second: f64) -> String {
    if per_second < 10_000.0 { format!("{per_second:.0}/s") } else { format!("{:.1}k/s", per_second / 1_000.0) }
}

/// A time in microseconds.
pub fn micros(seconds: f64) -> String {
    format!("{:.0} µs", seconds * 1e6)
}
