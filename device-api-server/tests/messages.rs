// SPDX-License-Identifier: Apache-2.0
//! Messages that are too large, are none, or are for nobody.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use device_api_client::Client;
use device_api_core::proto::v1alpha1 as wire;
use prost::Message as _;
use support::{Daemon, raw};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const GET: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/GetGpu";
const WATCH: &str = "/nvidia.nvsentinel.v1alpha1.GpuService/WatchGpus";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

async fn refused(client: &Client, method: &str, message: Vec<u8>) -> Status {
    raw::call(client, method, message).await.expect_err(method)
}

/// The reason in the details, which must be of this API.
fn reason(status: &Status) -> String {
    let details = status.check_error_details().unwrap();
    let info = details.error_info().unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"));
    assert_eq!(info.domain, "device.nvidia.com", "{status:?}");
    info.reason.clone()
}

fn serve(flags: &[&str]) -> (Daemon, Client) {
    let daemon = Daemon::start(&[&["--datastore-endpoint=memory://"], flags].concat());
    let client = daemon.client();
    (daemon, client)
}

#[tokio::test]
async fn a_message_over_the_limit_is_resource_exhausted_with_the_limit() {
    let (_daemon, client) = serve(&["--max-request-bytes=64KiB"]);
    // The field of a name that is too long for any, so that only the size decides.
    let request = |size: usize| {
        let name = "x".repeat(size - 4);
        let request = wire::GetGpuRequest { name, ..wire::GetGpuRequest::default() };
        let bytes = request.encode_to_vec();
        assert_eq!(bytes.len(), size);
        bytes
    };
    let status = refused(&client, GET, request(64 << 10)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "Invalid"), "{status:?}");
    for method in [GET, WATCH] {
        let status = refused(&client, method, request((64 << 10) + 1)).await;
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        assert_eq!(reason(&status), "RequestEntityTooLarge");
        assert!(status.message().contains("64KiB"), "{}", status.message());
    }
    // Clients rebuild the same error from it.
    let error = device_api_core::Error::from(refused(&client, GET, request(1 << 20)).await);
    assert!(matches!(&error, device_api_core::Error::TooLarge { limit, .. } if limit == "64KiB"), "{error:?}");
    assert!(raw::call(&client, HEALTH, Vec::new()).await.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn a_message_over_the_limit_of_another_service_is_no_expired_version_either() {
    let (_daemon, client) = serve(&[]);
    let status = refused(&client, HEALTH, vec![0; 5 << 20]).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RequestEntityTooLarge"));
    assert!(status.message().contains("16KiB"), "its own limit: {}", status.message());
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_client_s_fault() {
    let (_daemon, client) = serve(&[]);
    let cases: [&[u8]; 5] = [
        // A varint without an end, a string without its bytes, one that is not UTF-8, a number in the place
        // of a string, and a group that is never closed.
        &[0xff; 10],
        &[0x0a, 0x05, b'a'],
        &[0x0a, 0x01, 0xff],
        &[0x08, 0x01],
        &[0x9b, 0x06],
    ];
    for method in [GET, WATCH, HEALTH] {
        for bytes in cases {
            let status = refused(&client, method, bytes.to_vec()).await;
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BadRequest"), "{status:?}");
            assert!(status.message().contains("decode"), "{}", status.message());
        }
    }
}

#[tokio::test]
async fn bytes_that_frame_no_message_are_the_client_s_fault() {
    let (_daemon, client) = serve(&[]);
    let cases: [(&str, &[u8]); 6] = [
        ("a message that claims to be compressed, without an encoding", b"\x01\0\0\0\x03\x0a\x01x"),
        ("an empty one that does", b"\x01\0\0\0\0"),
        ("a flag that there is not", b"\x07\0\0\0\x03\x0a\x01x"),
        ("a message that ends too soon", b"\0\0\0\0\x09\x0a\x01x"),
        ("a length that does", b"\0\0\0"),
        ("no message", b""),
    ];
    for method in [GET, WATCH, HEALTH] {
        for (what, body) in cases {
            let status = raw::framed(&client, method, None, body).await;
            assert_eq!(
                (status.code(), reason(&status).as_str()),
                (Code::InvalidArgument, "BadRequest"),
                "{what}: {status:?}"
            );
        }
        for flag in [&b"\x01\0\0\0\x03\x0a\x01x"[..], b"\0\0\0\0\x03\x0a\x01x"] {
            let status = raw::framed(&client, method, Some("gzip"), flag).await;
            assert_eq!(status.code(), Code::Unimplemented, "an encoding that the server does not have: {status:?}");
            assert!(status.message().contains("gzip"), "{status:?}");
        }
    }
}

#[tokio::test]
async fn what_is_not_known_yet_is_skipped() {
    let (_daemon, client) = serve(&[]);
    // Field 100, a string: a newer client's.
    let mut bytes = wire::GetGpuRequest { name: "x".to_owned(), ..wire::GetGpuRequest::default() }.encode_to_vec();
    bytes.extend([0xa2, 0x06, 0x01, b'a']);
    let status = refused(&client, GET, bytes).await;
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}

#[tokio::test]
async fn deep_messages_are_refused() {
    let (_daemon, client) = serve(&[]);
    // Groups within groups: a decoder without a limit would overflow its stack.
    let status = refused(&client, GET, [0x9b, 0x06].repeat(1 << 18)).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "BadRequest"), "{status:?}");
    assert!(raw::call(&client, HEALTH, Vec::new()).await.is_ok());
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_named() {
    let (_daemon, client) = serve(&[]);
    let long = format!("/{}", "x".repeat(8 << 10));
    for method in ["/nvidia.nvsentinel.v1alpha1.GpuService/Nope", "/nope.Service/Get", "/nope", "/", &long] {
        let status = refused(&client, method, Vec::new()).await;
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        let shown: String = method.chars().take(128).collect();
        assert!(status.message().contains(&shown), "{}", status.message());
        assert!(status.message().len() < 256, "{}", status.message());
    }
}
