// SPDX-License-Identifier: Apache-2.0
//! What is read as a scenario, and what is wrong with what is not.

use std::fs;
use std::path::Path;

use super::{Scenario, ScenarioError};

/// What is wrong in a text, with its line.
fn fault(text: &str) -> (usize, String) {
    match Scenario::parse("test.toml", text) {
        Err(ScenarioError::Invalid { file, line, why }) => {
            assert_eq!(file, "test.toml");
            (line, why)
        }
        other => panic!("{text}: {other:?}"),
    }
}

/// What is wrong in a step of a node of two GPUs; its own lines are counted from 1 on.
fn fault_in_step(step: &str) -> (usize, String) {
    let (line, why) = fault(&format!("[node]\ngpus = 2\n[[at]]\n{step}\n"));
    (line.saturating_sub(3), why)
}

#[track_caller]
fn assert_fault((line, why): (usize, String), expected: usize, part: &str) {
    assert!(line == expected && why.contains(part), "line {line}: {why}");
}

#[test]
fn an_error_reads_as_compilers_write_it() {
    let error = Scenario::parse("demo.toml", "[node]\ngpus = 0\n").unwrap_err();
    assert_eq!(error.to_string(), "demo.toml:2: a simulated node has 1 to 64 GPUs");
}

#[test]
fn what_is_wrong_with_the_node_is_told_with_its_line() {
    assert_fault(fault("# nothing\n"), 1, "missing field `node`");
    assert_fault(fault("[node]\n"), 1, "missing field `gpus`");
    assert_fault(fault("[node]\ngpus = 65\n"), 2, "1 to 64");
    assert_fault(fault("[node]\ngpus = \"two\"\n"), 2, "invalid type");
    assert_fault(fault("[node]\ngpus = 2\ngpu = 3\n"), 3, "unknown field `gpu`");
    assert_fault(fault("[node]\ngpus = 2\n[nodes]\n"), 3, "unknown field `nodes`");
    assert_fault(fault("[node]\ngpus = 2\n\nproduct = \"h100\"\n"), 4, "h100-80gb, h200-141gb");
    assert_fault(fault("[node]\ngpus = 2\ndriver_version = \"\"\n"), 3, "1 to 253");
    assert_fault(fault("[node]\ngpus = 2\nmig = [\"1g\"]\n"), 3, "\"1g\" is not a MIG profile");
    assert_fault(fault("[node]\ngpus = 2\nproduct = \"l40s\"\nmig = [\"1g.10gb\"]\n"), 4, "NVIDIA L40S has no MIG");
    assert_fault(fault("[node]\ngpus = 2\nmig = [\"4g.40gb\", \"4g.40gb\"]\n"), 3, "no room");
    assert_fault(fault("[node]\ngpus = 2\nmig = [\"3g.40gb\", \"1g.80gb\"]\n"), 3, "no room");
    assert_fault(fault("[node]\ngpus = 2\n[node]\n"), 3, "duplicate key");
    assert_fault(fault("[node]\ngpus = \n"), 2, "");
}

#[test]
fn what_is_wrong_with_a_gpu_is_told_with_its_line() {
    let fault = |gpus: &str| fault(&format!("[node]\ngpus = 2\n{gpus}"));
    assert_fault(fault("[[gpu]]\nserial = \"1\"\n"), 3, "missing field `index`");
    assert_fault(fault("[[gpu]]\nindex = 2\n"), 4, "there is no GPU 2: the node has 2");
    assert_fault(fault("[[gpu]]\nindex = -1\n"), 4, "invalid value");
    assert_fault(fault("[[gpu]]\nindex = 1\n[[gpu]]\nindex = 1\n"), 6, "another [[gpu]]");
    assert_fault(fault("[[gpu]]\nindex = 1\nuuid = \"GPU-1\"\n"), 5, "GPU-xxxxxxxx-xxxx");
    assert_fault(fault("[[gpu]]\nindex = 1\npci_bus_id = \"0000:3B:00.0\"\n"), 5, "DDDDDDDD:BB:DD.F");
    assert_fault(fault("[[gpu]]\nindex = 1\npci_bus_id = \"00000000:1B:00.0\"\n"), 4, "have one PCI bus id");
    let uuid = "uuid = \"GPU-51500000-0000-4000-8000-000000000001\"";
    assert_fault(fault(&format!("[[gpu]]\nindex = 0\n{uuid}\n")), 4, "GPU 0 and GPU 1 have one UUID");
}

