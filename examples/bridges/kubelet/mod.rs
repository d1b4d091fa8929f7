// SPDX-License-Identifier: Apache-2.0
//! What the kubelet speaks, generated from the `.proto` files beside this one.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::missing_errors_doc)] // the .proto files document them

pub(crate) mod v1 {
    tonic::include_proto!("v1");
}

pub(crate) mod v1alpha1 {
    tonic::include_proto!("v1alpha1");
}

pub(crate) mod v1beta1 {
    tonic::include_proto!("v1beta1");
}
