// SPDX-License-Identifier: Apache-2.0
//! A resource type of one's own, network adapters, served beside the GPUs by a daemon of one's own, with no
//! change to the Device API.
//!
//! `nic.rs` is the type, `nic.proto` and `wire.rs` are its form on the wire, `service.rs` is the server's side
//! and `client.rs` the client's, after which `Api<Nic>` has every verb. A type that stays in one process needs
//! `nic.rs` only.
//!
//! ```console
//! cargo run --example own_resource -- /tmp/device-api-nics
//! ```
#![allow(clippy::print_stdout)] // a program for a terminal

mod client;
mod nic;
mod service;
mod wire;

use std::time::Duration;

use device_api_client::{Api, Client, LeaseApi, Target};
use device_api_core::lease::{AcquireLease, LeaseVerbs as _, Leases};
use device_api_core::patch::Patch;
use device_api_core::registry::{Ledger, LedgerOptions, ListParams, PatchParams, PostParams, WatchParams};
use device_api_core::resource::{Condition, ConditionStatus, Conditions as _, GpuStrategy, ObjectMeta, condition};
use device_api_examples::InWords;
use device_api_server::{Listener, Server, Signals, SocketOptions};
use device_api_store_memory::Memory;
use serde_json::json;
use tokio::sync::oneshot;

use crate::nic::{Nic, NicSpec, NicStatus, NicStrategy};
use crate::service::NicApi;
use crate::wire::nic_service_server::NicServiceServer;

#[tokio::main]
async fn main() -> Result<(), InWords> {
    let folder = std::env::args().nth(1).ok_or("name a folder for the socket")?;
    let socket = format!("{folder}/device-api.sock");
    let mut signals = Signals::new()?;

    // One ledger for both types: they share one counter of versions, and commit in one order.
    let ledger = Ledger::open(Box::new(Memory::new().open()?), LedgerOptions::default()).await?;
    let (gpus, nics) = (ledger.registry(GpuStrategy).await?, ledger.registry(NicStrategy).await?);
    let leases = Leases::open(&ledger).await?;
    let service = NicServiceServer::new(NicApi { nics: nics.clone() });
    let server = Server::new(ledger)
        // One for each type: without it, what a provider said of its objects would be believed for ever after it died.
        .with_keeper(&leases, gpus.clone())
        .with_keeper(&leases, nics)
        .with_gpu_registry(gpus)
        .with_leases(leases)
        .add_service(service, wire::DESCRIPTORS);
    let listener = Listener::bind(&SocketOptions::new(socket.parse()?))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(listener, async {
        let _ = stopped.await; // dropped unsent when we fail, which is as good a reason to end
    }));

    visit(Client::connect(socket.parse::<Target>()?).await?).await?;
    println!("serving on {socket}");
    signals.next().await;
    let _ = stop.send(()); // refused when the server has ended, which the next line tells
    Ok(serving.await??)
}

/// What any program that reaches the socket can do.
async fn visit(client: Client) -> Result<(), Box<dyn std::error::Error>> {
    let nics: Api<Nic> = Api::all(client.clone());
    let up = Condition::new("LinkUp", ConditionStatus::True);
    let nic = Nic {
        metadata: ObjectMeta::named("eth0"),
        spec: NicSpec { address: "02:00:00:0a:1b:2c".to_owned() },
        status: NicStatus { conditions: vec![up] },
    };
    let created = nics.create(&PostParams::default(), &nic).await?;
    println!("created {} {}", created.metadata.name, created.spec.address);

    let mut events = nics.watch(&WatchParams::default().at(&created.metadata.resource_version)).await?;
    let down = json!({"status": {"conditions": [{"type": "LinkUp", "status": "False"}]}});
    nics.patch_status("eth0", &PatchParams::default(), &Patch::strategic(&down)?).await?;
    let event = events.next().await.ok_or("the watch ended")??;
    println!("{} {}", event.wire_type(), event.object().map_or("", |nic| &nic.metadata.name));

    let selected = nics.list(&ListParams::default().fields("status.conditions[LinkUp]=False")).await?;
    println!("{} adapter has no link", selected.items.len());

    let other = json!({"spec": {"address": "02:00:00:00:00:00"}});
    if let Err(error) = nics.patch("eth0", &PatchParams::default(), &Patch::merge(&other)?).await {
        println!("refused: {error}");
    }

    // Who says how the links are, and does not say any more that it lives.
    let request = AcquireLease::new("link-monitor").with_condition_types(["LinkUp"]);
    LeaseApi::new(client).acquire(&request.with_duration(Duration::from_secs(1))).await?;
    let event = events.next().await.ok_or("the watch ended")??;
    let nic = event.object().ok_or("it says nothing of an adapter")?;
    let link = condition::find(nic.status.conditions(), "LinkUp").ok_or("nothing is said of the link")?;
    println!("{} {}: {}", link.type_, link.status, link.reason);
    Ok(())
}
