// SPDX-License-Identifier: Apache-2.0
//! What a test's server starts with.

use device_api_core::registry::LedgerOptions;
use device_api_core::resource::{Gpu, GpuSpec, ObjectMeta};

use super::TestServer;
use crate::ServeOptions;

/// What a [`TestServer`] starts with: nothing, in process, unless it is told.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct TestServerBuilder {
    pub(super) gpus: Vec<Gpu>,
    /// How many of them have a number for a name.
    pub(super) numbered: usize,
    pub(super) has_socket: bool,
    pub(super) ledger: LedgerOptions,
    pub(super) serve: ServeOptions,
}

impl TestServerBuilder {
    /// With so many more GPUs, named `gpu-0`, `gpu-1` and so on, each with a uuid of NVML's form.
    pub fn with_gpus(mut self, count: usize) -> Self {
        let first = self.numbered;
        self.numbered += count;
        self.gpus.extend((first..first + count).map(|number| Gpu {
            metadata: ObjectMeta::named(format!("gpu-{number}")),
            spec: GpuSpec { uuid: format!("GPU-00000000-0000-0000-0000-{number:012x}") },
            ..Gpu::default()
        }));
        self
    }

    /// With one more GPU, which may have a status.
    pub fn with_gpu(mut self, gpu: Gpu) -> Self {
        self.gpus.push(gpu);
        self
    }

    /// Served on a unix socket in a temporary folder, too.
    pub fn on_socket(mut self) -> Self {
        self.has_socket = true;
        self
    }

    /// With these bounds and intervals. The clock is the server's own, [`TestServer::clock`].
    pub fn with_ledger_options(mut self, options: LedgerOptions) -> Self {
        self.ledger = options;
        self
    }

    /// Served within these bounds.
    pub fn with_serve_options(mut self, options: ServeOptions) -> Self {
        self.serve = options;
        self
    }

    /// Starts the server. It stops when it is dropped.
    ///
    /// # Panics
    /// When a GPU that it is to start with is not valid, or no socket can be made.
    pub async fn start(self) -> TestServer {
        TestServer::with(self).await
    }
}
