// SPDX-License-Identifier: Apache-2.0
//! The parameters of a request's URL, with Kubernetes' names.

use std::collections::BTreeMap;
use std::time::Duration;

use device_api_core::registry::{GetParams, ListParams, PostParams, VersionMatch, WatchParams};
use device_api_core::{Error, Result};

/// The parameters that nobody has asked for yet. What is left when a request is understood is not known.
#[derive(Debug)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            let (name, value) = (name.into_owned(), value.into_owned());
            // A list in Kubernetes' types, with one possible value.
            let may_repeat = name == "dryRun";
            if parameters.insert(name.clone(), value.clone()).is_some_and(|before| !may_repeat || before != value) {
                return Err(Error::bad_request(short(&name), "was given more than once"));
            }
        }
        // How the answer is laid out is up to the server.
        parameters.remove("pretty");
        Ok(Self(parameters))
    }

    /// The parameters of a get.
    pub(super) fn into_get(mut self) -> Result<GetParams> {
        let mut params = GetParams::default();
        params.resource_version = self.text("resourceVersion");
        self.finish().map(|()| params)
    }

    /// Whether a list or a watch is wanted.
    pub(super) fn is_watch(&mut self) -> Result<bool> {
        Ok(self.flag("watch")?.unwrap_or(false))
    }

    /// The parameters of a list, and how long it may take.
    pub(super) fn into_list(mut self) -> Result<(ListParams, Option<Duration>)> {
        let mut params = ListParams::default();
        params.label_selector = self.text("labelSelector");
        params.field_selector = self.text("fieldSelector");
        params.resource_version = self.text("resourceVersion");
        params.version_match = self.version_match()?;
        params.limit = self.number("limit")?.unwrap_or(0);
        params.continue_token = self.text("continue");
        // They mean something to a watch only, but clients send them with lists too, as Kubernetes allows.
        self.flag("allowWatchBookmarks")?;
        let timeout = self.timeout()?;
        self.finish().map(|()| (params, timeout))
    }

    /// The parameters of a watch.
    pub(super) fn into_watch(mut self) -> Result<WatchParams> {
        let mut params = WatchParams::default();
        params.label_selector = self.text("labelSelector");
        params.field_selector = self.text("fieldSelector");
        params.resource_version = self.text("resourceVersion");
        params.version_match = self.version_match()?;
        params.allow_bookmarks = self.flag("allowWatchBookmarks")?.unwrap_or(false);
        params.send_initial_events = self.flag("sendInitialEvents")?;
        params.timeout = self.timeout()?;
        self.finish().map(|()| params)
    }

    /// The parameters of a create, a replace and a patch.
    pub(super) fn into_post(mut self) -> Result<PostParams> {
        let mut params = PostParams::default();
        params.dry_run = self.is_dry_run()?;
        params.field_manager = self.text("fieldManager");
        // Whatever a client would put up with: a field that is not known is refused and named.
        match self.text("fieldValidation").as_str() {
            "" | "Ignore" | "Warn" | "Strict" => {}
            other => return Err(invalid("fieldValidation", other, "must be Ignore, Warn or Strict")),
        }
        self.finish().map(|()| params)
    }

    /// Whether a delete is a dry run.
    pub(super) fn into_delete(mut self) -> Result<bool> {
        let dry_run = self.is_dry_run()?;
        // Nothing depends on an object and nothing has to end before it goes: they change nothing.
        for moot in ["gracePeriodSeconds", "orphanDependents", "propagationPolicy"] {
            self.0.remove(moot);
        }
        self.finish().map(|()| dry_run)
    }

    fn text(&mut self, name: &str) -> String {
        self.0.remove(name).unwrap_or_default()
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        match self.0.remove(name).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(invalid(name, other, "must be true or false")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| invalid(name, &text, "must be a number that is not negative"))
    }

    /// Zero is as good as none, as in Kubernetes.
    fn timeout(&mut self) -> Result<Option<Duration>> {
        Ok(self.number("timeoutSeconds")?.filter(|seconds| *seconds > 0).map(Duration::from_secs))
    }

    fn version_match(&mut self) -> Result<Option<VersionMatch>> {
        match self.text("resourceVersionMatch").as_str() {
            "" => Ok(None),
            "Exact" => Ok(Some(VersionMatch::Exact)),
            "NotOlderThan" => Ok(Some(VersionMatch::NotOlderThan)),
            other => Err(invalid("resourceVersionMatch", other, "must be Exact or NotOlderThan")),
        }
    }

    fn is_dry_run(&mut self) -> Result<bool> {
        dry_run(self.0.remove("dryRun").as_slice())
    }

    fn finish(self) -> Result<()> {
        match self.0.first_key_value() {
            None => Ok(()),
            Some((name, _)) => Err(Error::bad_request(short(name), "is no parameter of this request")),
        }
    }
}

