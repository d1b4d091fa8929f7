// SPDX-License-Identifier: Apache-2.0
//! Writes that are decided in sight of every object of a type, for rules that hold among objects.

use std::sync::Arc;

use super::{Part, PostParams, Preconditions, Registry};
use crate::resource::{Key, ObjectMeta, Resource};
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
        let write = self.writer(Part::Main, key.clone(), &PostParams::default())?;
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
}
