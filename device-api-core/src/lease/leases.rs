// SPDX-License-Identifier: Apache-2.0
//! The leases of a ledger, in process.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::deadlines::Deadlines;
use super::record::{LeaseRecord, LeaseSpec, LeaseStrategy};
use super::{AcquireLease, Lease, LeaseState, LeaseVerbs, check};
use crate::registry::{Decided, Ledger, RESERVED_OBJECTS, Registry};
use crate::resource::{Resource as _, Timestamp};
use crate::{Error, Result};

/// How many leases there may be, expired ones among them: the limits of objects leave room for them.
const MAX_LEASES: usize = RESERVED_OBJECTS;
/// How many condition types all leases may have together: no object has more conditions.
const MAX_TYPES: usize = 1024;

/// The leases of a ledger. Cheap to clone.
///
/// Who holds what is stored, since it must outlive a restart; until when is in memory alone, so that a
/// renewal costs neither a write nor a resource version. After a restart each lease that was held has one full
/// duration from then.
///
/// A lease is over from its deadline on. [`Self::keep`] notes it then, and sees to the conditions.
#[derive(Clone, Debug)]
pub struct Leases {
    pub(super) records: Registry<LeaseRecord>,
    pub(super) deadlines: Arc<Deadlines>,
    /// When the ledger was opened, as far as leases are concerned.
    pub(super) opened: Instant,
    /// The kinds of objects of which nothing is in doubt any more. A plain mutex, never held over an await: each kind's keeper takes
    /// it a few times.
    settled: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Leases {
    /// The leases of this ledger. Once for each ledger: clone them to have more handles.
    ///
    /// # Errors
    /// As [`Ledger::registry`].
    pub async fn open(ledger: &Ledger) -> Result<Self> {
        let clock = &ledger.options().clock;
        let (deadlines, opened) = (Deadlines::new(Arc::clone(clock)).into(), clock.instant());
        let records = ledger.registry(LeaseStrategy).await?;
        let leases = Self { records, deadlines, opened, settled: Arc::default() };
        for record in leases.records.all() {
            // Its time runs from now.
            leases.deadlines.of(record.spec());
        }
        Ok(leases)
    }

    /// The same leases for another writer, whom each record in the store will name.
    #[must_use]
    pub fn as_actor(&self, actor: &str) -> Self {
        Self { records: self.records.as_actor(actor), ..self.clone() }
    }

    /// Whether nothing is in doubt of this kind of objects any more.
    pub(super) fn is_settled(&self, plural: &str) -> bool {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).contains(plural)
    }

    pub(super) fn settle(&self, plural: &'static str) {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner).insert(plural);
    }

    /// The same leases as ones that do not keep their ledger open.
    pub(super) fn into_weak(self) -> Self {
        Self { records: self.records.into_weak(), ..self }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.records.ledger().options().clock.now()
    }

    fn lease(&self, name: &str, spec: &LeaseSpec, state: LeaseState) -> Lease {
        Lease {
            name: name.to_owned(),
            id: spec.id.clone(),
            holder_identity: spec.holder_identity.clone(),
            duration: spec.duration,
            condition_types: spec.condition_types.clone(),
            state,
            acquired_at: spec.acquired_at,
            renewed_at: self.deadlines.of(spec).1,
        }
    }

    fn state(&self, spec: &LeaseSpec) -> LeaseState {
        if self.deadlines.is_over(spec) { LeaseState::Expired } else { LeaseState::Held }
    }

    /// The lease, if this request is no more than a renewal in time: then it is renewed, and nothing is written.
    async fn renewed(&self, request: &AcquireLease) -> Result<Option<Lease>> {
        let Some(record) = self.records.get_opt(&request.name).await? else { return Ok(None) };
        let spec = record.spec();
        let is_no_write = spec.is_held_by(request) && spec.is_as_asked(request);
        let is_renewed = is_no_write && self.deadlines.renew(spec, self.now());
        Ok(is_renewed.then(|| self.lease(&request.name, spec, LeaseState::Held)))
    }

