// SPDX-License-Identifier: Apache-2.0
//! What the command line says of the source: XIDs in words, and what is wrong with a file or a flag.

use std::fs;

use tempfile::TempDir;

use crate::support::{Daemon, device_apiserver};

/// What the program answers, with its exit code.
fn answer(arguments: &[&str]) -> (i32, String) {
    let output = device_apiserver().args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// Starts a server, and a provider, that must not come up, and returns what each said.
fn refusals(flag: &str) -> [String; 2] {
    let folder = TempDir::new().unwrap();
    let mut server = Daemon::spawn_in(folder.path(), &[flag]);
    assert_eq!(server.wait().code(), Some(2), "{flag}: {}", server.stderr());
    assert!(!server.database().exists(), "{flag} is seen before anything is made");
    let (code, said) = answer(&["nvml-provider", "--target=/nowhere.sock", flag]);
    assert_eq!(code, 2, "{flag}: {said}");
    [server.stderr(), said]
}

#[test]
fn an_xid_is_explained_in_words() {
    let (code, said) = answer(&["explain-xid", "79"]);
    assert_eq!(code, 0, "{said}");
    for words in ["XID 79", "RESTART_BM", "reboot-node", "https://docs.nvidia.com/deploy/xid-errors"] {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
    let (code, said) = answer(&["explain-xid", "31"]);
    assert!(code == 0 && said.contains("restart-app") && said.contains("stays as it is"), "{said}");
}

#[test]
fn an_xid_that_nobody_knows_is_explained_as_such_and_a_word_is_none() {
    let (code, said) = answer(&["explain-xid", "4294967295"]);
    assert!(code == 0 && said.contains("XID 4294967295") && said.contains("none-published"), "{said}");
    for none in ["x", "-1", "4294967296"] {
        let (code, said) = answer(&["explain-xid", none]);
        assert_eq!(code, 2, "{said}");
        assert!(none.starts_with('-') || said.contains("write an XID's number"), "{said}");
    }
}

#[test]
fn every_code_of_the_catalogue_is_explained_with_what_to_do_then_and_what_ends_it() {
    for (xid, words) in [
        ("7", vec!["lists as unused", "contact-support", "then:   NVIDIA publishes nothing"]),
        ("138", vec!["lists as unused", "CONTACT_SUPPORT"]),
        (
            "119",
            vec!["then:   look into the software that was running", "the driver's recovery action says nothing of it"],
        ),
        ("79", vec!["then:   contact NVIDIA's support", "ends:   the driver (from R565 on) says twice"]),
        ("145", vec!["ask-driver", "RLW_REMAP", "IntrInfo", "error status 0x40 0x80"]),
    ] {
        let (code, said) = answer(&["explain-xid", xid]);
        assert_eq!(code, 0, "{said}");
        for words in words {
            assert!(said.contains(words), "{words} is not in\n{said}");
        }
    }
}

#[test]
fn an_xid_is_explained_by_the_policy_that_is_in_force() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("policy.toml");
    fs::write(&file, "[[xid]]\nnumber = 31\naction = \"contact-support\"\n").unwrap();
    let flag = format!("--nvml-policy-file={}", file.display());
    let (code, said) = answer(&["explain-xid", "31", &flag]);
    assert!(code == 0 && said.contains("restart-app"), "{said}");
    assert!(
        said.contains("policy: contact NVIDIA's support (contact-support)") && said.contains("CONTACT_SUPPORT"),
        "{said}"
    );
    let (_, said) = answer(&["explain-xid", "79", &flag, "--nvml-ignored-xids=48,79"]);
    assert!(said.contains("policy: nothing is to be done (ignore)"), "{said}");
    let (_, said) = answer(&["explain-xid", "48", &flag]);
    assert!(!said.contains("policy:"), "{said}");
    for (text, words) in [("[[xid]]\nnumber = 1\naction = \"panic\"\n", "line 3: "), ("=", "line 1: ")] {
        fs::write(&file, text).unwrap();
        let (code, said) = answer(&["explain-xid", "31", &flag]);
        assert!(code == 2 && said.contains(&format!("{}, {words}", file.display())), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn what_is_wrong_in_a_scenario_is_told_with_file_and_line() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mine.toml");
    for (line, text) in [
        (2, "[node]\ngpus = 0\n"),
        (3, "[node]\ngpus = 1\nkind = \"fast\"\n"),
        (6, "[node]\ngpus = 1\n[[at]]\ntime = \"1s\"\nevent = \"xid\"\ngpu = 1\nxid = 79\n"),
        (2, "[node]\ngpus =\n"),
    ] {
        fs::write(&file, text).unwrap();
        for said in refusals(&format!("--nvml=simulated:{}", file.display())) {
            assert!(said.contains(&format!("{}:{line}: ", file.display())), "line {line} of\n{text}{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn a_scenario_that_there_is_not_is_refused_with_those_that_there_are() {
    for said in refusals("--nvml=simulated:xid-80") {
        assert!(said.contains("\"xid-80\"") && said.contains("xid-79"), "{said}");
    }
    for said in refusals("--nvml=simulated:/nowhere/mine.toml") {
        assert!(said.contains("/nowhere/mine.toml") && said.contains("No such file"), "{said}");
    }
    for said in refusals("--nvml=simulated:65") {
        assert!(said.contains("65 GPUs") && said.contains("1 to 64"), "{said}");
    }
}

#[test]
fn what_is_wrong_in_a_policy_is_told_with_file_and_line() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("policy.toml");
    for (line, text) in [
        (3, "[[xid]]\nnumber = 94\naction = \"panic\"\n"),
        (4, "[[xid]]\nnumber = 94\naction = \"ignore\"\nwhy = \"noise\"\n"),
        (5, "[[xid]]\nnumber = 94\naction = \"ignore\"\n[[xid]]\nnumber = 94\naction = \"ignore\"\n"),
    ] {
        fs::write(&file, text).unwrap();
        for said in refusals(&format!("--nvml-policy-file={}", file.display())) {
            assert!(said.contains(&format!("{}, line {line}: ", file.display())), "line {line} of\n{text}{said}");
        }
    }
    for said in refusals("--nvml-policy-file=/nowhere/policy.toml") {
        assert!(said.contains("/nowhere/policy.toml") && said.contains("No such file"), "{said}");
    }
}

#[test]
fn a_flag_of_the_source_that_makes_no_sense_is_refused_with_what_does() {
    for (flag, words) in [
        ("--nvml=maybe", "auto, on, off or simulated:SPEC"),
        ("--nvml=simulated:", "auto, on, off or simulated:SPEC"),
        ("--nvml-ignored-xids=48,x", "--nvml-ignored-xids"),
        ("--nvml-resync-interval=0s", "at least 1s"),
        ("--nvml-call-timeout=0ms", "at least 100ms"),
        ("--nvml-call-timeout=16s", "at most 15s"),
        ("--nvml-event-wait=8s", "at most 7s"),
        ("--nvml-fault-poll-interval=2m", "more than --nvml-fault-poll-max-interval=1m"),
        ("--nvml-retry-interval=2m", "more than --nvml-retry-max-interval=1m"),
        ("--nvml-lease-duration=500ms", "at least 1s"),
        ("--nvml-lease-duration=2h", "at most 1h"),
    ] {
        for said in refusals(flag) {
            assert!(said.contains(words), "{flag}: {said}");
        }
    }
}
