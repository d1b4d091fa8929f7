// SPDX-License-Identifier: Apache-2.0
//! What a source declares becomes what the API holds, and nothing else of it is touched.

use device_api_core::patch::Patch;
use device_api_core::registry::{
    Ledger, LedgerOptions, PatchParams, Registry, WatchEvent, WatchParams, WatchStream as _,
};
use device_api_core::resource::{Condition, ConditionStatus, GpuStrategy, ObjectMeta, condition};
use device_api_core::testing::{CallFault, CallFaults, FaultyVerbs, Verb};
use device_api_store_memory::Memory;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

use super::super::doubt::doubt;
use super::*;

const OURS: Ownership = Ownership { source: "test", condition_types: &["NVMLReady", "XidHealthy"] };
const RESYNC: Duration = Duration::from_secs(30);

/// A reconciler at work, and its strings.
struct Bench {
    gpus: Registry<Gpu>,
    observation: watch::Sender<Observation>,
    stored: watch::Receiver<Stored>,
    may_write: watch::Sender<bool>,
    task: JoinHandle<()>,
    renewing: AbortOnDropHandle<()>,
}

impl Bench {
    async fn start() -> Self {
        Self::start_on(registry().await).await
    }

    async fn start_on(gpus: Registry<Gpu>) -> Self {
        Self::start_through(gpus.clone(), gpus).await
    }

    /// A reconciler on a handle to the same GPUs.
    async fn start_through(verbs: impl Verbs<Gpu>, gpus: Registry<Gpu>) -> Self {
        let (observation, observations) = watch::channel(Observation { knows: u64::MAX, ..Observation::default() });
        let (stored_sender, stored) = watch::channel(Stored::default());
        let (may_write, allowed) = watch::channel(true);
        let (doubt, mut doubted) = doubt();
        let reconciler = Reconciler::new(verbs, OURS, RESYNC, doubt);
        let task = tokio::spawn(reconciler.run(observations, stored_sender, allowed));
        // The lease is held whenever somebody asks, for as long as there is a reconciler.
        let renewing = tokio::spawn(async move {
            loop {
                doubted.asked().await;
                let question = doubted.question();
                doubted.answer(question);
            }
        });
        Self { gpus, observation, stored, may_write, task, renewing: AbortOnDropHandle::new(renewing) }
    }

    fn declare(&self, uuid: &str, change: impl FnOnce(&mut Observed)) {
        self.observation.send_modify(|observation| {
            let mut observed = Observed { uuid: uuid.to_owned(), ..Observed::default() };
            change(&mut observed);
            observation.devices.insert(uuid.to_ascii_lowercase(), Arc::new(observed));
        });
    }

    /// The object, once it is as it should be.
    async fn until(&self, name: &str, is_so: impl Fn(&Gpu) -> bool) -> Arc<Gpu> {
        let params = WatchParams::default().fields(format!("metadata.name={name}"));
        let mut events = self.gpus.watch(&params).await.unwrap();
        loop {
            match events.next_event().await.unwrap().unwrap() {
                WatchEvent::Added(gpu) | WatchEvent::Modified(gpu) if is_so(&gpu) => return gpu,
                _ => {}
            }
        }
    }
}

async fn registry() -> Registry<Gpu> {
    let ledger = Ledger::open(Box::new(Memory::new().open().unwrap()), LedgerOptions::default()).await.unwrap();
    ledger.registry(GpuStrategy).await.unwrap()
}

fn ready(status: ConditionStatus) -> Vec<Condition> {
    vec![Condition::new("NVMLReady", status)]
}

fn is(gpu: &Gpu, type_: &str, status: &ConditionStatus) -> bool {
    condition::find(&gpu.status.conditions, type_).is_some_and(|found| found.status == *status)
}

#[tokio::test(start_paused = true)]
async fn a_new_device_is_created_with_everything_at_once() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| {
        observed.conditions = ready(ConditionStatus::True);
        observed.labels.insert("nvidia.com/gpu.family".to_owned(), "hopper".to_owned());
        observed.device.index = Some(3);
    });
    let gpu = bench.until("gpu-a", |_| true).await;
    assert_eq!(gpu.spec.uuid, "GPU-a");
    assert_eq!(gpu.metadata.labels["nvidia.com/gpu.family"], "hopper");
    assert_eq!(gpu.metadata.labels["app.kubernetes.io/managed-by"], "test");
    assert_eq!(gpu.status.device.as_ref().unwrap().index, Some(3));
    assert!(is(&gpu, "NVMLReady", &ConditionStatus::True));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_when_nothing_changed() {
    let mut bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    let version = bench.until("gpu-a", |_| true).await.metadata.resource_version.clone();
    for _ in 0..3 {
        let number = bench.stored.borrow().number;
        bench.stored.wait_for(|stored| stored.number > number).await.unwrap();
        bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    }
    assert_eq!(bench.gpus.get("gpu-a").await.unwrap().metadata.resource_version, version);
}

