// SPDX-License-Identifier: Apache-2.0
//! The verbs against a server with canned replies, through a socket and with none.

#![allow(clippy::unwrap_used)] // clippy.toml's exception for tests does not reach their functions

mod canned;

use std::time::Duration;

use canned::{Canned, both, target};
use device_api_client::{Api, ApiWatch, Client, ConnectError, ConnectOptions};
use device_api_core::Error;
use device_api_core::patch::{Patch, PatchType};
use device_api_core::registry::{
    DeleteParams, GetParams, ListParams, PostParams, Verbs, VersionMatch, WatchEvent, WatchParams,
};
use device_api_core::resource::{Gpu, ObjectMeta};

fn named(namespace: &str, name: &str) -> Gpu {
    Gpu { metadata: ObjectMeta::named(name).with_namespace(namespace), ..Gpu::default() }
}

/// The label of the watched objects tells the server what to do after the first event.
async fn watch_that(api: &Api<Gpu>, then: &str) -> ApiWatch<Gpu> {
    let mut watch = api.watch(&WatchParams::default().labels(then)).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Added(gpu))) if gpu.metadata.name == "a"));
    watch
}

#[tokio::test]
async fn every_verb_asks_what_it_was_told_to() {
    let both = both(ConnectOptions::default()).await;
    for (way, client) in &both.clients {
        let api = Api::<Gpu>::namespaced(client.clone(), "left");
        let asked = |expected: &[&str]| {
            let last = both.canned.last();
            for part in expected {
                assert!(last.contains(part), "{way}: {last} lacks {part}");
            }
        };
        let gpu = api.get_with("x", &GetParams::default().at("5")).await.unwrap();
        assert_eq!((gpu.metadata.namespace.as_str(), gpu.metadata.name.as_str()), ("left", "x"));
        asked(&["GetGpuRequest", r#"resource_version: "5""#]);

        let params = ListParams::default().labels("a=b").at("7").matching(VersionMatch::Exact).limit(2);
        let list = api.list(&params).await.unwrap();
        assert_eq!((list.metadata.resource_version.as_str(), list.items.len()), ("7", 2));
        asked(&["ListGpusRequest", r#"namespace: "left""#, r#"label_selector: "a=b""#, "\"Exact\"", "limit: 2"]);

        let post = PostParams::default().dry_run().manager("me");
        assert_eq!(api.create(&post, &named("", "x")).await.unwrap().metadata.namespace, "left");
        asked(&["CreateGpuRequest", "dry_run: true", r#"field_manager: "me""#]);
        assert_eq!(api.replace("x", &post, &named("", "")).await.unwrap().metadata.name, "x");
        asked(&["UpdateGpuRequest", "dry_run: true"]);
        assert_eq!(api.replace_status("x", &post, &named("", "X")).await.unwrap().metadata.name, "x");
        asked(&["UpdateGpuStatusRequest", "dry_run: true"]);

        let patch = Patch::new(PatchType::Merge, "{}");
        api.patch("x", &post, &patch).await.unwrap();
        asked(&["PatchGpuRequest", "application/merge-patch+json", "data: [123, 125]", "subresources: []"]);
        api.patch_status("x", &post, &patch).await.unwrap();
        asked(&["PatchGpuRequest", r#"subresources: ["status"]"#]);

        api.delete("x", &DeleteParams::default().uid("u")).await.unwrap();
        asked(&["DeleteGpuRequest", r#"name: "x""#, r#"uid: Some("u")"#]);

        let params = WatchParams::default().at("5").bookmarks().timeout(Duration::from_secs(9));
        api.watch(&params).await.unwrap();
        asked(&["WatchGpusRequest", "allow_watch_bookmarks: true", "timeout_seconds: Some(9)"]);
    }
}

#[tokio::test]
async fn errors_are_those_of_the_registry() {
    let both = both(ConnectOptions::default()).await;
    for (way, client) in &both.clients {
        let api = Api::<Gpu>::all(client.clone());
        assert_eq!(api.get("missing").await.unwrap_err(), Error::not_found::<Gpu>("missing"), "{way}");
        assert_eq!(api.get_opt("missing").await.unwrap(), None, "{way}");
        let error = api.watch(&WatchParams::default().labels("(")).await.unwrap_err();
        assert_eq!(error, Error::bad_request("labelSelector", "does not parse"), "{way}");
    }
}

#[tokio::test]
async fn an_object_of_another_name_or_namespace_is_refused_before_it_is_sent() {
    let canned = Canned::default();
    let api = Api::<Gpu>::namespaced(canned.in_process(ConnectOptions::default()), "left");
    let params = PostParams::default();
    for error in [
        api.replace("x", &params, &named("", "y")).await.unwrap_err(),
        api.replace_status("x", &params, &named("", "y")).await.unwrap_err(),
        api.create(&params, &named("right", "x")).await.unwrap_err(),
    ] {
        assert!(error.is_invalid(), "{error}");
    }
    assert!(canned.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_reply_that_makes_no_sense_is_the_servers_fault() {
    let both = both(ConnectOptions::default()).await;
    for (way, client) in &both.clients {
        let api = Api::<Gpu>::all(client.clone());
        for name in ["empty", "broken"] {
            let error = api.get(name).await.unwrap_err();
            assert!(matches!(error, Error::Internal { .. }), "{way}: {error}");
        }
    }
}

#[tokio::test]
async fn a_watch_that_the_server_ends_ends_with_none() {
    let both = both(ConnectOptions::default()).await;
    for (_, client) in &both.clients {
        let mut watch = watch_that(&Api::all(client.clone()), "end").await;
        assert!(watch.next().await.is_none());
        assert!(watch.next().await.is_none());
    }
}

#[tokio::test]
async fn a_watch_that_fails_gives_the_error_and_ends() {
    let both = both(ConnectOptions::default()).await;
    for (way, client) in &both.clients {
        let mut watch = watch_that(&Api::all(client.clone()), "fail").await;
        assert_eq!(watch.next().await.unwrap().unwrap_err(), Error::Expired { requested: 1, oldest: 2 }, "{way}");
        assert!(watch.next().await.is_none());

        let mut watch = watch_that(&Api::all(client.clone()), "surprise").await;
        assert!(matches!(watch.next().await, Some(Err(Error::Internal { .. }))), "{way}");
        assert!(watch.next().await.is_none());
    }
}

#[tokio::test]
async fn the_request_timeout_ends_a_silent_call_and_cuts_no_watch() {
    let both = both(ConnectOptions::default().with_request_timeout(Duration::from_millis(50))).await;
    for (way, client) in &both.clients {
        let api = Api::all(client.clone());
        let mut watch = watch_that(&api, "hold").await;
        // When this has timed out, so would have the watch.
        let error = api.get("silent").await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("no reply within 50ms"), "{way}: {error}");
        both.canned.go_on.notify_one();
        assert!(matches!(watch.next().await, Some(Ok(WatchEvent::Bookmark(_)))), "{way}");
    }
}

#[tokio::test]
async fn a_reply_over_the_limit_is_too_large_and_not_expired() {
    let both = both(ConnectOptions::default().with_max_message_bytes(8)).await;
    for (way, client) in &both.clients {
        let error = Api::<Gpu>::all(client.clone()).list(&ListParams::default()).await.unwrap_err();
        assert!(error.is_too_large(), "{way}: {error}");
    }
}

#[tokio::test]
async fn code_written_against_the_trait_runs_on_an_api() {
    async fn names<V: Verbs<Gpu>>(handle: &V) -> Vec<String> {
        let list = handle.namespaced("right").list(&ListParams::default()).await.unwrap();
        list.items.iter().map(|gpu| format!("{}/{}", gpu.metadata.namespace, gpu.metadata.name)).collect()
    }
    let api = Api::<Gpu>::all(Canned::default().in_process(ConnectOptions::default()));
    assert_eq!(names(&api).await, ["right/a", "right/b"]);
}

#[tokio::test]
async fn connecting_to_nothing_says_where_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nobody.sock");
    let error = Client::connect(target(&path)).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Connect { kind: std::io::ErrorKind::NotFound, .. }), "{error:?}");
    let said = format!("cannot open {}: No such file or directory", path.display());
    assert!(error.to_string().contains(&said), "{error}");

    let client = Client::lazy(&target(&path), ConnectOptions::default());
    let error = Api::<Gpu>::all(client).get("x").await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains(&said), "who prints no causes sees it, too: {error}");
    let causes = std::iter::successors(std::error::Error::source(&error), |error| std::error::Error::source(*error));
    let texts: Vec<_> = causes.clone().map(ToString::to_string).collect();
    assert!(texts.iter().any(|text| text.contains(path.to_str().unwrap())), "{texts:?}");
    let first = causes.last().unwrap().downcast_ref::<std::io::Error>();
    let missing = std::io::Error::from_raw_os_error(2);
    assert_eq!(first.and_then(std::io::Error::raw_os_error), missing.raw_os_error(), "{texts:?}");
}

#[tokio::test]
async fn a_lost_server_ends_watches_with_a_retryable_error_and_is_found_again() {
    let canned = Canned::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let server = canned.listen(&path);
    let api = Api::<Gpu>::all(Client::connect(target(&path)).await.unwrap());
    let mut watch = watch_that(&api, "hold").await;

    drop(server);
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(watch.next().await.is_none());
    assert!(api.get("x").await.unwrap_err().is_retryable());

    std::fs::remove_file(&path).unwrap();
    let _server = canned.listen(&path);
    while let Err(error) = api.get("x").await {
        assert!(error.is_retryable(), "{error}");
    }
}