#[test]
fn a_gpu_may_differ_from_the_others() {
    let text = "[node]\ngpus = 2\nmig = [\"3g.40gb\"]\n[[gpu]]\nindex = 1\nmig = []\nproduct = \"rtx-4090\"\n";
    let scenario = Scenario::parse("test.toml", text).unwrap();
    let products: Vec<_> = scenario.boards.iter().map(|board| board.product.key).collect();
    assert_eq!(products, ["h100-80gb", "rtx-4090"]);
    assert_eq!((scenario.boards[0].mig.len(), scenario.boards[1].mig.len()), (1, 0));
}

#[test]
fn what_is_wrong_with_a_step_is_told_with_its_line() {
    for (step, line, part) in [
        ("event = \"back\"\ngpu = 0", 0, "has no time"),
        ("time = \"5s\"\ngpu = 0", 0, "has no event"),
        ("time = \"5s\"\nevent = 3\ngpu = 0", 2, "not a string"),
        ("time = \"5\"\nevent = \"back\"\ngpu = 0", 1, "\"5\" is not a duration"),
        ("time = 5\nevent = \"back\"\ngpu = 0", 1, "invalid type"),
        ("time = \"721h\"\nevent = \"back\"\ngpu = 0", 1, "30 days"),
        ("time = \"5s\"\nevent = \"xidd\"\ngpu = 0", 2, "unknown variant `xidd`, expected one of `xid`"),
        ("time = \"5s\"\nevent = \"back\"", 0, "missing field `gpu`"),
        ("time = \"5s\"\nevent = \"back\"\ngpu = 2", 3, "there is no GPU 2"),
        ("time = \"5s\"\nevent = \"back\"\ngpu = 0\nxid = 79", 4, "xid"),
        ("time = \"5s\"\nevent = \"driver_load\"\ngpu = 0", 3, "gpu"),
        ("time = \"5s\"\nevent = \"xid\"\ngpu = 0\nxid = -1", 4, "invalid value"),
        ("time = \"5s\"\nevent = \"xid\"\ngpu = 0\nxid = 1\ncount = 0", 5, "from 1 to 1000000"),
        ("time = \"5s\"\nevent = \"xid\"\ngpu = 0\nxid = 1\ncount = 1000001", 5, "from 1 to 1000000"),
        ("time = \"5s\"\nevent = \"xid\"\ngpu = 0\nxid = 1\nover = \"fast\"", 5, "not a duration"),
        ("time = \"5s\"\nevent = \"xid\"\nxid = 1\ngpu = 0\ncompute_instance = 0", 4, "write that, too"),
        ("time = \"5s\"\nevent = \"recovery_action\"\ngpu = 0\naction = \"reboot\"", 4, "`node_reboot`"),
        ("time = \"5s\"\nevent = \"mig_on\"\ngpu = 0\nprofiles = []", 4, "how GPU 0 is divided"),
        ("time = \"5s\"\nevent = \"mig_on\"\ngpu = 0\nprofiles = [\"7g.80gb\", \"1g.10gb\"]", 4, "no room"),
        ("time = \"5s\"\nevent = \"mig_on\"\ngpu = 0\nprofiles = [\"+1g.10gb\"]", 4, "is not a MIG profile"),
        ("time = \"5s\"\nevent = \"reorder\"\norder = [0, 0]", 3, "each of the GPUs 0 to 1 once"),
        ("time = \"5s\"\nevent = \"reorder\"\norder = [1]", 3, "each of the GPUs 0 to 1 once"),
        ("time = \"5s\"\nevent = \"hang\"\ncall = \"lists\"", 3, "unknown variant `lists`"),
        ("time = \"5s\"\nevent = \"hang\"\ncall = \"list\"\ngpu = 0", 4, "about no single GPU"),
        ("time = \"5s\"\nevent = \"fail\"\ncall = \"list\"", 0, "missing field `error`"),
        ("time = \"5s\"\nevent = \"fail\"\ncall = \"list\"\nerror = \"lost\"", 4, "unknown variant `lost`"),
        ("time = \"5s\"\nevent = \"fail\"\ncall = \"list\"\nerror = \"hung\"\nfor = 5", 5, "invalid type"),
        (
            "time = \"5s\"\nevent = \"replace\"\ngpu = 0\nuuid = \"GPU-51500000-0000-4000-8000-000000000001\"",
            4,
            "the UUID of GPU 1",
        ),
    ] {
        assert_fault(fault_in_step(step), line, part);
    }
}