#[tokio::test(start_paused = true)]
async fn what_others_wrote_survives() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |_| true).await;
    let (params, theirs) =
        (PatchParams::default(), json!([{"type": "GpuThermalWatch", "status": "True", "reason": "Hot"}]));
    let main = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}});
    bench.gpus.patch("gpu-a", &params, &Patch::merge(&main).unwrap()).await.unwrap();
    let status = json!({"status": {"conditions": theirs, "recommendedAction": "RESTART_BM"}});
    bench.gpus.patch_status("gpu-a", &params, &Patch::strategic(&status).unwrap()).await.unwrap();

    bench.declare("GPU-a", |observed| {
        observed.conditions = ready(ConditionStatus::False);
        observed.recommended_action = Some(RecommendedAction::ComponentReset);
        observed.labels.insert("x".to_owned(), "y".to_owned());
    });
    let gpu = bench.until("gpu-a", |gpu| gpu.metadata.labels.contains_key("x")).await;
    assert!(is(&gpu, "NVMLReady", &ConditionStatus::False) && is(&gpu, "GpuThermalWatch", &ConditionStatus::True));
    assert_eq!((gpu.metadata.labels["a"].as_str(), gpu.metadata.annotations["c"].as_str()), ("b", "d"));
    assert_eq!(gpu.status.recommended_action, Some(RecommendedAction::RestartBm), "the worst standing one");
}

#[tokio::test(start_paused = true)]
async fn an_own_condition_that_is_declared_no_longer_goes() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| {
        observed.conditions = ready(ConditionStatus::True);
        observed.conditions.push(Condition::new("XidHealthy", ConditionStatus::False));
        observed.recommended_action = Some(RecommendedAction::ComponentReset);
    });
    bench.until("gpu-a", |gpu| is(gpu, "XidHealthy", &ConditionStatus::False)).await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    let gpu = bench.until("gpu-a", |gpu| gpu.status.conditions.len() == 1).await;
    assert_eq!(gpu.status.recommended_action, None);
}

#[tokio::test(start_paused = true)]
async fn an_object_is_written_once_a_second_at_most_and_the_newest_state_wins() {
    let bench = Bench::start().await;
    let mut events = bench.gpus.watch(&WatchParams::default()).await.unwrap();
    let began = Instant::now();
    for index in 0..1_000 {
        bench.declare("GPU-a", |observed| observed.device.index = Some(index));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut writes = 0;
    loop {
        let gpu = events.next_event().await.unwrap().unwrap().object().cloned().unwrap();
        writes += 1;
        if gpu.status.device.as_ref().unwrap().index == Some(999) {
            break;
        }
    }
    let seconds = began.elapsed().as_secs();
    assert!(writes <= seconds + 1, "{writes} writes in {seconds} s");
}

/// The longest that what others undid stays undone: one write a second for each object, and a moment for the write.
const SOON: Duration = Duration::from_millis(1_100);

#[tokio::test(start_paused = true)]
async fn an_object_that_somebody_deleted_is_made_again_within_a_second() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    let mut last = bench.until("gpu-a", |_| true).await;
    for _ in 0..5 {
        bench.gpus.delete("gpu-a", &DeleteParams::default()).await.unwrap();
        let deleted = Instant::now();
        let next = bench.until("gpu-a", |gpu| gpu.metadata.uid != last.metadata.uid).await;
        assert!(is(&next, "NVMLReady", &ConditionStatus::True));
        assert!(deleted.elapsed() < SOON, "{:?}", deleted.elapsed());
        last = next;
    }
}

