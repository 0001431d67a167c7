use proptest::prelude::*;

use super::*;
use crate::annotation::Grammar;

const KEY: &str = "evenkeel.dev/test";

/// What a value reads as, in canonical form, or the problem.
fn read(grammar: Grammar, value: &str) -> Result<String, String> {
    match grammar.parse(KEY, value) {
        Ok(value) => Ok(value.to_string()),
        Err(problem) => {
            assert_eq!(problem.field, "metadata.annotations[evenkeel.dev/test]");
            assert!(
                problem.message.starts_with("must be") || problem.message.starts_with("must start"),
                "{problem}"
            );
            assert!(problem.advice.ends_with(['.', '?']), "{problem}");
            Err(format!("{}. {}", problem.message, problem.advice))
        }
    }
}

#[track_caller]
fn accepts(grammar: Grammar, rows: &[(&str, &str)]) {
    for (value, want) in rows {
        assert_eq!(read(grammar, value).as_deref(), Ok(*want), "{value:?}");
    }
}

/// Each row is a value and a part of what is said about it.
#[track_caller]
fn refuses(grammar: Grammar, rows: &[(&str, &str)]) {
    for (value, part) in rows {
        let said = read(grammar, value).expect_err(value);
        assert!(said.contains(part), "{value:?}: {said:?} lacks {part:?}");
    }
}

#[test]
fn booleans() {
    accepts(
        Grammar::Bool,
        &[("true", "true"), ("False", "false"), (" TRUE ", "true")],
    );
    refuses(
        Grammar::Bool,
        &[
            ("ture", "Did you mean \"true\"?"),
            ("flase", "Did you mean \"false\"?"),
            ("yes", "one of true, false"),
            ("1", "one of true, false"),
            ("", "one of true, false"),
        ],
    );
}

#[test]
fn booleans_of_go() {
    accepts(
        Grammar::GoBool,
        &[
            ("1", "true"),
            ("t", "true"),
            ("TRUE", "true"),
            (" False ", "false"),
            ("F", "false"),
            ("0", "false"),
        ],
    );
    refuses(
        Grammar::GoBool,
        &[
            ("yes", "one of true, false"),
            ("tRUE", "Did you mean \"true\"?"),
            ("0.0.0.0/0", "one of true, false"),
        ],
    );
}

#[test]
fn words_to_the_letter() {
    let grammar = Grammar::Exactly(&["on", "off"]);
    accepts(grammar, &[("on", "on"), (" off ", "off")]);
    refuses(
        grammar,
        &[
            ("On", "Did you mean \"on\"?"),
            ("OFF", "Did you mean \"off\"?"),
            ("true", "one of on, off"),
        ],
    );
    let star = Grammar::Exactly(&["*"]);
    refuses(star, &[("on", "must be *. Write *, or remove")]);
}

#[test]
fn lists_that_repeat() {
    accepts(
        Grammar::Repeated,
        &[("edge, edge,,other", "edge,edge,other")],
    );
    refuses(Grammar::Repeated, &[(" , ", "a list such as a,b")]);
}

#[test]
fn pairs_with_escapes() {
    accepts(
        Grammar::Escaped,
        &[
            ("Team=a,Empty=,Note=x\\,y", "Empty=,Note=x\\,y,Team=a"),
            ("a=b=c,", "a=b=c"),
            ("path=C:\\\\dir", "path=C:\\\\dir"),
            ("end=x\\", "end=x\\\\"),
        ],
    );
    refuses(
        Grammar::Escaped,
        &[
            ("Team", "\"Team\" is no pair"),
            ("a=1,b", "\"b\" is no pair"),
            ("=1", "\"=1\" is no pair"),
            ("a=1,a=2", "\"a\" has two values"),
            (" , ", "there is none"),
        ],
    );
}

#[test]
fn numbers() {
    let grammar = Grammar::Int { min: 2, max: 10 };
    accepts(grammar, &[("2", "2"), (" 10 ", "10"), ("007", "7")]);
    refuses(
        grammar,
        &[
            ("1", "from 2 to 10. The nearest is 2."),
            ("11", "The nearest is 10."),
            ("99999999999999999999999999", "The nearest is 10."),
            ("-3", "Write a whole number"),
            ("+3", "Write a whole number"),
            ("3.5", "Write a whole number"),
            ("three", "Write a whole number"),
            ("", "Write a whole number"),
            ("٣", "Write a whole number"),
        ],
    );
}

