// SPDX-License-Identifier: Apache-2.0
//! The driver's list, sorted out: which GPUs can be told apart and named, and which cannot.

use std::collections::BTreeMap;

use device_api_core::resource::{Gpu, Key};

use super::super::driver::{DriverError, Found, Identity};
use crate::source::observation::object_name;

/// How much of a UUID that is none is shown.
const SHOWN: usize = 64;

/// The list.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// The GPUs, each UUID once.
    pub(super) identities: Vec<Identity>,
    /// Why nobody can say of which GPU a word is, by the name of the object that they would share.
    pub(super) shared: BTreeMap<String, DriverError>,
    /// The places that do not say which GPU they have, and why.
    pub(super) nameless: Vec<(u32, DriverError)>,
}

impl Roster {
    pub(super) fn of(found: &[Found]) -> Self {
        let mut roster = Self::default();
        // By the name of the object: two UUIDs that differ in the case of letters are one there.
        let mut by_name: BTreeMap<String, Vec<(u32, &Identity)>> = BTreeMap::new();
        for Found { index, identity } in found {
            match identity {
                Ok(identity) if is_registrable(&identity.uuid) => {
                    by_name.entry(object_name(&identity.uuid)).or_default().push((*index, identity));
                }
                Ok(identity) => roster.nameless.push((*index, unregistrable(&identity.uuid))),
                Err(why) => roster.nameless.push((*index, why.clone())),
            }
        }
        for (name, mut places) in by_name {
            // In the same order whatever the driver's.
            places.sort_by_key(|(index, identity)| (identity.pci_bus_id.clone(), *index));
            // One GPU that is listed twice is one.
            places.dedup_by(|(_, one), (_, other)| one.pci_bus_id.is_some() && one.pci_bus_id == other.pci_bus_id);
            let Some((_, first)) = places.first() else { continue };
            roster.identities.push((*first).clone());
            if places.len() > 1 {
                let place = |(index, identity): &(u32, &Identity)| {
                    identity.pci_bus_id.clone().unwrap_or_else(|| format!("place {index} of the driver's list"))
                };
                let places = places.iter().map(place).collect::<Vec<_>>().join(", ");
                roster.shared.insert(name, DriverError::Ambiguous { places });
            }
        }
        roster
    }
}

/// Whether a device with this UUID can have an object.
pub(super) fn is_registrable(uuid: &str) -> bool {
    Key::of::<Gpu>("", &object_name(uuid)).is_ok()
}

fn unregistrable(uuid: &str) -> DriverError {
    let shown: String = uuid.chars().take(SHOWN).collect();
    DriverError::Other { call: "nvmlDeviceGetUUID", why: format!("{shown:?} cannot be the name of an object") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: u32, uuid: &str, pci_bus_id: Option<&str>) -> Found {
        let identity = Identity { uuid: uuid.to_owned(), pci_bus_id: pci_bus_id.map(str::to_owned) };
        Found { index, identity: Ok(identity) }
    }

    #[test]
    fn two_gpus_with_one_uuid_are_named_whatever_their_order_and_the_case_of_letters() {
        let (one, other) = (found(0, "GPU-a", Some("00000000:3B:00.0")), found(1, "gpu-A", Some("00000000:1B:00.0")));
        let third = found(2, "GPU-b", None);
        for order in [[&one, &other, &third], [&third, &other, &one]] {
            let Roster { identities, shared, nameless } = Roster::of(&order.map(Clone::clone));
            assert_eq!(identities.iter().map(|found| &*found.uuid).collect::<Vec<_>>(), ["gpu-A", "GPU-b"]);
            let places = "00000000:1B:00.0, 00000000:3B:00.0".to_owned();
            assert_eq!(
                shared.into_iter().collect::<Vec<_>>(),
                [("gpu-a".to_owned(), DriverError::Ambiguous { places })]
            );
            assert_eq!(nameless, []);
        }
    }

    #[test]
    fn a_gpu_that_is_listed_twice_is_one_and_two_that_do_not_say_where_they_are_are_two() {
        let place = Some("00000000:3B:00.0");
        let roster = Roster::of(&[found(0, "GPU-a", place), found(1, "GPU-a", place)]);
        assert_eq!((roster.identities.len(), roster.shared.len()), (1, 0));
        let roster = Roster::of(&[found(0, "GPU-a", None), found(1, "GPU-a", None)]);
        assert_eq!((roster.identities.len(), roster.shared.len()), (1, 1));
    }

    #[test]
    fn a_uuid_that_cannot_be_a_name_is_as_none() {
        let long = "x".repeat(254);
        for uuid in ["", "N/A", "GPU_1", "-", "GPU-ä", long.as_str()] {
            let roster = Roster::of(&[found(0, "GPU-a", None), found(1, uuid, None)]);
            assert_eq!(roster.identities.len(), 1, "{uuid}");
            let (index, why) = &roster.nameless[0];
            assert!(*index == 1 && why.to_string().contains("cannot be the name of an object"), "{why}");
        }
    }
}
