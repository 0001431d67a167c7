use proptest::prelude::*;

use super::*;

const NLB: Naming = Naming::new(32, Charset::Mixed, 10);
const GCE: Naming = Naming::new(63, Charset::Lower, 10).letter_first();

#[test]
fn a_name_reads_as_what_it_names() {
    let name = GCE.name(
        &["ek", "1a2b3c4d"],
        &["shop", "checkout"],
        &["cluster-uid", "service-uid"],
    );
    let (readable, hash) = name.rsplit_once('-').expect("it has a hash");
    assert_eq!(readable, "ek-1a2b3c4d-shop-checkout");
    assert_eq!(hash.len(), 10);
}

/// Names that exist in clouds: none of these rows may ever change.
#[test]
fn names_are_the_same_for_ever() {
    for (naming, fixed, readable, identity, want) in [
        (
            GCE,
            &["ek", "5d8f0c1e"][..],
            &["shop", "checkout"][..],
            &[
                "5d8f0c1e-3a52-4f0e-9f1b-0c7c5a1d2e3f",
                "0b6e7a34-91f4-4c3a-8d56-7a2f1c9e4b10",
            ][..],
            "ek-5d8f0c1e-shop-checkout-cukddh37c4",
        ),
        (
            NLB,
            &["ek", "5d8f0c1e"][..],
            &["shop", "checkout"][..],
            &[
                "5d8f0c1e-3a52-4f0e-9f1b-0c7c5a1d2e3f",
                "0b6e7a34-91f4-4c3a-8d56-7a2f1c9e4b10",
            ][..],
            "ek-5d8f0c1e-shop-chec-cukddh37c4",
        ),
        (
            GCE,
            &["ek", "5d8f0c1e"][..],
            &["shop", "checkout"][..],
            &[
                "5d8f0c1e-3a52-4f0e-9f1b-0c7c5a1d2e3f",
                "0c6e7a34-91f4-4c3a-8d56-7a2f1c9e4b10",
            ][..],
            "ek-5d8f0c1e-shop-checkout-ac32ijxzyd",
        ),
        (
            NLB,
            &[][..],
            &["1-Größe"][..],
            &["0b6e7a34-91f4-4c3a-8d56-7a2f1c9e4b10"][..],
            "1-Gr-e-7tkrqolpiq",
        ),
        (GCE, &[][..], &[][..], &[][..], "twii5t5wwj"),
    ] {
        assert_eq!(naming.name(fixed, readable, identity), want);
    }
}

#[test]
fn the_longest_readable_part_is_cut_first_and_the_hash_never() {
    let long = "x".repeat(100);
    for (naming, readable, want) in [
        (NLB, ["shop", "checkout"], "ek-shop-checkout-"),
        (NLB, ["shop", &long], "ek-shop-xxxxxxxxxxxxx-"),
        (NLB, [&long, "checkout"], "ek-xxxxxxxxx-checkout-"),
        (NLB, [&long, &long], "ek-xxxxxxxxx-xxxxxxxx-"),
        (NLB, ["a-very-long-name", "b"], "ek-a-very-long-name-b-"),
        (NLB, ["a-very-long-one-name", "b"], "ek-a-very-long-one-b-"),
        (
            Naming::new(13, Charset::Lower, 10),
            ["shop", "checkout"],
            "ek-",
        ),
        (
            Naming::new(12, Charset::Lower, 10),
            ["shop", "checkout"],
            "e-",
        ),
    ] {
        let name = naming.name(&["ek"], &readable, &["uid"]);
        let (readable, hash) = name.split_at(name.len() - 10);
        assert_eq!(readable, want, "{name}");
        assert!(!hash.contains('-'), "{name}");
    }
}

#[test]
fn characters_that_a_cloud_refuses_become_hyphens() {
    for (naming, part, want) in [
        (GCE, "Shop.Front_End", "shop-front-end-"),
        (NLB, "Shop.Front_End", "Shop-Front-End-"),
        (GCE, "--shop--", "shop-"),
        (GCE, "größe", "gr-e-"),
        (GCE, "...", ""),
        (GCE, "", ""),
    ] {
        let name = naming.name(&[], &[part], &[]);
        let readable = &name[..name.len() - 10];
        assert_eq!(readable.trim_start_matches('x'), want, "{name}");
    }
}

