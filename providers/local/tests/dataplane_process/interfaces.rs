//! Addresses that pools add to an interface, in a network of the test's own; `ip -j address` is asked what is there.

use std::{collections::BTreeSet, net::SocketAddr};

use evenkeel_local::api::{Family, Lease, LeaseSpec, ListenerPhase, ListenerSpec, failure};

use super::*;

#[path = "interfaces/network.rs"]
mod network;
pub(super) use network::give_up_rights;
use network::*;

/// The addresses that the machine has of itself.
const OWN: &[&str] = &["192.0.2.250/24", "2001:db8::250/64"];

/// What interface `eth0` should have beside the machine's own addresses.
fn own_and(more: &[&str]) -> BTreeSet<String> {
    let all = OWN.iter().chain(more);
    all.map(|text| (*text).to_owned()).collect()
}

/// Waits until the interface has the machine's own addresses and these.
async fn until_own_and(more: &[&str]) {
    let want = own_and(more);
    until(&format!("eth0 has {more:?}"), async || {
        (addresses("eth0") == want).then_some(())
    })
    .await;
}

/// Makes a lease of this address.
async fn lease(client: &Client, name: &str, address: &str) {
    let address = address.parse().expect("an address");
    let spec = LeaseSpec {
        address: Some(address),
        ..LeaseSpec::of(Family::of(address))
    };
    let path = format!("/v1/leases/{name}");
    let made: Lease = client.create(&path, &body(spec)).await.object();
    assert_eq!(made.status.address, address);
}

/// Makes a lease of this address and a listener of the same name on it, for the backend set `set`.
async fn open(client: &Client, name: &str, address: &str, port: u16) -> SocketAddr {
    lease(client, name, address).await;
    let spec = ListenerSpec {
        lease: name.to_owned(),
        ..listener(port)
    };
    let path = format!("/v1/listeners/{name}");
    client.create(&path, &body(spec)).await.done();
    SocketAddr::new(address.parse().expect("an address"), port)
}

/// Deletes a listener and its lease.
async fn close(client: &Client, name: &str) {
    for kind in ["listeners", "leases"] {
        client.delete(&format!("/v1/{kind}/{name}")).await.done();
    }
}

async fn phase(client: &Client, name: &str) -> ListenerPhase {
    client.listener(name).await.status.phase
}

/// Waits until a listener has failed with this code, and returns what it says.
async fn fails(client: &Client, name: &str, want: &str) -> String {
    until(&format!("{name} says {want}"), async || {
        match phase(client, name).await {
            ListenerPhase::Failed { code, message } if code == want => Some(message),
            _ => None,
        }
    })
    .await
}

async fn is_ready(client: &Client, name: &str) {
    until(&format!("{name} is ready"), async || {
        (phase(client, name).await == ListenerPhase::Ready).then_some(())
    })
    .await;
}

/// The server that all of this is for, and the backend set `set`.
async fn serve_with(client: &Client) -> Server {
    let server = Server::start("a").await;
    let set = body(backend_set(&[&server]));
    client.create("/v1/backendsets/set", &set).await.done();
    server
}

#[test]
fn addresses_come_with_their_first_lease_and_go_with_their_last() {
    in_a_network(
        "interfaces::addresses_come_with_their_first_lease_and_go_with_their_last",
        async {
            let directory = tempfile::tempdir().expect("a directory");
            // The operator's own, and one that the pool would add.
            ip("address add 192.0.2.12/24 dev eth0");
            let pool = "192.0.2.10-192.0.2.12+2001:db8::10|add-to=eth0|shared=true";
            let process = Process::start(directory.path(), pool, None).await;
            let client = &process.client;
            let _server = serve_with(client).await;
            assert_eq!(addresses("eth0"), own_and(&["192.0.2.12/24"]));

            let four = open(client, "four", "192.0.2.10", 8_080).await;
            let six = open(client, "six", "2001:db8::10", 8_080).await;
            let theirs = open(client, "theirs", "192.0.2.12", 8_080).await;
            lease(client, "twin", "192.0.2.10").await;
            for name in ["four", "six", "theirs"] {
                assert_eq!(phase(client, name).await, ListenerPhase::Ready, "{name}");
            }
            let all = own_and(&["192.0.2.10/32", "2001:db8::10/128", "192.0.2.12/24"]);
            assert_eq!(addresses("eth0"), all);
            let six_is = details("eth0", "2001:db8::10");
            assert_eq!(six_is["nodad"], true, "{six_is}");
            assert_eq!(six_is["deprecated"], true, "{six_is}");
            for front in [four, six, theirs] {
                let mut talk = open_from_client(front).await;
                assert!(talk.works().await, "{front}");
            }

            // The last lease goes, and a connection is still there.
            let mut talk = open_from_client(four).await;
            close(client, "four").await;
            assert_eq!(addresses("eth0"), all, "another lease has it");
            client.delete("/v1/leases/twin").await.done();
            assert!(talk.works().await);
            assert_eq!(addresses("eth0"), all, "it has a connection");
            drop(talk);
            until_own_and(&["2001:db8::10/128", "192.0.2.12/24"]).await;

            close(client, "theirs").await;
            close(client, "six").await;
            until_own_and(&["192.0.2.12/24"]).await;
        },
    );
}

