//! The golden rows: what two former controllers do in 157 situations, and what we do.
//!
//! A row whose expectation holds here as it stands (that of the former controllers, or the better one that the table asks for) has one
//! test, `row_NNN_…`, in any file of `golden/` or, where it can be seen at the wire alone, of `wire/`. A row where we do something else on purpose stands in `golden/changed.md` with the
//! reason, and may have a test `changed_NNN_…` of what we do. Each number is in exactly one of the two. Everything runs under the profile `lbc` unless a test says otherwise.

mod golden {
    mod addresses;
    mod changes;
    mod claiming;
    mod groups;
    mod health;
    mod kinds;
    mod labels;
    mod life;
    mod listeners;
    mod naming;
    mod nodes;
    mod open;
    mod openings;
    mod pods;
    pub(crate) mod rig;
    mod room;
    mod scale;
    mod security;
    pub(crate) mod stage;
    mod subnets;
    mod targets;
    mod values;
    mod walks;
}

use std::{collections::BTreeMap, fs, path::PathBuf};

/// How many rows there are.
const ROWS: u32 = 157;

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name)
}

/// The numbers of the tests of this kind, each as often as it stands in the files.
fn tests(kind: &str) -> Vec<u32> {
    let files = ["golden", "wire"]
        .into_iter()
        .flat_map(|name| fs::read_dir(directory(name)).expect("a directory of rows"));
    let mut numbers = Vec::new();
    for file in files {
        let path = file.expect("a file").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a file of rows");
        let names = text.lines().filter_map(|line| {
            let name = line.trim_start().trim_start_matches("async ");
            name.strip_prefix("fn ")?.strip_prefix(kind)
        });
        numbers.extend(names.map(|name| -> u32 {
            let digits = name.get(..3).and_then(|digits| digits.parse().ok());
            digits.unwrap_or_else(|| panic!("{kind}{name} has no number of three digits"))
        }));
    }
    numbers
}

/// The numbers of the table of changed rows.
fn changed() -> Vec<u32> {
    let text =
        fs::read_to_string(directory("golden").join("changed.md")).expect("the changed rows");
    text.lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok())
        .collect()
}

#[test]
fn every_row_is_in_exactly_one_place() {
    let mut places: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for (place, numbers) in [("a test", tests("row_")), ("changed.md", changed())] {
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
fn a_test_of_a_change_is_about_a_changed_row() {
    let changed = changed();
    for number in tests("changed_") {
        assert!(changed.contains(&number), "{number} is not in changed.md");
    }
}
