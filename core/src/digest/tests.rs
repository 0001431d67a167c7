use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Digests are stored on cloud objects and typed by people: this row may never change.
#[test]
fn a_digest_is_the_same_on_every_machine() {
    // printf '{"a":1,"b":[true,"x"]}' | sha256sum
    let value = serde_json::json!({"b": [true, "x"], "a": 1});
    let digest = Digest::of(&value);
    assert_eq!(digest.to_string(), "63e8063d9dc6f0fd5a24b4706818a165");
    assert_eq!(digest.short(), digest.to_string()[..10]);
}

#[test]
fn what_is_no_digest_is_refused() {
    for text in ["", "xyz", "0x12", &"f".repeat(33)] {
        assert!(Digest::try_from(text.to_owned()).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_digest_reads_as_it_is_written(value in any::<u64>()) {
        let digest = Digest::of(&value);
        let text = digest.to_string();
        prop_assert_eq!(text.len(), 32);
        prop_assert_eq!(Digest::try_from(text), Ok(digest));
        let json = serde_json::to_string(&digest).expect("it serialises");
        prop_assert_eq!(serde_json::from_str::<Digest>(&json).expect("it reads"), digest);
    }

    #[test]
    fn equal_values_alone_have_equal_digests(
        a in proptest::collection::btree_map(any::<String>(), 0..3, 0..4),
        b in proptest::collection::btree_map(any::<String>(), 0..3, 0..4),
    ) {
        let again: BTreeMap<_, _> = a.clone().into_iter().rev().collect();
        prop_assert_eq!(Digest::of(&a), Digest::of(&again));
        prop_assert_eq!(Digest::of(&a) == Digest::of(&b), a == b);
    }
}
