// SPDX-License-Identifier: Apache-2.0
//! How long is measured, and how two sides are measured beside each other.

use std::time::Duration;

/// How much is done for one number.
#[derive(Debug)]
pub struct Plan {
    /// How many slices each side gets. Two sides take turns slice by slice, so that what else the
    /// machine does falls on both.
    pub rounds: usize,
    /// How long one slice is.
    pub slice: Duration,
    /// How long a side runs before it is measured.
    pub warm_up: Duration,
    /// How many single events are timed, where each one counts.
    pub samples: usize,
    /// For how long a server is watched that has nothing to do.
    pub idle: Duration,
}

impl Plan {
    /// Enough for numbers.
    pub fn measure() -> Self {
        Self {
            rounds: 21,
            slice: Duration::from_millis(250),
            warm_up: Duration::from_millis(500),
            samples: 3_000,
            idle: Duration::from_secs(70),
        }
    }

    /// Enough to see that it works.
    pub fn smoke() -> Self {
        Self {
            rounds: 1,
            slice: Duration::from_millis(20),
            warm_up: Duration::ZERO,
            samples: 10,
            idle: Duration::from_millis(20),
        }
    }

    /// Whether the numbers mean nothing.
    pub fn is_smoke(&self) -> bool {
        self.rounds == 1
    }

    /// The medians of two sides that take turns, and of the ratio within each turn.
    pub async fn alternate(
        &self,
        mut ours: impl AsyncFnMut(Duration) -> f64,
        mut other: impl AsyncFnMut(Duration) -> f64,
    ) -> Pair {
        ours(self.warm_up).await;
        other(self.warm_up).await;
        let mut rounds = Vec::new();
        for round in 0..self.rounds {
            // Who goes first changes, so that neither always runs on what the other left behind.
            rounds.push(if round % 2 == 0 {
                let ours = ours(self.slice).await;
                (ours, other(self.slice).await)
            } else {
                let other = other(self.slice).await;
                (ours(self.slice).await, other)
            });
        }
        Pair {
            ours: median(rounds.iter().map(|(ours, _)| *ours)),
            other: median(rounds.iter().map(|(_, other)| *other)),
            ratio: median(rounds.iter().map(|(ours, other)| ours / other)),
        }
    }
}

/// Two sides.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub ours: f64,
    pub other: f64,
    pub ratio: f64,
}

pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that this part of all values does not exceed.
pub fn quantile(values: impl Iterator<Item = f64>, part: f64) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    values[(last as f64 * part).round() as usize]
}
