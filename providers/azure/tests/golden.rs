//! The golden rows: what the cloud provider of Azure does in 120 situations, and what we do.
//!
//! A row whose expectation holds here as it stands (that of the cloud provider, or the better one that the table asks for) has one test,
//! `row_NNN_…`, in any file of `golden/`. A row where we do something else on purpose stands in `golden/changed.md` with the reason, and
//! may have a test `changed_NNN_…` of what we do. A row of which decisions alone show only a part stands in `golden/open.md` with what is
//! missing, and may have a test `open_NNN_…` of that part. Each number is in exactly one of the three. Everything runs under the profile
//! `azure` unless a test says otherwise; names are ours throughout (see the crate's `names`).

mod golden {
    mod access;
    mod addresses;
    mod basics;
    mod life;
    mod nodes;
    mod probes;
    mod rig;
    mod rules;
    mod stage;
    mod writes;
}

use std::{collections::BTreeMap, fs, path::PathBuf};

/// How many rows there are.
const ROWS: u32 = 120;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// The numbers of the tests of this kind, each as often as it stands in the files.
fn tests(kind: &str) -> Vec<u32> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(directory()).expect("a directory of rows") {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file of rows");
        let names = text
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("fn ")?.strip_prefix(kind));
        numbers.extend(names.map(|name| -> u32 {
            let digits = name.get(..3).and_then(|digits| digits.parse().ok());
            digits.unwrap_or_else(|| panic!("{kind}{name} has no number of three digits"))
        }));
    }
    numbers
}

/// The numbers of a table of rows.
fn table(name: &str) -> Vec<u32> {
    let text = fs::read_to_string(directory().join(name)).expect("a table of rows");
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok())
        .collect()
}

#[test]
fn every_row_is_in_exactly_one_place() {
    let mut places: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (place, numbers) in [
        ("a test", tests("row_")),
        ("changed.md", table("changed.md")),
        ("open.md", table("open.md")),
    ] {
        for number in numbers {
            places.entry(number).or_default().push(place);
        }
    }
    let wrong: Vec<_> = (1..=ROWS)
        .map(|number| (number, places.remove(&number).unwrap_or_default()))
        .filter(|(_, places)| places.len() != 1)
        .collect();
    assert_eq!(wrong, [], "rows that are not in exactly one place");
    assert_eq!(places, BTreeMap::new(), "rows that there are not");
}

#[test]
fn a_test_of_a_change_is_about_a_row_of_the_table() {
    for (kind, name) in [("changed_", "changed.md"), ("open_", "open.md")] {
        let rows = table(name);
        for number in tests(kind) {
            assert!(rows.contains(&number), "{number} is not in {name}");
        }
    }
}
