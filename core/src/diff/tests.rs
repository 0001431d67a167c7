use proptest::prelude::*;

use super::*;

fn map(entries: &[(&'static str, i32)]) -> BTreeMap<&'static str, i32> {
    entries.iter().copied().collect()
}

#[test]
fn each_key_is_created_changed_destroyed_or_kept() {
    let desired = map(&[("new-b", 1), ("new-a", 1), ("same", 1), ("other", 2)]);
    let observed = map(&[("same", 1), ("other", 1), ("old-b", 1), ("old-a", 1)]);
    let diff = diff(&desired, &observed, i32::eq);
    assert_eq!(diff.create, [(&"new-a", &1), (&"new-b", &1)]);
    assert_eq!(
        diff.change,
        [Change {
            key: &"other",
            from: &1,
            to: &2
        }]
    );
    assert_eq!(diff.destroy, [(&"old-a", &1), (&"old-b", &1)]);
    assert_eq!(diff.keep, [(&"same", &1)]);
    assert!(!diff.is_empty());
}

#[test]
fn nothing_is_to_be_done_about_equals() {
    let both = map(&[("a", 1), ("b", 2)]);
    assert!(diff(&both, &both, i32::eq).is_empty());
    assert!(diff(&map(&[]), &map(&[]), i32::eq).is_empty());
}

#[test]
fn one_thing_to_do_is_something_to_do() {
    let (none, one, two) = (map(&[]), map(&[("a", 1)]), map(&[("a", 2)]));
    for (desired, observed) in [(&one, &none), (&none, &one), (&two, &one)] {
        assert!(
            !diff(desired, observed, i32::eq).is_empty(),
            "{desired:?} {observed:?}"
        );
    }
}

proptest! {
    #[test]
    fn doing_what_is_said_gives_the_desired(
        desired in proptest::collection::btree_map(0_u8..16, 0_u8..3, 0..12),
        observed in proptest::collection::btree_map(0_u8..16, 0_u8..3, 0..12),
    ) {
        let diff = diff(&desired, &observed, u8::eq);
        let mut done = observed.clone();
        for (key, value) in &diff.create {
            prop_assert_eq!(done.insert(**key, **value), None);
        }
        for change in &diff.change {
            prop_assert_ne!(change.from, change.to);
            prop_assert_eq!(done.insert(*change.key, *change.to), Some(*change.from));
        }
        for (key, _) in &diff.destroy {
            prop_assert!(done.remove(key).is_some());
        }
        prop_assert_eq!(&done, &desired);
        prop_assert_eq!(diff.is_empty(), observed == desired);
    }
}
