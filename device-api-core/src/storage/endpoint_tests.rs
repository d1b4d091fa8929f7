// SPDX-License-Identifier: Apache-2.0
//! Tests of datastore URLs.

use proptest::prelude::*;

use super::*;

fn parse(url: &str) -> Endpoint {
    Endpoint::parse(url).unwrap()
}

fn error(url: &str) -> String {
    Endpoint::parse(url).unwrap_err().to_string()
}

#[test]
fn a_url_has_scheme_authority_and_path() {
    for (url, scheme, authority, path) in [
        ("memory://", "memory", "", ""),
        ("memory:", "memory", "", ""),
        ("sqlite:///a/b.db", "sqlite", "", "/a/b.db"),
        ("sqlite:/a/b.db", "sqlite", "", "/a/b.db"),
        ("SQLite:rel.db", "sqlite", "", "rel.db"),
        ("sqlite://rel/b.db", "sqlite", "rel", "/b.db"),
        ("etcd://host:2379?x=1", "etcd", "host:2379", ""),
        ("sqlite:///with%20space%3Fand%23%25.db", "sqlite", "", "/with space?and#%.db"),
    ] {
        let endpoint = parse(url);
        assert_eq!((endpoint.scheme(), endpoint.authority(), endpoint.path()), (scheme, authority, path), "{url}");
    }
}

#[test]
fn a_url_that_is_not_one_is_refused_with_what_to_do() {
    for url in ["", "/var/lib/state.db", "://x", "1a://", "a b:x", ":"] {
        assert_eq!(Endpoint::parse(url), Err(EndpointError::Scheme), "{url}");
    }
    for url in ["s:/%", "s:/%0", "s:/%zz", "s:/%+1", "s:/%ff", "s:/%00", "s:/\n", "s:/?a=%80", "s://%0a/", "s:/%é"] {
        assert!(matches!(Endpoint::parse(url), Err(EndpointError::Encoding { .. })), "{url}");
    }
    assert_eq!(Endpoint::parse("s:/a#b"), Err(EndpointError::Fragment));
    assert!(matches!(Endpoint::parse(&format!("s:{}", "a".repeat(MAX_URL))), Err(EndpointError::TooLong { .. })));
    assert_eq!(error("s:?a"), r#"the option "a" of the datastore URL must have the form key=value"#);
    assert_eq!(error("s:?a=1&b=2&a=1"), "the option a stands twice in the datastore URL");
    assert_eq!(error("s:?a=1&%61=1"), "the option a stands twice in the datastore URL");
}

#[test]
fn options_are_typed_and_an_error_names_key_value_and_what_is_accepted() {
    let mut options = parse("s:?count=7&name=a%26b").options();
    assert_eq!(options.take::<u32>("count"), Ok(Some(7)));
    assert_eq!(options.take::<String>("name"), Ok(Some("a&b".to_owned())));
    assert_eq!(options.take::<u32>("absent"), Ok(None));
    assert_eq!(options.finish(), Ok(()));
    let error = parse("s:?count=x").options().take::<u32>("count").unwrap_err();
    assert_eq!(error.to_string(), "count=x in the datastore URL: invalid digit found in string");
}

#[test]
fn an_unknown_option_is_an_error_that_lists_the_known_ones() {
    let mut options = parse("s:?sync=full").options();
    options.take::<String>("synchronous").unwrap();
    options.take::<u32>("limit").unwrap();
    let error = options.finish().unwrap_err().to_string();
    assert_eq!(error, r#"the s datastore has no option "sync"; it has: synchronous, limit"#);
    let error = parse("memory://?a=1").options().finish().unwrap_err().to_string();
    assert_eq!(error, r#"the memory datastore has no option "a"; it has none"#);
}

#[test]
fn secrets_are_never_printed() {
    let url = "pg://user:p@ss@host/path?password=hidden";
    let endpoint = parse(url);
    assert_eq!(endpoint.to_string(), "pg://host/path");
    assert_eq!(format!("{endpoint:?}"), "Endpoint(pg://host/path)");
    assert_eq!(endpoint.authority(), "user:p@ss@host");
    for bad in [format!("{url}#"), format!("{url}&password=hidden"), format!("{url}&a=%"), url.repeat(1000)] {
        let error = Endpoint::parse(&bad).unwrap_err();
        for secret in ["hidden", "p@ss"] {
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic(text in any::<String>(), tail in "[a-z%?&=/:@#0-9é]{0,40}") {
        for url in [text, tail.clone(), format!("sqlite://{tail}")] {
            if let Ok(endpoint) = Endpoint::parse(&url) {
                let _ = (endpoint.to_string(), endpoint.options().finish());
            }
        }
    }

    #[test]
    fn an_encoded_path_comes_back_as_it_was(path in "/[^\\p{Cc}]{0,40}") {
        let encoded: String = path.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let endpoint = parse(&format!("s:{encoded}?a=1"));
        prop_assert_eq!(endpoint.path(), path);
    }
}
