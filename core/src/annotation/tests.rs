use proptest::prelude::*;

use super::*;

fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn every_example_is_read_and_written_back_as_it_is() {
    for doc in reference() {
        let read = doc.grammar.parse(doc.key, doc.example);
        let value = read.unwrap_or_else(|problem| panic!("{problem}"));
        assert_eq!(value.to_string(), doc.example, "{}", doc.key);
    }
}

#[test]
fn the_reference_is_complete() {
    let mut keys: Vec<_> = reference().map(|doc| doc.key).collect();
    assert_eq!(keys.len(), 18);
    for doc in reference() {
        assert!(doc.key.starts_with(PREFIX), "{}", doc.key);
        assert!(doc.doc.ends_with('.'), "{}: {}", doc.key, doc.doc);
        assert!(!doc.default.is_empty(), "{}", doc.key);
        assert!(!doc.grammar.to_string().is_empty(), "{}", doc.key);
    }
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 18, "a key stands twice");
}

#[test]
fn an_unknown_key_is_told_with_what_was_probably_meant() {
    let advice = |key: &str| {
        let warnings = NEUTRAL.unknown(&annotations(&[(key, "x")]));
        assert_eq!(warnings.len(), 1, "{key}: {warnings:?}");
        assert_eq!(warnings[0].reason, "UnknownAnnotation");
        assert!(warnings[0].message.contains(key), "{}", warnings[0]);
        warnings[0].message.clone()
    };
    for (key, meant) in [
        ("evenkeel.dev/schem", "evenkeel.dev/scheme"),
        ("evenkeel.dev/Scheme", "evenkeel.dev/scheme"),
        ("evenkeel.dev/static-adress", "evenkeel.dev/static-address"),
        (
            "evenkeel.dev/healthcheck-path",
            "evenkeel.dev/health-check-path",
        ),
        ("evenkeel.dev/source_ranges", "evenkeel.dev/source-ranges"),
        ("evenkeel.dev/approved", "evenkeel.dev/approve"),
    ] {
        let message = advice(key);
        assert!(
            message.ends_with(&format!("Did you mean {meant}?")),
            "{message}"
        );
    }
    for key in ["evenkeel.dev/", "evenkeel.dev/quantum-entanglement"] {
        assert!(advice(key).ends_with("reference of annotations."), "{key}");
    }
}

#[test]
fn known_keys_and_those_of_others_are_not_told() {
    let all = annotations(&[
        ("evenkeel.dev/scheme", "nonsense"),
        ("evenkeel.devel/scheme", "x"),
        ("service.beta.kubernetes.io/aws-load-balancer-type", "nlb"),
        ("scheme", "internal"),
    ]);
    assert_eq!(NEUTRAL.unknown(&all), []);
}

/// As a provider declares its own.
static CLOUD: KeyTable = KeyTable {
    prefixes: &["cloud.example.com/", "cloud.example.com/lb-"],
    keys: &[
        KeyDoc {
            key: "cloud.example.com/lb-subnets",
            grammar: Grammar::List,
            default: "all",
            doc: "Subnets.",
            example: "a,b",
        },
        KeyDoc {
            key: "cloud.example.com/lb-owner",
            grammar: Grammar::Text,
            default: "none",
            doc: "Free text.",
            example: "Jane Doe",
        },
        KeyDoc {
            key: "cloud.example.com/lb-address",
            grammar: Grammar::Address,
            default: "any",
            doc: "An address.",
            example: "192.0.2.1",
        },
    ],
};

#[test]
fn a_provider_s_table_works_in_the_same_way() {
    let raw: BTreeMap<Arc<str>, Arc<str>> = [
        ("cloud.example.com/lb-subnets", " a, b ,a"),
        ("cloud.example.com/lb-owner", "  Jane Doe "),
        ("cloud.example.com/lb-subnet", "a"),
        ("evenkeel.dev/scheme", "internal"),
    ]
    .map(|(key, value)| (key.into(), value.into()))
    .into();
    let reader = CLOUD.reader(&raw);
    assert_eq!(
        reader.list("cloud.example.com/lb-subnets"),
        Ok(Some(vec!["a".into(), "b".into()]))
    );
    assert_eq!(
        reader.text("cloud.example.com/lb-owner"),
        Ok(Some("Jane Doe".into()))
    );
    assert_eq!(reader.address("cloud.example.com/lb-address"), Ok(None));
    let warnings = CLOUD.unknown(&raw);
    assert_eq!(warnings.len(), 1);
    let want = "metadata.annotations[cloud.example.com/lb-subnet]: unknown key under cloud.example.com/lb-, it has no \
                effect. Did you mean cloud.example.com/lb-subnets?";
    assert_eq!(warnings[0].message, want);
}

