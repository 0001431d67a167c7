use std::sync::Arc;

use super::*;
use crate::api::{Family, Protocol};

/// What stands in a table: a lease that is there, as `address namespace/name`.
struct World {
    pools: Vec<Pool>,
    leases: Vec<Arc<Stored<Held>>>,
    facts: Facts,
    ports: BTreeMap<Place, String>,
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn port(port: u16) -> Port {
    Port {
        protocol: Protocol::Tcp,
        port,
    }
}

fn marks(service: &str) -> Marks {
    Marks {
        cluster: "c".into(),
        group: service.into(),
        service: service.into(),
        member: service.into(),
        retain: false,
        labels: Default::default(),
    }
}

impl World {
    fn new(pools: &[&str], leases: &[&str]) -> Self {
        let mut world = Self {
            pools: Pool::parse_all(pools).expect("pools"),
            leases: Vec::new(),
            facts: Facts::default(),
            ports: BTreeMap::new(),
        };
        for text in leases {
            let (held, service) = text.split_once(' ').expect("an address and a Service");
            let held = address(held);
            let shared = pool_of(&world.pools, &[], held).is_some_and(|pool| pool.shared);
            world.leases.push(Arc::new(Stored {
                name: text.replace(' ', "-"),
                marks: marks(service),
                generation: 1,
                spec: Held {
                    asked: LeaseSpec::of(Family::of(held)),
                    address: held,
                    shared,
                },
                text: Default::default(),
            }));
        }
        world
    }

    fn host(mut self, addresses: &[&str]) -> Self {
        self.facts.host = addresses
            .iter()
            .map(|text| HostAddress {
                interface: "eth0".into(),
                address: address(text),
                loopback: false,
            })
            .collect();
        self
    }

    /// Ports that are taken, as `address:port holder`.
    fn taken(mut self, places: &[&str]) -> Self {
        for place in places {
            let (at, holder) = place.split_once(' ').expect("a place and its holder");
            let at: std::net::SocketAddr = at.parse().expect("a place");
            match holder {
                "busy" => drop(self.facts.busy.insert((at.ip(), port(at.port())))),
                _ => drop(self.ports.insert((at.ip(), port(at.port())), holder.into())),
            }
        }
        self
    }

