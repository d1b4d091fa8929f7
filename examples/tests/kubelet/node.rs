// SPDX-License-Identifier: Apache-2.0
//! A node of which something is known.

use device_api_client::core::health::Polarities;
use device_api_client::core::registry::PostParams;
use device_api_client::core::resource::{Condition, ConditionStatus, Gpu};
use device_api_client::watcher::Config;
use device_api_client::{Reflector, VerbsExt as _};
use device_api_server::testing::TestServer;

use crate::devices::Devices;

/// A condition that is good news when it is True.
pub(crate) const READY: &str = "NVMLReady";

pub(crate) struct Node {
    pub(crate) server: TestServer,
    pub(crate) reflector: Reflector<Gpu>,
}

impl Node {
    /// With `gpu-0`, which is healthy, `gpu-1`, which is sick, and `gpu-2`, of which nobody says anything.
    pub(crate) async fn start() -> Self {
        let server = TestServer::builder().with_gpus(3).on_socket().start().await;
        let reflector = Reflector::start(server.gpus(), Config::default());
        let node = Self { server, reflector };
        node.set("gpu-0", ConditionStatus::True).await;
        node.set("gpu-1", ConditionStatus::False).await;
        node
    }

    pub(crate) fn devices(&self) -> Devices {
        Devices::new(self.reflector.store(), Polarities::default())
    }

    pub(crate) async fn set(&self, name: &str, status: ConditionStatus) {
        let condition = Condition::new(READY, status).with_reason("Tested");
        self.server.registry().set_condition(name, &PostParams::default(), &condition).await.unwrap();
    }
}
