// SPDX-License-Identifier: Apache-2.0
//! The health of the node's GPUs, told to Kubernetes in three ways, each a file to lift into a driver of one's own.
//!
//! ```console
//! cargo run --example bridges -- dra-health /var/lib/kubelet/plugins/gpu.example.com
//! cargo run --example bridges -- device-plugin /var/lib/kubelet/device-plugins
//! cargo run --example bridges -- taints
//! ```
//!
//! `dra_health.rs` answers the kubelet's `NodeWatchResources`, which shows in the status of pods; `device_plugin.rs` its
//! `ListAndWatch`, after which it gives a device to no more pods; `taints.rs` writes the taints of a DRA driver's ResourceSlices, by
//! which the scheduler keeps away and pods are evicted. Each reads `devices.rs`: one reflector, and core's judgement of health.
#![allow(clippy::print_stdout)] // a program for a terminal

mod device_plugin;
mod devices;
mod dra_health;
mod kubelet;
mod socket;
mod taints;

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use device_api_client::core::health::{Polarities, Polarity};
use device_api_client::core::registry::{Clock as _, SystemClock};
use device_api_client::core::resource::Gpu;
use device_api_client::watcher::Config;
use device_api_client::{Api, Client, ConnectOptions, Reflector, Target};
use device_api_examples::InWords;
use device_api_server::Signals;
use futures_util::StreamExt as _;

use self::devices::Devices;

#[tokio::main]
async fn main() -> Result<(), InWords> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut signals = Signals::new()?;
    // A lazy client may start before the server does.
    let client = Client::lazy(&Target::from_env()?, ConnectOptions::default());
    let reflector = Reflector::start(Api::<Gpu>::namespaced(client, "default"), Config::default());
    // The types of our own providers, beside those that everybody knows.
    let polarities = Polarities::default().with("ExampleHealthy", Polarity::TrueIsGood);
    let devices = Devices::new(reflector.store(), polarities);
    let stop = async move {
        signals.next().await;
        // What the kubelet watches ends with it, so that no server waits for an open stream.
        reflector.stop().await;
    };
    let node = std::env::var("NODE_NAME").unwrap_or_else(|_| "node".to_owned());
    match arguments[..] {
        ["dra-health", folder] => {
            let socket = Path::new(folder).join("dra.sock");
            let routes = dra_health::routes(devices, &node, Arc::new(SystemClock));
            let incoming = socket::bind(&socket)?;
            println!("serving on {}", socket.display());
            socket::server().add_routes(routes).serve_with_incoming_shutdown(incoming, stop).await?;
        }
        ["device-plugin", folder] => {
            println!("registering with the kubelet in {folder}, whenever it starts");
            tokio::select! {
                ended = device_plugin::run(devices, Path::new(folder)) => ended?,
                () = stop => {}
            }
        }
        ["taints"] => tokio::join!(print_slices(devices, &node), stop).0,
        _ => return Err("say dra-health FOLDER, device-plugin FOLDER or taints".into()),
    }
    Ok(())
}

/// Prints the slices whenever they are others, for `kubectl apply -f -` in place of a driver.
async fn print_slices(devices: Devices, node: &str) {
    let mut pool = taints::Pool::new(node, SystemClock.now().unix_seconds());
    let mut lists = pin!(devices.follow(None, taints::tell));
    while let Some(devices) = lists.next().await {
        for slice in pool.slices(&devices) {
            println!("{slice}");
        }
    }
}
