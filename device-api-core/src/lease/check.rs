// SPDX-License-Identifier: Apache-2.0
//! What a request for a lease must be like.

use std::collections::BTreeSet;
use std::time::Duration;

use super::AcquireLease;
use super::record::LeaseRecord;
use crate::error::{FieldViolation, short};
use crate::resource::key::{check_qualified_name, check_subdomain};
use crate::{Error, Result};

/// The shortest lease: what is shorter expires whenever the node is busy.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest lease: what is longer says nothing of its holder.
pub(super) const LONGEST: Duration = Duration::from_secs(60 * 60);
/// How many condition types a lease may have.
const MAX_TYPES: usize = 64;
/// How long the identity of a holder may be, in ASCII characters.
const MAX_IDENTITY: usize = 128;

/// Checks all of a request.
pub(super) fn request(request: &AcquireLease) -> Result<()> {
    let mut violations: Vec<FieldViolation> = check_name(&request.name).err().into_iter().collect();
    let identity = &request.holder_identity;
    if identity.len() > MAX_IDENTITY || !identity.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        let why = format!("Invalid value: must be at most {MAX_IDENTITY} printable ASCII characters");
        violations.push(FieldViolation::new("holderIdentity", why));
    }
    if !(SHORTEST..=LONGEST).contains(&request.duration) {
        let why = format!("Invalid value: must be from {SHORTEST:?} to {LONGEST:?}");
        violations.push(FieldViolation::new("duration", why));
    }
    let types = &request.condition_types;
    if types.is_empty() {
        violations.push(FieldViolation::new("conditionTypes", "Required value: name the provider's condition types"));
    }
    if types.len() > MAX_TYPES {
        let why = format!("Too many: {}: must have at most {MAX_TYPES} items", types.len());
        violations.push(FieldViolation::new("conditionTypes", why));
    } else {
        let mut seen = BTreeSet::new();
        for (index, type_) in types.iter().enumerate() {
            let field = || format!("conditionTypes[{index}]");
            if let Err(why) = check_qualified_name(type_) {
                violations.push(FieldViolation::new(field(), why));
            }
            if !seen.insert(type_) {
                violations.push(FieldViolation::new(field(), format!("Duplicate value: {:?}", short(type_))));
            }
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid::<LeaseRecord>(&request.name, violations)) }
}

/// Checks the name of a lease.
pub(super) fn name(name: &str) -> Result<()> {
    check_name(name).map_err(|violation| Error::invalid::<LeaseRecord>(name, vec![violation]))
}

fn check_name(name: &str) -> Result<(), FieldViolation> {
    check_subdomain(name).map_err(|why| FieldViolation::new("name", why))
}
