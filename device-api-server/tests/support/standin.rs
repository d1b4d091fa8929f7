// SPDX-License-Identifier: Apache-2.0
//! A driver's root whose NVML is the stand-in.

use std::fs;
use std::path::{Path, PathBuf};

use device_api_server::source::nvml::driver::{Driver, EventKind};
use device_api_server::source::nvml::real::{Nvml, NvmlOptions};
use nvml_standin::{COMPLAINTS, Event, Gpu, SCRIPT, Script};
use tempfile::TempDir;

use super::PATIENCE;

/// A folder like the root of a node with the NVIDIA driver. When it is dropped, NVML must have been used as it
/// asks for, and programs that still use it get errors.
#[derive(Debug)]
pub struct Standin {
    root: TempDir,
}

impl Standin {
    /// A driver that plays this script.
    pub fn new(script: &Script) -> Self {
        let standin = Self { root: TempDir::new().unwrap() };
        fs::create_dir_all(standin.folder()).unwrap();
        // A copy, not a link: the loader knows a file that it has loaded by its inode, and each test needs its own.
        fs::copy(built(), standin.library()).unwrap();
        for (node, gpu) in script.gpus.iter().enumerate() {
            let address = gpu.pci_bus_id[4..].to_lowercase();
            let device = standin.root.path().join("sys/bus/pci/devices").join(address);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("numa_node"), format!("{}\n", node / 4)).unwrap();
        }
        standin.plays(script);
        standin
    }

    /// A driver whose library has no such function.
    pub fn without(script: &Script, function: &str) -> Self {
        let standin = Self::new(script);
        let mut library = fs::read(standin.library()).unwrap();
        let name = [b"\0", function.as_bytes(), b"\0"].concat();
        let found: Vec<_> = (0..library.len() - name.len()).filter(|at| library[*at..].starts_with(&name)).collect();
        assert!(!found.is_empty(), "the stand-in has no {function}");
        for at in found {
            library[at + 1] = b'x';
        }
        fs::write(standin.library(), library).unwrap();
        standin
    }

    /// The folder for `--nvml-driver-root`.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where the binding finds this driver, and only this one.
    pub fn options(&self) -> NvmlOptions {
        NvmlOptions::default().with_driver_root(self.root()).with_sysfs(self.root().join("sys"))
    }

    /// A driver for the source, initialised.
    pub async fn started(&self) -> Nvml {
        let nvml = Nvml::new(self.options());
        nvml.init().await.unwrap();
        nvml
    }

    /// From now on the driver plays this script.
    pub fn plays(&self, script: &Script) {
        script.write(&self.folder().join(SCRIPT)).unwrap();
    }

    /// Changes the script, while the driver plays it.
    pub fn changes(&self, change: impl FnOnce(&mut Script)) {
        let mut script = Script::read(&self.folder().join(SCRIPT)).unwrap();
        change(&mut script);
        self.plays(&script);
    }

    /// A GPU reports an XID, about an instance or about all of it.
    pub fn xid(&self, gpu: usize, xid: u64, instance: Option<(u32, u32)>) {
        self.reports(gpu, 8, xid, instance);
    }

    /// A GPU reports an event of a type, a bit of `nvmlEventType…`.
    pub fn reports(&self, gpu: usize, event_type: u64, data: u64, instance: Option<(u32, u32)>) {
        self.changes(|script| {
            let gpu = script.gpus[gpu].uuid.clone();
            script.events.push(Event { gpu, event_type, data, instance, times: 1 });
        });
    }

    /// A GPU reports an XID so many times, as fast as they are taken.
    pub fn storm(&self, gpu: usize, xid: u64, times: u64) {
        self.changes(|script| {
            let gpu = script.gpus[gpu].uuid.clone();
            script.events.push(Event { gpu, event_type: 8, data: xid, instance: None, times });
        });
    }

    /// The file that is loaded.
    pub fn library(&self) -> PathBuf {
        self.folder().join("libnvidia-ml.so.1")
    }

    fn folder(&self) -> PathBuf {
        self.root.path().join("usr/lib64")
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        let complaints = fs::read_to_string(self.folder().join(COMPLAINTS)).unwrap_or_default();
        assert!(std::thread::panicking() || complaints.is_empty(), "NVML was used as it forbids:\n{complaints}");
    }
}

/// The UUID of a script's GPU.
pub fn uuid(gpu: u32) -> String {
    Gpu::h100(gpu).uuid
}

/// The next event, however long it takes.
pub async fn event(nvml: &Nvml) -> (String, EventKind) {
    let event = nvml.next_event(PATIENCE).await.unwrap().unwrap();
    (event.uuid, event.kind)
}

/// The stand-in as cargo built it for this test: a development dependency is built with all its crate types, and
/// a shared library has no hash in its name.
fn built() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = test.parent().unwrap().join("libnvml_standin.so");
    assert!(file.exists(), "{} is not there", file.display());
    file
}
