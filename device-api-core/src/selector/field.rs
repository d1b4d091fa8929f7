// SPDX-License-Identifier: Apache-2.0
//! Field selectors, with the grammar of Kubernetes' `k8s.io/apimachinery/pkg/fields`.

use std::fmt;

use super::{check_length, check_terms, unexpected};
use crate::Result;
use crate::resource::key::check_qualified_name;
use crate::resource::{Conditions as _, Resource, condition};

/// The option that errors name.
const FIELD: &str = "fieldSelector";
const CONDITION: &str = "status.conditions[";

/// A Kubernetes field selector: `field=value`, `field==value` or `field!=value`, separated by commas; all of
/// them must hold. The default selects everything.
///
/// The fields are `metadata.name`, `metadata.namespace`, `status.conditions[TYPE]` with the values `True`,
/// `False` and `Unknown`, and the resource type's [`SELECTABLE_FIELDS`](Resource::SELECTABLE_FIELDS). An object
/// that does not have the condition is selected by `!=` and not by `=`.
///
/// In a value, `\\`, `\,` and `\=` stand for a backslash, a comma and an equals sign. As in Kubernetes, white
/// space is part of what it stands in.
///
/// ```
/// use device_api_core::resource::{Condition, ConditionStatus, Gpu};
/// use device_api_core::selector::FieldSelector;
///
/// let selector = FieldSelector::parse::<Gpu>("status.conditions[Healthy]!=True")?;
/// let mut gpu = Gpu::default();
/// assert!(selector.matches(&gpu));
/// gpu.status.conditions.push(Condition::new("Healthy", ConditionStatus::True));
/// assert!(!selector.matches(&gpu));
/// # Ok::<(), device_api_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Term {
    field: Field,
    /// Whether the operator is `!=`.
    negated: bool,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Field {
    Name,
    Namespace,
    /// The status of the condition of this type.
    Condition(String),
    /// One of the resource type's own.
    Own(&'static str),
}

impl FieldSelector {
    /// Parses a selector of objects of type `R`; it is meant to match only those.
    ///
    /// # Errors
    /// [`Error::BadRequest`](crate::Error::BadRequest) with the position when the selector does not parse or names another field,
    /// [`Error::TooLarge`](crate::Error::TooLarge) when it is longer than 16 KiB or has more than 128 terms.
    pub fn parse<R: Resource>(text: &str) -> Result<Self> {
        check_length(FIELD, text)?;
        let mut terms = Vec::new();
        let mut start = 0;
        let mut escaped = false;
        for (at, c) in text.char_indices().chain([(text.len(), ',')]) {
            // The comma after the last character ends the last term, even behind a backslash.
            if c == ',' && (!escaped || at == text.len()) {
                let term = text.get(start..at).unwrap_or_default();
                if !term.is_empty() {
                    terms.push(Term::parse::<R>(term, start)?);
                }
                start = at + 1;
            }
            escaped = c == '\\' && !escaped;
        }
        terms.sort();
        terms.dedup();
        check_terms(FIELD, terms.len())?;
        Ok(Self { terms })
    }

    /// Whether the object is selected.
    #[must_use]
    pub fn matches<R: Resource>(&self, object: &R) -> bool {
        self.terms.iter().all(|term| term.matches(object))
    }

    /// Whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }
}

impl Term {
    /// Parses a term that starts at byte `at` of the selector.
    fn parse<R: Resource>(text: &str, at: usize) -> Result<Self> {
        // The first operator counts: names have no escapes.
        let operator = text.char_indices().find_map(|(index, _)| {
            let rest = text.get(index..)?;
            let operator = ["!=", "==", "="].into_iter().find(|operator| rest.starts_with(operator))?;
            Some((index, operator))
        });
        let Some((index, operator)) = operator else {
            return Err(unexpected(FIELD, at, text, "a field followed by =, == or !="));
        };
        let value_at = index + operator.len();
        let field = Field::parse::<R>(text.get(..index).unwrap_or_default(), at)?;
        let value = unescape(text.get(value_at..).unwrap_or_default(), at + value_at)?;
        let value = match field {
            Field::Name => R::normalize_name(&value).into_owned(),
            Field::Condition(_) if !matches!(value.as_str(), "True" | "False" | "Unknown") => {
                return Err(unexpected(FIELD, at + value_at, &value, "True, False or Unknown"));
            }
            _ => value,
        };
        Ok(Self { field, negated: operator == "!=", value })
    }

    fn matches<R: Resource>(&self, object: &R) -> bool {
        let equal = match &self.field {
            Field::Name => object.metadata().name == self.value,
            Field::Namespace => object.metadata().namespace == self.value,
            Field::Condition(type_) => condition::find(object.status().conditions(), type_)
                .is_some_and(|condition| condition.status.as_str() == self.value),
            Field::Own(path) => object.field(path).is_some_and(|value| value == self.value.as_str()),
        };
        equal != self.negated
    }
}

impl Field {
    fn parse<R: Resource>(text: &str, at: usize) -> Result<Self> {
        match text {
            "metadata.name" => return Ok(Self::Name),
            "metadata.namespace" => return Ok(Self::Namespace),
            _ => {}
        }
        if let Some(own) = R::SELECTABLE_FIELDS.iter().find(|own| **own == text) {
            return Ok(Self::Own(own));
        }
        if let Some(type_) = text.strip_prefix(CONDITION).and_then(|rest| rest.strip_suffix(']')) {
            check_qualified_name(type_)
                .map_err(|why| unexpected(FIELD, at + CONDITION.len(), type_, &format!("a condition's type: {why}")))?;
            return Ok(Self::Condition(type_.to_owned()));
        }
        let mut supported = "metadata.name, metadata.namespace, ".to_owned();
        for own in R::SELECTABLE_FIELDS {
            supported.extend([own, ", "]);
        }
        Err(unexpected(FIELD, at, text, &format!("one of {supported}status.conditions[TYPE]")))
    }
}

/// Undoes the escapes of a value that starts at byte `at` of the selector.
fn unescape(text: &str, at: usize) -> Result<String> {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.char_indices();
    while let Some((index, c)) = characters.next() {
        match c {
            '\\' => match characters.next() {
                Some((_, c @ ('\\' | ',' | '='))) => value.push(c),
                other => {
                    let found: String = ['\\'].into_iter().chain(other.map(|(_, c)| c)).collect();
                    return Err(unexpected(FIELD, at + index, &found, r"\\, \, or \="));
                }
            },
            '=' => return Err(unexpected(FIELD, at + index, "=", r"\= for an equals sign in a value")),
            c => value.push(c),
        }
    }
    Ok(value)
}

impl fmt::Display for FieldSelector {
    /// Writes the canonical form: sorted, without repetition, and parsing back to an equal selector.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let operator = if term.negated { "!=" } else { "=" };
            write!(f, "{separator}{}{operator}", term.field)?;
            for c in term.value.chars() {
                let escape = if matches!(c, '\\' | ',' | '=') { "\\" } else { "" };
                write!(f, "{escape}{c}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("metadata.name"),
            Self::Namespace => f.write_str("metadata.namespace"),
            Self::Condition(type_) => write!(f, "{CONDITION}{type_}]"),
            Self::Own(path) => f.write_str(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resource::{Condition, ConditionStatus, Gpu, GpuSpec, ObjectMeta};

    fn gpu() -> Gpu {
        let mut gpu = Gpu {
            metadata: ObjectMeta::named("gpu-0").with_namespace("ns"),
            spec: GpuSpec { uuid: r"a\b,c=d".into() },
            ..Gpu::default()
        };
        gpu.status.conditions.push(Condition::new("nvidia.com/Ready", ConditionStatus::True));
        gpu
    }

    #[test]
    fn terms_match_the_fields_that_they_name() {
        for (text, expected) in [
            ("", true),
            (",,", true),
            ("metadata.name=gpu-0", true),
            ("metadata.name==gpu-0", true),
            ("metadata.name=GPU-0", true),
            ("metadata.name!=GPU-0", false),
            ("metadata.name=gpu-1", false),
            ("metadata.name= gpu-0", false),
            ("metadata.namespace=ns", true),
            ("metadata.namespace!=ns", false),
            (r"spec.uuid=a\\b\,c\=d", true),
            (r"spec.uuid!=a\\b\,c\=d", false),
            ("spec.uuid=", false),
            ("spec.uuid!=", true),
            ("status.conditions[nvidia.com/Ready]=True", true),
            ("status.conditions[nvidia.com/Ready]!=True", false),
            ("status.conditions[nvidia.com/Ready]=False", false),
            ("status.conditions[Absent]=Unknown", false),
            ("status.conditions[Absent]!=Unknown", true),
            ("metadata.name=gpu-0,metadata.namespace=ns,", true),
            ("metadata.name=gpu-0,metadata.namespace=other", false),
        ] {
            let selector = FieldSelector::parse::<Gpu>(text).unwrap();
            assert_eq!(selector.matches(&gpu()), expected, "{text:?}");
            assert_eq!(FieldSelector::parse::<Gpu>(&selector.to_string()).unwrap(), selector, "{text:?}");
        }
    }

    #[test]
    fn what_does_not_parse_is_refused_at_its_position() {
        for (text, position, expected) in [
            ("metadata.name", 0, "a field followed by"),
            ("spec.uuid=a,x", 12, "a field followed by"),
            ("spec.uuid=a=b", 11, r"\= for"),
            ("spec.uuid===b", 11, r"\= for"),
            (r"spec.uuid=\b", 10, r"\\, \, or \="),
            ("spec.uuid=a\\", 11, r"\\, \, or \="),
            ("spec.uuid=a, spec.uuid=b", 12, "one of metadata.name, metadata.namespace, spec.uuid, status."),
            ("=a", 0, "one of metadata.name"),
            ("spec.index=1", 0, "one of metadata.name, metadata.namespace, spec.uuid, status.conditions[TYPE]"),
            ("status.conditions[]=True", 18, "a condition's type"),
            ("status.conditions[a b]=True", 18, "a condition's type"),
            ("status.conditions[a]=Maybe", 21, "True, False or Unknown"),
            ("status.conditions[a]=", 21, "True, False or Unknown"),
        ] {
            let error = FieldSelector::parse::<Gpu>(text).unwrap_err().to_string();
            let expected = format!("at position {position}, expected {expected}");
            assert!(error.starts_with("fieldSelector: found ") && error.contains(&expected), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_any_text_never_panics(text in any::<String>()) {
            let _ = FieldSelector::parse::<Gpu>(&text);
        }

        #[test]
        fn any_value_survives_display_and_parsing(value in any::<String>()) {
            let uuid = Term { field: Field::Own("spec.uuid"), negated: false, value };
            let selector = FieldSelector { terms: vec![uuid] };
            prop_assert_eq!(FieldSelector::parse::<Gpu>(&selector.to_string()).unwrap(), selector);
        }
    }
}
