// SPDX-License-Identifier: Apache-2.0
//! A source's lease, when an answer is lost.

use std::sync::{Arc, Mutex};

use device_api_core::error::Cause;
use device_api_core::lease::{Lease, Leases};
use device_api_core::registry::{Ledger, LedgerOptions};
use device_api_core::{Error, Result};
use device_api_store_memory::Memory;

use super::super::doubt::doubt;
use super::*;

const OURS: Ownership = Ownership { source: "test", condition_types: &["NVMLReady"] };

/// Leases of which one answer can be lost.
#[derive(Clone)]
struct Line {
    leases: Leases,
    answer: Arc<Mutex<Answer>>,
}

enum Answer {
    Arrives,
    /// Once a lease is given out.
    IsLost,
    WasLost(Lease),
}

impl LeaseVerbs for Line {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        let lease = self.leases.acquire(request).await?;
        let mut answer = self.answer.lock().unwrap();
        if matches!(*answer, Answer::IsLost) {
            *answer = Answer::WasLost(lease);
            let why = "the answer was lost".to_owned();
            return Err(Error::Unavailable { why, retry_after: None, cause: Cause::unknown() });
        }
        Ok(lease)
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        self.leases.release(name, id).await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        self.leases.list().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_stood_by_and_lost_the_answer_does_not_wait_for_its_own_lease_to_expire() {
    let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), LedgerOptions::default()).await.unwrap();
    let leases = Leases::open(&ledger).await.unwrap();
    let line = Line { leases: leases.clone(), answer: Arc::new(Mutex::new(Answer::Arrives)) };
    let (held, mut is_held) = watch::channel(false);
    let (_doubt, doubted) = doubt();
    let source = tokio::spawn(hold(line.clone(), OURS, Duration::from_secs(30), held, doubted));
    is_held.wait_for(|held| *held).await.unwrap();

    let rival = AcquireLease::new(OURS.source).with_condition_types(["NVMLReady"]).take_over();
    let rival = leases.acquire(&rival).await.unwrap();
    is_held.wait_for(|held| !held).await.unwrap();
    *line.answer.lock().unwrap() = Answer::IsLost;
    leases.release(OURS.source, Some(&rival.id)).await.unwrap();
    is_held.wait_for(|held| *held).await.unwrap();
    let standing = leases.list().await.unwrap().remove(0);
    let lost = match &*line.answer.lock().unwrap() {
        Answer::WasLost(lease) => lease.id.clone(),
        _ => panic!("no answer was lost"),
    };
    // One that had expired would have been given out anew.
    assert_eq!(standing.id, lost);
    drop(is_held);
    source.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_doubts_that_the_lease_is_held_is_told_at_once_and_not_at_the_next_renewal() {
    let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), LedgerOptions::default()).await.unwrap();
    let leases = Leases::open(&ledger).await.unwrap();
    let ((held, mut is_held), (mut doubt, doubted)) = (watch::channel(false), doubt());
    let source = tokio::spawn(hold(leases.clone(), OURS, Duration::from_secs(30), held, doubted));
    is_held.wait_for(|held| *held).await.unwrap();
    let began = tokio::time::Instant::now();
    doubt.ask();
    assert!(!doubt.is_over());
    doubt.over().await;
    assert!(*is_held.borrow());

    let rival = AcquireLease::new(OURS.source).with_condition_types(["NVMLReady"]).take_over();
    leases.acquire(&rival).await.unwrap();
    doubt.ask();
    is_held.wait_for(|held| !held).await.unwrap();
    assert!(!doubt.is_over(), "nobody may write because of it");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    drop(is_held);
    source.await.unwrap();
}
