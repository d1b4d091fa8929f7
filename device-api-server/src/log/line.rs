// SPDX-License-Identifier: Apache-2.0
//! Lines that no subscriber formats, and the bound on those that one has.

use std::fmt::Write as _;

use serde_json::json;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};

/// How long a line may be, in bytes.
pub(super) const LONGEST: usize = 16 << 10;

/// A line of the same look as tracing-subscriber's, which no filter leaves out.
pub(super) fn format(is_json: bool, level: &str, target: &str, message: &str) -> Vec<u8> {
    let mut time = String::new();
    // It cannot fail on a string.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let mut line = String::new();
    let _ = if is_json {
        let line_of = json!({"timestamp": time, "level": level, "fields": {"message": message}, "target": target});
        writeln!(line, "{line_of}")
    } else {
        writeln!(line, "{time} {level:>5} {target}: {message}")
    };
    line.into_bytes()
}

/// The line itself, or its beginning and how long it was.
pub(super) fn bounded(is_json: bool, line: &[u8]) -> Vec<u8> {
    if line.len() <= LONGEST {
        return line.to_vec();
    }
    // Of JSON half as much, since its quotes are escaped.
    let beginning = String::from_utf8_lossy(&line[..if is_json { LONGEST / 2 } else { LONGEST }]);
    let length = line.len();
    if is_json {
        let message = format!("a line of {length} bytes, of which this is the beginning: {beginning}");
        return format(is_json, "WARN", module_path!(), &message);
    }
    format!("{beginning} ... (the beginning of {length} bytes)\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_ours_looks_like_one_of_the_subscriber() {
        let text = String::from_utf8(format(false, "WARN", "target", "a message")).unwrap();
        let (time, rest) = text.split_once(' ').unwrap();
        assert!(time.ends_with('Z') && time.len() >= 20, "{time}");
        assert_eq!(rest, " WARN target: a message\n");
        let line: serde_json::Value = serde_json::from_slice(&format(true, "ERROR", "target", "\"a\"\nb")).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["fields"]["message"], "\"a\"\nb");
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_is_one_line_all_the_same() {
        let short = [&[b'a'; LONGEST - 1][..], b"\n"].concat();
        assert_eq!(bounded(false, &short), short);
        // A letter of two bytes lies across the bound.
        let long = format!("a{}\n", "ä".repeat(1 << 20));
        let cut = String::from_utf8(bounded(false, long.as_bytes())).unwrap();
        assert!(
            cut.len() < 2 * LONGEST && cut.ends_with(&format!("(the beginning of {} bytes)\n", long.len())),
            "{cut}"
        );
        assert_eq!(cut.lines().count(), 1);
        let object = format!("{}\n", json!({"fields": {"message": "\"".repeat(1 << 20)}}));
        let cut = bounded(true, object.as_bytes());
        assert!(cut.len() < 3 * LONGEST, "{} bytes", cut.len());
        let cut: serde_json::Value = serde_json::from_slice(&cut).unwrap();
        assert!(cut["fields"]["message"].as_str().unwrap().contains(r#"{"fields":{"#), "{cut}");
    }
}
