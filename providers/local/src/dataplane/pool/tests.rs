use super::*;

fn pool(text: &str) -> Pool {
    Pool::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn texts(addresses: impl Iterator<Item = IpAddr>) -> Vec<String> {
    addresses.map(|address| address.to_string()).collect()
}

#[test]
fn a_pool_hands_out_its_usable_addresses() {
    for (text, first, last, count) in [
        ("127.77.0.0/24", "127.77.0.1", "127.77.0.254", 254),
        ("127.77.0.0/30", "127.77.0.1", "127.77.0.2", 2),
        ("127.77.0.4/31", "127.77.0.4", "127.77.0.5", 2),
        ("127.77.0.4/32", "127.77.0.4", "127.77.0.4", 1),
        ("127.77.0.4", "127.77.0.4", "127.77.0.4", 1),
        (
            " 127.77.0.10 - 127.77.0.20 ",
            "127.77.0.10",
            "127.77.0.20",
            11,
        ),
        ("fd00::8/127", "fd00::8", "fd00::9", 2),
        ("fd00::/120", "fd00::1", "fd00::ff", 255),
        ("::1/128", "::1", "::1", 1),
        ("fd00::a-fd00::c", "fd00::a", "fd00::c", 3),
        ("255.255.255.254", "255.255.255.254", "255.255.255.254", 1),
        ("10.0.0.9+10.0.0.1-10.0.0.2", "10.0.0.9", "10.0.0.2", 3),
    ] {
        let pool = pool(text);
        let family = if text.contains(':') {
            Family::V6
        } else {
            Family::V4
        };
        let all = texts(pool.addresses(family, &[]));
        assert_eq!(
            (
                all.first().map(String::as_str),
                all.last().map(String::as_str),
                all.len()
            ),
            (Some(first), Some(last), count),
            "{text}"
        );
    }
    let whole = pool("fd00:77::/64");
    assert_eq!(
        texts(whole.addresses(Family::V6, &[]).take(2)),
        ["fd00:77::1", "fd00:77::2"]
    );
}

#[test]
fn reserved_addresses_are_of_the_pool_and_not_handed_out() {
    let pool = pool("10.0.0.1-10.0.0.9+fd00::/120,reserved=10.0.0.1+10.0.0.3-10.0.0.8+fd00::1");
    assert_eq!(
        texts(pool.addresses(Family::V4, &[])),
        ["10.0.0.2", "10.0.0.9"]
    );
    assert_eq!(texts(pool.addresses(Family::V6, &[]).take(1)), ["fd00::2"]);
    assert!(pool.contains("10.0.0.3".parse().expect("an address"), &[]));
}

#[test]
fn what_follows_the_addresses_is_read() {
    let pool = pool(
        "192.0.2.10-192.0.2.20, name=office, namespaces=shop+blog, per-namespace-limit=2, shared=true",
    );
    assert_eq!(pool.label(), "office");
    assert_eq!(pool.per_namespace, Some(2));
    assert!(pool.shared);
    assert_eq!(
        pool.namespaces
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        ["blog", "shop"]
    );
    let plain = Pool::parse("192.0.2.9,per-namespace-limit=1").expect("a pool");
    assert_eq!(
        (plain.label(), plain.name(), plain.shared),
        ("192.0.2.9", None, false)
    );
}

#[test]
fn the_hosts_addresses_are_those_of_its_interfaces() {
    let own = |interface: &str, address: &str| HostAddress {
        interface: interface.to_owned(),
        address: address.parse().expect("an address"),
        loopback: interface == "lo",
    };
    let host = [
        own("lo", "127.0.0.1"),
        own("lo", "::1"),
        own("eth0", "192.0.2.5"),
        own("eth0", "2001:db8::5"),
        own("eth0", "fe80::5"),
        own("wlan0", "10.0.0.2"),
        own("wlan0", "169.254.7.7"),
    ];
    for (text, family, want) in [
        ("host", Family::V4, &["192.0.2.5", "10.0.0.2"][..]),
        ("host", Family::V6, &["2001:db8::5"]),
        (
            "host,interface=wlan0+lo",
            Family::V4,
            &["127.0.0.1", "10.0.0.2"],
        ),
        ("host,interface=lo", Family::V6, &["::1"]),
        ("host,family=IPv6", Family::V4, &[]),
        ("host,reserved=192.0.2.5", Family::V4, &["10.0.0.2"]),
        ("host,interface=eth9", Family::V4, &[]),
    ] {
        let pool = pool(text);
        assert!(pool.shared, "{text}");
        assert_eq!(
            texts(pool.addresses(family, &host)),
            want,
            "{text} {family}"
        );
    }
    assert!(!pool("host,family=IPv6").has_family(Family::V4));
    assert!(!pool("host,shared=false").shared);
}

#[test]
fn a_bad_pool_is_refused_with_what_is_allowed() {
    for (text, value, says) in [
        ("", "", "a prefix"),
        ("127.77.0.0/33", "127.77.0.0/33", "a prefix"),
        ("127.77.0.1/24", "127.77.0.1/24", "127.77.0.0/24"),
        (
            "127.77.0.9-127.77.0.1",
            "127.77.0.9-127.77.0.1",
            "the lower first",
        ),
        ("127.77.0.9-::1", "127.77.0.9-::1", "one family"),
        ("127.77.0.9-", "127.77.0.9-", "a prefix"),
        ("localhost", "localhost", "a prefix"),
        ("224.0.0.0/8", "224.0.0.0/8", "multicast"),
        ("0.0.0.0-0.0.0.9", "0.0.0.0-0.0.0.9", "unspecified"),
        ("255.255.255.255", "255.255.255.255", "broadcast"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", "IPv4-mapped"),
        (
            "10.0.0.0/24+10.0.0.9",
            "10.0.0.9",
            "each address once; 10.0.0.0/24 has some",
        ),
        ("name=office", "name=office", "begins with its addresses"),
        ("10.0.0.9,nmae=office", "nmae=office", "did you mean name?"),
        ("10.0.0.9,name=Office", "Office", "lower-case"),
        ("10.0.0.9,name=a,name=b", "b", "each option once"),
        (
            "10.0.0.9,reserved=10.0.0.8",
            "10.0.0.8",
            "addresses of the pool itself (10.0.0.9)",
        ),
        ("10.0.0.9,namespaces=shop+", "", "names of namespaces"),
        ("10.0.0.9,per-namespace-limit=0", "0", "a number from 1"),
        ("10.0.0.9,shared=yes", "yes", "true or false"),
        (
            "10.0.0.9,interface=eth0",
            "eth0",
            "only host has interfaces",
        ),
        (
            "host,interface=a-name-that-is-long",
            "a-name-that-is-long",
            "of 1 to 15",
        ),
        ("10.0.0.9,family=IPv4", "IPv4", "only host has both"),
        ("10.0.0.9,add-to=", "", "of 1 to 15"),
        ("10.0.0.9,add-to=eth0+eth1", "eth0+eth1", "of 1 to 15"),
        ("host,family=4", "4", "IPv4 or IPv6"),
    ] {
        let error = Pool::parse(text).expect_err(text);
        let [problem] = &error.problems[..] else {
            panic!("{text}: {error}");
        };
        assert!(problem.allowed.contains(says), "{text}: {problem}");
        assert_eq!(problem.value, value, "{text}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn addresses_that_are_not_everywhere_yet_can_be_added_to_an_interface() {
    let added = pool("192.0.2.0/28+2001:db8::1,add-to=eth0");
    assert_eq!(added.add_to(), Some("eth0"));
    assert_eq!(pool("192.0.2.0/28").add_to(), None);
    for (text, says) in [
        ("host,add-to=eth0", "on their interfaces"),
        ("192.0.2.1+127.77.0.0/24,add-to=eth0", "(127.77.0.0/24)"),
        ("126.0.0.0-128.0.0.0,add-to=eth0", "(126.0.0.0-128.0.0.0)"),
        ("::1,add-to=lo", "(::1)"),
        ("fe80::77,add-to=eth0", "(fe80::77)"),
    ] {
        let error = Pool::parse(text).expect_err(text);
        let [problem] = &error.problems[..] else {
            panic!("{text}: {error}");
        };
        assert_eq!(problem.field, "pools.add-to", "{text}");
        assert!(problem.allowed.contains(says), "{text}: {problem}");
    }
}

/// Elsewhere there is no such thing.
#[test]
#[cfg(not(target_os = "linux"))]
fn no_address_is_added() {
    let error = Pool::parse("192.0.2.1,add-to=en0").expect_err("it cannot be done");
    assert!(error.to_string().contains("only on Linux"), "{error}");
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let error = Pool::parse_all(&[
        "x",
        "127.77.0.0/24",
        "y+10.0.0.1,name=,shared=maybe,reserved=z,colour=red",
    ])
    .expect_err("six problems");
    let told: Vec<_> = error
        .problems
        .iter()
        .map(|problem| (problem.field.as_str(), problem.value.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("pools[0]", "x"),
            ("pools[2]", "y"),
            ("pools[2].name", ""),
            ("pools[2].shared", "maybe"),
            ("pools[2].reserved", "z"),
            ("pools[2]", "colour=red"),
        ]
    );
}

#[test]
fn pools_have_addresses_and_names_of_their_own() {
    for (text, want) in [
        ("10.0.0.9", None),
        ("10.0.1.0/24", Some(("", "shares some with lab"))),
        (
            "10.0.0.9,name=lab",
            Some((".name", "10.0.0.0-10.0.0.1+10.0.1.7 has it")),
        ),
        ("host", None),
    ] {
        let others = [pool("10.0.0.0-10.0.0.1+10.0.1.7,name=lab")];
        let wrong = pool(text).beside(&others);
        match (&wrong, want) {
            (None, None) => {}
            (Some((option, allowed)), Some((field, says))) => {
                assert_eq!(*option, field, "{text}");
                assert!(allowed.contains(says), "{text}: {allowed}");
            }
            _ => panic!("{text}: {wrong:?}"),
        }
    }
}
