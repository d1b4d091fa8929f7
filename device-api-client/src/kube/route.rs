// SPDX-License-Identifier: Apache-2.0
//! What a path of Kubernetes' REST API names.

use device_api_core::resource::Resource;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::discovery;

/// What a request is about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    /// What there is: groups, versions, resources.
    Discovery(Value),
    /// The objects of a namespace, or of all where that is empty.
    Collection { namespace: String },
    /// One object.
    Object { namespace: String, name: String },
    /// The status of one.
    Status { namespace: String, name: String },
}

impl Route {
    /// What this path names; `None` where it is none of the resource's.
    pub(super) fn of<R: Resource>(path: &str) -> Option<Self> {
        let segments: Vec<String> = path.trim_matches('/').split('/').map(decode).collect::<Option<_>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let rest = match segments.as_slice() {
            ["api"] => return Some(Self::Discovery(discovery::core_versions())),
            ["apis"] => return Some(Self::Discovery(discovery::groups::<R>())),
            ["apis", group] if *group == R::GROUP => return Some(Self::Discovery(discovery::group::<R>())),
            ["apis", group, version, rest @ ..] if *group == R::GROUP && *version == R::VERSION => rest,
            _ => return None,
        };
        let (namespace, rest) = match rest {
            [] => return Some(Self::Discovery(discovery::resources::<R>())),
            ["namespaces", namespace, rest @ ..] if !namespace.is_empty() => ((*namespace).to_owned(), rest),
            rest => (String::new(), rest),
        };
        let ([plural], rest) = rest.split_first_chunk()?;
        match rest {
            _ if *plural != R::PLURAL => None,
            [] => Some(Self::Collection { namespace }),
            [name] => Some(Self::Object { namespace, name: (*name).to_owned() }),
            [name, "status"] => Some(Self::Status { namespace, name: (*name).to_owned() }),
            _ => None,
        }
    }
}

fn decode(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use device_api_core::resource::Gpu;

    use super::*;

    fn object(namespace: &str, name: &str) -> Option<Route> {
        Some(Route::Object { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    #[test]
    fn a_path_names_a_collection_an_object_or_its_status() {
        let of = |path: &str| Route::of::<Gpu>(&format!("/apis/device.nvidia.com/v1alpha1/{path}"));
        assert_eq!(of("gpus"), Some(Route::Collection { namespace: String::new() }));
        assert_eq!(of("namespaces/left/gpus"), Some(Route::Collection { namespace: "left".to_owned() }));
        assert_eq!(of("gpus/gpu-0"), object("", "gpu-0"));
        assert_eq!(of("namespaces/left/gpus/a%2Fb"), object("left", "a/b"));
        assert_eq!(
            of("namespaces/left/gpus/gpu-0/status"),
            Some(Route::Status { namespace: "left".to_owned(), name: "gpu-0".to_owned() })
        );
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "",
            "/",
            "/apis/apps/v1/deployments",
            "/apis/device.nvidia.com/v2/gpus",
            "/apis/device.nvidia.com/v1alpha1/nics",
            "/apis/device.nvidia.com/v1alpha1/namespaces",
            "/apis/device.nvidia.com/v1alpha1/namespaces/left",
            "/apis/device.nvidia.com/v1alpha1/gpus/gpu-0/log",
            "/apis/device.nvidia.com/v1alpha1/gpus/gpu-0/status/x",
            "/apis/device.nvidia.com/v1alpha1/gpus/%ff",
        ] {
            assert_eq!(Route::of::<Gpu>(path), None, "{path}");
        }
    }
}