#[test]
fn a_process_that_is_killed_leaves_what_the_next_one_needs_or_takes_away() {
    in_a_network(
        "interfaces::a_process_that_is_killed_leaves_what_the_next_one_needs_or_takes_away",
        async {
            const HOSTS: [&str; 3] = ["192.0.2.10", "192.0.2.11", "2001:db8::12"];
            let directory = tempfile::tempdir().expect("a directory");
            let pool = "192.0.2.10-192.0.2.11+2001:db8::12+192.0.2.20|add-to=eth0";
            ip("address add 192.0.2.20/32 dev eth0");
            let start = async || Process::start(directory.path(), pool, None).await;
            let mut process = start().await;
            lease(&process.client, "theirs", "192.0.2.20").await;
            let mut random = fastrand::Rng::new();
            let mut held_at_an_end = 0;
            for round in 0..30 {
                let callers = HOSTS.map(|address| {
                    let client = process.client.clone();
                    tokio::spawn(come_and_go(client, address))
                });
                // Not to wait for anything, but to come at any time.
                tokio::time::sleep(Duration::from_micros(random.u64(0..60_000))).await;
                process.kill();
                for caller in callers {
                    caller.await.expect("no panic");
                }
                process = start().await;
                let objects: Objects = process.client.get("/v1/objects").await.object();
                let held = objects.leases.iter().map(|lease| lease.status.address);
                let held: Vec<_> = held
                    .map(|address| {
                        format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
                    })
                    .collect();
                held_at_an_end += held.len() - 1;
                let held: Vec<_> = held.iter().map(String::as_str).collect();
                assert_eq!(addresses("eth0"), own_and(&held), "round {round}");
            }
            assert!(held_at_an_end > 0, "nothing was ever held");

            for name in HOSTS.into_iter().map(lease_name) {
                let path = format!("/v1/leases/{name}");
                process.client.delete(&path).await.done();
            }
            process.client.delete("/v1/leases/theirs").await.done();
            assert_eq!(addresses("eth0"), own_and(&["192.0.2.20/32"]));

            // What an operator sets in the place of ours is his, though it is on record.
            lease(&process.client, "ours", "192.0.2.10").await;
            process.kill();
            ip("address del 192.0.2.10/32 dev eth0");
            ip("address add 192.0.2.10/32 dev eth0");
            let process = start().await;
            process.client.delete("/v1/leases/ours").await.done();
            assert_eq!(
                addresses("eth0"),
                own_and(&["192.0.2.10/32", "192.0.2.20/32"])
            );
        },
    );
}

fn lease_name(address: &str) -> String {
    address.replace([':', '.'], "-")
}

/// Takes a lease of the address and gives it back, until nobody answers.
async fn come_and_go(client: Client, address: &'static str) {
    let path = format!("/v1/leases/{}", lease_name(address));
    let spec = LeaseSpec {
        address: Some(address.parse().expect("an address")),
        ..LeaseSpec::of(Family::of(address.parse().expect("an address")))
    };
    let put = serde_json::to_vec(&body(spec)).expect("JSON");
    while ask_once(&client, "PUT", &path, &put).await
        && ask_once(&client, "DELETE", &path, &[]).await
    {}
}

#[test]
fn an_upgrade_keeps_addresses_and_the_new_process_gives_them_back() {
    in_a_network(
        "interfaces::an_upgrade_keeps_addresses_and_the_new_process_gives_them_back",
        async {
            let directory = tempfile::tempdir().expect("a directory");
            let pool = "192.0.2.10|add-to=eth0";
            let mut old = Process::start(directory.path(), pool, None).await;
            let _server = serve_with(&old.client).await;
            let front = open(&old.client, "four", "192.0.2.10", 8_080).await;
            let mut talk = open_from_client(front).await;
            assert!(talk.works().await);
            let monitor = Monitor::start();

            let new = Process::take_over(directory.path(), pool).await;
            assert!(open_from_client(front).await.works().await, "the new one");
            // The connection is with the old one, and its address is the new one's.
            close(&new.client, "four").await;
            assert!(talk.works().await, "the old one");
            assert_eq!(addresses("eth0"), own_and(&["192.0.2.10/32"]));
            assert_eq!(monitor.end(), [""; 0], "nothing was added or taken away");
            drop(talk);
            until_own_and(&[]).await;
            old.ended().await;
        },
    );
}

