// SPDX-License-Identifier: Apache-2.0
//! What there is, in the words of Kubernetes' discovery: one group, one version, one resource.

use device_api_core::resource::Resource;
use serde_json::{Value, json};

/// `/api`: no version of the core group.
pub(super) fn core_versions() -> Value {
    json!({"kind": "APIVersions", "versions": [], "serverAddressByClientCIDRs": []})
}

/// `/apis`.
pub(super) fn groups<R: Resource>() -> Value {
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [bare_group::<R>()]})
}

/// `/apis/GROUP`.
pub(super) fn group<R: Resource>() -> Value {
    let mut group = bare_group::<R>();
    group["kind"] = json!("APIGroup");
    group["apiVersion"] = json!("v1");
    group
}

/// `/apis/GROUP/VERSION`.
pub(super) fn resources<R: Resource>() -> Value {
    let (plural, kind) = (R::PLURAL, R::KIND);
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version::<R>(),
        "resources": [
            {
                "name": plural,
                "singularName": kind.to_lowercase(),
                "namespaced": true,
                "kind": kind,
                "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
            },
            {
                "name": format!("{plural}/status"),
                "singularName": "",
                "namespaced": true,
                "kind": kind,
                "verbs": ["get", "patch", "update"],
            },
        ],
    })
}

/// `GROUP/VERSION`, as objects write it in `apiVersion`.
pub(super) fn group_version<R: Resource>() -> String {
    format!("{}/{}", R::GROUP, R::VERSION)
}

fn bare_group<R: Resource>() -> Value {
    let version = json!({"groupVersion": group_version::<R>(), "version": R::VERSION});
    json!({"name": R::GROUP, "versions": [version], "preferredVersion": version})
}
