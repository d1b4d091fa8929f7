// SPDX-License-Identifier: Apache-2.0
//! What is asked of leases and what is answered, in process and over gRPC.

use std::future::Future;
use std::time::Duration;

use crate::Result;
use crate::resource::Timestamp;

/// How long a lease lasts without a renewal unless its holder says: three renewals of ten seconds.
pub const DEFAULT_DURATION: Duration = Duration::from_secs(30);

/// Asks for a lease, or renews it.
///
/// ```
/// use std::time::Duration;
/// use device_api_core::lease::AcquireLease;
///
/// let first = AcquireLease::new("thermal").with_condition_types(["ThermalHealthy"]);
/// assert_eq!(first.duration, Duration::from_secs(30));
/// // Its answer has the id to renew it by.
/// let renewal = first.with_id("3f0c1d5e-6b0b-4c38-9d0e-1d4b3c8f7a21");
/// # assert!(renewal.id.is_some());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcquireLease {
    /// The provider's name: a DNS-1123 subdomain of at most 253 bytes.
    pub name: String,
    /// The id of the lease that is to be renewed; `None` asks for a new one, or for that of the identity.
    pub id: Option<String>,
    /// Who asks: at most 128 printable ASCII characters. Empty is nobody.
    pub holder_identity: String,
    /// How long it lasts without a renewal: 30 s unless set, 1 s to 1 h.
    pub duration: Duration,
    /// The types of the conditions that are the provider's own: 1 to 64 of them, each once.
    pub condition_types: Vec<String>,
    /// Replace whoever holds the lease.
    pub take_over: bool,
}

impl AcquireLease {
    /// Asks for the lease of this name, for [`DEFAULT_DURATION`].
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            holder_identity: String::new(),
            duration: DEFAULT_DURATION,
            condition_types: Vec::new(),
            take_over: false,
        }
    }

    /// Renews the lease that has this id.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Says who asks, so that it may ask again when the answer was lost. No two holders may say the same: [`unique_identity`]
    /// makes one.
    #[must_use]
    pub fn with_holder_identity(mut self, identity: impl Into<String>) -> Self {
        self.holder_identity = identity.into();
        self
    }

    /// Asks for this time.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// Names the types of the provider's conditions.
    #[must_use]
    pub fn with_condition_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.condition_types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces whoever holds the lease.
    #[must_use]
    pub fn take_over(mut self) -> Self {
        self.take_over = true;
        self
    }
}

/// A holder's identity that no other holder has: the id of this process, for people who list the leases, and a random UUID.
#[must_use]
pub fn unique_identity() -> String {
    format!("{}_{}", std::process::id(), uuid::Uuid::new_v4())
}

/// A lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The provider's name.
    pub name: String,
    /// The id of this holder, by which it renews and releases. It is no secret: who may write to the server may take over.
    pub id: String,
    /// Who this holder says that it is; empty when it did not say.
    pub holder_identity: String,
    /// How long it lasts without a renewal.
    pub duration: Duration,
    /// The types of the conditions that are the provider's own.
    pub condition_types: Vec<String>,
    /// Whether it is held. In the answer to a renewal: whether it was, until then.
    pub state: LeaseState,
    /// Since when this holder has it.
    pub acquired_at: Timestamp,
    /// When it was last renewed, as far as the server knows: it forgets renewals when it is restarted.
    pub renewed_at: Timestamp,
}

/// Whether a lease is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaseState {
    /// Its holder renewed it in time.
    Held,
    /// Its holder did not: its conditions were, or are about to be, set to Unknown. A renewal that is answered with this has revived the
    /// lease; the holder now declares all its conditions anew.
    Expired,
}

/// A handle to the leases of a server.
///
/// `Leases` implements it in process, the client's `LeaseApi` over gRPC, with the same values and the same
/// errors.
pub trait LeaseVerbs: Clone + Send + Sync + 'static {
    /// Acquires a lease, or renews it.
    ///
    /// Without an id: a lease that is free or expired is given out under a new id. One that is held is
    /// given out only with [`AcquireLease::take_over`]; who held it is told when it renews.
    ///
    /// With the current id: the lease lasts from now on again, with the duration and the types of this request. Where it had
    /// expired it is revived, and the answer says [`LeaseState::Expired`].
    ///
    /// Without an id, with the [identity](AcquireLease::holder_identity) of whoever holds the lease or held it last: the same as with
    /// its id, which the answer tells; [`AcquireLease::take_over`] changes nothing then. So a holder that lost an answer asks again.
    ///
    /// # Errors
    /// [`Error::Conflict`](crate::Error::Conflict) when somebody else holds the lease, or another lease that is held has one of
    /// the condition types; [`Error::NotFound`](crate::Error::NotFound) when there is an id and no lease of that
    /// name; [`Error::Invalid`](crate::Error::Invalid); [`Error::TooLarge`](crate::Error::TooLarge) when there
    /// are too many leases.
    fn acquire(&self, request: &AcquireLease) -> impl Future<Output = Result<Lease>> + Send;

    /// Gives a lease back, by its id. The conditions stay as they are. Without an id it removes a lease that has expired: for
    /// people who clean up.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) when there is no such lease;
    /// [`Error::Conflict`](crate::Error::Conflict) when it has another id, or there is no id and the lease is held.
    fn release(&self, name: &str, id: Option<&str>) -> impl Future<Output = Result<()>> + Send;

    /// All leases, sorted by name.
    ///
    /// # Errors
    /// [`Error::Unavailable`](crate::Error::Unavailable) over gRPC, when the server is out of reach.
    fn list(&self) -> impl Future<Output = Result<Vec<Lease>>> + Send;
}
