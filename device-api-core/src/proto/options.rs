// SPDX-License-Identifier: Apache-2.0
//! Options of requests. Absent options are the default ones: `opts.unwrap_or_default().into()`.
//!
//! One message serves lists and watches. As in Kubernetes, an option that only the other of the two
//! has is ignored where ignoring it changes no result (a watch's `limit`; a list's bookmarks and
//! timeout), and refused where it would (a watch's `continue`, a list's `send_initial_events`).

use std::time::Duration;

use super::v1alpha1 as wire;
use crate::registry::{
    DeleteParams, GetParams, ListParams, PatchParams, PostParams, Preconditions, VersionMatch, WatchParams,
};
use crate::{Error, Result};

impl From<&GetParams> for wire::GetOptions {
    fn from(params: &GetParams) -> Self {
        let GetParams { resource_version } = params;
        Self { resource_version: resource_version.clone() }
    }
}

impl From<wire::GetOptions> for GetParams {
    fn from(options: wire::GetOptions) -> Self {
        let wire::GetOptions { resource_version } = options;
        Self { resource_version }
    }
}

impl From<&ListParams> for wire::ListOptions {
    fn from(params: &ListParams) -> Self {
        let ListParams { label_selector, field_selector, resource_version, version_match, limit, continue_token } =
            params;
        Self {
            resource_version: resource_version.clone(),
            resource_version_match: match_to_wire(*version_match),
            timeout_seconds: None,
            label_selector: label_selector.clone(),
            field_selector: field_selector.clone(),
            allow_watch_bookmarks: false,
            send_initial_events: None,
            limit: i64::try_from(*limit).unwrap_or(i64::MAX),
            r#continue: continue_token.clone(),
        }
    }
}

/// Fails with [`Error::BadRequest`] for what no list can do.
impl TryFrom<wire::ListOptions> for ListParams {
    type Error = Error;

    fn try_from(options: wire::ListOptions) -> Result<Self> {
        let wire::ListOptions {
            resource_version,
            resource_version_match,
            timeout_seconds: _,
            label_selector,
            field_selector,
            allow_watch_bookmarks: _,
            send_initial_events,
            limit,
            r#continue,
        } = options;
        if send_initial_events == Some(true) {
            return Err(Error::bad_request("sendInitialEvents", "Forbidden: only a watch can send initial events"));
        }
        Ok(Self {
            label_selector,
            field_selector,
            resource_version,
            version_match: match_from_wire(&resource_version_match)?,
            limit: not_negative("limit", limit)?,
            continue_token: r#continue,
        })
    }
}

/// A timeout is rounded up to whole seconds, and to at least one, since zero means none.
impl From<&WatchParams> for wire::ListOptions {
    fn from(params: &WatchParams) -> Self {
        let WatchParams {
            label_selector,
            field_selector,
            resource_version,
            version_match,
            timeout,
            allow_bookmarks,
            send_initial_events,
        } = params;
        Self {
            resource_version: resource_version.clone(),
            resource_version_match: match_to_wire(*version_match),
            timeout_seconds: timeout.map(|timeout| {
                let seconds = timeout.as_secs().saturating_add(u64::from(timeout.subsec_nanos() > 0));
                i64::try_from(seconds.max(1)).unwrap_or(i64::MAX)
            }),
            label_selector: label_selector.clone(),
            field_selector: field_selector.clone(),
            allow_watch_bookmarks: *allow_bookmarks,
            send_initial_events: *send_initial_events,
            limit: 0,
            r#continue: String::new(),
        }
    }
}

/// Fails with [`Error::BadRequest`] for what no watch can do. A timeout of zero seconds is none, as in
/// Kubernetes.
impl TryFrom<wire::ListOptions> for WatchParams {
    type Error = Error;

    fn try_from(options: wire::ListOptions) -> Result<Self> {
        let wire::ListOptions {
            resource_version,
            resource_version_match,
            timeout_seconds,
            label_selector,
            field_selector,
            allow_watch_bookmarks,
            send_initial_events,
            limit: _,
            r#continue,
        } = options;
        if !r#continue.is_empty() {
            let why = "Forbidden: a watch has no pages; start it from the list's resource version";
            return Err(Error::bad_request("continue", why));
        }
        let timeout = not_negative("timeoutSeconds", timeout_seconds.unwrap_or_default())?;
        Ok(Self {
            label_selector,
            field_selector,
            resource_version,
            version_match: match_from_wire(&resource_version_match)?,
            timeout: (timeout > 0).then(|| Duration::from_secs(timeout)),
            allow_bookmarks: allow_watch_bookmarks,
            send_initial_events,
        })
    }
}

fn match_to_wire(version_match: Option<VersionMatch>) -> String {
    match version_match {
        None => "",
        Some(VersionMatch::Exact) => "Exact",
        Some(VersionMatch::NotOlderThan) => "NotOlderThan",
    }
    .to_owned()
}

fn match_from_wire(text: &str) -> Result<Option<VersionMatch>> {
    match text {
        "" => Ok(None),
        "Exact" => Ok(Some(VersionMatch::Exact)),
        "NotOlderThan" => Ok(Some(VersionMatch::NotOlderThan)),
        other => {
            let shown: String = other.chars().take(32).collect();
            let why = format!("Unsupported value: {shown:?}: supported values: \"Exact\", \"NotOlderThan\"");
            Err(Error::bad_request("resourceVersionMatch", why))
        }
    }
}

fn not_negative(field: &str, number: i64) -> Result<u64> {
    u64::try_from(number)
        .map_err(|_| Error::bad_request(field, format!("Invalid value: {number}: must be greater than or equal to 0")))
}

impl From<&PostParams> for wire::CreateOptions {
    fn from(params: &PostParams) -> Self {
        let PostParams { dry_run, field_manager } = params;
        Self { dry_run: *dry_run, field_manager: field_manager.clone() }
    }
}

impl From<wire::CreateOptions> for PostParams {
    fn from(options: wire::CreateOptions) -> Self {
        let wire::CreateOptions { dry_run, field_manager } = options;
        Self { dry_run, field_manager }
    }
}

impl From<&PatchParams> for wire::PatchOptions {
    fn from(params: &PatchParams) -> Self {
        let PatchParams { dry_run, field_manager } = params;
        Self { dry_run: *dry_run, field_manager: field_manager.clone() }
    }
}

impl From<wire::PatchOptions> for PatchParams {
    fn from(options: wire::PatchOptions) -> Self {
        let wire::PatchOptions { dry_run, field_manager } = options;
        Self { dry_run, field_manager }
    }
}

impl From<&DeleteParams> for wire::DeleteOptions {
    fn from(params: &DeleteParams) -> Self {
        let DeleteParams { dry_run, preconditions } = params;
        let preconditions = (*preconditions != Preconditions::default()).then(|| preconditions.into());
        Self { preconditions, dry_run: *dry_run }
    }
}

impl From<wire::DeleteOptions> for DeleteParams {
    fn from(options: wire::DeleteOptions) -> Self {
        let wire::DeleteOptions { preconditions, dry_run } = options;
        Self { dry_run, preconditions: preconditions.unwrap_or_default().into() }
    }
}

impl From<&Preconditions> for wire::Preconditions {
    fn from(preconditions: &Preconditions) -> Self {
        let Preconditions { uid, resource_version } = preconditions;
        Self { uid: uid.clone(), resource_version: resource_version.clone() }
    }
}

impl From<wire::Preconditions> for Preconditions {
    fn from(preconditions: wire::Preconditions) -> Self {
        let wire::Preconditions { uid, resource_version } = preconditions;
        Self { uid, resource_version }
    }
}