#[test]
fn times() {
    let grammar = Grammar::Seconds { min: 1, max: 3600 };
    accepts(
        grammar,
        &[
            ("30", "30"),
            ("30s", "30"),
            ("5m", "300"),
            ("1h", "3600"),
            (" 5 m ", "300"),
        ],
    );
    refuses(
        grammar,
        &[
            ("0", "The nearest is 1."),
            ("2h", "The nearest is 3600."),
            ("18446744073709551615h", "The nearest is 3600."),
            // Would be 3584 seconds if the product of number and unit were cut to 64 bits.
            ("5124095576030432h", "The nearest is 3600."),
            ("500ms", "Write whole seconds"),
            ("1m30s", "Write whole seconds"),
            ("s", "Write whole seconds"),
            ("1.5m", "Write whole seconds"),
            ("-5s", "Write whole seconds"),
        ],
    );
}

#[test]
fn words() {
    let grammar = Grammar::Word(&["Delete", "Retain"]);
    accepts(
        grammar,
        &[
            ("Delete", "Delete"),
            ("retain", "Retain"),
            (" RETAIN ", "Retain"),
        ],
    );
    refuses(
        grammar,
        &[
            ("Retian", "one of Delete, Retain. Did you mean \"Retain\"?"),
            ("Recycle", "Write one of them"),
        ],
    );
}

#[test]
fn lists_and_maps() {
    accepts(Grammar::List, &[("a", "a"), (" b , a ,,b,", "b,a")]);
    refuses(
        Grammar::List,
        &[("", "at least one entry"), (" , ,", "at least one entry")],
    );
    accepts(
        Grammar::Map,
        &[
            ("b=2, a = 1", "a=1,b=2"),
            ("a=", "a="),
            ("a=b=c", "a=b=c"),
            ("a=1,a=1", "a=1"),
        ],
    );
    refuses(
        Grammar::Map,
        &[
            ("a", "\"a\" is no pair"),
            ("=1", "\"=1\" is no pair"),
            ("a=1,a=2", "\"a\" has two values"),
            ("a=1,b,c", "\"b\" is no pair, \"c\" is no pair"),
            ("a,b,c,d,e,f,g", "(and 2 more)"),
            (",", "at least one entry"),
        ],
    );
}

#[test]
fn prefixes() {
    accepts(
        Grammar::Cidrs,
        &[
            ("10.0.0.0/8", "10.0.0.0/8"),
            (
                " 192.0.2.7/24 ,10.1.2.3/8, 10.0.0.0/8",
                "10.0.0.0/8,192.0.2.0/24",
            ),
            ("2001:DB8::1/32,0.0.0.0/0", "0.0.0.0/0,2001:db8::/32"),
        ],
    );
    refuses(
        Grammar::Cidrs,
        &[
            (
                "10.0.0.1",
                "\"10.0.0.1\" is not. Write a single address as 10.0.0.1/32.",
            ),
            (
                "10.0.0.0/8,2001:db8::1",
                "Write a single address as 2001:db8::1/128.",
            ),
            (
                "10.0.0.0/33, 10.0.0/8",
                "\"10.0.0.0/33\" is not, \"10.0.0/8\" is not",
            ),
            ("everyone", "Write each as address/length"),
        ],
    );
}

#[test]
fn single_addresses() {
    accepts(
        Grammar::Address,
        &[
            (" 192.0.2.10", "192.0.2.10"),
            ("2001:DB8:0::10", "2001:db8::10"),
        ],
    );
    refuses(
        Grammar::Address,
        &[
            ("banana", "an IP address"),
            ("192.0.2.10/32", "without a prefix length"),
            ("010.0.0.1", "an IP address"),
        ],
    );
}

