// SPDX-License-Identifier: Apache-2.0
//! Decides for each GPU whether new work may go there, and follows it: what a scheduler or a device plugin does.
//!
//! ```console
//! cargo run --example may_i_schedule
//! ```
//!
//! Only a GPU that is known to be healthy takes new work. One of which nobody can say how it is takes none, and so does
//! each while the server is out of reach: silence is not health.
#![allow(clippy::print_stdout)] // a program for a terminal

use std::collections::BTreeMap;
use std::time::Duration;

use device_api_client::core::health::{Polarities, Polarity, Verdict};
use device_api_client::core::registry::{WatchEvent, WatchParams};
use device_api_client::core::resource::{Gpu, ObjectMeta};
use device_api_client::core::{Error, Result};
use device_api_client::{Api, Client, ConnectOptions, Target};
use device_api_examples::InWords;

#[tokio::main]
async fn main() -> std::result::Result<(), InWords> {
    // A lazy client may start before the server does.
    let client = Client::lazy(&Target::from_env()?, ConnectOptions::default());
    let mut scheduler = Scheduler {
        gpus: Api::all(client),
        // The types of our own providers, beside those that everybody knows.
        polarities: Polarities::default().with("ExampleHealthy", Polarity::TrueIsGood),
        answers: BTreeMap::new(),
    };
    loop {
        match scheduler.follow().await {
            // The server ends every watch sooner or later: begin anew.
            Ok(()) => {}
            Err(error) if error.is_expired() => {}
            Err(error) if error.is_retryable() => {
                scheduler.nobody_answers(&error);
                tokio::time::sleep(error.retry_after().unwrap_or(Duration::from_secs(1))).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

struct Scheduler {
    gpus: Api<Gpu>,
    polarities: Polarities,
    /// The last answer for each GPU, by namespace and name.
    answers: BTreeMap<(String, String), String>,
}

impl Scheduler {
    /// Takes the present state, then every change, until the watch ends or fails.
    async fn follow(&mut self) -> Result<()> {
        let mut events = self.gpus.watch(&WatchParams::default().initial_events()).await?;
        // What was there before and does not come again has gone meanwhile.
        let mut missing = self.answers.clone();
        while let Some(event) = events.next().await {
            match event? {
                WatchEvent::Added(gpu) | WatchEvent::Modified(gpu) => {
                    missing.remove(&key(&gpu.metadata));
                    let answer = self.may_i_schedule(&gpu);
                    self.say(key(&gpu.metadata), answer);
                }
                WatchEvent::Deleted(gpu) => self.forget(&key(&gpu.metadata)),
                WatchEvent::Bookmark(bookmark) if bookmark.initial_events_end => {
                    std::mem::take(&mut missing).keys().for_each(|key| self.forget(key));
                }
                WatchEvent::Bookmark(_) => {}
            }
        }
        Ok(())
    }

    /// The decision. Work that runs already is another matter: what to do about it is the recommended action.
    fn may_i_schedule(&self, gpu: &Gpu) -> String {
        let health = self.polarities.judge(&gpu.status.conditions);
        let answer = match health.verdict {
            Verdict::Healthy => "yes",
            Verdict::Unhealthy | Verdict::Unknown => "no",
        };
        let action = gpu.status.recommended_action.as_ref().map(|action| format!("; do {action}"));
        format!("{answer} {}: {health}{}", gpu.metadata.name, action.unwrap_or_default())
    }

    fn nobody_answers(&mut self, error: &Error) {
        for key in self.answers.keys().cloned().collect::<Vec<_>>() {
            let answer = format!("no {}: Unknown: the server is out of reach", key.1);
            self.say(key, answer);
        }
        if self.answers.is_empty() {
            println!("waiting: {error}");
        }
    }

    /// Says the answer where it is another one than before.
    fn say(&mut self, key: (String, String), answer: String) {
        if self.answers.get(&key) != Some(&answer) {
            println!("{answer}");
            self.answers.insert(key, answer);
        }
    }

    fn forget(&mut self, key: &(String, String)) {
        if self.answers.remove(key).is_some() {
            println!("no {}: it is gone", key.1);
        }
    }
}

fn key(metadata: &ObjectMeta) -> (String, String) {
    (metadata.namespace.clone(), metadata.name.clone())
}
