// SPDX-License-Identifier: Apache-2.0
//! Trying again after a conflict.

use std::future::Future;
use std::time::Duration;

use device_api_core::Result;

use crate::watcher::{Backoff, Pauses};

/// How often a writer tries before it gives up: as [`Verbs::modify`].
///
/// [`Verbs::modify`]: device_api_core::registry::Verbs::modify
const TRIES: u32 = 16;
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The tries of one write.
#[derive(Debug)]
pub(super) struct Tries {
    left: u32,
    pauses: Pauses,
}

impl Default for Tries {
    fn default() -> Self {
        let backoff = Backoff::default().with_first(FIRST_PAUSE).with_longest(LONGEST_PAUSE);
        Self { left: TRIES - 1, pauses: backoff.pauses() }
    }
}

impl Tries {
    /// Waits for the next try; false when there is none.
    pub(super) async fn again(&mut self) -> bool {
        let Some(left) = self.left.checked_sub(1) else { return false };
        self.left = left;
        tokio::time::sleep(self.pauses.next_pause()).await;
        true
    }
}

/// Does something again as long as it ends with a conflict, up to 16 times, with random pauses that grow and take about two
/// seconds together: then the last conflict is returned. Each try must read anew what it changes.
///
/// For a change to one object [`Verbs::modify`](device_api_core::registry::Verbs::modify) is shorter.
///
/// # Errors
/// Those of `attempt`.
///
/// ```
/// use std::sync::Arc;
/// use device_api_client::retry_on_conflict;
/// use device_api_core::Result;
/// use device_api_core::registry::{DeleteParams, Verbs};
/// use device_api_core::resource::Gpu;
///
/// /// Deletes a GPU unless it is in use, as it is then.
/// async fn retire(gpus: &impl Verbs<Gpu>, name: &str) -> Result<()> {
///     retry_on_conflict(|| async {
///         let gpu = gpus.get(name).await?;
///         if gpu.metadata.labels.contains_key("example.com/in-use") {
///             return Ok(());
///         }
///         let as_it_was = DeleteParams::default().resource_version(&gpu.metadata.resource_version);
///         gpus.delete(name, &as_it_was).await
///     })
///     .await
/// }
/// ```
pub async fn retry_on_conflict<T, A>(mut attempt: impl FnMut() -> A) -> Result<T>
where
    A: Future<Output = Result<T>>,
{
    let mut tries = Tries::default();
    loop {
        match attempt().await {
            Err(error) if error.is_conflict() => {
                if !tries.again().await {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use device_api_core::Error;
    use device_api_core::resource::Gpu;

    use super::*;

    /// What came of tries that end in these errors and then well, and how many there were.
    async fn of(errors: impl IntoIterator<Item = Error>) -> (Result<()>, u32) {
        let (mut errors, mut tries) = (errors.into_iter(), 0);
        let outcome = retry_on_conflict(|| {
            tries += 1;
            let next = errors.next();
            async move { next.map_or(Ok(()), Err) }
        })
        .await;
        (outcome, tries)
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_are_tried_again_until_there_is_none() {
        let conflict = Error::modified::<Gpu>("x");
        assert_eq!(of([]).await, (Ok(()), 1));
        assert_eq!(of(vec![conflict; 5]).await, (Ok(()), 6));
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_of_sixteen_conflicts_is_returned() {
        let conflict = Error::modified::<Gpu>("x");
        assert_eq!(of(std::iter::repeat(conflict.clone())).await, (Err(conflict), TRIES));
    }

    #[tokio::test(start_paused = true)]
    async fn any_other_error_is_returned_at_once() {
        let missing = Error::not_found::<Gpu>("x");
        assert_eq!(of([missing.clone()]).await, (Err(missing), 1));
    }
}
