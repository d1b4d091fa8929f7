// SPDX-License-Identifier: Apache-2.0
//! Which objects a list or a watch is about: a namespace, a label selector and a field selector.
//!
//! Selectors are parsed once for each request; matching neither fails nor allocates. Positions in errors
//! are byte offsets into the selector, counted from 0.

mod field;
mod label;

pub use self::field::FieldSelector;
pub use self::label::LabelSelector;
use crate::resource::Resource;
use crate::resource::key::check_label;
use crate::{Error, Result};

/// The longest text of one selector, in bytes.
const MAX_SELECTOR: usize = 16 * 1024;
/// How many terms a selector may have: each is looked at for each object of a list and each event of a
/// watch.
const MAX_TERMS: usize = 128;
/// How much of a client's text an error repeats, in characters.
const MAX_SHOWN: usize = 64;

/// The objects that a list or a watch is about. The default selects all.
///
/// ```
/// use device_api_core::resource::{Gpu, ObjectMeta};
/// use device_api_core::selector::Selection;
///
/// let selection = Selection::parse::<Gpu>("", "zone in (left, right)", "metadata.name!=gpu-1")?;
/// let metadata = ObjectMeta::named("gpu-0").with_label("zone", "left");
/// assert!(selection.matches(&Gpu { metadata, ..Gpu::default() }));
/// # Ok::<(), device_api_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selection {
    namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Parses what a request for objects of type `R` asks for. An empty namespace means all of them, an
    /// empty selector selects everything.
    ///
    /// # Errors
    /// [`Error::BadRequest`] when the namespace is not a DNS-1123 label or a selector does not parse, and
    /// [`Error::TooLarge`] when a selector is longer than 16 KiB.
    pub fn parse<R: Resource>(namespace: &str, label_selector: &str, field_selector: &str) -> Result<Self> {
        if !namespace.is_empty() {
            check_label(namespace).map_err(|why| {
                Error::bad_request("namespace", format!("Invalid value: {}: {why}", shown(namespace)))
            })?;
        }
        Ok(Self {
            namespace: namespace.to_owned(),
            labels: LabelSelector::parse(label_selector)?,
            fields: FieldSelector::parse::<R>(field_selector)?,
        })
    }

    /// The namespace; empty means all of them.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether the object is one of those selected.
    #[must_use]
    pub fn matches<R: Resource>(&self, object: &R) -> bool {
        let metadata = object.metadata();
        (self.namespace.is_empty() || self.namespace == metadata.namespace)
            && self.labels.matches(&metadata.labels)
            && self.fields.matches(object)
    }

    /// Whether labels or fields restrict the selection, so that a change of an object can move it in or
    /// out.
    #[must_use]
    pub fn has_selectors(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_everything()
    }

    /// A number that tells this selection from others, to bind a continue token to the list that it came
    /// from. Spellings of one selection, such as `a==b` and ` a = b`, share it. It is a CRC-32: it finds
    /// mistakes, not forgery.
    #[must_use]
    pub fn fingerprint(&self) -> u32 {
        // No namespace and no label selector holds a line feed, so no two selections share a text.
        crc32fast::hash(format!("{}\n{}\n{}", self.namespace, self.labels, self.fields).as_bytes())
    }
}

fn check_length(field: &str, text: &str) -> Result<()> {
    if text.len() <= MAX_SELECTOR {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: format!("a {field} of {} bytes", text.len()),
        limit: format!("{MAX_SELECTOR} bytes"),
        hint: "select by fewer or shorter terms".to_owned(),
    })
}

fn check_terms(field: &str, terms: usize) -> Result<()> {
    if terms <= MAX_TERMS {
        return Ok(());
    }
    Err(Error::TooLarge {
        what: format!("a {field} of {terms} terms"),
        limit: format!("{MAX_TERMS} terms"),
        hint: "select by fewer terms, or by a set of values".to_owned(),
    })
}

/// A client's text in quotes, cut to what fits a message.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(MAX_SHOWN).collect();
    let rest = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{rest}")
}

