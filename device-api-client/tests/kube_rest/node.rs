// SPDX-License-Identifier: Apache-2.0
//! A registry in memory, asked as Kubernetes' clients ask.
#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their modules

use device_api_client::kube::Apiserver;
use device_api_core::registry::{Ledger, LedgerOptions, Registry};
use device_api_core::resource::{Gpu, GpuStrategy};
use device_api_store_memory::Memory;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const GPUS: &str = "/apis/device.nvidia.com/v1alpha1/gpus";
pub(crate) const LEFT: &str = "/apis/device.nvidia.com/v1alpha1/namespaces/left/gpus";

/// A registry in memory with its Kubernetes side.
pub(crate) struct Node {
    pub(crate) ledger: Ledger,
    apiserver: Apiserver<Gpu, Registry<Gpu>>,
}

impl Node {
    pub(crate) async fn new() -> Self {
        let storage = Box::new(Memory::new().open().unwrap());
        let ledger = Ledger::open(storage, LedgerOptions::default()).await.unwrap();
        let apiserver = Apiserver::new(ledger.registry(GpuStrategy).await.unwrap());
        Self { ledger, apiserver }
    }

    /// With these GPUs, and the versions that they were created at.
    pub(crate) async fn with(names: &[&str]) -> (Self, Vec<String>) {
        let node = Self::new().await;
        let mut versions = Vec::new();
        for name in names {
            let (code, gpu) = node.send("POST", GPUS, &gpu(name)).await;
            assert_eq!(code, 201, "{gpu}");
            versions.push(text(&gpu, "/metadata/resourceVersion"));
        }
        (node, versions)
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.send("GET", path, &Value::Null).await
    }

    /// Sends JSON, or nothing where that is null.
    pub(crate) async fn send(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send_as("application/json", method, path, body).await
    }

    pub(crate) async fn patch(&self, kind: &str, path: &str, patch: &Value) -> (u16, Value) {
        self.send_as(&format!("application/{kind}+json"), "PATCH", path, patch.to_string()).await
    }

    pub(crate) async fn send_as(&self, media_type: &str, method: &str, path: &str, body: String) -> (u16, Value) {
        let (code, body) = self.raw(media_type, method, path, body).await;
        (code, serde_json::from_slice(&body).unwrap())
    }

    async fn raw(&self, media_type: &str, method: &str, path: &str, body: String) -> (u16, Vec<u8>) {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, media_type);
        let response = self.apiserver.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
        let code = response.status().as_u16();
        (code, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    /// The lines of a watch that ends by itself.
    pub(crate) async fn watch(&self, query: &str) -> Vec<Value> {
        let path = format!("{GPUS}?watch=true&timeoutSeconds=1&{query}");
        let (code, lines) = self.raw("", "GET", &path, String::new()).await;
        assert_eq!(code, 200);
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub(crate) fn gpu(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"uuid": format!("GPU-{name}")}})
}

pub(crate) fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}
