// SPDX-License-Identifier: Apache-2.0
//! Requests that write: create, replace, patch and delete.

use device_api_core::patch::Patch;
use device_api_core::registry::{DeleteParams, Preconditions, Verbs};
use device_api_core::resource::{Resource, document};
use device_api_core::{Error, Result};
use http::Response;
use serde::Deserialize;

use super::Answer;
use super::answer::{created, json};
use super::query::{self, Query};
use super::status::{Refusal, Status};

/// How often a delete tries to learn which object it deletes. Each further try means that the object
/// was deleted and created anew in the time of two calls.
const TRIES: u32 = 8;

pub(super) async fn create<R, V>(verbs: &V, query: Query, body: &[u8]) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let object = verbs.create(&query.into_post()?, &parse(body)?).await?;
    Ok(created(&*object)?)
}

pub(super) async fn replace<R, V>(verbs: &V, name: &str, query: Query, body: &[u8]) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let object = verbs.replace(name, &query.into_post()?, &parse(body)?).await?;
    Ok(json(&*object)?)
}

pub(super) async fn replace_status<R, V>(
    verbs: &V,
    name: &str,
    query: Query,
    body: &[u8],
) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let object = verbs.replace_status(name, &query.into_post()?, &parse(body)?).await?;
    Ok(json(&*object)?)
}

pub(super) async fn patch<R, V>(verbs: &V, name: &str, query: Query, patch: &Patch) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let object = verbs.patch(name, &query.into_post()?, patch).await?;
    Ok(json(&*object)?)
}

pub(super) async fn patch_status<R, V>(
    verbs: &V,
    name: &str,
    query: Query,
    patch: &Patch,
) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let object = verbs.patch_status(name, &query.into_post()?, patch).await?;
    Ok(json(&*object)?)
}

fn parse<R: Resource>(body: &[u8]) -> Result<R> {
    document::parse(body).map_err(|error| match error {
        Error::UnprocessablePatch { why } => Error::bad_request("body", format!("is no {}: {why}", R::KIND)),
        other => other,
    })
}

/// A `metav1.DeleteOptions`. Nothing depends on an object and nothing has to end before it goes, so that
/// the fields about that change nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DeleteOptions {
    kind: Option<String>,
    api_version: Option<String>,
    dry_run: Option<Vec<String>>,
    preconditions: Option<DeletePreconditions>,
    grace_period_seconds: Option<i64>,
    orphan_dependents: Option<bool>,
    propagation_policy: Option<String>,
}

/// A `metav1.Preconditions`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DeletePreconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

pub(super) async fn delete<R, V>(verbs: &V, name: &str, query: Query, body: &[u8]) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let unreadable = |error| Error::bad_request("body", format!("is no DeleteOptions: {error}"));
    let options: DeleteOptions =
        if body.is_empty() { DeleteOptions::default() } else { serde_json::from_slice(body).map_err(unreadable)? };
    let dry_run = query.into_delete()? | query::dry_run(&options.dry_run.unwrap_or_default())?;
    let preconditions = options.preconditions.unwrap_or_default();
    let mut params = DeleteParams::default();
    params.dry_run = dry_run;
    params.preconditions.uid = preconditions.uid;
    params.preconditions.resource_version = preconditions.resource_version;

    let uid = delete_known(verbs, name, &params).await?;
    Ok(json(&Status::deleted::<R>(&R::normalize_name(name), uid))?)
}

/// Deletes an object, and says which one that was: clients wait for the end of that uid.
async fn delete_known<R, V>(verbs: &V, name: &str, params: &DeleteParams) -> Result<String>
where
    R: Resource,
    V: Verbs<R>,
{
    let takes_any = params.preconditions == Preconditions::default();
    let mut tries = 1;
    loop {
        let uid = match &params.preconditions.uid {
            Some(uid) => uid.clone(),
            None => verbs.get(name).await?.metadata().uid.clone(),
        };
        match verbs.delete(name, &params.clone().uid(&uid)).await {
            Err(error) if takes_any && error.is_conflict() && tries < TRIES => tries += 1,
            other => return other.map(|()| uid),
        }
    }
}
