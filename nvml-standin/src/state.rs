// SPDX-License-Identifier: Apache-2.0
//! What the library remembers: its initialisations, the handles that it gave out, the calls under way.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::ptr::without_provenance_mut;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use nvml_wrapper_sys::bindings as nvml;

use crate::script::{Gpu, Mig, Outcome, Script};

pub(crate) const SUCCESS: u32 = nvml::nvmlReturn_enum_NVML_SUCCESS;
pub(crate) const UNINITIALIZED: u32 = nvml::nvmlReturn_enum_NVML_ERROR_UNINITIALIZED;
pub(crate) const INVALID_ARGUMENT: u32 = nvml::nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT;
pub(crate) const NOT_SUPPORTED: u32 = nvml::nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED;
pub(crate) const NOT_FOUND: u32 = nvml::nvmlReturn_enum_NVML_ERROR_NOT_FOUND;
pub(crate) const INSUFFICIENT_SIZE: u32 = nvml::nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE;
pub(crate) const GPU_IS_LOST: u32 = nvml::nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST;
const UNKNOWN: u32 = nvml::nvmlReturn_enum_NVML_ERROR_UNKNOWN;

/// How often a call that hangs or waits looks at the script.
pub(crate) const LOOK: Duration = Duration::from_millis(5);

/// What a function answers: nothing but success, or an `nvmlReturn_t`.
pub(crate) type Answer<T = ()> = Result<T, u32>;

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// What is remembered from the first initialisation to the last shutdown.
#[derive(Debug)]
pub(crate) struct State {
    initialisations: u32,
    under_way: u32,
    /// [`Script::loads`] when it began.
    loads: u32,
    /// Part of every handle, so that one of an earlier state is told apart.
    epoch: usize,
    /// The devices that handles were given out for, by UUID.
    devices: Vec<String>,
    pub(crate) sets: HashMap<usize, EventSet>,
    last_set: usize,
}

/// A set of events.
#[derive(Debug)]
pub(crate) struct EventSet {
    /// The types that were registered, by UUID.
    pub(crate) types: HashMap<String, u64>,
    /// How many of the script's events it has passed.
    pub(crate) passed: usize,
    /// How often it has delivered the next one already.
    pub(crate) delivered: u64,
}

/// Whom a call is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) index: u32,
    pub(crate) gpu: &'a Gpu,
    pub(crate) mig: Option<&'a Mig>,
}

impl State {
    pub(crate) fn device(&mut self, uuid: &str) -> nvml::nvmlDevice_t {
        let known = self.devices.iter().position(|known| known == uuid);
        let place = known.unwrap_or_else(|| {
            self.devices.push(uuid.to_owned());
            self.devices.len() - 1
        });
        without_provenance_mut(self.epoch + place + 1)
    }

    fn uuid(&self, device: nvml::nvmlDevice_t) -> Option<&String> {
        self.devices.get(device.addr().checked_sub(self.epoch + 1)?)
    }

    pub(crate) fn new_set(&mut self, passed: usize) -> nvml::nvmlEventSet_t {
        self.last_set += 1;
        self.sets.insert(self.epoch + self.last_set, EventSet { types: HashMap::new(), passed, delivered: 0 });
        without_provenance_mut(self.epoch + self.last_set)
    }
}

fn state() -> MutexGuard<'static, Option<State>> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works with what is remembered, in a call that is under way.
pub(crate) fn with_state<T>(work: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
    state().as_mut().map_or(Err(UNINITIALIZED), work)
}

pub(crate) fn initialise(script: &Script) {
    let mut state = state();
    let state = state.get_or_insert_with(|| State {
        initialisations: 0,
        under_way: 0,
        loads: script.loads,
        // Random, since a library that is loaded anew has forgotten what it gave out; room for 256 handles.
        epoch: (RandomState::new().build_hasher().finish() as usize) << 8,
        devices: Vec::new(),
        sets: HashMap::new(),
        last_set: 0,
    });
    state.initialisations += 1;
}

pub(crate) fn shut_down() -> Answer {
    let mut state = state();
    let Some(known) = &mut *state else {
        complain("nvmlShutdown without an initialisation");
        return Err(UNINITIALIZED);
    };
    known.initialisations -= 1;
    if known.initialisations == 0 {
        if known.under_way > 0 {
            complain("nvmlShutdown while calls are under way");
        }
        if !known.sets.is_empty() {
            complain("nvmlShutdown with sets of events that were not freed");
        }
        *state = None;
    }
    Ok(())
}