    fn ask(&self, service: &str, spec: &LeaseSpec) -> Result<Granted, ApiError> {
        let mut holdings = Holdings {
            ports: self.ports.clone(),
            ..Holdings::default()
        };
        for lease in &self.leases {
            let of = holdings.leases.entry(lease.spec.address).or_default();
            of.push(lease);
        }
        allocate(&self.pools, &self.facts, &holdings, spec, &marks(service))
    }
}

fn any() -> LeaseSpec {
    LeaseSpec::of(Family::V4)
}

fn particular(text: &str) -> LeaseSpec {
    let address = address(text);
    LeaseSpec {
        address: Some(address),
        ..LeaseSpec::of(Family::of(address))
    }
}

fn on(ports: &[u16]) -> LeaseSpec {
    LeaseSpec {
        ports: ports.iter().map(|number| port(*number)).collect(),
        ..any()
    }
}

fn of_pool(name: &str) -> LeaseSpec {
    LeaseSpec {
        pool: Some(name.into()),
        ..any()
    }
}

#[track_caller]
fn check(name: &str, got: Result<Granted, ApiError>, want: Result<&str, (&str, &str)>) {
    match (got, want) {
        (Ok(granted), Ok(want)) => assert_eq!(granted.address.to_string(), want, "{name}"),
        (Err(error), Err((code, says))) => {
            assert_eq!(error.code, code, "{name}: {error}");
            assert!(error.message.contains(says), "{name}: {error}");
        }
        (got, want) => panic!("{name}: {got:?}, expected {want:?}"),
    }
}

#[test]
fn the_lowest_free_address_is_taken() {
    let v6 = LeaseSpec::of(Family::V6);
    for (name, pools, taken, asked, want) in [
        (
            "empty",
            &["127.77.0.0/30"][..],
            &[][..],
            any(),
            Ok("127.77.0.1"),
        ),
        (
            "next",
            &["127.77.0.0/30"],
            &["127.77.0.1 a/b"],
            any(),
            Ok("127.77.0.2"),
        ),
        (
            "a gap",
            &["127.77.0.0/29"],
            &["127.77.0.1 a/b", "127.77.0.3 a/b"],
            any(),
            Ok("127.77.0.2"),
        ),
        (
            "held elsewhere",
            &["127.77.0.8/30"],
            &["127.77.0.1 a/b"],
            any(),
            Ok("127.77.0.9"),
        ),
        (
            "second pool",
            &["127.77.0.4", "127.77.0.9"],
            &["127.77.0.4 a/b"],
            any(),
            Ok("127.77.0.9"),
        ),
        (
            "other family",
            &["127.77.0.4", "fd00::/64"],
            &["127.77.0.4 a/b"],
            v6.clone(),
            Ok("fd00::1"),
        ),
        (
            "one pool of both families",
            &["127.77.0.4+fd00::/64"],
            &[],
            v6.clone(),
            Ok("fd00::1"),
        ),
        (
            "reserved",
            &["127.77.0.4-127.77.0.6,reserved=127.77.0.4+127.77.0.6"],
            &[],
            any(),
            Ok("127.77.0.5"),
        ),
        (
            "full",
            &["127.77.0.4"],
            &["127.77.0.4 a/b"],
            any(),
            Err((
                code::POOL_EXHAUSTED,
                "all 1 addresses of the IPv4 pools (127.77.0.4)",
            )),
        ),
        (
            "full at the end",
            &["255.255.255.254"],
            &["255.255.255.254 a/b"],
            any(),
            Err((code::POOL_EXHAUSTED, "all 1 addresses")),
        ),
        (
            "reserved is all there is",
            &["127.77.0.4,reserved=127.77.0.4"],
            &[],
            any(),
            Err((code::POOL_EXHAUSTED, "ask for a reserved one")),
        ),
        (
            "no pool",
            &["127.77.0.4"],
            &[],
            v6,
            Err((code::POOL_EXHAUSTED, "has no IPv6 pool")),
        ),
    ] {
        check(name, World::new(pools, taken).ask("shop/web", &asked), want);
    }
}

#[test]
fn a_particular_address_is_given_or_refused() {
    let pools = [
        "127.77.0.1-127.77.0.9,reserved=127.77.0.9",
        "10.0.0.0/24,name=lab,namespaces=lab",
    ];
    let world = World::new(&pools, &["127.77.0.1 shop/cart"]);
    for (name, spec, want) in [
        ("free", particular("127.77.0.2"), Ok("127.77.0.2")),
        ("reserved", particular("127.77.0.9"), Ok("127.77.0.9")),
        (
            "taken",
            particular("127.77.0.1"),
            Err((code::ADDRESS_TAKEN, "of shop/cart")),
        ),
        (
            "in no pool",
            particular("192.0.2.1"),
            Err((code::ADDRESS_NOT_IN_POOL, "(127.77.0.1-127.77.0.9, lab)")),
        ),
        (
            "of a pool for others",
            particular("10.0.0.7"),
            Err((
                code::NAMESPACE_NOT_SERVED,
                "pool lab serves only namespaces lab",
            )),
        ),
        (
            "of another pool than the named one",
            LeaseSpec {
                pool: Some("lab".into()),
                ..particular("127.77.0.2")
            },
            Err((code::ADDRESS_NOT_IN_POOL, "none of the IPv4 pools (lab)")),
        ),
    ] {
        check(name, world.ask("shop/web", &spec), want);
    }
}

#[test]
fn a_pool_is_chosen_by_name_and_by_namespace() {
    let pools = [
        "10.0.0.1-10.0.0.2,name=lab,namespaces=lab",
        "10.0.1.0/24,name=office",
        "10.0.2.0/24",
    ];
    let world = World::new(&pools, &[]);
    for (name, service, spec, want) in [
        (
            "the first that serves all",
            "shop/web",
            any(),
            Ok("10.0.1.1"),
        ),
        (
            "the first that serves one",
            "lab/web",
            any(),
            Ok("10.0.0.1"),
        ),
        ("named", "lab/web", of_pool("office"), Ok("10.0.1.1")),
        (
            "named, for others",
            "shop/web",
            of_pool("lab"),
            Err((
                code::NAMESPACE_NOT_SERVED,
                "no IPv4 address for namespace shop",
            )),
        ),
        (
            "named, unknown",
            "shop/web",
            of_pool("offic"),
            Err((code::NO_SUCH_POOL, "there are lab, office")),
        ),
    ] {
        check(name, world.ask(service, &spec), want);
    }
}

#[test]
fn a_namespace_holds_what_it_may() {
    let full = &["10.0.0.1 shop/a", "10.0.0.2 shop/b"];
    for (name, pool, leases, service, want) in [
        (
            "below",
            "10.0.0.0/24,per-namespace-limit=2",
            &full[..1],
            "shop/c",
            Ok("10.0.0.2"),
        ),
        (
            "at the limit",
            "10.0.0.0/24,name=lab,per-namespace-limit=2",
            full,
            "shop/c",
            Err((
                code::NAMESPACE_LIMIT,
                "of pool lab the namespace holds 2 of 2 (10.0.0.1 of shop/a, 10.0.0.2 of shop/b); delete one",
            )),
        ),
        (
            "another namespace",
            "10.0.0.0/24,per-namespace-limit=2",
            full,
            "blog/c",
            Ok("10.0.0.3"),
        ),
        (
            "a shared address it has already",
            "10.0.0.0/24,shared=true,per-namespace-limit=1",
            &full[1..],
            "shop/c",
            Ok("10.0.0.2"),
        ),
        (
            "a shared address that another has",
            "10.0.0.1,shared=true,per-namespace-limit=1",
            &["10.0.0.1 blog/a"],
            "shop/c",
            Ok("10.0.0.1"),
        ),
    ] {
        check(name, World::new(&[pool], leases).ask(service, &any()), want);
    }
    let world = World::new(
        &[
            "10.0.0.1-10.0.0.2,name=lab,per-namespace-limit=1",
            "10.0.1.1,namespaces=blog",
        ],
        &["10.0.0.1 shop/a"],
    );
    check(
        "of several pools each says why",
        world.ask("shop/b", &any()),
        Err((
            code::NAMESPACE_LIMIT,
            "1 of 1 (10.0.0.1 of shop/a); pool 10.0.1.1 serves only",
        )),
    );
    check(
        "a particular one counts",
        world.ask("shop/b", &particular("10.0.0.2")),
        Err((code::NAMESPACE_LIMIT, "holds 1 of 1")),
    );
}

#[test]
fn of_shared_addresses_the_one_with_free_ports_is_chosen() {
    let two = &["10.0.0.1 shop/a", "10.0.0.2 shop/b"];
    for (name, pool, taken, asked, want) in [
        (
            "nothing asked",
            "10.0.0.1-10.0.0.2,shared=true",
            &[][..],
            &[][..],
            Ok("10.0.0.1"),
        ),
        (
            "free",
            "10.0.0.1-10.0.0.2,shared=true",
            &["10.0.0.1:80 shop/a"],
            &[443],
            Ok("10.0.0.1"),
        ),
        (
            "taken",
            "10.0.0.1-10.0.0.2,shared=true",
            &["10.0.0.1:80 shop/a"],
            &[80],
            Ok("10.0.0.2"),
        ),
        (
            "another process",
            "10.0.0.1-10.0.0.2,shared=true",
            &["10.0.0.1:80 busy"],
            &[80],
            Ok("10.0.0.2"),
        ),
        (
            "the fewest conflicts",
            "10.0.0.1-10.0.0.2,shared=true",
            &[
                "10.0.0.1:80 shop/a",
                "10.0.0.1:443 shop/a",
                "10.0.0.2:80 shop/b",
            ],
            &[80, 443],
            Ok("10.0.0.2"),
        ),
        (
            "only perhaps",
            "10.0.0.1,shared=true",
            &["10.0.0.1:80 busy"],
            &[80],
            Ok("10.0.0.1"),
        ),
        (
            "none is free",
            "10.0.0.1-10.0.0.2,shared=true",
            &["10.0.0.1:80 shop/a", "10.0.0.2:80 shop/b"],
            &[80],
            Err((
                code::PORT_TAKEN,
                "TCP 80 of 10.0.0.1 is taken by shop/a, and no other address has a free one",
            )),
        ),
        (
            "the only address",
            "10.0.0.1,name=home,shared=true",
            &["10.0.0.1:80 shop/a"],
            &[80],
            Err((
                code::PORT_TAKEN,
                "in pool home TCP 80 of 10.0.0.1 is taken by shop/a; use",
            )),
        ),
        (
            "not shared",
            "10.0.0.1-10.0.0.3",
            &[],
            &[80],
            Ok("10.0.0.3"),
        ),
    ] {
        let world = World::new(&[pool], two).taken(taken);
        check(name, world.ask("shop/c", &on(asked)), want);
    }
}

#[test]
fn an_address_held_alone_stays_alone() {
    let mut world = World::new(&["10.0.0.1-10.0.0.2"], &["10.0.0.1 shop/a"]);
    world.pools = Pool::parse_all(&["10.0.0.1-10.0.0.2,shared=true"]).expect("pools");
    check(
        "another is taken",
        world.ask("shop/b", &on(&[80])),
        Ok("10.0.0.2"),
    );
    check(
        "also where it is asked for",
        world.ask("shop/b", &particular("10.0.0.1")),
        Err((code::ADDRESS_TAKEN, "of shop/a")),
    );
}

#[test]
fn the_hosts_addresses_are_shared_unless_they_are_listed() {
    let world = World::new(&["host", "192.0.2.5-192.0.2.6,name=listed"], &[])
        .host(&["192.0.2.5", "192.0.2.9"]);
    let granted = world.ask("shop/a", &any()).expect("an address");
    assert_eq!(
        (granted.address, granted.shared),
        (address("192.0.2.9"), true)
    );
    let granted = world
        .ask("shop/a", &particular("192.0.2.5"))
        .expect("an address");
    assert!(!granted.shared);
    check(
        "none of the machine",
        World::new(&["host"], &[]).ask("shop/a", &any()),
        Err((code::POOL_EXHAUSTED, "give the machine one")),
    );
}
