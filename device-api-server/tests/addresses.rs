// SPDX-License-Identifier: Apache-2.0
//! What the server takes as the address of a socket is what the client takes, and means the same.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

use device_api_client::{DEFAULT_TARGET, Target};
use device_api_server::SocketPath;

/// The path that a text names: to the server, then to the client.
fn paths(text: &str) -> [Option<String>; 2] {
    let server = text.parse::<SocketPath>().ok().map(|path| path.as_path().to_str().unwrap().to_owned());
    let client = text.parse::<Target>().ok().map(|target| target.path().to_str().unwrap().to_owned());
    [server, client]
}

#[test]
fn both_take_the_same_texts_for_the_same_paths() {
    let longest = format!("/{}", "a".repeat(106));
    for (text, path) in [
        (DEFAULT_TARGET, "/var/run/nvidia-device-api/device-api.sock"),
        ("unix:///run/a.sock", "/run/a.sock"),
        ("unix:////run/a.sock", "//run/a.sock"),
        ("unix:/run/a.sock", "/run/a.sock"),
        ("/run/a.sock", "/run/a.sock"),
        ("unix:a.sock", "a.sock"),
        ("unix:unix:a.sock", "unix:a.sock"),
        ("a.sock", "a.sock"),
        ("unix", "unix"),
        ("./a:b.sock", "./a:b.sock"),
        ("/a:b/c", "/a:b/c"),
        ("unix:///a:b/c", "/a:b/c"),
        ("a@b", "a@b"),
        ("/run/ä.sock", "/run/ä.sock"),
        (&longest, &longest),
    ] {
        assert_eq!(paths(text), [Some(path.to_owned()), Some(path.to_owned())], "{text:?}");
    }
}

#[test]
fn both_refuse_the_same_texts() {
    let too_long = format!("/{}", "a".repeat(107));
    for text in [
        "",
        "unix:",
        "unix://",
        "unix://a.sock",
        "unix://run/a.sock",
        "unix:///",
        "/",
        "/run/",
        "unix:run/",
        "@a",
        "unix:@a",
        "\0a",
        "/run/a\0b",
        "unix-abstract:a",
        "UNIX:/run/a.sock",
        ":a",
        "tcp://127.0.0.1:50051",
        "127.0.0.1:50051",
        "localhost:50051",
        "http://localhost/a",
        "dns:///a",
        &too_long,
    ] {
        assert_eq!(paths(text), [None, None], "{text:?}");
    }
}