#[test]
fn a_name_starts_with_a_letter_where_it_must() {
    let digits = Naming::new(32, Charset::Lower, 10).name(&[], &["1st"], &[]);
    assert!(digits.starts_with("1st-"), "{digits}");
    let letters = Naming::new(32, Charset::Lower, 10)
        .letter_first()
        .name(&[], &["1st"], &[]);
    assert!(letters.starts_with("x1st-"), "{letters}");
}

#[test]
fn fields_cannot_be_forged() {
    let (name, identity) = (["a"], ["u"]);
    let mut names = vec![
        GCE.name(&["ek"], &["a", "b-c"], &identity),
        GCE.name(&["ek"], &["a-b", "c"], &identity),
        GCE.name(&["ek", "a"], &["b", "c"], &identity),
        GCE.name(&["ek"], &["a.b", "c"], &identity),
        GCE.name(&["ek"], &["A", "b-c"], &identity),
        GCE.name(&["ek"], &["a\nb", "c"], &identity),
        GCE.name(&["ek"], &name, &["u", ""]),
        GCE.name(&["ek"], &name, &["", "u"]),
        GCE.name(&["ek"], &name, &["u"]),
        GCE.name(&["ek"], &["a", ""], &["u"]),
        GCE.name(&["ek"], &["a", "u"], &[]),
    ];
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all, "{names:#?}");
}

#[test]
fn base32_is_that_of_rfc_4648() {
    // Section 10 of the RFC, in lower case and without padding.
    for (text, want) in [
        ("f", "my"),
        ("fo", "mzxq"),
        ("foo", "mzxw6"),
        ("foob", "mzxw6yq"),
        ("foobar", "mzxw6ytboi"),
    ] {
        assert_eq!(base32(text.as_bytes(), want.len()), want);
    }
    assert_eq!(hash(&[&["a"]], 52).len(), 52);
}

fn fields() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::vec(prop_oneof![any::<String>(), "[a-z0-9-]{0,70}"], 0..4)
}

fn refs(fields: &[String]) -> Vec<&str> {
    fields.iter().map(String::as_str).collect()
}

fn namings() -> impl Strategy<Value = Naming> {
    (1_usize..=52, 0_usize..80, any::<bool>(), any::<bool>()).prop_map(
        |(hash, more, lower, letter_first)| {
            let charset = if lower {
                Charset::Lower
            } else {
                Charset::Mixed
            };
            let naming = Naming::new(hash + 2 + more, charset, hash);
            if letter_first {
                naming.letter_first()
            } else {
                naming
            }
        },
    )
}

proptest! {
    #[test]
    fn every_name_keeps_the_rules(
        naming in namings(),
        fixed in fields(),
        readable in fields(),
        identity in fields(),
    ) {
        let name = naming.name(&refs(&fixed), &refs(&readable), &refs(&identity));
        prop_assert!(name.len() <= naming.max, "{name}");
        prop_assert!(name.len() >= naming.hash, "{name}");
        let whole = hash(&[&refs(&fixed), &refs(&readable), &refs(&identity)], naming.hash);
        prop_assert!(name.ends_with(&whole), "{name} lacks {whole}");
        prop_assert!(!name.starts_with('-') && !name.ends_with('-') && !name.contains("--"), "{name}");
        let allowed = |char: char| match naming.charset {
            Charset::Lower => char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-',
            Charset::Mixed => char.is_ascii_alphanumeric() || char == '-',
        };
        prop_assert!(name.chars().all(allowed), "{name}");
        if naming.letter_first {
            prop_assert!(name.starts_with(|first: char| first.is_ascii_alphabetic()), "{name}");
        }
        prop_assert_eq!(naming.name(&refs(&fixed), &refs(&readable), &refs(&identity)), name);
    }

    #[test]
    fn different_fields_have_different_names(a in (fields(), fields()), b in (fields(), fields())) {
        prop_assume!(a != b);
        let name = |fields: &(Vec<String>, Vec<String>)| NLB.name(&["ek"], &refs(&fields.0), &refs(&fields.1));
        prop_assert_ne!(name(&a), name(&b));
    }
}
