// SPDX-License-Identifier: Apache-2.0
//! Who is at the other end of a connection, as the kernel says (`SO_PEERCRED`, unix(7)).

use std::fmt;

use tokio::net::UnixStream;
use tonic::Extensions;
use tonic::transport::server::UdsConnectInfo;

/// The process at the other end of a unix socket, as it was when it connected.
///
/// The uid and gid are safe to decide on. The pid is for people to read: the kernel may have given it
/// to another process since.
///
/// ```
/// use device_api_server::Peer;
///
/// let peer = Peer { uid: 1000, gid: 1000, pid: Some(4242) };
/// assert_eq!(peer.to_string(), "uid=1000,gid=1000,pid=4242");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// The effective user id.
    pub uid: u32,
    /// The effective group id.
    pub gid: u32,
    /// The process id, where the kernel knows one in this namespace.
    pub pid: Option<i32>,
}

/// The actor of a request whose connection does not say who is there.
const UNKNOWN: &str = "unknown";

/// Who is noted as the writer of a request with these extensions.
pub(crate) fn actor(extensions: &Extensions) -> String {
    Peer::of_request(extensions).map_or_else(|| UNKNOWN.to_owned(), |peer| peer.to_string())
}

impl Peer {
    /// The peer of this connection.
    ///
    /// # Errors
    /// When the kernel refuses to say, which it does not for a connected unix socket.
    pub fn of(stream: &UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        Ok(Self::from(&credentials))
    }

    /// The peer that sent the request with these extensions; `None` where its connection does not
    /// tell, such as a TCP connection that an embedder accepted.
    #[must_use]
    pub fn of_request(extensions: &Extensions) -> Option<Self> {
        let ours = extensions.get::<Self>().copied();
        ours.or_else(|| extensions.get::<UdsConnectInfo>()?.peer_cred.as_ref().map(Self::from))
    }
}

impl From<&tokio::net::unix::UCred> for Peer {
    fn from(credentials: &tokio::net::unix::UCred) -> Self {
        // The kernel says 0 for a process outside this pid namespace.
        let pid = credentials.pid().filter(|pid| *pid > 0);
        Self { uid: credentials.uid(), gid: credentials.gid(), pid }
    }
}

/// The form in which the audit trail names the peer.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid={},gid={}", self.uid, self.gid)?;
        self.pid.map_or(Ok(()), |pid| write!(f, ",pid={pid}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_who_is_at_the_other_end() {
        let (here, _there) = UnixStream::pair().unwrap();
        let peer = Peer::of(&here).unwrap();
        assert_eq!(peer.pid, Some(std::process::id() as i32));
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
    }

    #[test]
    fn a_peer_without_a_pid_is_named_by_its_ids_alone() {
        assert_eq!(Peer { uid: 0, gid: 5, pid: None }.to_string(), "uid=0,gid=5");
    }

    #[test]
    fn a_request_of_an_unknown_transport_has_no_peer() {
        assert_eq!(Peer::of_request(&Extensions::default()), None);
    }
}
