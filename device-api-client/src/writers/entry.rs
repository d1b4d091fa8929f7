// SPDX-License-Identifier: Apache-2.0
//! An object that may be there or not.

use std::sync::Arc;

use device_api_core::Result;
use device_api_core::registry::{Part, PostParams, Verbs, named};
use device_api_core::resource::{Condition, Conditions as _, Resource, condition};

use super::retry::Tries;

/// The object of one name, whether it is there yet or not, as a map's entry: made by
/// [`VerbsExt::entry`](crate::VerbsExt::entry). Nothing happens until [`Self::or_create`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use device_api_core::registry::{Ledger, LedgerOptions};
/// # use device_api_core::resource::GpuStrategy;
/// # let storage = device_api_store_memory::Memory::new().open()?;
/// # let gpus = Ledger::open(Box::new(storage), LedgerOptions::default()).await?.registry(GpuStrategy).await?;
/// use device_api_client::{Outcome, VerbsExt as _};
/// use device_api_core::registry::PostParams;
/// use device_api_core::resource::{Gpu, GpuSpec};
///
/// let params = PostParams::default();
/// let make = || Gpu { spec: GpuSpec { uuid: "GPU-0a1b".into() }, ..Gpu::default() };
///
/// let first = gpus.entry("gpu-0a1b").or_create(&params, make).await?;
/// assert!(matches!(first, Outcome::Created(_)));
///
/// let mark = |gpu: &mut Gpu| drop(gpu.metadata.labels.insert("seen".into(), "true".into()));
/// let second = gpus.entry("gpu-0a1b").and_modify(mark).or_create(&params, make).await?;
/// assert!(matches!(second, Outcome::Updated(_)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until `or_create`"]
pub struct Entry<R, V, F = fn(&mut R)> {
    handle: V,
    name: String,
    change: F,
    resource: std::marker::PhantomData<fn() -> R>,
}

/// What became of an object, and its state after that.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<R> {
    /// It was not there, and is now.
    Created(Arc<R>),
    /// It was there and was changed.
    Updated(Arc<R>),
    /// It was there, as it was to be: nothing was written.
    Unchanged(Arc<R>),
}

impl<R> Outcome<R> {
    /// The object.
    #[must_use]
    pub fn object(&self) -> &Arc<R> {
        match self {
            Self::Created(object) | Self::Updated(object) | Self::Unchanged(object) => object,
        }
    }

    /// The object, without what became of it.
    #[must_use]
    pub fn into_object(self) -> Arc<R> {
        match self {
            Self::Created(object) | Self::Updated(object) | Self::Unchanged(object) => object,
        }
    }
}

impl<R: Resource, V: Verbs<R>> Entry<R, V> {
    pub(super) fn new(handle: V, name: &str) -> Self {
        Self { handle, name: name.to_owned(), change: |_| {}, resource: std::marker::PhantomData }
    }
}

impl<R: Resource, V: Verbs<R>, F: FnMut(&mut R) + Send> Entry<R, V, F> {
    /// Changes the object if it is there, in place of an earlier change.
    ///
    /// The change may touch labels, annotations, spec and status. It runs on what was read, as often as that takes, so it
    /// must come to the same however often it runs.
    pub fn and_modify<G: FnMut(&mut R) + Send>(self, change: G) -> Entry<R, V, G> {
        Entry { handle: self.handle, name: self.name, change, resource: self.resource }
    }

    /// Creates the object if it is not there, from what `make` returns, whose name may be left empty.
    ///
    /// Whoever comes first: when another writer creates or deletes the object at the same time, this starts over. A change
    /// loses nobody else's: each part, the status and the rest, is written at the version that was read, and again after a
    /// conflict. The two parts are two writes; a part that stays as it was is not written. A condition whose status stays keeps its
    /// transition time where the change leaves that away.
    ///
    /// # Errors
    /// Those of [`Verbs::create`], [`Verbs::replace`] and [`Verbs::replace_status`], a conflict only after 16 tries at one part.
    /// After [`Error::Unavailable`](device_api_core::Error::Unavailable) the write may have happened; to call this again is safe.
    pub async fn or_create(self, params: &PostParams, mut make: impl FnMut() -> R + Send) -> Result<Outcome<R>> {
        let Self { handle, name, mut change, .. } = self;
        let as_wanted = move |there: Option<R>| match there {
            None => make(),
            Some(mut object) => {
                change(&mut object);
                object
            }
        };
        write(&handle, &name, params, as_wanted).await
    }
}

/// Makes the object what `as_wanted` makes of it, or of nothing where there is none.
pub(super) async fn write<R: Resource>(
    handle: &impl Verbs<R>,
    name: &str,
    params: &PostParams,
    mut as_wanted: impl FnMut(Option<R>) -> R + Send,
) -> Result<Outcome<R>> {
    let mut tries = Tries::default();
    loop {
        let written = match handle.get_opt(name).await? {
            Some(read) => update(handle, name, params, read, &mut as_wanted).await,
            None => handle.create(params, &named(name, &as_wanted(None))?).await.map(Outcome::Created),
        };
        match written {
            // Somebody else created it, or deleted it.
            Err(error) if error.is_already_exists() || error.is_not_found() => {
                if !tries.again().await {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

/// Writes the parts that differ, each at the version that it was compared to.
async fn update<R: Resource>(
    handle: &impl Verbs<R>,
    name: &str,
    params: &PostParams,
    mut read: Arc<R>,
    as_wanted: &mut (impl FnMut(Option<R>) -> R + Send),
) -> Result<Outcome<R>> {
    let mut is_updated = false;
    for part in [Part::Main, Part::Status] {
        let mut tries = Tries::default();
        loop {
            let wanted = settled(as_wanted(Some(R::clone(&read))), &read);
            let written = if part == Part::Status {
                if wanted.status() == read.status() {
                    break;
                }
                handle.replace_status(name, params, &wanted).await
            } else {
                if wanted.metadata() == read.metadata() && wanted.spec() == read.spec() {
                    break;
                }
                handle.replace(name, params, &wanted).await
            };
            match written {
                Ok(stored) => {
                    // The server may have seen that it comes to the same.
                    is_updated |= stored != read;
                    read = stored;
                    break;
                }
                Err(error) if error.is_conflict() && tries.again().await => read = handle.get(name).await?,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(if is_updated { Outcome::Updated(read) } else { Outcome::Unchanged(read) })
}

/// What is wanted, to be compared to what was read: at its version, with the conditions where they were, since they are a map by
/// type, and with their times where the status stays.
fn settled<R: Resource>(mut wanted: R, read: &R) -> R {
    wanted.metadata_mut().resource_version.clone_from(&read.metadata().resource_version);
    let (conditions, before) = (wanted.status_mut().conditions_mut(), read.status().conditions());
    let place = |condition: &Condition| before.iter().position(|before| before.type_ == condition.type_);
    conditions.sort_by_cached_key(|condition| place(condition).unwrap_or(usize::MAX));
    for condition in conditions.iter_mut().filter(|condition| condition.last_transition_time.is_none()) {
        if let Some(same) = condition::find(before, &condition.type_).filter(|same| same.status == condition.status) {
            condition.last_transition_time = same.last_transition_time;
        }
    }
    wanted
}
