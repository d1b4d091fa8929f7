// SPDX-License-Identifier: Apache-2.0
//! A socket in a folder of the kubelet's.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Listens here, in place of an earlier run that has left its file. The folder is the kubelet's and root's, so nobody else does.
///
/// # Errors
/// When the folder is not there or not ours to write to.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListenerStream> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(UnixListenerStream::new(UnixListener::bind(path)?)),
    }
}

/// For one peer, the kubelet, and one that was just replaced.
pub(crate) fn server() -> Server {
    Server::builder().max_concurrent_streams(16).http2_keepalive_interval(Some(Duration::from_secs(30)))
}
