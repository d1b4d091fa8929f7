// SPDX-License-Identifier: Apache-2.0
//! Callers: each does one thing after the other, all at once.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

/// So many callers.
#[derive(Clone, Debug)]
pub struct Callers {
    /// How often each has had its turn, in all slices: what it does alternates, so that each write
    /// changes something.
    turns: Arc<Vec<AtomicUsize>>,
}

impl Callers {
    pub fn new(count: usize) -> Self {
        Self { turns: Arc::new((0..count).map(|_| AtomicUsize::new(0)).collect()) }
    }

    /// How often per second they get `one` done together; it is told the caller and its turn.
    pub async fn rate<F>(&self, slice: Duration, one: impl Fn(usize, usize) -> F + Clone + Send + 'static) -> f64
    where
        F: Future<Output = ()> + Send,
    {
        let start = Instant::now();
        let mut tasks = JoinSet::new();
        for caller in 0..self.turns.len() {
            let (turns, one) = (Arc::clone(&self.turns), one.clone());
            tasks.spawn(async move {
                let mut done = 0_usize;
                while start.elapsed() < slice {
                    one(caller, turns[caller].fetch_add(1, Ordering::Relaxed)).await;
                    done += 1;
                }
                done
            });
        }
        let done: usize = tasks.join_all().await.iter().sum();
        done as f64 / start.elapsed().as_secs_f64()
    }
}

/// What runs them: in this process, beside those of the two servers.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
