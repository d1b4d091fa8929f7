// SPDX-License-Identifier: Apache-2.0
//! Clients that send the socket's path as the authority of their requests, as gRPC's C core does unless it is told
//! otherwise.

// clippy.toml's exceptions for tests do not reach their functions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod support;

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use support::{Daemon, PATIENCE};

const MEMORY: &str = "--datastore-endpoint=memory://";

/// What grpcio 1.85.3, on the C core 58.0.0, sent for two calls of `GetGpu` at `unix:///tmp/cw.sock`.
const GRPCIO: &[u8] = include_bytes!("recorded/grpcio-1.85.bin");
/// A request for `GetGpu` with `:authority: %2Ftmp%2Fx.sock` in Huffman code: headers, and a message with the name `abc`.
const CODED: &[u8] =
    b"\x00\x00\x5f\x01\x04\x00\x00\x00\x01\x83\x86\x41\x8b\x54\x58\x53\x4d\x6a\x8b\x0f\x95\xd0\x72\x75\
    \x04\x2d/nvidia.nvsentinel.v1alpha1.GpuService/GetGpu\x0f\x10\x10application/grpc\x00\x02te\x08trailers";

/// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

/// A frame: its type, its flags, its stream and all its bytes.
type Frame = (u8, u8, u32, Vec<u8>);

fn next_frame(bytes: &mut impl std::io::Read) -> Option<Frame> {
    let mut head = [0; 9];
    bytes.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    bytes.read_exact(&mut payload).unwrap();
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some((head[3], head[4], stream, [&head[..], &payload].concat()))
}

/// Sends these bytes, and waits for the answers on these streams: each must be headers that end it, and so be a
/// status of gRPC.
fn answered(daemon: &Daemon, sent: &[u8], streams: &[u32]) {
    let mut socket = UnixStream::connect(daemon.socket()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(sent).unwrap();
    let mut waiting = streams.to_vec();
    while !waiting.is_empty() {
        let (kind, flags, stream, bytes) = next_frame(&mut socket).expect("the server goes on");
        assert_ne!(kind, RST_STREAM, "stream {stream} was reset: {bytes:?}");
        if kind == HEADERS && flags & 1 != 0 {
            waiting.retain(|waiting| *waiting != stream);
        }
    }
}

#[test]
fn the_recorded_requests_of_the_c_core_are_answered() {
    let daemon = Daemon::start(&[MEMORY]);
    let (preface, mut frames) = GRPCIO.split_at(24);
    // But for the end of its patience.
    let mut sent = preface.to_vec();
    let mut kinds = Vec::new();
    while let Some((kind, _, _, bytes)) = next_frame(&mut frames) {
        if kind != RST_STREAM {
            sent.extend(bytes);
            kinds.push(kind);
        }
    }
    assert!([DATA, HEADERS, SETTINGS].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    answered(&daemon, &sent, &[1, 3]);
}

#[test]
fn a_path_in_huffman_code_is_answered() {
    let daemon = Daemon::start(&[MEMORY]);
    let start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
    let message = b"\x00\x00\x0a\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x05\x0a\x03abc";
    let mut request = CODED.to_vec();
    request[2] = u8::try_from(request.len() - 9).unwrap();
    answered(&daemon, &[&start[..], &request, message].concat(), &[1]);
}

/// A Python that has grpcio: that of `DEVICE_API_TEST_PYTHON`, or `python3`.
fn python_with_grpcio() -> Option<String> {
    let python = std::env::var("DEVICE_API_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = Command::new(&python).args(["-c", "import grpc"]).output();
    if found.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!(
        "SKIPPED: {python} has no grpcio; make a venv, pip install grpcio, and set DEVICE_API_TEST_PYTHON to its python"
    );
    None
}

#[test]
fn grpcio_works_with_its_defaults() {
    const CALLS: &str = r#"
import sys, grpc
for target in sys.argv[1:]:
    with grpc.insecure_channel(target) as channel:
        service = "/nvidia.nvsentinel.v1alpha1.GpuService/"
        for _ in range(3):
            listed = channel.unary_unary(service + "ListGpus")(b"", timeout=60, wait_for_ready=True)
            try:
                channel.unary_unary(service + "GetGpu")(b"\x0a\x03abc", timeout=60)
            except grpc.RpcError as error:
                print(error.code().name, error.details())
        events = channel.unary_stream(service + "WatchGpus")(b"", timeout=60)
        channel.unary_unary(service + "CreateGpu")(b"\x0a\x05\x0a\x03\x0a\x01" + b"x", timeout=60)
        next(events)
        events.cancel()
        channel.unary_unary(service + "DeleteGpu")(b"\x0a\x01x", timeout=60)
        print("watched")
"#;
    let Some(python) = python_with_grpcio() else { return };
    let daemon = Daemon::start(&[MEMORY]);
    let socket = daemon.socket().display();
    let calls = Command::new(python)
        .args(["-c", CALLS, &format!("unix://{socket}"), &format!("unix:{socket}"), "unix:device-api.sock"])
        .current_dir(daemon.folder())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&calls.stdout);
    let round = format!("{}watched\n", "NOT_FOUND gpus \"abc\" not found\n".repeat(3));
    assert!(calls.status.success(), "{said}\n{}", String::from_utf8_lossy(&calls.stderr));
    assert_eq!(said, round.repeat(3));
}