#[tokio::test(start_paused = true)]
async fn what_somebody_wiped_or_overwrote_is_declared_anew_within_a_second() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| {
        observed.conditions = ready(ConditionStatus::False);
        observed.labels.insert("nvidia.com/gpu.family".to_owned(), "hopper".to_owned());
    });
    bench.until("gpu-a", |_| true).await;
    tokio::time::sleep(RESYNC / 3).await;
    let params = PatchParams::default();
    let status = Patch::merge(&json!({"status": {"conditions": null, "device": null}})).unwrap();
    bench.gpus.patch_status("gpu-a", &params, &status).await.unwrap();
    let wiped = Instant::now();
    bench.until("gpu-a", |gpu| is(gpu, "NVMLReady", &ConditionStatus::False) && gpu.status.device.is_some()).await;
    assert!(wiped.elapsed() < SOON, "{:?}", wiped.elapsed());
    let main = json!({"metadata": {"labels": null}, "spec": {"uuid": ""}});
    bench.gpus.patch("gpu-a", &params, &Patch::merge(&main).unwrap()).await.unwrap();
    let wiped = Instant::now();
    let is_back = |gpu: &Gpu| gpu.metadata.labels.contains_key("nvidia.com/gpu.family") && gpu.spec.uuid == "GPU-a";
    bench.until("gpu-a", is_back).await;
    assert!(wiped.elapsed() < SOON, "{:?}", wiped.elapsed());
    // Somebody says that a fault is none.
    let well = json!({"status": {"conditions": [{"type": "NVMLReady", "status": "True"}]}});
    bench.gpus.patch_status("gpu-a", &params, &Patch::strategic(&well).unwrap()).await.unwrap();
    let said = Instant::now();
    bench.until("gpu-a", |gpu| is(gpu, "NVMLReady", &ConditionStatus::False)).await;
    assert!(said.elapsed() < SOON, "{:?}", said.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_undoes_what_is_declared_again_and_again_is_no_reason_to_write_all_the_time_and_news_is() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |_| true).await;
    let rival = bench.gpus.clone();
    let began = Instant::now();
    let rival = tokio::spawn(async move {
        let (mut events, mut undone) = (rival.watch(&WatchParams::default()).await.unwrap(), 0);
        while began.elapsed() < Duration::from_secs(600) {
            let Ok(event) = tokio::time::timeout(RESYNC * 2, events.next_event()).await else { break };
            if let WatchEvent::Added(_) = event.unwrap().unwrap() {
                rival.delete("gpu-a", &DeleteParams::default()).await.unwrap();
                undone += 1;
            }
        }
        undone
    });
    // Deep in the fight there is news.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let mut events = bench.gpus.watch(&WatchParams::default()).await.unwrap();
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::False));
    let said = Instant::now();
    while !events
        .next_event()
        .await
        .unwrap()
        .unwrap()
        .object()
        .is_some_and(|gpu| is(gpu, "NVMLReady", &ConditionStatus::False))
    {}
    assert!(said.elapsed() < SOON * 2, "{:?}", said.elapsed());
    let undone = rival.await.unwrap();
    assert!((10..60).contains(&undone), "it was made {undone} times in ten minutes");
}

#[tokio::test(start_paused = true)]
async fn who_undoes_it_many_times_at_once_has_undone_it_once() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::False));
    bench.until("gpu-a", |_| true).await;
    tokio::time::sleep(RESYNC / 3).await;
    for number in 0..40 {
        let well = json!({"status": {"conditions": [{"type": "NVMLReady", "status": "True", "reason": format!("N{number}")}]}});
        let well = Patch::strategic(&well).unwrap();
        bench.gpus.patch_status("gpu-a", &PatchParams::default(), &well).await.unwrap();
    }
    // It may have been answered in their midst, and is then a second later.
    tokio::time::sleep(SOON * 2).await;
    assert!(is(&bench.gpus.get("gpu-a").await.unwrap(), "NVMLReady", &ConditionStatus::False));
}

#[tokio::test(start_paused = true)]
async fn what_others_change_of_their_own_causes_no_write() {
    let bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |_| true).await;
    tokio::time::sleep(RESYNC / 3).await;
    let number = bench.stored.borrow().number;
    for round in 0..10 {
        let main = Patch::merge(&json!({"metadata": {"annotations": {"round": round.to_string()}}})).unwrap();
        let theirs = bench.gpus.patch("gpu-a", &PatchParams::default(), &main).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(bench.gpus.get("gpu-a").await.unwrap().metadata.resource_version, theirs.metadata.resource_version);
    }
    assert_eq!(bench.stored.borrow().number, number, "and no list");
}

