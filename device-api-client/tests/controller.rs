// SPDX-License-Identifier: Apache-2.0
//! Controllers on a registry in process, in virtual time.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy.toml's exceptions for tests do not reach their functions

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use device_api_client::VerbsExt as _;
use device_api_client::controller::{Action, Controller};
use device_api_client::watcher::{Backoff, Config};
use device_api_core::registry::{DeleteParams, Ledger, LedgerOptions, ListParams, PostParams, Registry, Verbs};
use device_api_core::resource::{Gpu, GpuStrategy, Key, ObjectMeta};
use device_api_core::{Error, Result};
use device_api_store_memory::Memory;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

async fn registry(names: &[&str]) -> Registry<Gpu> {
    let storage = Memory::new().open().unwrap();
    let ledger = Ledger::open(Box::new(storage), LedgerOptions::default()).await.unwrap();
    let gpus = ledger.registry(GpuStrategy).await.unwrap();
    for name in names {
        register(&gpus, name).await;
    }
    gpus
}

async fn register(gpus: &Registry<Gpu>, name: &str) {
    gpus.create(&PostParams::default(), &Gpu { metadata: ObjectMeta::named(name), ..Gpu::default() }).await.unwrap();
}

async fn label(gpus: &Registry<Gpu>, name: &str, key: &str, value: &str) -> Arc<Gpu> {
    let change = |gpu: &mut Gpu| drop(gpu.metadata.labels.insert(key.to_owned(), value.to_owned()));
    gpus.create_or_update(name, &PostParams::default(), change).await.unwrap().into_object()
}

/// What a controller looked at, and when.
type Looks = mpsc::Receiver<(Arc<Gpu>, Instant)>;

type Next = dyn Fn(usize, &Gpu) -> Result<Action> + Send + Sync;

/// Tells what it looks at, and what to do next.
struct Teller {
    looks: mpsc::Sender<(Arc<Gpu>, Instant)>,
    next: Box<Next>,
    /// How often each was looked at.
    counts: Mutex<BTreeMap<String, usize>>,
}

async fn look(gpu: Arc<Gpu>, teller: Arc<Teller>) -> Result<Action> {
    let count = {
        let mut counts = teller.counts.lock().unwrap();
        let count = counts.entry(gpu.metadata.name.clone()).or_default();
        *count += 1;
        *count
    };
    teller.looks.send((Arc::clone(&gpu), Instant::now())).await.unwrap();
    (teller.next)(count, &gpu)
}

fn teller(next: impl Fn(usize, &Gpu) -> Result<Action> + Send + Sync + 'static) -> (Arc<Teller>, Looks) {
    let (looks, looked) = mpsc::channel(1024);
    (Arc::new(Teller { looks, next: Box::new(next), counts: Mutex::default() }), looked)
}

fn start<V: Verbs<Gpu>>(controller: Controller<Gpu, V>, teller: Arc<Teller>) -> JoinHandle<Result<()>> {
    tokio::spawn(controller.run(look, teller))
}

fn all(gpus: &Registry<Gpu>) -> Controller<Gpu, Registry<Gpu>> {
    Controller::new(gpus.clone(), Config::default())
}

async fn name(looks: &mut Looks) -> String {
    looks.recv().await.unwrap().0.metadata.name.clone()
}

