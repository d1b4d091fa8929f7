// SPDX-License-Identifier: Apache-2.0
//! The identity of an object, and the formats of Kubernetes names.

use std::fmt;
use std::sync::Arc;

use super::{DEFAULT_NAMESPACE, Resource};
use crate::error::{Error, FieldViolation};

/// The identity of an object within its resource type: namespace and name, both valid.
///
/// There is no way to build one that is not valid. Keys sort by namespace, then name: the order of
/// a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    // A write puts its key into five places.
    namespace: Arc<str>,
    name: Arc<str>,
}

impl Key {
    /// Checks and normalises a namespace and a name as resource type `R` wants them. An empty
    /// namespace means [`DEFAULT_NAMESPACE`].
    ///
    /// # Errors
    /// [`Error::Invalid`] with a violation for each part that is not in Kubernetes' format.
    ///
    /// ```
    /// use device_api_core::resource::{Gpu, Key};
    ///
    /// let key = Key::of::<Gpu>("", "GPU-0a1b")?;
    /// assert_eq!((key.namespace(), key.name()), ("default", "gpu-0a1b"));
    /// assert!(Key::of::<Gpu>("", "no spaces").is_err());
    /// # Ok::<(), device_api_core::Error>(())
    /// ```
    pub fn of<R: Resource>(namespace: &str, name: &str) -> Result<Self, Error> {
        let namespace = if namespace.is_empty() { DEFAULT_NAMESPACE } else { namespace };
        let name = R::normalize_name(name);
        let violations: Vec<FieldViolation> = [
            check_subdomain(&name).err().map(|why| FieldViolation::new("metadata.name", why)),
            check_label(namespace).err().map(|why| FieldViolation::new("metadata.namespace", why)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !violations.is_empty() {
            return Err(Error::invalid::<R>(&name, violations));
        }
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }

    /// The namespace, never empty.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name, never empty.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.iter().all(|byte| is_alphanumeric(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|byte| is_alphanumeric(*byte))
        && bytes.last().is_some_and(|byte| is_alphanumeric(*byte))
}

/// Checks a DNS-1123 label (RFC 1123, section 2.1; 63 bytes at most).
///
/// # Errors
/// What is wrong, in Kubernetes' words.
pub(crate) fn check_label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 bytes".to_owned());
    }
    if !is_label(text) {
        return Err("a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                    start and end with an alphanumeric character"
            .to_owned());
    }
    Ok(())
}

/// Checks a DNS-1123 subdomain (RFC 1123, section 2.1; 253 bytes at most).
///
/// # Errors
/// What is wrong, in Kubernetes' words.
pub(crate) fn check_subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err("must be no more than 253 bytes".to_owned());
    }
    if !text.split('.').all(is_label) {
        return Err("a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                    and must start and end with an alphanumeric character"
            .to_owned());
    }
    Ok(())
}

/// Whether `text` is a name part: alphanumeric at both ends, `-`, `_` and `.` between.
fn is_name_part(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Checks a qualified name: `[prefix/]name`, the prefix a DNS-1123 subdomain, the name of at most 63
/// bytes. The format of label keys, annotation keys and condition types.
///
/// # Errors
/// What is wrong, in Kubernetes' words.
pub(crate) fn check_qualified_name(text: &str) -> Result<(), String> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if let Some(prefix) = prefix {
        check_subdomain(prefix).map_err(|why| format!("prefix part {why}"))?;
    }
    if name.is_empty() {
        return Err("name part must be non-empty".to_owned());
    }
    if name.len() > 63 {
        return Err("name part must be no more than 63 bytes".to_owned());
    }
    if !is_name_part(name) {
        return Err("name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with \
                    an alphanumeric character"
            .to_owned());
    }
    Ok(())
}

/// Checks a label value: empty, or a name part of at most 63 bytes.
///
/// # Errors
/// What is wrong, in Kubernetes' words.
pub(crate) fn check_label_value(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err("must be no more than 63 bytes".to_owned());
    }
    if !text.is_empty() && !is_name_part(text) {
        return Err("a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
                    and must start and end with an alphanumeric character"
            .to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Gpu;

    #[test]
    fn names_and_namespaces_have_kubernetes_formats() {
        for good in ["a", "0", "a-b.c-d", &"a".repeat(253)] {
            assert!(check_subdomain(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "a.", "-a", "a-", "A", "a_b", "a b", "ä", "a\0", &"a".repeat(254)] {
            assert!(check_subdomain(bad).is_err(), "{bad}");
        }
        assert!(check_label(&"a".repeat(63)).is_ok());
        for bad in ["", "a.b", "-a", &"a".repeat(64)] {
            assert!(check_label(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn label_keys_and_values_have_kubernetes_formats() {
        for good in ["a", "A_b.c-D", "nvidia.com/gpu.product", &format!("{}/{}", "a".repeat(253), "b".repeat(63))] {
            assert!(check_qualified_name(good).is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a/b/c", "A.com/b", "-a", "a b", &"b".repeat(64)] {
            assert!(check_qualified_name(bad).is_err(), "{bad}");
        }
        assert!(check_label_value("").is_ok());
        assert!(check_label_value("NVIDIA-H100_80GB.HBM3").is_ok());
        assert!(check_label_value("0000:01:00.0").is_err());
    }

    #[test]
    fn both_parts_of_a_bad_key_are_reported() {
        let error = Key::of::<Gpu>("No", "no spaces").unwrap_err();
        let fields: Vec<_> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["metadata.name", "metadata.namespace"]);
    }

    #[test]
    fn keys_sort_by_namespace_then_name() {
        let key = |namespace, name| Key::of::<Gpu>(namespace, name).unwrap();
        let mut keys = [key("b", "a"), key("a", "b"), key("a", "a"), key("a-a", "a")];
        keys.sort();
        assert_eq!(keys.map(|key| key.to_string()), ["a/a", "a/b", "a-a/a", "b/a"]);
    }
}