#[tokio::test(start_paused = true)]
async fn an_object_of_somebody_else_is_joined_and_never_deleted() {
    let gpus = registry().await;
    let theirs = Gpu { metadata: ObjectMeta::named("gpu-a"), ..Gpu::default() };
    gpus.create(&PostParams::default(), &theirs).await.unwrap();
    let bench = Bench::start_on(gpus).await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |gpu| is(gpu, "NVMLReady", &ConditionStatus::True)).await;
    bench.declare("GPU-b", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-b", |_| true).await;
    bench.observation.send_modify(|observation| {
        observation.devices.clear();
        observation.gone.extend(["gpu-a".to_owned(), "gpu-b".to_owned()]);
    });
    while bench.gpus.get_opt("gpu-b").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(bench.gpus.get_opt("gpu-a").await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_without_the_lease() {
    let bench = Bench::start().await;
    bench.may_write.send_replace(false);
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    tokio::time::sleep(RESYNC * 3).await;
    assert!(bench.gpus.get_opt("gpu-a").await.unwrap().is_none());
    bench.may_write.send_replace(true);
    bench.until("gpu-a", |_| true).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_being_written_when_the_lease_is_lost_is_given_up() {
    let (gpus, faults) = (registry().await, CallFaults::new());
    let bench = Bench::start_through(FaultyVerbs::new(gpus.clone(), &faults), gpus).await;
    faults.next(Verb::Create, CallFault::Delay(Duration::from_secs(5)));
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    while faults.calls(Verb::Create) == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.may_write.send_replace(false);
    tokio::time::sleep(RESYNC * 3).await;
    assert!(bench.gpus.get_opt("gpu-a").await.unwrap().is_none());
    bench.may_write.send_replace(true);
    bench.until("gpu-a", |_| true).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_or_a_write_that_hangs_is_given_up_and_made_again() {
    let (gpus, faults) = (registry().await, CallFaults::new());
    for verb in [Verb::List, Verb::Create] {
        faults.next(verb, CallFault::Hang);
    }
    let bench = Bench::start_through(FaultyVerbs::new(gpus.clone(), &faults), gpus).await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |gpu| is(gpu, "NVMLReady", &ConditionStatus::True)).await;
    for verb in [Verb::Get, Verb::ReplaceStatus] {
        faults.next(verb, CallFault::Hang);
        let status = if verb == Verb::Get { ConditionStatus::False } else { ConditionStatus::True };
        bench.declare("GPU-a", |observed| observed.conditions = ready(status.clone()));
        bench.until("gpu-a", |gpu| is(gpu, "NVMLReady", &status)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_heeded_acknowledgement_is_removed_and_one_that_was_not_seen_stays() {
    let mut bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |_| true).await;
    let number = bench.stored.borrow().number;
    bench.observation.send_modify(|observation| observation.knows = number);
    let patch = Patch::merge(&json!({"metadata": {"annotations": {ACKNOWLEDGE_XIDS: "all"}}})).unwrap();
    bench.gpus.patch("gpu-a", &PatchParams::default(), &patch).await.unwrap();
    let has_it = |gpu: &Arc<Gpu>| gpu.metadata.annotations.contains_key(ACKNOWLEDGE_XIDS);
    let given = Instant::now();
    let seen = bench.stored.wait_for(|stored| stored.gpus.iter().any(has_it)).await.unwrap().number;
    assert!(given.elapsed() < SOON, "a person's word is heard at once: {:?}", given.elapsed());
    tokio::time::sleep(RESYNC / 3).await;
    assert!(has_it(&bench.gpus.get("gpu-a").await.unwrap()), "the source has not said that it knows");
    bench.observation.send_modify(|observation| observation.knows = seen + 1);
    tokio::time::sleep(RESYNC / 3).await;
    assert!(has_it(&bench.gpus.get("gpu-a").await.unwrap()), "it knows, and has not taken it into account");
    bench.observation.send_modify(|observation| {
        observation.heeded.insert("gpu-a".to_owned(), "all".to_owned());
    });
    bench.until("gpu-a", |gpu| !gpu.metadata.annotations.contains_key(ACKNOWLEDGE_XIDS)).await;
    // The source has to see that it is gone, or it takes one that is given again for the same.
    let gone = bench.stored.wait_for(|stored| !stored.gpus.iter().any(has_it));
    tokio::time::timeout(Duration::from_secs(2), gone).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_is_made_again_only_once_the_source_knows_that_it_is_gone() {
    let mut bench = Bench::start().await;
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::True));
    bench.until("gpu-a", |_| true).await;
    let number = bench.stored.borrow().number;
    bench.observation.send_modify(|observation| observation.knows = number);
    bench.gpus.delete("gpu-a", &DeleteParams::default()).await.unwrap();
    // A write that finds nothing makes it look, not make.
    bench.declare("GPU-a", |observed| observed.conditions = ready(ConditionStatus::False));
    let seen = bench.stored.wait_for(|stored| stored.number > number).await.unwrap().number;
    tokio::time::sleep(RESYNC / 3).await;
    assert!(bench.gpus.get_opt("gpu-a").await.unwrap().is_none());
    bench.observation.send_modify(|observation| observation.knows = seen + 1);
    bench.until("gpu-a", |gpu| is(gpu, "NVMLReady", &ConditionStatus::False)).await;
}

#[tokio::test(start_paused = true)]
async fn it_ends_with_its_source() {
    let Bench { observation, task, renewing, .. } = Bench::start().await;
    drop((observation, renewing));
    task.await.unwrap();
}