#[test]
fn addresses_and_names() {
    accepts(
        Grammar::Addresses,
        &[
            ("192.0.2.10", "192.0.2.10"),
            (
                "2001:db8::1,192.0.2.10,192.0.2.10",
                "2001:db8::1,192.0.2.10",
            ),
            ("eipalloc-0a1,eipalloc-0b2", "eipalloc-0a1,eipalloc-0b2"),
            (
                "projects/p/regions/r/addresses/edge",
                "projects/p/regions/r/addresses/edge",
            ),
            (
                "arn:aws:ec2:eu-west-1:1:elastic-ip/eipalloc-1",
                "arn:aws:ec2:eu-west-1:1:elastic-ip/eipalloc-1",
            ),
        ],
    );
    refuses(
        Grammar::Addresses,
        &[
            (
                "192.0.2.10,192.0.2.11",
                "192.0.2.11 is of the same family as 192.0.2.10",
            ),
            ("192.0.2.300", "\"192.0.2.300\" is neither"),
            ("192.0.2.1/32", "\"192.0.2.1/32\" is neither"),
            ("2001:db8:::1", "neither"),
            ("my edge", "neither"),
            ("ädge", "neither"),
        ],
    );
}

#[test]
fn ports() {
    accepts(
        Grammar::PortOrTraffic,
        &[
            ("1", "1"),
            ("65535", "65535"),
            ("Traffic-Port", "traffic-port"),
        ],
    );
    refuses(
        Grammar::PortOrTraffic,
        &[
            ("0", "The nearest is 1."),
            ("65536", "The nearest is 65535."),
            ("trafficport", "Did you mean \"traffic-port\"?"),
            ("http", "names of ports are not known"),
            ("-1", "names of ports"),
        ],
    );
}

#[test]
fn paths() {
    accepts(
        Grammar::Path,
        &[("/", "/"), (" /healthz?a=b ", "/healthz?a=b")],
    );
    let long = format!("/{}", "x".repeat(1024));
    refuses(
        Grammar::Path,
        &[
            ("healthz", "Did you mean \"/healthz\"?"),
            ("/a b", "Write a path such as /healthz."),
            ("/ü", "Write a path"),
            ("http://x/healthz", "Write a path"),
            ("", "Write a path"),
            (&long, "at most 1024"),
        ],
    );
}

#[test]
fn names_and_digests() {
    let longest = "x".repeat(63);
    accepts(
        Grammar::Name,
        &[("edge-1", "edge-1"), (" 1 ", "1"), (&longest, &longest)],
    );
    let longer = "x".repeat(64);
    refuses(
        Grammar::Name,
        &[
            ("Edge", "Did you mean \"edge\"?"),
            ("-edge", "Write a name"),
            ("edge-", "Write a name"),
            ("a/b", "Write a name"),
            ("", "Write a name"),
            (&longer, "at most 63"),
        ],
    );
    accepts(Grammar::Digest, &[(" 3F9A0C21d4 ", "3f9a0c21d4")]);
    refuses(
        Grammar::Digest,
        &[
            ("3f9a0c2", "8 to 32"),
            ("not-a-digest", "8 to 32"),
            ("yes", "Copy the digest"),
        ],
    );
}

#[test]
fn a_long_value_is_quoted_in_part() {
    let problem = boolean(KEY, &"ä".repeat(10_000)).expect_err("it is no boolean");
    assert_eq!(problem.value.chars().count(), 121);
    assert!(problem.value.ends_with('…'));
    let entries = vec!["ä".repeat(1_000); 100].join("=,");
    let problem = map(KEY, &entries).expect_err("the first key has no value, the rest none at all");
    assert!(problem.message.len() < 2_000, "{}", problem.message.len());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_by_every_grammar(text in prop_oneof![
        any::<String>(),
        "[-+0-9a-z.:/,= smh]{0,60}",
        "([0-9]{1,3}\\.){3}[0-9]{1,3}(/[0-9]{1,3})?",
    ]) {
        for grammar in [
            Grammar::Bool,
            Grammar::Int { min: 0, max: u32::MAX },
            Grammar::Seconds { min: 0, max: u32::MAX },
            Grammar::Word(&["internal", "internet-facing"]),
            Grammar::List,
            Grammar::Map,
            Grammar::Cidrs,
            Grammar::Address,
            Grammar::Addresses,
            Grammar::PortOrTraffic,
            Grammar::Path,
            Grammar::Name,
            Grammar::Digest,
            Grammar::Text,
        ] {
            if let Ok(value) = grammar.parse(KEY, &text) {
                prop_assert_eq!(grammar.parse(KEY, &value.to_string()), Ok(value));
            }
        }
    }
}