/// The selector does not parse: `found` stands at byte `position`, where `expected` would be right.
fn unexpected(field: &str, position: usize, found: &str, expected: &str) -> Error {
    let found = if found.is_empty() { "nothing".to_owned() } else { shown(found) };
    Error::bad_request(field, format!("found {found} at position {position}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Gpu, ObjectMeta};

    fn gpu(namespace: &str, zone: &str) -> Gpu {
        let metadata = ObjectMeta::named("gpu-0").with_namespace(namespace).with_label("zone", zone);
        Gpu { metadata, ..Gpu::default() }
    }

    #[test]
    fn namespace_labels_and_fields_must_all_match() {
        let selection = Selection::parse::<Gpu>("a", "zone=left", "metadata.name=gpu-0").unwrap();
        assert!(selection.matches(&gpu("a", "left")));
        assert!(!selection.matches(&gpu("b", "left")));
        assert!(!selection.matches(&gpu("a", "right")));
        let other = Selection::parse::<Gpu>("a", "zone=left", "metadata.name=gpu-1").unwrap();
        assert!(!other.matches(&gpu("a", "left")));
    }

    #[test]
    fn the_empty_selection_is_the_default_and_selects_all() {
        let all = Selection::parse::<Gpu>("", "", "").unwrap();
        assert_eq!(all, Selection::default());
        assert!(all.matches(&gpu("a", "left")));
        assert!(!all.has_selectors());
        assert!(!Selection::parse::<Gpu>("a", "", "").unwrap().has_selectors());
        assert!(Selection::parse::<Gpu>("", "a", "").unwrap().has_selectors());
        assert!(Selection::parse::<Gpu>("", "", "spec.uuid=").unwrap().has_selectors());
    }

    #[test]
    fn a_namespace_that_is_no_dns_label_is_refused() {
        for bad in ["A", "a.b", "-a", &"a".repeat(64)] {
            let error = Selection::parse::<Gpu>(bad, "", "").unwrap_err();
            assert!(matches!(&error, Error::BadRequest { field, .. } if field == "namespace"), "{error}");
        }
    }

    #[test]
    fn spellings_share_a_fingerprint_and_selections_do_not() {
        let fingerprint =
            |namespace, labels, fields| Selection::parse::<Gpu>(namespace, labels, fields).unwrap().fingerprint();
        assert_eq!(
            fingerprint("a", "x == y , b in (d,c)", "metadata.name==GPU-0"),
            fingerprint("a", "b in (c,d,c),x=y", "metadata.name=gpu-0")
        );
        let different = [
            fingerprint("", "", ""),
            fingerprint("a", "", ""),
            fingerprint("", "a", ""),
            fingerprint("", "!a", ""),
            fingerprint("", "a in (b,c)", ""),
            fingerprint("", "a notin (b,c)", ""),
            fingerprint("", "", "spec.uuid=a"),
            fingerprint("", "", "spec.uuid!=a"),
        ];
        let distinct: std::collections::BTreeSet<_> = different.iter().collect();
        assert_eq!(distinct.len(), different.len());
    }

    #[test]
    fn selectors_of_more_than_128_terms_are_refused() {
        let terms = |count, kind: fn(usize) -> String| (0..count).map(kind).collect::<Vec<_>>().join(",");
        let (label, field) = (|n| format!("a{n}"), |n| format!("spec.uuid!={n}"));
        assert!(Selection::parse::<Gpu>("", &terms(MAX_TERMS, label), &terms(MAX_TERMS, field)).is_ok());
        assert!(Selection::parse::<Gpu>("", &terms(MAX_TERMS + 1, label), "").unwrap_err().is_too_large());
        assert!(Selection::parse::<Gpu>("", "", &terms(MAX_TERMS + 1, field)).unwrap_err().is_too_large());
    }

    #[test]
    fn selectors_over_16_kib_are_refused_and_errors_stay_short() {
        let long = "a".repeat(MAX_SELECTOR);
        assert!(Selection::parse::<Gpu>("", &format!("{long}a"), "").unwrap_err().is_too_large());
        assert!(Selection::parse::<Gpu>("", "", &format!("{long}a")).unwrap_err().is_too_large());
        for error in [Selection::parse::<Gpu>("", &long, ""), Selection::parse::<Gpu>("", "", &long)] {
            let message = error.unwrap_err().to_string();
            assert!(message.contains("at position 0") && message.len() < 512, "{message}");
        }
    }
}