#[test]
fn what_is_wrong_with_the_timeline_is_told_with_its_line() {
    let back = |time| format!("[[at]]\ntime = \"{time}\"\nevent = \"back\"\ngpu = 0\n");
    let node = "[node]\ngpus = 1\n";
    assert_fault(fault(&format!("{node}{}{}", back("5s"), back("4999ms"))), 8, "before the one above it");
    assert_fault(fault(&format!("at = 1\n{node}")), 1, "under [[at]]");
    assert_fault(fault(&format!("at = [1]\n{node}")), 1, "under [[at]]");
    assert_fault(fault(&format!("repeat = \"5s\"\n{node}")), 1, "nothing to repeat");
    assert_fault(fault(&format!("repeat = \"4s\"\n{node}{}", back("5s"))), 1, "not before the last step");
    assert_fault(fault(&format!("repeat = \"999ms\"\n{node}{}", back("0s"))), 1, "at least 1s");
    assert_fault(fault(&format!("{node}{}", back("5s").repeat(10_001))), 3, "at most 10000 steps");
}

#[test]
fn a_spec_is_a_number_a_name_or_a_path() {
    assert_eq!(Scenario::from_spec("1").unwrap().gpus(), 1);
    assert_eq!(Scenario::from_spec("64").unwrap().gpus(), 64);
    for number in ["0", "65", "99999999999999999999999"] {
        let error = Scenario::from_spec(number).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("a simulated node cannot have {number} GPUs: write a number from 1 to 64")
        );
    }
    for name in ["", "xid79", "-1", "all"] {
        let error = Scenario::from_spec(name).unwrap_err();
        assert!(matches!(error, ScenarioError::Unknown { .. }), "{error}");
        assert!(
            error.to_string().ends_with(
                "or one of healthy-8, xid-79, contained-error, storm, \
             off-the-bus-and-back, driver-reload, hung-call, mig-on-and-off, replaced-gpu"
            ),
            "{error}"
        );
    }
}

#[test]
fn a_file_is_read_and_named_in_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let spec = path.to_str().unwrap();
    let error = Scenario::from_spec(spec).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the scenario {spec}"));
    fs::write(&path, "[node]\ngpus = 3\n").unwrap();
    assert_eq!(Scenario::from_spec(spec).unwrap().gpus(), 3);
    fs::write(&path, "[node]\ngpus = 3\nspeed = 1\n").unwrap();
    assert!(Scenario::from_spec(spec).unwrap_err().to_string().starts_with(&format!("{spec}:3: ")));
    fs::write(&path, [0xFF]).unwrap();
    assert!(matches!(Scenario::from_spec(spec), Err(ScenarioError::Read { .. })));
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    assert!(matches!(Scenario::from_spec(spec), Err(ScenarioError::TooLarge { .. })));
    assert!(matches!(Scenario::from_spec(&format!("{}/", folder.path().display())), Err(ScenarioError::Read { .. })));
}

#[test]
fn every_scenario_file_is_ready_made_and_in_the_document() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(root.join("scenarios")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    let mut known: Vec<_> = Scenario::ready_made().collect();
    known.sort_unstable();
    assert_eq!(known, names);
    let document = fs::read_to_string(root.join("../docs/simulation.md")).unwrap();
    for name in names {
        assert!(document.contains(&format!("| `{name}` |")), "docs/simulation.md has no row for {name}");
    }
}

#[test]
fn every_example_in_the_document_is_a_scenario() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulation.md");
    let document = fs::read_to_string(path).unwrap();
    let examples: Vec<_> = document.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!examples.is_empty());
    for example in examples {
        Scenario::parse("docs/simulation.md", example).unwrap();
    }
}

#[test]
fn no_text_makes_the_reader_panic() {
    let seed = std::env::var("DEVICE_API_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    eprintln!("DEVICE_API_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let whole = Scenario::ready_made().map(|name| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.toml"))).unwrap()
    });
    let texts: Vec<_> = whole.collect();
    let words: Vec<_> = texts.iter().flat_map(|text| text.split_inclusive([' ', '\n', '"', '.', ','])).collect();
    let (mut good, mut bad) = (0, 0);
    for _ in 0..3_000 {
        // Lines of real scenarios, some of them with something else in them.
        let mut text = random.choice(&texts).unwrap().clone();
        for _ in 0..random.usize(0..4) {
            let from = text.floor_char_boundary(random.usize(0..=text.len()));
            let to = text.floor_char_boundary((from + random.usize(0..20)).min(text.len()));
            let new = match random.u8(0..4) {
                0 => (*random.choice(&words).unwrap()).to_owned(),
                1 => random.char(..).to_string(),
                2 => random.i64(..).to_string(),
                _ => String::new(),
            };
            text.replace_range(from.min(to)..to, &new);
        }
        match Scenario::parse("random", &text) {
            Ok(_) => good += 1,
            Err(ScenarioError::Invalid { line, .. }) => {
                assert!((1..=text.lines().count() + 1).contains(&line), "line {line} of {text}");
                bad += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Neither all nor none, or something else was tried than was meant.
    assert!(good > 100 && bad > 100, "{good} good, {bad} bad");
}