/// Whether a list of Kubernetes' dry run stages asks for a dry run: there is one stage, `All`.
pub(super) fn dry_run(stages: &[String]) -> Result<bool> {
    match stages.iter().find(|stage| *stage != "All") {
        Some(other) => Err(invalid("dryRun", other, "must be All")),
        None => Ok(!stages.is_empty()),
    }
}

fn invalid(name: &str, value: &str, why: &str) -> Error {
    Error::bad_request(name, format!("Invalid value: {:?}: {why}", short(value)))
}

/// What a message repeats of what a client sent.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(query: &str, read: impl Fn(Query) -> Result<T>) -> String {
        Query::parse(query).and_then(read).unwrap_err().to_string()
    }

    #[test]
    fn the_parameters_of_a_list_and_of_a_watch_are_read() {
        let text = "&labelSelector=a%3Db%2Cc&fieldSelector=metadata.name%3Dx&limit=5&continue=t&resourceVersion=7\
                    &resourceVersionMatch=Exact&timeoutSeconds=3&pretty=true";
        let (params, timeout) = Query::parse(text).unwrap().into_list().unwrap();
        let wanted = ListParams::default().labels("a=b,c").fields("metadata.name=x").limit(5).continue_token("t");
        assert_eq!(params, wanted.at("7").matching(VersionMatch::Exact));
        assert_eq!(timeout, Some(Duration::from_secs(3)));

        let text = "watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
                    &timeoutSeconds=0";
        let mut query = Query::parse(text).unwrap();
        assert!(query.is_watch().unwrap());
        assert_eq!(query.into_watch().unwrap(), WatchParams::default().initial_events());
    }

    #[test]
    fn what_is_not_known_or_not_valid_is_named() {
        assert_eq!(
            refusal("limit=-1", Query::into_list),
            "limit: Invalid value: \"-1\": must be a number that is not negative"
        );
        assert_eq!(
            refusal("watch=maybe", |mut query| query.is_watch()),
            "watch: Invalid value: \"maybe\": must be true or false"
        );
        assert_eq!(refusal("dryRun=Some", Query::into_post), "dryRun: Invalid value: \"Some\": must be All");
        assert_eq!(refusal("dryRun=", Query::into_delete), "dryRun: Invalid value: \"\": must be All");
        assert_eq!(refusal("force=true", Query::into_post), "force: is no parameter of this request");
        assert_eq!(refusal("limit=1&limit=1", Query::into_list), "limit: was given more than once");
        let strict = "fieldValidation: Invalid value: \"strict\": must be Ignore, Warn or Strict";
        assert_eq!(refusal("fieldValidation=strict", Query::into_post), strict);
        let unknown = "resourceVersionMatch: Invalid value: \"exact\": must be Exact or NotOlderThan";
        assert_eq!(refusal("resourceVersionMatch=exact", Query::into_watch), unknown);
    }

    #[test]
    fn a_dry_run_and_a_field_manager_are_read() {
        let params = Query::parse("dryRun=All&dryRun=All&fieldManager=me").unwrap().into_post().unwrap();
        assert_eq!(params, PostParams::default().dry_run().manager("me"));
    }
}
