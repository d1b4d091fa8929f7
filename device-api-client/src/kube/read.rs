// SPDX-License-Identifier: Apache-2.0
//! Requests that read: get, list and watch.

use std::sync::Arc;

use device_api_core::registry::{List, Verbs, WatchEvent};
use device_api_core::resource::{ListMeta, ObjectMeta, Resource};
use device_api_core::{Error, Result};
use futures_util::{StreamExt as _, stream};
use http::Response;
use serde::Serialize;

use super::Answer;
use super::answer::{encode, json, lines};
use super::discovery::group_version;
use super::query::Query;
use super::status::{Refusal, Status};

/// One object.
pub(super) async fn object<R, V>(verbs: &V, name: &str, query: Query) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    let object = verbs.get_with(name, &query.into_get()?).await?;
    Ok(json(&*object)?)
}

/// A list, or a watch.
pub(super) async fn collection<R, V>(verbs: &V, mut query: Query) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    if query.is_watch()? { watch(verbs, query).await } else { list(verbs, query).await }
}

async fn list<R, V>(verbs: &V, query: Query) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Shape<'a, R> {
        kind: String,
        api_version: String,
        metadata: ListMeta,
        items: Vec<&'a R>,
    }

    let (params, timeout) = query.into_list()?;
    let listed = async {
        // Kubernetes sends a list that nobody wants in pages whole, however long it is.
        let is_whole = params.limit == 0 && params.continue_token.is_empty();
        if is_whole { verbs.list_all(&params).await } else { verbs.list(&params).await }
    };
    let List { metadata, items } = match timeout {
        Some(timeout) => tokio::time::timeout(timeout, listed).await.map_err(|_| Refusal::Timeout)??,
        None => listed.await?,
    };
    let items = items.iter().map(Arc::as_ref).collect();
    let (kind, api_version) = (format!("{}List", R::KIND), group_version::<R>());
    Ok(json(&Shape::<R> { kind, api_version, metadata, items })?)
}

async fn watch<R, V>(verbs: &V, query: Query) -> Result<Response<Answer>, Refusal>
where
    R: Resource,
    V: Verbs<R>,
{
    match verbs.watch(&query.into_watch()?).await {
        // A watch ends after its failure.
        Ok(events) => Ok(lines(events.map(|event| line::<R>(&event)))),
        // Kubernetes says this in the stream, and there alone kube's watcher takes it for what it is.
        Err(error) if error.is_expired() => Ok(lines(stream::iter([line::<R>(&Err(error))]))),
        Err(error) => Err(error.into()),
    }
}

/// The line of an event, or of the failure that ends the watch.
fn line<R: Resource>(event: &Result<WatchEvent<R>>) -> Vec<u8> {
    let encoded = match event {
        Ok(WatchEvent::Added(object)) => encode_line("ADDED", &**object),
        Ok(WatchEvent::Modified(object)) => encode_line("MODIFIED", &**object),
        Ok(WatchEvent::Deleted(object)) => encode_line("DELETED", &**object),
        Ok(WatchEvent::Bookmark(bookmark)) => encode_line("BOOKMARK", &Marker::of::<R>(bookmark.to_metadata())),
        Err(error) => return failure::<R>(error),
    };
    encoded.unwrap_or_else(|error| failure::<R>(&error))
}

fn failure<R: Resource>(error: &Error) -> Vec<u8> {
    // Strings and numbers: it is encoded, whatever they say.
    encode_line("ERROR", &Status::ending_watch::<R>(error)).unwrap_or_default()
}

fn encode_line(kind: &'static str, object: &impl Serialize) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Line<'a, T> {
        r#type: &'static str,
        object: &'a T,
    }

    let mut line = encode(&Line { r#type: kind, object })?;
    line.push(b'\n');
    Ok(line)
}

/// The object of a bookmark: nothing but its kind and metadata.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    kind: &'static str,
    api_version: String,
    metadata: ObjectMeta,
}

impl Marker {
    fn of<R: Resource>(metadata: ObjectMeta) -> Self {
        Self { kind: R::KIND, api_version: group_version::<R>(), metadata }
    }
}
