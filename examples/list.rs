// SPDX-License-Identifier: Apache-2.0
//! Lists the GPUs of the node, or those that a field selector selects, with what they are and how they are:
//!
//! ```console
//! cargo run --example list -- 'status.conditions[ExampleHealthy]!=True'
//! ```
#![allow(clippy::print_stdout)] // a program for a terminal

use device_api_client::core::health::{Polarities, Polarity};
use device_api_client::core::registry::ListParams;
use device_api_client::core::resource::Gpu;
use device_api_client::{Api, Client};
use device_api_examples::InWords;

/// The columns of the table. The last one needs no width.
const COLUMNS: usize = 7;
const HEADER: [&str; COLUMNS] = ["NAME", "PRODUCT", "MEMORY", "PCI ADDRESS", "DRIVER", "NUMA", "HEALTH"];

#[tokio::main]
async fn main() -> Result<(), InWords> {
    let selector = std::env::args().nth(1).unwrap_or_default();
    // Finds the socket as every client does: from the environment, or else the default one.
    let gpus: Api<Gpu> = Api::all(Client::try_default().await?);
    // The health of a GPU is what all its conditions say together; those of our own provider are made known here.
    let polarities = Polarities::default().with("ExampleHealthy", Polarity::TrueIsGood);

    // Pages keep replies small, and show one state: that of the first page, whatever is written meanwhile.
    let mut page = ListParams::default().fields(selector).limit(100);
    let mut rows = Vec::new();
    loop {
        let list = gpus.list(&page).await?;
        rows.extend(list.items.iter().map(|gpu| row(gpu, &polarities)));
        if list.metadata.continue_token.is_empty() {
            print(&rows);
            println!("{} GPUs at version {}", rows.len(), list.metadata.resource_version);
            return Ok(());
        }
        page = page.continue_token(list.metadata.continue_token);
    }
}

/// What there is to say about a GPU. What nobody knows is a dash.
fn row(gpu: &Gpu, polarities: &Polarities) -> [String; COLUMNS] {
    let device = gpu.status.device.clone().unwrap_or_default();
    let mebibytes = device.memory_bytes.map(|bytes| format!("{} MiB", bytes >> 20));
    let numa_node = device.numa_node.map(|node| node.to_string());
    let known = [device.product_name, mebibytes, device.pci_bus_id, device.driver_version, numa_node];
    let [product, memory, pci, driver, numa] = known.map(|text| text.unwrap_or_else(|| "-".to_owned()));
    let health = polarities.judge(&gpu.status.conditions).to_string();
    [gpu.metadata.name.clone(), product, memory, pci, driver, numa, health]
}

fn print(rows: &[[String; COLUMNS]]) {
    if rows.is_empty() {
        return;
    }
    let header = HEADER.map(str::to_owned);
    let rows = || std::iter::once(&header).chain(rows);
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows().map(|row| row[column].chars().count()).max().unwrap_or_default());
    for row in rows() {
        let cells = row.iter().zip(widths).map(|(text, width)| format!("{text:width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