    /// What becomes of a request, in sight of all leases.
    fn decide(&self, request: &AcquireLease, all: &[Arc<LeaseRecord>]) -> Result<(LeaseSpec, LeaseState)> {
        let name = &request.name;
        let now = self.now();
        let current = all.iter().find(|record| record.name() == *name).map(|record| record.spec());
        let own = current.filter(|current| current.is_held_by(request));
        let (id, acquired_at, state) = match (own, current, &request.id) {
            (Some(own), ..) => (own.id.clone(), own.acquired_at, self.state(own)),
            (None, None, Some(_)) => return Err(Error::not_found::<LeaseRecord>(name)),
            (None, Some(current), Some(_)) => {
                let why = format!("it was taken over at {}: stop, or acquire it anew", current.acquired_at);
                return Err(conflict(name, why));
            }
            (None, Some(current), None) if !request.take_over && !self.deadlines.is_over(current) => {
                let why = format!("it is held since {}: wait until it expires, or take it over", current.acquired_at);
                return Err(conflict(name, why));
            }
            (None, _, None) => (uuid::Uuid::new_v4().to_string(), now, LeaseState::Held),
        };
        self.check_types(request, all)?;
        check_number(request, all)?;
        let unchanged = own.filter(|own| !own.expired && own.is_as_asked(request));
        // A renewal that does not say who asks leaves that as it is.
        let said_before = own.filter(|_| request.holder_identity.is_empty());
        let spec = LeaseSpec {
            id,
            holder_identity: said_before.map_or(&request.holder_identity, |own| &own.holder_identity).clone(),
            duration: request.duration,
            condition_types: request.condition_types.clone(),
            expired: false,
            acquired_at,
            renewed_at: unchanged.map_or(now, |current| current.renewed_at),
        };
        // Each holder has an id of its own, and where nobody keeps the conditions nobody else forgets the former ones.
        let committed = self.records.all();
        let known = committed.iter().chain(all).map(|record| record.spec().id.as_str()).collect();
        self.deadlines.retain(&known);
        // Here, between other writes: whoever notes expiries after this finds the lease renewed. Should the write fail, the
        // record says expired, or has another id.
        self.deadlines.begin(&spec, now);
        Ok((spec, state))
    }

    /// Checks that no other lease that is held has one of the request's types.
    fn check_types(&self, request: &AcquireLease, all: &[Arc<LeaseRecord>]) -> Result<()> {
        let mut owners: HashMap<&str, &LeaseRecord> = HashMap::new();
        for record in all.iter().filter(|record| record.name() != request.name) {
            if !self.deadlines.is_over(record.spec()) {
                owners.extend(record.spec().condition_types.iter().map(|type_| (type_.as_str(), &**record)));
            }
        }
        for type_ in &request.condition_types {
            if let Some(owner) = owners.get(type_.as_str()) {
                let (other, since) = (owner.name(), owner.spec().acquired_at);
                let why = format!(
                    "condition type {type_:?} belongs to lease {other:?}, which is held since {since}: choose another type, or wait until it is free"
                );
                return Err(conflict(&request.name, why));
            }
        }
        Ok(())
    }
}

/// Checks that there are not too many leases.
fn check_number(request: &AcquireLease, all: &[Arc<LeaseRecord>]) -> Result<()> {
    let others = || all.iter().filter(|record| record.name() != request.name);
    let types: usize = others().map(|record| record.spec().condition_types.len()).sum();
    let over = |what: &str, limit: usize| {
        Err(Error::TooLarge {
            what: format!("the number of {what}"),
            limit: limit.to_string(),
            hint: "release leases that nobody needs".to_owned(),
        })
    };
    let before = all.iter().find(|record| record.name() == request.name).map(|record| record.spec());
    if before.is_some_and(|before| request.condition_types.len() <= before.condition_types.len()) {
        // It takes no more room than it has: whoever renews or revives a lease is never refused for that.
        return Ok(());
    }
    if others().count() >= MAX_LEASES {
        return over("leases", MAX_LEASES);
    }
    if types + request.condition_types.len() > MAX_TYPES {
        return over("condition types of all leases", MAX_TYPES);
    }
    Ok(())
}

fn conflict(name: &str, why: String) -> Error {
    Error::Conflict { resource: LeaseRecord::PLURAL.to_owned(), name: name.to_owned(), why }
}

impl LeaseVerbs for Leases {
    async fn acquire(&self, request: &AcquireLease) -> Result<Lease> {
        check::request(request)?;
        if let Some(lease) = self.renewed(request).await? {
            return Ok(lease);
        }
        let (leases, request) = (self.clone(), request.clone());
        let name = request.name.clone();
        self.records
            .decide(&name, move |all| {
                let (spec, state) = leases.decide(&request, all)?;
                let lease = leases.lease(&request.name, &spec, state);
                Ok((Decided::Put(spec), lease))
            })
            .await
    }

    async fn release(&self, name: &str, id: Option<&str>) -> Result<()> {
        check::name(name)?;
        let (leases, id, wanted) = (self.clone(), id.map(str::to_owned), name.to_owned());
        self.records
            .decide(name, move |all| {
                let found = all.iter().find(|record| record.name() == wanted);
                let current = found.ok_or_else(|| Error::not_found::<LeaseRecord>(&wanted))?.spec();
                match id {
                    Some(id) if id != current.id => {
                        let why = format!("it was taken over at {}", current.acquired_at);
                        Err(conflict(&wanted, why))
                    }
                    None if !leases.deadlines.is_over(current) => {
                        let why = format!("it is held since {}: its holder releases it by its id", current.acquired_at);
                        Err(conflict(&wanted, why))
                    }
                    _ => Ok((Decided::Delete, ())),
                }
            })
            .await
    }

    async fn list(&self) -> Result<Vec<Lease>> {
        let records = self.records.all();
        Ok(records.iter().map(|record| self.lease(record.name(), record.spec(), self.state(record.spec()))).collect())
    }
}
