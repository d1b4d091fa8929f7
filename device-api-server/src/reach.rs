// SPDX-License-Identifier: Apache-2.0
//! Whether new clients find the server: its socket is looked for at its path, and made again when somebody removed it.
//!
//! A server whose socket is gone lives on and looks well to those who are connected, while nobody else comes in. A
//! look costs one stat a second, off the threads that serve.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::claim::Claim;
use crate::listen::SocketOptions;

/// How often the path is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Keeps the socket at its path for as long as this is polled. A new one is sent to `listeners`; `tell` hears whether
/// new clients can connect, each time that it changes.
///
/// What somebody put in the socket's place is left alone, and those who are connected are served, until the place is
/// free again: to end would cut them off for what may be another's mistake, and a start would not get the path either.
pub(crate) async fn keep(
    claim: &mut Claim,
    options: &SocketOptions,
    listeners: mpsc::Sender<UnixListener>,
    tell: impl Fn(bool),
) -> Infallible {
    let path = claim.path.display().to_string();
    // Why nobody can connect; what was said is not said again.
    let mut trouble: Option<String> = None;
    loop {
        sleep(EVERY).await;
        if claim.is_there().await {
            if trouble.take().is_some() {
                tracing::info!(path, "the server's socket is back in its place");
                tell(true);
            }
            continue;
        }
        match claim.again(options) {
            Ok(listener) => {
                tracing::warn!(path, "the server's socket was gone from its path, and was made again");
                // The receiver accepts connections, and ends no sooner than this.
                let _ = listeners.send(listener).await;
                if trouble.take().is_some() {
                    tell(true);
                }
            }
            Err(error) => {
                let why = with_causes(&error);
                if trouble.as_ref() != Some(&why) {
                    let what = "nobody can connect any more: the server's socket is gone from its path";
                    tracing::error!(path, error = why, "{what}");
                    tell(false);
                    trouble = Some(why);
                }
            }
        }
    }
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
