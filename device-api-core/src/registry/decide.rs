// SPDX-License-Identifier: Apache-2.0
//! What the system writes on its own account: leases, which are decided in sight of each other, and conditions that are overruled.

use std::sync::Arc;

use super::options::Room;
use super::write::Write;
use super::{Part, PostParams, Preconditions, Registry};
use crate::resource::{Condition, Key, ObjectMeta, Resource};
use crate::{Error, Result};

/// What was decided about an object.
#[derive(Debug)]
pub(crate) enum Decided<R: Resource> {
    /// It is to have this spec, and is created if it is not there.
    Put(R::Spec),
    /// It is to go; it is there.
    Delete,
    /// It stays as it is.
    Keep,
}

impl<R: Resource> Registry<R> {
    /// Every object in its latest state, in order.
    pub(crate) fn all(&self) -> Vec<Arc<R>> {
        self.cache.snapshot(None).objects.into_iter().map(|(_, stored)| stored.object).collect()
    }

    /// Decides about the object of this name in one step: no other write comes between what `decide` is shown, which is every object
    /// of the type, and what becomes of its decision. What it returns beside that is handed out once the decision is stored.
    ///
    /// `decide` runs in the ledger's task, where every other write waits for it.
    ///
    /// # Errors
    /// Those of `decide`, and as [`Registry::replace`].
    pub(crate) async fn decide<T: Send + 'static>(
        &self,
        name: &str,
        decide: impl FnOnce(&[Arc<R>]) -> Result<(Decided<R>, T)> + Send + 'static,
    ) -> Result<T> {
        let key = Key::of::<R>(&self.namespace, name)?;
        let write = Write { room: Room::Leases, ..self.writer(Part::Main, key.clone(), &PostParams::default())? };
        self.ledger
            .write(move |stage| {
                let (decided, answer) = decide(&stage.all(&write.cache))?;
                match decided {
                    Decided::Put(spec) if stage.current(&write.cache, &key).is_some() => {
                        write.modify(stage, &Preconditions::default(), |current| {
                            let mut new = current.clone();
                            *new.spec_mut() = spec;
                            Ok(new)
                        })?;
                    }
                    Decided::Put(spec) => {
                        let metadata = ObjectMeta::named(key.name()).with_namespace(key.namespace());
                        write.create(stage, R::from_parts(metadata, spec, R::Status::default()))?;
                    }
                    Decided::Delete => {
                        write.delete(stage, &Preconditions::default())?;
                    }
                    Decided::Keep => {}
                }
                Ok::<_, Error>(answer)
            })
            .await
    }

    /// Changes the conditions of the object of this name, whatever its strategy and the limits of clients say.
    ///
    /// `change` runs in the ledger's task, where every other write waits for it, and once more where there is no room for what it says.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::TooLarge`] when the room for this is used up, too; [`Error::Unavailable`].
    pub(crate) async fn overrule(&self, name: &str, change: impl Fn(&mut [Condition]) + Send + 'static) -> Result<()> {
        let key = Key::of::<R>(&self.namespace, name)?;
        let write = self.writer(Part::Status, key, &PostParams::default())?;
        self.ledger.write(move |stage| write.overrule(stage, change)).await
    }
}
