// SPDX-License-Identifier: Apache-2.0
//! A call that hangs keeps its lane, and nobody else.

use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// How long anything may take before a test gives up: no verdict depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A call that hangs until the returned sender is dropped; it has begun.
async fn hang(lane: &Arc<Lane>) -> (mpsc::SyncSender<()>, tokio::task::JoinHandle<Result<(), DriverError>>) {
    let (release, hanging) = mpsc::sync_channel::<()>(0);
    let (begun, begins) = oneshot::channel();
    let lane = Arc::clone(lane);
    let caller = tokio::spawn(async move {
        lane.call("hangs", move || {
            begun.send(()).unwrap();
            // It ends when the sender is gone.
            let _ = hanging.recv();
            Ok(())
        })
        .await
    });
    tokio::time::timeout(PATIENCE, begins).await.unwrap().unwrap();
    (release, caller)
}

async fn give_up(caller: tokio::task::JoinHandle<Result<(), DriverError>>) {
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
}

fn lane() -> Arc<Lane> {
    Arc::new(Lane::start("test").unwrap())
}

#[tokio::test]
async fn a_call_is_answered_by_a_thread_of_the_lane() {
    let call = lane().call("call", || Ok(thread::current().name().map(str::to_owned))).await;
    assert_eq!(call, Ok(Some("nvml test".to_owned())));
}

#[tokio::test]
async fn calls_take_turns_while_nobody_gives_up() {
    let lane = lane();
    let (release, first) = hang(&lane).await;
    let second = lane.call("second", || Ok(2));
    tokio::pin!(second);
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(release);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(second.await, Ok(2));
}

#[tokio::test]
async fn a_lane_whose_call_was_given_up_says_at_once_that_it_hangs_until_the_call_returns() {
    let lane = lane();
    let (release, caller) = hang(&lane).await;
    give_up(caller).await;
    assert_eq!(lane.call("next", || Ok(())).await, Err(DriverError::Hung { call: "hangs" }));

    let mut running = lane.running.subscribe();
    drop(release);
    tokio::time::timeout(PATIENCE, running.wait_for(Option::is_none)).await.unwrap().unwrap();
    assert_eq!(lane.call("next", || Ok(1)).await, Ok(1));
}

/// A lane with a call that lasts until the returned sender is dropped, and was to last this long; its caller is gone.
async fn lane_that_lasts(lasting: Duration) -> (Arc<Lane>, mpsc::SyncSender<()>) {
    let lane = lane();
    let (release, hanging) = mpsc::sync_channel::<()>(0);
    let mut lasts = Box::pin(lane.call_lasting("lasts", lasting, move || Ok(hanging.recv().is_ok())));
    assert!(futures_util::poll!(&mut lasts).is_pending());
    let mut running = lane.running.subscribe();
    tokio::time::timeout(PATIENCE, running.wait_for(Option::is_some)).await.unwrap().unwrap();
    drop(lasts);
    (lane, release)
}

#[tokio::test]
async fn who_gives_up_on_a_call_that_is_asked_to_last_leaves_no_lane_that_hangs() {
    let (lane, release) = lane_that_lasts(60 * PATIENCE).await;
    let mut next = Box::pin(lane.call("next", || Ok(1)));
    assert!(futures_util::poll!(&mut next).is_pending());
    drop(release);
    assert_eq!(next.await, Ok(1));
}

#[tokio::test]
async fn a_call_that_lasts_longer_than_it_was_asked_to_hangs() {
    let (lane, _release) = lane_that_lasts(Duration::from_millis(50)).await;
    let next = tokio::time::timeout(PATIENCE, lane.call("next", || Ok(1)));
    assert_eq!(next.await.unwrap(), Err(DriverError::Hung { call: "lasts" }));
}

#[tokio::test]
async fn who_waits_behind_a_call_that_is_given_up_is_told_and_its_call_is_not_made() {
    let lane = lane();
    let (release, caller) = hang(&lane).await;
    let (made, is_made) = mpsc::sync_channel(1);
    let behind = lane.call("behind", move || {
        made.send(()).unwrap();
        Ok(())
    });
    tokio::pin!(behind);
    assert!(futures_util::poll!(&mut behind).is_pending());
    give_up(caller).await;
    assert_eq!(tokio::time::timeout(PATIENCE, behind).await.unwrap(), Err(DriverError::Hung { call: "hangs" }));
    drop(release);
    // The sender goes with the call that is not made.
    assert_eq!(is_made.recv_timeout(PATIENCE), Err(mpsc::RecvTimeoutError::Disconnected));
}

#[tokio::test]
async fn a_caller_that_goes_before_its_call_begins_blames_nobody() {
    let lane = lane();
    let (release, first) = hang(&lane).await;
    let mut second = Box::pin(lane.call("second", || Ok(())));
    assert!(futures_util::poll!(&mut second).is_pending());
    drop(second);
    assert!(lane.hung().is_none());
    drop(release);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(lane.call("third", || Ok(3)).await, Ok(3));
}

#[tokio::test]
async fn a_call_that_panics_is_an_error_and_the_next_one_is_answered() {
    let lane = lane();
    let call = lane.call::<()>("call", || panic!("as a wrapper may")).await;
    assert!(matches!(call, Err(DriverError::Other { call: "call", .. })), "{call:?}");
    assert_eq!(lane.call("next", || Ok(1)).await, Ok(1));
}

#[tokio::test]
async fn more_calls_than_the_lane_holds_are_refused() {
    let lane = lane();
    let (_release, _caller) = hang(&lane).await;
    let mut waiting: Vec<_> = (0..QUEUE).map(|_| Box::pin(lane.call("waits", || Ok(())))).collect();
    for call in &mut waiting {
        assert!(futures_util::poll!(call).is_pending());
    }
    assert!(matches!(lane.call("one more", || Ok(())).await, Err(DriverError::Other { call: "one more", .. })));
}

#[tokio::test]
async fn only_lanes_that_hang_survive_a_new_beginning() {
    let lanes = Lanes::default();
    let stuck = lanes.get("stuck").unwrap();
    let (_release, caller) = hang(&stuck).await;
    give_up(caller).await;
    let (idle, kept) = (lanes.get("idle").unwrap(), lanes.get("kept").unwrap());
    lanes.forget_all_but(&["kept"]);
    assert!(Arc::ptr_eq(&stuck, &lanes.get("stuck").unwrap()));
    assert!(Arc::ptr_eq(&kept, &lanes.get("kept").unwrap()));
    assert!(!Arc::ptr_eq(&idle, &lanes.get("idle").unwrap()));
}

#[tokio::test]
async fn a_lane_whose_thread_has_ended_is_started_anew() {
    /// Panics once more while its panic is thrown away.
    struct Stubborn;
    impl Drop for Stubborn {
        fn drop(&mut self) {
            panic!("a bug, on purpose");
        }
    }
    let lanes = Lanes::default();
    let lane = lanes.get("test").unwrap();
    let call = lane.call("panics", || -> Result<(), DriverError> { std::panic::panic_any(Stubborn) });
    assert!(call.await.is_err());
    let ended = async {
        while !lane.thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    let refused = lane.call("late", || Ok(1)).await.unwrap_err().to_string();
    assert!(refused.contains("its thread has ended"), "{refused}");
    assert_eq!(lanes.get("test").unwrap().call("call", || Ok(2)).await, Ok(2));
}
