use super::*;

const MARKED: bool = true;
const PLAIN: bool = false;

fn at(text: &str) -> InterfaceAddress {
    let (address, interface) = text.split_once('@').expect("address@interface");
    InterfaceAddress {
        address: address.parse().expect("an address"),
        interface: interface.to_owned(),
    }
}

fn set(texts: &[&str]) -> BTreeSet<InterfaceAddress> {
    texts.iter().map(|text| at(text)).collect()
}

/// What is there: `address/prefix@interface`, each with whether it is marked. `eth0` and `eth1` are up, `eth2` is down.
fn seen(found: &[(&str, bool)]) -> Seen {
    let found = found.iter().map(|(text, marked)| {
        let (address, rest) = text.split_once('/').expect("a prefix");
        let (prefix, interface) = rest.split_once('@').expect("an interface");
        Found {
            at: at(&format!("{address}@{interface}")),
            prefix: prefix.parse().expect("a length"),
            marked: *marked,
        }
    });
    let link = |(index, name): (usize, &str)| {
        let up = name != "eth2";
        let index = u32::try_from(index).expect("a few");
        (name.to_owned(), Link { index, up })
    };
    Seen {
        links: ["lo", "eth0", "eth1", "eth2"]
            .into_iter()
            .enumerate()
            .map(link)
            .collect(),
        found: found.collect(),
        keeps_marks: true,
    }
}

/// Wanted addresses as `address@interface`, and held ones that no pool wants anywhere.
fn asked(wanted: &[&str], strays: &[&str]) -> Asked {
    let wanted = set(wanted).into_iter();
    let wanted: BTreeMap<_, _> = wanted.map(|at| (at.address, at.interface)).collect();
    let strays = strays.iter().map(|text| text.parse().expect("an address"));
    Asked {
        held: wanted.keys().copied().chain(strays).collect(),
        wanted,
    }
}

#[test]
fn what_is_missing_is_added_and_what_is_ours_and_not_wanted_goes() {
    struct Row<'a> {
        promise: &'a str,
        wanted: &'a [&'a str],
        strays: &'a [&'a str],
        record: &'a [&'a str],
        found: &'a [(&'a str, bool)],
        add: &'a [&'a str],
        remove: &'a [&'a str],
        forget: &'a [&'a str],
    }
    let none = || Row {
        promise: "",
        wanted: &[],
        strays: &[],
        record: &[],
        found: &[],
        add: &[],
        remove: &[],
        forget: &[],
    };
    for row in [
        Row {
            promise: "a new address is added, of either family",
            wanted: &["192.0.2.1@eth0", "2001:db8::1@eth0"],
            add: &["192.0.2.1@eth0", "2001:db8::1@eth0"],
            ..none()
        },
        Row {
            promise: "killed between the record and the kernel: it is added now",
            wanted: &["192.0.2.1@eth0"],
            record: &["192.0.2.1@eth0"],
            add: &["192.0.2.1@eth0"],
            forget: &["192.0.2.1@eth0"],
            ..none()
        },
        Row {
            promise: "what is there and ours stays",
            wanted: &["192.0.2.1@eth0"],
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/32@eth0", MARKED)],
            ..none()
        },
        Row {
            promise: "what nobody holds any more goes",
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/32@eth0", MARKED)],
            remove: &["192.0.2.1@eth0"],
            ..none()
        },
        Row {
            promise: "killed between the kernel and the record: it is forgotten now",
            record: &["192.0.2.1@eth0"],
            forget: &["192.0.2.1@eth0"],
            ..none()
        },
        Row {
            promise: "an operator's address serves, and stays when nobody holds it",
            wanted: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/24@eth0", PLAIN)],
            ..none()
        },
        Row {
            promise: "an address of an operator in the place of ours is his",
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/32@eth0", PLAIN)],
            forget: &["192.0.2.1@eth0"],
            ..none()
        },
        Row {
            promise: "with another prefix it is not what we added",
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/24@eth0", MARKED)],
            forget: &["192.0.2.1@eth0"],
            ..none()
        },
        Row {
            promise: "of both on one interface only ours goes",
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/24@eth0", PLAIN), ("192.0.2.1/32@eth0", MARKED)],
            remove: &["192.0.2.1@eth0"],
            ..none()
        },
        Row {
            promise: "what another data plane added and marked is not ours",
            found: &[("192.0.2.1/32@eth0", MARKED)],
            ..none()
        },
        Row {
            promise: "an address that is held stays where it is when its pool no longer adds",
            strays: &["192.0.2.1"],
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/32@eth0", MARKED)],
            ..none()
        },
        Row {
            promise: "to another interface: there first",
            wanted: &["192.0.2.1@eth1"],
            record: &["192.0.2.1@eth0"],
            found: &[("192.0.2.1/32@eth0", MARKED)],
            add: &["192.0.2.1@eth1"],
            ..none()
        },
        Row {
            promise: "to another interface: from here then",
            wanted: &["192.0.2.1@eth1"],
            record: &["192.0.2.1@eth0", "192.0.2.1@eth1"],
            found: &[("192.0.2.1/32@eth0", MARKED), ("192.0.2.1/32@eth1", MARKED)],
            remove: &["192.0.2.1@eth0"],
            ..none()
        },
    ] {
        let decision = decide(
            &asked(row.wanted, row.strays),
            &set(row.record),
            &seen(row.found),
        );
        let want = Decision {
            add: set(row.add),
            remove: set(row.remove),
            forget: set(row.forget),
            faults: BTreeMap::new(),
        };
        assert_eq!(decision, want, "{}", row.promise);
    }
}

#[test]
fn where_the_kernel_keeps_no_marks_the_record_decides() {
    let mut seen = seen(&[("192.0.2.1/32@eth0", PLAIN), ("192.0.2.2/32@eth0", PLAIN)]);
    seen.keeps_marks = false;
    let decision = decide(&asked(&[], &[]), &set(&["192.0.2.1@eth0"]), &seen);
    assert_eq!(decision.remove, set(&["192.0.2.1@eth0"]));
    assert_eq!(decision.forget, set(&[]));
}

#[test]
fn what_cannot_be_added_says_why_and_the_others_are_added() {
    let wanted = [
        "192.0.2.1@eth0",
        "192.0.2.2@eth9",
        "192.0.2.3@eth2",
        "192.0.2.4@eth0",
        "192.0.2.5@eth2",
    ];
    let record = ["192.0.2.2@eth9", "192.0.2.5@eth2"];
    let seen = seen(&[("192.0.2.4/24@lo", PLAIN), ("192.0.2.5/32@eth2", MARKED)]);
    let decision = decide(&asked(&wanted, &[]), &set(&record), &seen);
    assert_eq!(decision.add, set(&["192.0.2.1@eth0"]));
    assert_eq!(decision.remove, set(&[]));
    // Its interface was taken away, and the address with it.
    assert_eq!(decision.forget, set(&["192.0.2.2@eth9"]));
    let (eth0, eth2, eth9) = ("eth0".to_owned(), "eth2".to_owned(), "eth9".to_owned());
    let down = Fault::Down { interface: eth2 };
    let faults = [
        ("192.0.2.2", Fault::Missing { interface: eth9 }),
        ("192.0.2.3", down.clone()),
        (
            "192.0.2.4",
            Fault::Elsewhere {
                interface: eth0,
                found: seen.found[0].clone(),
            },
        ),
        ("192.0.2.5", down),
    ];
    let faults = faults.map(|(address, fault)| (address.parse().expect("an address"), fault));
    assert_eq!(decision.faults, BTreeMap::from(faults));
}
