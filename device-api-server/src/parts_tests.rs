// SPDX-License-Identifier: Apache-2.0
//! In virtual time: when a part begins anew, when it counts as there, and when nothing goes on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use device_api_core::Error;
use tokio::task::JoinHandle;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A part that does this, by the number of its beginning, and what is known of it.
struct World {
    begun: Arc<AtomicUsize>,
    stop: CancellationToken,
    absent: watch::Receiver<Absent>,
    part: JoinHandle<Result<(), ServerError>>,
}

impl World {
    fn of<F>(patience: Option<Duration>, run: impl Fn(usize, CancellationToken) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let part = Part {
            name: "it".to_owned(),
            feeds: Feeds::All,
            pauses: (SECOND, 10 * SECOND),
            patience,
            begin: Box::new(move |stop| Box::pin(run(count.fetch_add(1, Ordering::Relaxed) + 1, stop))),
        };
        let (stop, absent) = (CancellationToken::new(), watch::Sender::default());
        let receiver = absent.subscribe();
        let part = tokio::spawn(part.run(7, stop.clone(), absent));
        Self { begun, stop, absent: receiver, part }
    }

    fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    async fn is_there(&mut self, is_there: bool) {
        self.absent.wait_for(|absent| absent.is_empty() == is_there).await.unwrap();
    }
}

async fn until(stop: CancellationToken) -> Result<()> {
    stop.cancelled().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_part_that_panics_or_returns_or_fails_begins_anew_and_is_absent_meanwhile() {
    let mut world = World::of(None, async |number, stop| match number {
        1 => panic!("a bug"),
        2 => Ok(()),
        3 => Err(Error::internal("it fails")),
        _ => until(stop).await,
    });
    world.is_there(false).await;
    assert_eq!(world.begun(), 1);
    world.is_there(true).await;
    assert_eq!(world.begun(), 4);
    world.stop.cancel();
    world.part.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_pauses_grow_and_a_part_that_ran_for_long_is_soon_back() {
    let mut world = World::of(None, async |number, stop| match number {
        1..=20 => panic!("a bug"),
        21 => {
            sleep(60 * SECOND).await;
            panic!("another")
        }
        _ => until(stop).await,
    });
    let start = Instant::now();
    world.is_there(false).await;
    world.is_there(true).await;
    // 1 + 2 + 4 + 8 + 16 times 10, up to a tenth less, and as long as the last of them until it counts as there.
    assert!(start.elapsed() > 150 * SECOND && start.elapsed() < 190 * SECOND, "{:?}", start.elapsed());
    world.is_there(false).await;
    let end = Instant::now();
    world.is_there(true).await;
    assert!(end.elapsed() <= 2 * SECOND, "{:?}", end.elapsed());
    world.stop.cancel();
    world.part.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_on_for_long_without_a_part_that_is_needed_and_has_a_bug() {
    let world = World::of(Some(60 * SECOND), async |_, _| panic!("a bug"));
    let start = Instant::now();
    let error = world.part.await.unwrap().unwrap_err();
    assert!(matches!(&error, ServerError::PartLost { part } if part == "it"), "{error:?}");
    assert!(start.elapsed() >= 60 * SECOND && start.elapsed() < 80 * SECOND, "{:?}", start.elapsed());
    assert!(!world.absent.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_part_whose_store_fails_is_waited_for_however_long() {
    let mut world = World::of(Some(60 * SECOND), async |number, stop| match number {
        1..100 => Err(Error::internal("the store fails")),
        _ => until(stop).await,
    });
    world.is_there(false).await;
    world.is_there(true).await;
    assert_eq!(world.begun(), 100);
    world.stop.cancel();
    world.part.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_part_that_is_told_to_stop_while_it_is_away_does_not_begin_again() {
    let mut world = World::of(None, async |_, _| panic!("a bug"));
    world.is_there(false).await;
    world.stop.cancel();
    world.part.await.unwrap().unwrap();
    assert_eq!(world.begun.load(Ordering::Relaxed), 1);
}

/// Counts the lines of the log that say that something is wrong.
struct Errors(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        if *event.metadata().level() == tracing::Level::ERROR {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_that_lasts_is_said_once() {
    let errors = Arc::new(AtomicUsize::new(0));
    let _log = tracing_subscriber::registry().with(Errors(Arc::clone(&errors))).set_default();
    let mut world = World::of(None, async |_, _| Err(Error::internal("the disk is full")));
    world.is_there(false).await;
    sleep(600 * SECOND).await;
    assert!(world.begun() > 10, "{}", world.begun());
    assert_eq!(errors.load(Ordering::Relaxed), 1);
}