/// Answers a call that needs no GPU, as the script wants it.
pub(crate) fn call(function: &str, answer: impl FnOnce(&Script) -> Answer) -> u32 {
    under_way(function, || answer(&*obey(function, None)?))
}

/// Answers a call about a device.
pub(crate) fn about(
    function: &str,
    device: nvml::nvmlDevice_t,
    answer: impl FnOnce(Subject<'_>, &Script) -> Answer,
) -> u32 {
    under_way(function, || {
        let uuid = with_state(|state| state.uuid(device).cloned().ok_or(INVALID_ARGUMENT))
            .inspect_err(|_| complain(&format!("{function} with a handle that is none")))?;
        let script = obey(function, Some(&uuid))?;
        answer(subject(&script, &uuid).ok_or(GPU_IS_LOST)?, &script)
    })
}

/// Does what the script wants done to this call, and returns the script that lets it answer.
pub(crate) fn obey(function: &str, uuid: Option<&str>) -> Answer<Arc<Script>> {
    loop {
        let script = script()?;
        let gpu = uuid.and_then(|uuid| subject(&script, uuid)).map(|subject| subject.gpu.uuid.as_str());
        let fault = script.faults.iter().find(|fault| {
            let function_fits = fault.function == function || (fault.function == "*" && uuid.is_some());
            function_fits && (fault.gpu.is_none() || fault.gpu.as_deref() == gpu)
        });
        match fault.map(|fault| fault.outcome) {
            None if state().as_ref().is_some_and(|state| state.loads != script.loads) => return Err(UNKNOWN),
            None => return Ok(script),
            Some(Outcome::Fails(code)) => return Err(code),
            Some(Outcome::Hangs) => sleep(LOOK),
        }
    }
}

/// A script that was read, and of which file: its inode, the time of its last change, and its size.
struct Read {
    of: (u64, i64, i64, u64),
    script: Arc<Script>,
}

/// The script as it is now. Calls come by the thousands, and most find the file that was read before.
fn script() -> Answer<Arc<Script>> {
    static READ: Mutex<Option<Read>> = Mutex::new(None);
    let file = HOME.join(crate::SCRIPT);
    let found = fs::metadata(&file).map_err(|_| UNKNOWN)?;
    let of = (found.ino(), found.mtime(), found.mtime_nsec(), found.size());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(read) = read.as_ref().filter(|read| read.of == of) {
        return Ok(Arc::clone(&read.script));
    }
    let script = Arc::new(Script::read(&file).map_err(|_| UNKNOWN)?);
    *read = Some(Read { of, script: Arc::clone(&script) });
    Ok(script)
}

/// The device of this UUID, in any case of letters.
pub(crate) fn subject<'a>(script: &'a Script, uuid: &str) -> Option<Subject<'a>> {
    (0..).zip(&script.gpus).find_map(|(index, gpu)| {
        let mig = gpu.mig_devices.iter().find(|mig| mig.uuid.eq_ignore_ascii_case(uuid));
        (mig.is_some() || gpu.uuid.eq_ignore_ascii_case(uuid)).then_some(Subject { index, gpu, mig })
    })
}

/// Answers a call in an initialised library.
pub(crate) fn under_way(function: &str, answer: impl FnOnce() -> Answer) -> u32 {
    let begun = with_state(|state| {
        state.under_way += 1;
        Ok(())
    });
    if begun.is_err() {
        complain(&format!("{function} before nvmlInit_v2"));
        return UNINITIALIZED;
    }
    let result = answer();
    // A shutdown that did not wait has complained, and left nothing to count.
    let _ = with_state(|state| {
        state.under_way -= 1;
        Ok(())
    });
    result.err().unwrap_or(SUCCESS)
}

/// Writes down what the caller should not have done.
pub(crate) fn complain(complaint: &str) {
    let file = File::options().create(true).append(true).open(HOME.join(crate::COMPLAINTS));
    // The test's folder may be gone already, and the test with it.
    let _ = file.and_then(|mut file| writeln!(file, "{complaint}"));
}

/// The folder that this library was loaded from: proc_pid_maps(5) says where this code is from.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let here = complain as fn(&str) as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let file = maps.lines().find_map(|line| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        let range = usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?;
        range.contains(&here).then(|| PathBuf::from(line.splitn(6, ' ').last().unwrap_or_default().trim_start()))
    });
    file.and_then(|file| file.parent().map(PathBuf::from)).unwrap_or_default()
});
