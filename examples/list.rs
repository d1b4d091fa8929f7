// SPDX-License-Identifier: Apache-2.0
//! Lists the GPUs of the node, or those that a field selector selects:
//!
//! ```console
//! cargo run --example list -- 'status.conditions[ExampleHealthy]!=True'
//! ```
#![allow(clippy::print_stdout)] // a program for a terminal

use device_api_client::core::registry::ListParams;
use device_api_client::core::resource::Gpu;
use device_api_client::{Api, Client};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let selector = std::env::args().nth(1).unwrap_or_default();
    // Finds the socket as every client does: from the environment, or else the default one.
    let gpus: Api<Gpu> = Api::all(Client::try_default().await?);

    // Pages keep replies small, and show one state: that of the first page, whatever is written meanwhile.
    let mut page = ListParams::default().fields(selector).limit(100);
    let mut count = 0;
    loop {
        let list = gpus.list(&page).await?;
        for gpu in &list.items {
            println!("{}", line(gpu));
        }
        count += list.items.len();
        if list.metadata.continue_token.is_empty() {
            println!("{count} GPUs at version {}", list.metadata.resource_version);
            return Ok(());
        }
        page = page.continue_token(list.metadata.continue_token);
    }
}

fn line(gpu: &Gpu) -> String {
    let conditions = gpu.status.conditions.iter().map(|condition| format!(" {}={}", condition.type_, condition.status));
    format!("{} {}{}", gpu.metadata.name, gpu.spec.uuid, conditions.collect::<String>())
}
