// SPDX-License-Identifier: Apache-2.0
//! The library: where it is, and when it cannot be used.

use std::fs;
use std::time::Duration;

use device_api_server::source::nvml::driver::{Driver, DriverError, Vitals};
use device_api_server::source::nvml::real::{Nvml, NvmlOptions};
use nvml_standin::Script;
use tokio::time::timeout;

use crate::found;
use crate::outcomes::{DRIVER_NOT_LOADED, VERSION_MISMATCH};
use crate::support::PATIENCE;
use crate::support::standin::{Standin, uuid};

#[tokio::test]
async fn a_library_that_is_nowhere_is_named_with_its_places() {
    let root = tempfile::tempdir().unwrap();
    let library = "libnvidia-ml-of-no-node.so.1";
    let options = NvmlOptions::default().with_driver_root(root.path()).with_library(library);
    let Err(error) = Nvml::new(options).init().await else { panic!("there is such a library") };
    assert!(matches!(error, DriverError::LibraryNotFound { .. }), "{error:?}");
    let text = error.to_string();
    for part in [library, "usr/lib64", &root.path().display().to_string()] {
        assert!(text.contains(part), "{text}");
    }
}

#[tokio::test]
async fn a_library_that_cannot_be_loaded_is_passed_over_for_one_that_can() {
    let standin = Standin::new(&Script::with_gpus(1));
    let folder = standin.root().join("usr/lib/x86_64-linux-gnu");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(standin.library(), folder.join("libnvidia-ml.so.1")).unwrap();
    fs::write(standin.library(), "no library").unwrap();
    fs::rename(standin.library().with_file_name(nvml_standin::SCRIPT), folder.join(nvml_standin::SCRIPT)).unwrap();
    let nvml = standin.started().await;
    assert_eq!(nvml.list().await, Ok(vec![found(0, 0)]));
    nvml.shutdown().await;
}

#[tokio::test]
async fn a_library_that_cannot_be_loaded_says_why() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("usr/lib");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("libnvidia-ml-broken.so.1"), "no library").unwrap();
    let options = NvmlOptions::default().with_driver_root(root.path()).with_library("libnvidia-ml-broken.so.1");
    let Err(DriverError::Other { call, why }) = Nvml::new(options).init().await else { panic!("it was loaded") };
    assert_eq!(call, "dlopen");
    assert!(why.contains("libnvidia-ml-broken.so.1"), "{why}");
}

#[tokio::test]
async fn a_driver_that_is_not_there_or_does_not_fit_is_told_and_found_when_it_comes() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = Nvml::new(standin.options());
    for (outcome, error) in
        [(DRIVER_NOT_LOADED, DriverError::DriverNotLoaded), (VERSION_MISMATCH, DriverError::VersionMismatch)]
    {
        standin.plays(&Script::with_gpus(1).with_fault("nvmlInit_v2", outcome));
        assert_eq!(nvml.init().await, Err(error));
        assert_eq!(nvml.list().await, Err(DriverError::Uninitialized));
    }
    standin.plays(&Script::with_gpus(1));
    nvml.init().await.unwrap();
    assert_eq!(nvml.list().await, Ok(vec![found(0, 0)]));
    nvml.shutdown().await;
}

#[tokio::test]
async fn before_an_init_and_after_a_shutdown_everything_is_uninitialized() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = Nvml::new(standin.options());
    for round in 0..2 {
        assert_eq!(nvml.list().await, Err(DriverError::Uninitialized), "{round}");
        assert_eq!(nvml.vitals(&uuid(0)).await, Err(DriverError::Uninitialized), "{round}");
        assert_eq!(nvml.subscribe(&uuid(0)).await, Err(DriverError::Uninitialized), "{round}");
        assert_eq!(nvml.next_event(Duration::ZERO).await, Err(DriverError::Uninitialized), "{round}");
        nvml.init().await.unwrap();
        nvml.subscribe(&uuid(0)).await.unwrap();
        nvml.shutdown().await;
    }
}

#[tokio::test]
async fn a_function_that_the_library_lacks_costs_what_it_tells_and_nothing_else() {
    let standin = Standin::without(&Script::with_gpus(1), "nvmlDeviceGetFieldValues");
    let nvml = standin.started().await;
    let known = Vitals { ecc_uncorrected_volatile: Some(0), ..Vitals::default() };
    assert_eq!(nvml.vitals(&uuid(0)).await, Ok(known));
    nvml.shutdown().await;

    let standin = Standin::without(&Script::with_gpus(1), "nvmlEventSetWait_v2");
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    let missing = DriverError::NoSuchFunction { symbol: "nvmlEventSetWait_v2".to_owned() };
    assert_eq!(nvml.next_event(Duration::ZERO).await, Err(missing));
    nvml.vitals(&uuid(0)).await.unwrap();
    nvml.shutdown().await;
}

#[tokio::test]
async fn two_drivers_in_one_process_do_not_disturb_each_other() {
    let (one, other) = (Standin::new(&Script::with_gpus(1)), Standin::new(&Script::with_gpus(2)));
    let (one_nvml, other_nvml) = (one.started().await, other.started().await);
    assert_eq!(one_nvml.list().await.unwrap().len(), 1);
    one_nvml.shutdown().await;
    assert_eq!(other_nvml.list().await.unwrap().len(), 2);
    other_nvml.shutdown().await;
}

#[tokio::test]
async fn who_is_dropped_gives_the_library_back() {
    let standin = Standin::new(&Script::with_gpus(1));
    let nvml = standin.started().await;
    nvml.subscribe(&uuid(0)).await.unwrap();
    drop(nvml);
    // The loader's table says when the library is gone.
    let library = standin.library().display().to_string();
    let gone = async {
        while fs::read_to_string("/proc/self/maps").unwrap().contains(&library) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
}
