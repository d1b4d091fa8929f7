// SPDX-License-Identifier: Apache-2.0
//! The adapter on the wire: the generated messages, and what turns them into adapters and back.

use std::sync::Arc;

use device_api_core::registry::{List, WatchEvent};
use device_api_core::resource::{Condition, ObjectMeta};
use device_api_core::{Error, Result};

use crate::nic;

#[allow(missing_docs, unreachable_pub, clippy::missing_errors_doc)] // the .proto documents them
mod generated {
    tonic::include_proto!("example.v1");
}

pub(crate) use self::generated::*;

/// The service and all that it imports, for reflection.
pub(crate) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/nic.bin"));

impl From<&nic::Nic> for Nic {
    fn from(nic: &nic::Nic) -> Self {
        Self {
            metadata: Some((&nic.metadata).into()),
            spec: Some(NicSpec { address: nic.spec.address.clone() }),
            status: Some(NicStatus { conditions: nic.status.conditions.iter().map(Into::into).collect() }),
        }
    }
}

/// Fails with [`Error::Invalid`] for a time that is out of range.
impl TryFrom<Nic> for nic::Nic {
    type Error = Error;

    fn try_from(message: Nic) -> Result<Self> {
        let metadata = message.metadata.unwrap_or_default();
        let name = metadata.name.clone();
        let invalid = |violation| Error::invalid::<Self>(&name, vec![violation]);
        let mut conditions = Vec::new();
        for (index, condition) in message.status.unwrap_or_default().conditions.into_iter().enumerate() {
            let path = format!("status.conditions[{index}]");
            conditions.push(Condition::try_from(condition).map_err(|violation| invalid(violation.under(&path)))?);
        }
        Ok(Self {
            metadata: ObjectMeta::try_from(metadata).map_err(|violation| invalid(violation.under("metadata")))?,
            spec: nic::NicSpec { address: message.spec.unwrap_or_default().address },
            status: nic::NicStatus { conditions },
        })
    }
}

/// The adapter that a message must have.
pub(crate) fn required(nic: Option<Nic>) -> Result<nic::Nic> {
    nic.ok_or_else(|| Error::bad_request("nic", "Required value: there is no adapter"))?.try_into()
}

impl From<&List<nic::Nic>> for NicList {
    fn from(list: &List<nic::Nic>) -> Self {
        let items = list.items.iter().map(|nic| nic.as_ref().into()).collect();
        Self { metadata: Some((&list.metadata).into()), items }
    }
}

impl TryFrom<NicList> for List<nic::Nic> {
    type Error = Error;

    fn try_from(message: NicList) -> Result<Self> {
        let items =
            message.items.into_iter().map(|nic| nic::Nic::try_from(nic).map(Arc::new)).collect::<Result<_>>()?;
        Ok(Self { metadata: message.metadata.unwrap_or_default().into(), items })
    }
}

impl From<&WatchEvent<nic::Nic>> for Event {
    fn from(event: &WatchEvent<nic::Nic>) -> Self {
        let object = match event {
            WatchEvent::Added(nic) | WatchEvent::Modified(nic) | WatchEvent::Deleted(nic) => nic.as_ref().into(),
            WatchEvent::Bookmark(bookmark) => {
                Nic { metadata: Some((&bookmark.to_metadata()).into()), ..Default::default() }
            }
        };
        Self { r#type: event.wire_type().to_owned(), object: Some(object) }
    }
}

impl TryFrom<Event> for WatchEvent<nic::Nic> {
    type Error = Error;

    fn try_from(message: Event) -> Result<Self> {
        Self::from_wire(&message.r#type, required(message.object)?)
    }
}