#[tokio::test(start_paused = true)]
async fn all_objects_are_looked_at_first_and_each_when_it_changes() {
    let gpus = registry(&["a", "b"]).await;
    let (teller, mut looks) = teller(|_, _| Ok(Action::await_change()));
    let controller = start(all(&gpus), teller);
    assert_eq!([name(&mut looks).await, name(&mut looks).await], ["a", "b"]);
    let changed = label(&gpus, "b", "changed", "yes").await;
    assert_eq!(looks.recv().await.unwrap().0, changed);
    register(&gpus, "c").await;
    assert_eq!(name(&mut looks).await, "c");
    gpus.delete("a", &DeleteParams::default()).await.unwrap();
    sleep(600 * SECOND).await;
    assert!(looks.try_recv().is_err(), "nothing else has changed, and what is gone is not looked at");
    controller.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_writers_do_the_last_state_of_each_object_is_looked_at() {
    let names = ["a", "b", "c", "d"];
    let gpus = registry(&names).await;
    let (teller, mut looks) = teller(|_, _| Ok(Action::await_change()));
    let controller = start(all(&gpus).concurrency(2), teller);
    let mut writers = JoinSet::new();
    for writer in 0..8 {
        let gpus = gpus.clone();
        writers.spawn(async move {
            for turn in 0..25 {
                label(&gpus, names[(writer + turn) % names.len()], &format!("w{writer}"), &turn.to_string()).await;
            }
        });
    }
    writers.join_all().await;
    let list = gpus.list(&ListParams::default()).await.unwrap();
    let last: BTreeMap<_, _> = list.items.into_iter().map(|gpu| (gpu.metadata.name.clone(), gpu)).collect();
    let (mut seen, mut count) = (BTreeMap::new(), 0);
    while seen != last {
        let (gpu, _) = looks.recv().await.unwrap();
        seen.insert(gpu.metadata.name.clone(), gpu);
        count += 1;
    }
    assert!(count <= names.len() + 8 * 25, "{count} looks, more than there were changes");
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn as_many_are_looked_at_at_a_time_as_was_asked_for_and_none_twice() {
    #[derive(Default)]
    struct Now {
        running: Mutex<HashSet<String>>,
        most: Mutex<usize>,
        ended: Mutex<usize>,
    }
    async fn slowly(gpu: Arc<Gpu>, now: Arc<Now>) -> Result<Action> {
        let name = gpu.metadata.name.clone();
        {
            let (mut running, mut most) = (now.running.lock().unwrap(), now.most.lock().unwrap());
            assert!(running.insert(name.clone()), "{name} is looked at twice at a time");
            *most = running.len().max(*most);
        }
        sleep(SECOND).await;
        now.running.lock().unwrap().remove(&name);
        *now.ended.lock().unwrap() += 1;
        Ok(Action::await_change())
    }
    let gpus = registry(&["a", "b", "c", "d", "e"]).await;
    let now = Arc::new(Now::default());
    let controller = tokio::spawn(all(&gpus).concurrency(3).run(slowly, Arc::clone(&now)));
    for turn in 0..40 {
        sleep(SECOND / 4).await;
        label(&gpus, ["a", "b"][turn % 2], "turn", &turn.to_string()).await;
    }
    sleep(10 * SECOND).await;
    assert_eq!(*now.most.lock().unwrap(), 3);
    let ended = *now.ended.lock().unwrap();
    assert!((7..45).contains(&ended), "{ended} looks for 45 triggers");
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn who_asks_to_be_called_again_is_called_after_that_time() {
    let gpus = registry(&["a"]).await;
    let (teller, mut looks) = teller(|_, _| Ok(Action::requeue(60 * SECOND)));
    let controller = start(all(&gpus), teller);
    let mut before = looks.recv().await.unwrap().1;
    for _ in 0..3 {
        let (_, at) = looks.recv().await.unwrap();
        assert_eq!((at - before).as_secs(), 60);
        before = at;
    }
    // A change comes before, and the time counts from then.
    sleep(30 * SECOND).await;
    label(&gpus, "a", "changed", "yes").await;
    let (_, at) = looks.recv().await.unwrap();
    assert_eq!((at - before).as_secs(), 30);
    assert_eq!((looks.recv().await.unwrap().1 - at).as_secs(), 60);
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn an_error_or_a_panic_is_tried_again_later_each_time_and_holds_up_nobody_else() {
    let gpus = registry(&["bad", "good"]).await;
    let (teller, mut looks) = teller(|count, gpu| match (gpu.metadata.name.as_str(), count) {
        ("bad", 2) => panic!("on purpose"),
        ("bad", ..4) => Err(Error::internal("on purpose")),
        _ => Ok(Action::await_change()),
    });
    let backoff = Backoff::default().with_first(8 * SECOND).with_longest(60 * SECOND);
    let controller = start(all(&gpus).backoff(backoff), teller);
    let mut at = looks.recv().await.unwrap().1;
    assert_eq!(name(&mut looks).await, "good");
    for most in [8, 16, 32] {
        let (gpu, next) = looks.recv().await.unwrap();
        let pause = next - at;
        assert_eq!(gpu.metadata.name, "bad");
        assert!(pause >= most * SECOND / 2 && pause <= most * SECOND + SECOND, "{pause:?} of {most} s");
        at = next;
    }
    sleep(600 * SECOND).await;
    assert!(looks.try_recv().is_err(), "it went well");
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn what_depends_on_another_object_is_looked_at_when_that_changes_or_vanishes() {
    let gpus = registry(&["a", "b"]).await;
    let others = gpus.namespaced("others");
    label(&others, "x", "owner", "a").await;
    let owner = |other: &Gpu| Key::of::<Gpu>("", &other.metadata.labels["owner"]).ok();
    let (teller, mut looks) = teller(|_, _| Ok(Action::await_change()));
    let only = gpus.namespaced("default");
    let controller = Controller::new(only, Config::default()).watches(others.clone(), Config::default(), owner);
    let controller = start(controller, teller);
    // Both at first, and that which depends on x perhaps once more.
    sleep(SECOND).await;
    while looks.try_recv().is_ok() {}
    label(&others, "x", "seen", "yes").await;
    assert_eq!(name(&mut looks).await, "a");
    label(&others, "x", "owner", "b").await;
    assert_eq!(BTreeSet::from([name(&mut looks).await, name(&mut looks).await]), ["a", "b"].map(str::to_owned).into());
    others.delete("x", &DeleteParams::default()).await.unwrap();
    assert_eq!(name(&mut looks).await, "b");
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn who_is_stopped_ends_what_it_began_and_begins_nothing_more() {
    struct Work {
        begun: Notify,
        go_on: Semaphore,
        ended: Mutex<Vec<String>>,
    }
    async fn work(gpu: Arc<Gpu>, work: Arc<Work>) -> Result<Action> {
        work.begun.notify_one();
        let _permit = work.go_on.acquire().await.unwrap();
        work.ended.lock().unwrap().push(gpu.metadata.name.clone());
        Ok(Action::requeue(SECOND))
    }
    let gpus = registry(&["a", "b"]).await;
    let all_work = Arc::new(Work { begun: Notify::new(), go_on: Semaphore::new(0), ended: Mutex::default() });
    let (stop, stopped) = oneshot::channel::<()>();
    let controller = all(&gpus).graceful_shutdown_on(async { drop(stopped.await) });
    let controller = tokio::spawn(controller.run(work, Arc::clone(&all_work)));
    all_work.begun.notified().await;
    stop.send(()).unwrap();
    sleep(60 * SECOND).await;
    assert!(!controller.is_finished(), "a is still being looked at");
    all_work.go_on.add_permits(1);
    controller.await.unwrap().unwrap();
    assert_eq!(*all_work.ended.lock().unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_selected_is_not_looked_at() {
    let gpus = registry(&[]).await;
    label(&gpus, "a", "zone", "left").await;
    label(&gpus, "b", "zone", "right").await;
    let (teller, mut looks) = teller(|_, _| Ok(Action::requeue(SECOND)));
    let controller = start(Controller::new(gpus.clone(), Config::default().labels("zone=left")), teller);
    for _ in 0..3 {
        assert_eq!(name(&mut looks).await, "a");
    }
    label(&gpus, "a", "zone", "right").await;
    while looks.try_recv().is_ok() {}
    sleep(600 * SECOND).await;
    assert!(looks.try_recv().is_err());
    controller.abort();
}

#[tokio::test(start_paused = true)]
async fn a_selector_that_does_not_parse_ends_it_with_the_reason() {
    let gpus = registry(&[]).await;
    let broken = || Config::default().labels("(");
    let watching = all(&gpus).watches(gpus.clone(), broken(), |_: &Gpu| None);
    for controller in [Controller::new(gpus.clone(), broken()), watching] {
        let error = start(controller, teller(|_, _| Ok(Action::await_change())).0).await.unwrap().unwrap_err();
        assert!(matches!(error, Error::BadRequest { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_last_of_its_streams_it_ends_when_nothing_is_left_to_do() {
    let gpus = registry(&["a", "b"]).await;
    let (teller, mut looks) = teller(|count, gpu| match (gpu.metadata.name.as_str(), count) {
        ("b", ..3) => Ok(Action::requeue(SECOND)),
        _ => Ok(Action::await_change()),
    });
    let changes = tokio_stream::iter([gpus.get("a").await.unwrap()]);
    // That one is of another namespace than the controller.
    label(&gpus.namespaced("others"), "x", "seen", "no").await;
    let others = [("", "b"), ("", "gone"), ("others", "x")].map(|(space, name)| Key::of::<Gpu>(space, name).unwrap());
    let controller = Controller::for_stream(gpus.namespaced("default"), changes);
    let controller = controller.reconcile_on(tokio_stream::iter(others));
    start(controller, teller).await.unwrap().unwrap();
    let looked = std::iter::from_fn(|| looks.try_recv().ok());
    let mut looked: Vec<_> = looked.map(|(gpu, _)| gpu.metadata.name.clone()).collect();
    looked.sort_unstable();
    assert_eq!(looked, ["a", "b", "b", "b"]);
}