/// A key for each port.
static FAMILIES: KeyTable = KeyTable {
    prefixes: &["cloud.example.com/"],
    keys: &[
        KeyDoc {
            key: "cloud.example.com/attributes",
            grammar: Grammar::Escaped,
            default: "none",
            doc: "For all ports.",
            example: "a=1",
        },
        KeyDoc {
            key: "cloud.example.com/attributes.{n}",
            grammar: Grammar::Escaped,
            default: "those of all ports",
            doc: "For one port.",
            example: "a=1",
        },
        KeyDoc {
            key: "cloud.example.com/listener.{P}-{n}",
            grammar: Grammar::Escaped,
            default: "none",
            doc: "For one listener.",
            example: "a=1",
        },
    ],
};

#[test]
fn one_line_stands_for_a_family_of_keys() {
    let all = annotations(&[
        ("cloud.example.com/attributes", "a=0"),
        ("cloud.example.com/attributes.80", "a=1"),
        ("cloud.example.com/attributes.8080", ""),
        ("cloud.example.com/listener.TCP_UDP-53", "a=2"),
    ]);
    assert_eq!(FAMILIES.unknown(&all), []);
    let reader = FAMILIES.reader(&all);
    let one = ("cloud.example.com/attributes.80", vec!["80"]);
    assert_eq!(reader.family("cloud.example.com/attributes.{n}"), vec![one]);
    let one = (
        "cloud.example.com/listener.TCP_UDP-53",
        vec!["TCP_UDP", "53"],
    );
    assert_eq!(
        reader.family("cloud.example.com/listener.{P}-{n}"),
        vec![one]
    );
    let read = reader.map("cloud.example.com/attributes.80");
    assert_eq!(read, Ok(Some([("a".into(), "1".into())].into())));
}

#[test]
fn a_key_that_is_only_like_those_of_a_family_is_unknown() {
    for tail in [
        "attributes.http",
        "attributes.0",
        "attributes.080",
        "attributes.65536",
        "attributes.{n}",
        "attributes.80.x",
        "listener.tcp-80",
        "listener.TCP80",
        "listener.-80",
    ] {
        let key = format!("cloud.example.com/{tail}");
        let unknown = FAMILIES.unknown(&annotations(&[(&key, "a=1")]));
        assert_eq!(unknown.len(), 1, "{key}");
    }
}

#[test]
fn a_family_that_was_probably_meant_is_told_with_what_its_parts_are() {
    let key = "cloud.example.com/attributes.http";
    let unknown = FAMILIES.unknown(&annotations(&[(key, "a=1")]));
    let want = "Did you mean cloud.example.com/attributes.{n}, where {n} is a port number and {P} a protocol in capitals?";
    assert!(unknown[0].message.ends_with(want), "{}", unknown[0]);
}

#[test]
fn a_blank_value_is_no_annotation() {
    let blank = annotations(&[(key::SCHEME, ""), (key::DRAIN, " \t\n"), (key::TAGS, " ")]);
    let reader = NEUTRAL.reader(&blank);
    assert_eq!(reader.raw(key::SCHEME), None);
    assert_eq!(reader.word(key::SCHEME), Ok(None));
    assert_eq!(reader.number(key::DRAIN), Ok(None));
    assert_eq!(reader.map(key::TAGS), Ok(None));
}

#[test]
#[should_panic(expected = "the table does not list evenkeel.dev/nothing")]
fn reading_a_key_that_no_table_lists_is_a_mistake_in_the_source() {
    let _ = NEUTRAL
        .reader(&annotations(&[]))
        .bool("evenkeel.dev/nothing");
}

#[test]
fn nearest_finds_what_is_like_a_word_and_nothing_else() {
    let words = ["internal", "internet-facing"];
    for (word, want) in [
        ("interal", Some("internal")),
        ("INTERNAL", Some("internal")),
        ("internet_facing", Some("internet-facing")),
        ("public", None),
        ("", None),
    ] {
        assert_eq!(nearest(word, words), want, "{word:?}");
    }
    assert_eq!(nearest(&"internal".repeat(1000), words), None);
    assert_eq!(nearest("x", []), None);
}

proptest! {
    #[test]
    fn any_key_and_value_can_be_looked_at(
        pairs in proptest::collection::btree_map(
            prop_oneof![any::<String>(), any::<String>().prop_map(|tail| format!("{PREFIX}{tail}"))],
            any::<String>(),
            0..8,
        ),
    ) {
        let unknown = NEUTRAL.unknown(&pairs).len();
        let ours = pairs.keys().filter(|key| key.starts_with(PREFIX)).count();
        prop_assert!(unknown <= ours);
        let reader = NEUTRAL.reader(&pairs);
        for doc in reference() {
            if let Ok(Some(value)) = reader.value(doc.key) {
                // What was read reads the same once it is written in canonical form.
                prop_assert_eq!(doc.grammar.parse(doc.key, &value.to_string()), Ok(value));
            }
        }
    }
}
