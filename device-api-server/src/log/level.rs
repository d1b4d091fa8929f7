// SPDX-License-Identifier: Apache-2.0
//! What `--log-level` may say.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

const WANTED: &str = "write error, warn, info, debug, trace or off, and TARGET=LEVEL for a part of the program";

/// Reads what is to be logged, in tracing's syntax, and refuses a word alone that is no level: to tracing it is a target,
/// of which it then logs everything, and nothing of all others.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err(WANTED.to_owned());
    }
    let is_no_level = |word: &&str| !word.contains(['=', '[']) && word.parse::<LevelFilter>().is_err();
    if let Some(word) = text.split(',').find(is_no_level) {
        let word: String = word.chars().take(32).collect();
        return Err(format!("{word:?} is no level: {WANTED}"));
    }
    match text.parse::<EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; {WANTED}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_with_a_level_are_taken() {
        for text in [
            "info",
            "WARN",
            "off",
            "3",
            "debug,h2=warn",
            "info,device_api_core::audit=debug",
            "info,[span{a=1}]=trace",
            "h2[span]=debug",
        ] {
            assert_eq!(filter(text), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_those_that_there_are() {
        for (text, word) in [
            ("warning", "warning"),
            ("information", "information"),
            ("info,warning", "warning"),
            ("verbose,h2=warn", "verbose"),
            ("device_api_server", "device_api_server"),
            ("info,[span{a=1}]=trace,loud", "loud"),
        ] {
            let refusal = filter(text).unwrap_err();
            assert!(refusal.starts_with(&format!("{word:?} is no level: write error, warn, info")), "{refusal}");
        }
        for text in ["", " ", "h2=loud", "warn, hyper=off"] {
            assert!(filter(text).is_err(), "{text:?}");
        }
    }
}