#[test]
fn a_process_that_ends_in_good_order_leaves_what_is_held() {
    in_a_network(
        "interfaces::a_process_that_ends_in_good_order_leaves_what_is_held",
        async {
            let directory = tempfile::tempdir().expect("a directory");
            let pool = "192.0.2.10|add-to=eth0";
            let pools: Vec<String> = vec![pool.replace('|', ",")];
            let pools: Vec<&str> = pools.iter().map(String::as_str).collect();
            let plane = Plane::start(config(directory.path(), &pools)).await;
            lease(&plane.client, "four", "192.0.2.10").await;
            plane.stop().await;
            assert_eq!(addresses("eth0"), own_and(&["192.0.2.10/32"]));

            // A pool that no longer adds leaves the address to who holds it.
            let plane = Plane::start(config(directory.path(), &["192.0.2.10"])).await;
            assert_eq!(addresses("eth0"), own_and(&["192.0.2.10/32"]));
            plane.client.delete("/v1/leases/four").await.done();
            assert_eq!(addresses("eth0"), own_and(&[]));
            plane.stop().await;
        },
    );
}

#[test]
fn what_keeps_an_address_from_its_interface_is_said_and_mended() {
    in_a_network(
        "interfaces::what_keeps_an_address_from_its_interface_is_said_and_mended",
        async {
            let directory = tempfile::tempdir().expect("a directory");
            let pool = "198.51.100.1+2001:db8:9::1|add-to=eth9,192.0.2.10-192.0.2.11|add-to=eth0";
            ip("address add 192.0.2.11/32 dev lo");
            let process = Process::start(directory.path(), pool, None).await;
            let client = &process.client;
            let _server = serve_with(client).await;
            let nine = ["nine", "nine-six"];
            open(client, "nine", "198.51.100.1", 8_080).await;
            open(client, "nine-six", "2001:db8:9::1", 8_080).await;
            open(client, "elsewhere", "192.0.2.11", 8_080).await;
            let front = open(client, "well", "192.0.2.10", 8_080).await;
            let serves = async || {
                assert_eq!(phase(client, "well").await, ListenerPhase::Ready);
                assert!(open_from_client(front).await.works().await);
            };
            serves().await;

            let said = fails(client, "elsewhere", failure::ADDRESS_ELSEWHERE).await;
            assert!(
                said.contains("ip address del 192.0.2.11/32 dev lo"),
                "{said}"
            );
            ip("address del 192.0.2.11/32 dev lo");
            is_ready(client, "elsewhere").await;
            assert_eq!(
                addresses("eth0"),
                own_and(&["192.0.2.10/32", "192.0.2.11/32"])
            );

            let added = ["198.51.100.1/32", "2001:db8:9::1/128"].map(str::to_owned);
            for round in ["first", "made anew"] {
                for name in nine {
                    let said = fails(client, name, failure::INTERFACE_MISSING).await;
                    assert!(said.contains("no such interface"), "{round}: {said}");
                }
                ip("link add eth9 type veth peer name far9");
                let said = fails(client, "nine", failure::INTERFACE_DOWN).await;
                assert!(said.contains("ip link set eth9 up"), "{round}: {said}");
                serves().await;
                ip("link set eth9 up");
                for name in nine {
                    is_ready(client, name).await;
                }
                assert_eq!(addresses("eth9"), added.clone().into(), "{round}");
                // What is down loses its IPv6 addresses.
                ip("link set eth9 down");
                fails(client, "nine-six", failure::INTERFACE_DOWN).await;
                ip("link set eth9 up");
                for name in nine {
                    is_ready(client, name).await;
                }
                assert_eq!(addresses("eth9"), added.clone().into(), "{round}: up again");
                ip("link del eth9");
            }
            serves().await;
        },
    );
}

#[test]
fn without_the_capability_the_service_says_so() {
    in_a_network(
        "interfaces::without_the_capability_the_service_says_so",
        async {
            let directory = tempfile::tempdir().expect("a directory");
            let pool = "192.0.2.10|add-to=eth0,192.0.2.250";
            let without = [(UNPRIVILEGED, "yes".to_owned())];
            let process = Process::start_with(directory.path(), pool, &without).await;
            let _server = serve_with(&process.client).await;
            let front = open(&process.client, "four", "192.0.2.10", 8_080).await;
            let well = open(&process.client, "well", "192.0.2.250", 8_080).await;
            let said = fails(&process.client, "four", failure::ADDRESS_FORBIDDEN).await;
            assert!(said.contains("CAP_NET_ADMIN"), "{said}");
            assert!(open_from_client(well).await.works().await);
            assert_eq!(addresses("eth0"), own_and(&[]));

            // The operator does what it says, in one way: the address is his.
            ip("address add 192.0.2.10 dev eth0");
            is_ready(&process.client, "four").await;
            assert!(open_from_client(front).await.works().await);
            ip("address del 192.0.2.10/32 dev eth0");

            // And in the other.
            process.kill();
            let process = Process::start(directory.path(), pool, None).await;
            is_ready(&process.client, "four").await;
            assert!(open_from_client(front).await.works().await);
            close(&process.client, "four").await;
            until_own_and(&[]).await;
        },
    );
}
