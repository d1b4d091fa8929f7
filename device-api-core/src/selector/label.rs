// SPDX-License-Identifier: Apache-2.0
//! Label selectors, with the grammar of Kubernetes' `k8s.io/apimachinery/pkg/labels`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use super::{check_length, check_terms, unexpected};
use crate::resource::key::{check_label_value, check_qualified_name};
use crate::{Error, Result};

/// The option that errors name.
const FIELD: &str = "labelSelector";

/// A Kubernetes label selector: requirements that must all hold. The default selects everything.
///
/// | requirement | holds for an object |
/// | --- | --- |
/// | `a=b`, `a==b` | with label `a` of value `b` |
/// | `a!=b` | without label `a`, or with another value |
/// | `a in (b,c)` | with label `a` of value `b` or `c` |
/// | `a notin (b,c)` | without label `a`, or with neither value |
/// | `a`, `!a` | with label `a`; without it |
/// | `a>1`, `a<1` | whose label `a` is a greater or lesser integer |
///
/// Values may be empty (`a=`, `a in (b,)`). White space may stand between any two tokens. [`Display`] writes the
/// canonical form: sorted, without repetition, and parsing back to an equal selector.
///
/// [`Display`]: fmt::Display
///
/// ```
/// use device_api_core::selector::LabelSelector;
///
/// let selector = LabelSelector::parse("zone in (right, left), !broken")?;
/// assert_eq!(selector.to_string(), "!broken,zone in (left,right)");
/// assert!(selector.matches(&[("zone".to_owned(), "left".to_owned())].into()));
/// assert!(!selector.matches(&Default::default()));
/// # Ok::<(), device_api_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Operator {
    Exists,
    NotExists,
    In(BTreeSet<String>),
    NotIn(BTreeSet<String>),
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// Parses a selector.
    ///
    /// # Errors
    /// [`Error::BadRequest`] with the position when the selector does not parse, [`Error::TooLarge`] when it
    /// is longer than 16 KiB or has more than 128 terms.
    pub fn parse(text: &str) -> Result<Self> {
        check_length(FIELD, text)?;
        let mut tokens = Tokens { text, at: 0 };
        let mut requirements = Vec::new();
        if tokens.peek().text.is_empty() {
            return Ok(Self::default());
        }
        loop {
            requirements.push(Requirement::parse(&mut tokens)?);
            let token = tokens.take();
            match token.text {
                "" => break,
                "," => {}
                _ => return Err(token.unexpected("',' or the end")),
            }
        }
        check_terms(FIELD, requirements.len())?;
        requirements.sort();
        requirements.dedup();
        Ok(Self { requirements })
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// Whether every object is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl FromStr for LabelSelector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Requirement {
    fn parse(tokens: &mut Tokens<'_>) -> Result<Self> {
        let negated = tokens.peek().text == "!";
        if negated {
            tokens.take();
        }
        let key = tokens.word(if negated { "a label key" } else { "a label key or '!'" })?;
        check_qualified_name(key.text).map_err(|why| key.unexpected(&format!("a label key: {why}")))?;
        let bare = matches!(tokens.peek().text, "" | ",");
        let operator = match (negated, bare) {
            (true, _) => Operator::NotExists,
            (false, true) => Operator::Exists,
            (false, false) => Operator::parse(tokens)?,
        };
        Ok(Self { key: key.text.to_owned(), operator })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::Exists => value.is_some(),
            Operator::NotExists => value.is_none(),
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::GreaterThan(limit) => number().is_some_and(|number| number > *limit),
            Operator::LessThan(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

impl Operator {
    fn parse(tokens: &mut Tokens<'_>) -> Result<Self> {
        let operator = tokens.take();
        match operator.text {
            "=" | "==" => Ok(Self::In([tokens.value(&["", ","])?].into())),
            "!=" => Ok(Self::NotIn([tokens.value(&["", ","])?].into())),
            "in" => Ok(Self::In(tokens.values()?)),
            "notin" => Ok(Self::NotIn(tokens.values()?)),
            ">" => Ok(Self::GreaterThan(tokens.integer()?)),
            "<" => Ok(Self::LessThan(tokens.integer()?)),
            _ => Err(operator.unexpected("=, ==, !=, in, notin, >, <, ',' or the end")),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            write!(f, "{separator}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        let (values, one, many) = match &self.operator {
            Operator::Exists => return write!(f, "{key}"),
            Operator::NotExists => return write!(f, "!{key}"),
            Operator::GreaterThan(limit) => return write!(f, "{key}>{limit}"),
            Operator::LessThan(limit) => return write!(f, "{key}<{limit}"),
            Operator::In(values) => (values, "=", "in"),
            Operator::NotIn(values) => (values, "!=", "notin"),
        };
        let mut joined = String::new();
        for (index, value) in values.iter().enumerate() {
            joined.extend([if index == 0 { "" } else { "," }, value]);
        }
        if values.len() == 1 { write!(f, "{key}{one}{joined}") } else { write!(f, "{key} {many} ({joined})") }
    }
}

/// The rest of a selector, from byte `at` on. Reading on takes time in proportion to what is read.
#[derive(Clone, Copy)]
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

/// A symbol (`=`, `==`, `!=`, `!`, `>`, `<`, `(`, `)`, `,`), a word, or the end, which is empty.
#[derive(Clone, Copy)]
struct Token<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    fn take(&mut self) -> Token<'a> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let rest = rest.trim_start_matches(is_space);
        let at = self.text.len() - rest.len();
        let length = if rest.starts_with("==") || rest.starts_with("!=") {
            2
        } else if rest.starts_with(is_symbol) {
            1
        } else {
            rest.find(|c| is_symbol(c) || is_space(c)).unwrap_or(rest.len())
        };
        self.at = at + length;
        Token { text: rest.get(..length).unwrap_or_default(), at }
    }

    fn peek(&self) -> Token<'a> {
        let mut ahead = *self;
        ahead.take()
    }

    fn word(&mut self, expected: &str) -> Result<Token<'a>> {
        let token = self.take();
        if token.is_word() { Ok(token) } else { Err(token.unexpected(expected)) }
    }

    /// A label value; empty where one of `ends` comes next, which stays.
    fn value(&mut self, ends: &[&str]) -> Result<String> {
        if ends.contains(&self.peek().text) {
            return Ok(String::new());
        }
        let value = self.word("a label value")?;
        check_label_value(value.text).map_err(|why| value.unexpected(&format!("a label value: {why}")))?;
        Ok(value.text.to_owned())
    }

    /// Values in parentheses, any of which may be empty.
    fn values(&mut self) -> Result<BTreeSet<String>> {
        let open = self.take();
        if open.text != "(" {
            return Err(open.unexpected("'('"));
        }
        let mut values = BTreeSet::new();
        loop {
            values.insert(self.value(&[",", ")"])?);
            let token = self.take();
            match token.text {
                "," => {}
                ")" => return Ok(values),
                _ => return Err(token.unexpected("',' or ')'")),
            }
        }
    }

    fn integer(&mut self) -> Result<i64> {
        let ahead = self.peek();
        let value = self.value(&[])?;
        value.parse().map_err(|_| ahead.unexpected("an integer of 64 bits"))
    }
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        !self.text.is_empty() && !self.text.starts_with(is_symbol)
    }

    fn unexpected(&self, expected: &str) -> Error {
        unexpected(FIELD, self.at, self.text, expected)
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_symbol(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '>' | '<')
}

#[cfg(test)]
#[path = "label_tests.rs"]
mod tests;
