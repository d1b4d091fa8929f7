// SPDX-License-Identifier: Apache-2.0
//! Calls that are refused over and over: a client that repeats one in a tight loop is slowed down, and the log says so once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};

/// So many refusals in a row are answered at once. Whoever tries what goes, such as a test, makes as many.
const AT_ONCE: u32 = 1000;
/// After that one is answered in so much time. A refused watch took 0.5 ms of a processor in a debug build, and one client makes 10,000 a second
/// where it may, which are 100 now.
const EVERY: Duration = Duration::from_millis(10);
/// The longest that an answer waits, however many calls are in flight.
const LONGEST: Duration = Duration::from_secs(1);

/// The refusals of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Refusals(Arc<Mutex<State>>);

// Guarded by a plain mutex, which is held for a comparison.
#[derive(Debug)]
struct State {
    /// When all of them would have been answered at the rate of one in [`EVERY`].
    due: Instant,
    is_said: bool,
}

/// What becomes of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slowed {
    /// How long its answer waits.
    pub(super) pause: Duration,
    /// Whether it is the first one that does.
    pub(super) is_news: bool,
}

impl Refusals {
    /// Those of a connection that has made no call yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { due: Instant::now(), is_said: false })))
    }

    /// Notes that a call was refused; `None`: it is answered at once.
    pub(super) fn note(&self) -> Option<Slowed> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        state.due = state.due.max(now) + EVERY;
        let ahead = state.due - now;
        let pause = ahead.checked_sub(EVERY * AT_ONCE).filter(|pause| !pause.is_zero())?;
        let is_news = !std::mem::replace(&mut state.is_said, true);
        Some(Slowed { pause: pause.min(LONGEST), is_news })
    }
}

/// Whether the answer with these headers refuses a call that nothing but another call makes right.
pub(super) fn is_refusal(headers: &HeaderMap) -> bool {
    let code = headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
    matches!(
        code,
        Some(
            Code::InvalidArgument
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::PermissionDenied
                | Code::Unauthenticated
                | Code::ResourceExhausted
        )
    )
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_refusals_are_answered_at_once_and_then_a_hundred_a_second() {
        let refusals = Refusals::new();
        for _ in 0..AT_ONCE {
            assert_eq!(refusals.note(), None);
        }
        let began = Instant::now();
        for number in 0..100 {
            let slowed = refusals.note().unwrap();
            assert_eq!(slowed.is_news, number == 0);
            sleep(slowed.pause).await;
        }
        // As exactly as timers are.
        assert!((1000..1010).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
        // Many at a time do not wait for ever, and who has stopped is a stranger again.
        for _ in 0..10_000 {
            assert!(refusals.note().unwrap().pause <= LONGEST);
        }
        sleep(Duration::from_secs(200)).await;
        assert_eq!(refusals.note(), None);
    }

    #[test]
    fn what_happens_to_every_writer_is_no_refusal() {
        let with = |code: Code| {
            let mut headers = HeaderMap::new();
            headers.insert(Status::GRPC_STATUS, (code as i32).into());
            is_refusal(&headers)
        };
        assert!(with(Code::InvalidArgument) && with(Code::OutOfRange) && with(Code::Unimplemented));
        for code in [Code::Ok, Code::NotFound, Code::AlreadyExists, Code::Aborted, Code::Unavailable, Code::Internal] {
            assert!(!with(code), "{code:?}");
        }
        assert!(!is_refusal(&HeaderMap::new()));
    }
}
