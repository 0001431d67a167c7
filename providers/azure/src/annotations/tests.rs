use std::collections::BTreeSet;

use evenkeel_core::annotation::KeyDoc;

use super::*;

/// Every key that the cloud provider reads.
const KNOWN: &str = include_str!("known_keys.txt");

#[test]
fn every_key_of_the_cloud_provider_is_in_the_table() {
    let table: BTreeSet<_> = TABLE.keys.iter().map(|doc| doc.key).collect();
    let known: BTreeSet<_> = KNOWN.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(table, known);
    assert_eq!(table.len(), TABLE.keys.len(), "a key stands twice");
}

#[test]
fn every_example_is_read_and_written_back_as_it_is() {
    for KeyDoc {
        key,
        grammar,
        example,
        ..
    } in TABLE.keys
    {
        let read = grammar.parse(key, example);
        let value = read.unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(value.to_string(), *example, "{key}");
    }
}

#[test]
fn every_key_is_described() {
    for doc in TABLE.keys {
        assert!(doc.doc.ends_with('.'), "{}: {}", doc.key, doc.doc);
        assert!(!doc.default.is_empty(), "{}", doc.key);
    }
}
