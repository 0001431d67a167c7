//! The golden rows that a plan decides, by number.

use std::sync::Arc;

use evenkeel_core::{intent::Scheme, provider::Want};

use super::support::{Stage, desired, pairs, port, subnet};
use crate::model::{AddressType, Desired, SubnetMapping, Subnets, facts::Subnet};

const OWN: (&str, &str) = ("kubernetes.io/cluster/c1", "shared");
const OTHERS: (&str, &str) = ("kubernetes.io/cluster/c2", "shared");
const ROLE: (&str, &str) = ("kubernetes.io/role/internal-elb", "1");

/// A load balancer for port 80, changed.
fn asked(change: impl FnOnce(&mut Desired)) -> Desired {
    let mut desired = desired([port(80)]);
    change(&mut desired);
    desired
}

/// Where the load balancer of this group would stand, or what is refused. Nothing is made for what is refused.
fn placed(
    desired: Desired,
    facts: impl FnOnce(&mut crate::model::Facts),
) -> Result<Vec<SubnetMapping>, Vec<String>> {
    let mut stage = Stage::warm(2);
    facts(stage.facts());
    stage.want = Want::Exists(desired);
    let first = stage.plan();
    if !first.refusals.is_empty() {
        assert_eq!(first.steps, [], "nothing is made for what is refused");
        let told = first.refusals.into_iter();
        return Err(told.map(|refusal| refusal.problem.to_string()).collect());
    }
    stage.settle();
    let lb = stage.seen.load_balancers.into_values().next();
    Ok(lb.expect("it is made").subnets)
}

fn ids(placed: Result<Vec<SubnetMapping>, Vec<String>>) -> String {
    match placed {
        Ok(subnets) => {
            let ids: Vec<&str> = subnets.iter().map(|place| &*place.subnet).collect();
            ids.join(",")
        }
        Err(told) => format!("refused: {}", told.join(" | ")),
    }
}

fn tagged(id: &str, zone: &str, tags: &[(&str, &str)]) -> Subnet {
    let tags = tags
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect();
    subnet(id, zone, "10.0.9.0/24", tags)
}

fn internal(subnets: Vec<Subnet>) -> String {
    ids(placed(asked(|_| ()), |facts| {
        facts.subnets = by_id(subnets);
    }))
}

fn by_id(subnets: Vec<Subnet>) -> std::collections::BTreeMap<Arc<str>, Subnet> {
    subnets
        .into_iter()
        .map(|subnet| (subnet.id.clone(), subnet))
        .collect()
}

fn listed(entries: &[&str]) -> Desired {
    asked(|desired| {
        let entries = entries.iter().map(|entry| Arc::from(*entry)).collect();
        desired.load_balancer.subnets = Subnets::Listed(entries);
    })
}

#[test]
fn row_25_the_own_clusters_subnet_goes_before() {
    let found = internal(vec![
        tagged("s-a", "az1", &[ROLE]),
        tagged("s-a2", "az1", &[ROLE, OWN]),
        tagged("s-b", "az2", &[ROLE]),
    ]);
    assert_eq!(found, "s-a2,s-b");
}

#[test]
fn row_26_the_lowest_id_of_equals() {
    let found = internal(vec![
        tagged("s-a1", "az1", &[ROLE]),
        tagged("s-a0", "az1", &[ROLE]),
    ]);
    assert_eq!(found, "s-a0");
}

#[test]
fn row_27_another_value_of_the_role_is_ignored_and_told() {
    let mut stage = Stage::warm(2);
    stage.facts().subnets = by_id(vec![
        tagged("s-a", "az1", &[ROLE]),
        tagged("s-b", "az2", &[("kubernetes.io/role/internal-elb", "true")]),
    ]);
    stage.want(asked(|_| ()));
    let told: Vec<String> = stage
        .plan()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        told.iter()
            .any(|told| told.contains("s-b") && told.contains("\"true\"")),
        "{told:#?}"
    );
    stage.settle();
    let lb = stage
        .seen
        .load_balancers
        .into_values()
        .next()
        .expect("made");
    assert_eq!(ids(Ok(lb.subnets)), "s-a");
}

#[test]
fn row_28_subnets_of_another_cluster_do_not_fit() {
    let found = internal(vec![
        tagged("s-a", "az1", &[ROLE, OTHERS]),
        tagged("s-b", "az2", &[ROLE, OTHERS]),
    ]);
    for told in [
        "s-a (az1): its tags name another cluster",
        "s-b (az2): its tags name another cluster",
    ] {
        assert!(found.contains(told), "{found}");
    }
}

#[test]
fn row_29_a_subnet_of_two_clusters_fits_both() {
    let found = internal(vec![tagged("s-a", "az1", &[ROLE, OWN, OTHERS])]);
    assert_eq!(found, "s-a");
}

#[test]
fn row_30_a_subnet_needs_eight_free_addresses() {
    let with = |free| {
        let mut low = tagged("s-b", "az2", &[ROLE]);
        low.free_addresses = free;
        internal(vec![tagged("s-a", "az1", &[ROLE]), low])
    };
    assert_eq!(with(7), "s-a");
    assert_eq!(with(8), "s-a,s-b");
}

#[test]
fn rows_31_and_32_without_roles_the_routes_decide() {
    let routed = |id: &str, zone: &str, public| {
        let mut subnet = tagged(id, zone, &[]);
        subnet.public = Some(public);
        subnet
    };
    for (scheme, want) in [
        (Scheme::Internal, "s-a,s-b"),
        (Scheme::InternetFacing, "s-p,s-q"),
    ] {
        let desired = asked(|desired| desired.load_balancer.scheme = Some(scheme));
        let found = ids(placed(desired, |facts| {
            facts.subnets = by_id(vec![
                routed("s-a", "az1", false),
                routed("s-b", "az2", false),
                routed("s-p", "az1", true),
                routed("s-q", "az2", true),
            ]);
        }));
        assert_eq!(found, want);
    }
}

#[test]
fn row_33_one_subnet_per_zone() {
    let found = ids(placed(listed(&["s-a", "s-p"]), |_| ()));
    assert!(found.contains("\"s-a, s-p\" are both in az1"), "{found}");
}

#[test]
fn row_34_a_name_stands_for_as_many_as_it_is_listed() {
    let named = |list: &[&str]| {
        ids(placed(listed(list), |facts| {
            let name = ("Name", "edge");
            facts.subnets = by_id(vec![
                tagged("s-1", "az1", &[name]),
                tagged("s-2", "az2", &[name]),
            ]);
        }))
    };
    assert_eq!(named(&["edge"]), "s-1");
    assert_eq!(named(&["edge", "edge"]), "s-1,s-2");
    let found = named(&["edge", "edge", "edge"]);
    assert!(found.contains("it is listed more often"), "{found}");
}

#[test]
fn row_35_a_list_counts_as_it_is() {
    let poor = |facts: &mut crate::model::Facts| {
        for subnet in facts.subnets.values_mut() {
            subnet.free_addresses = 3;
            subnet.tags = pairs([OTHERS]);
        }
    };
    assert_eq!(ids(placed(listed(&["s-b", "s-a"]), poor)), "s-b,s-a");
    let mut stage = Stage::warm(2);
    poor(stage.facts());
    stage.want(listed(&["s-b", "s-a"]));
    assert!(
        stage
            .plan()
            .warnings
            .iter()
            .any(|told| told.message.contains("3 free addresses"))
    );
}

#[test]
fn row_36_an_empty_list_is_no_list() {
    let found = ids(placed(listed(&[]), |_| ()));
    assert!(found.contains("lists no subnet"), "{found}");
}

#[test]
fn row_37_zones_are_of_one_kind() {
    let found = ids(placed(listed(&["s-a", "s-b"]), |facts| {
        if let Some(subnet) = facts.subnets.get_mut("s-b") {
            subnet.locale = "local-zone".into();
        }
    }));
    assert!(found.contains("zones of different kinds"), "{found}");
}

#[test]
fn rows_41_and_42_dualstack_needs_ipv6_prefixes() {
    let dualstack = |subnets: Subnets| {
        let desired = asked(|desired| {
            desired.load_balancer.address_type = Some(AddressType::Dualstack);
            desired.load_balancer.subnets = subnets;
        });
        ids(placed(desired, |facts| {
            if let Some(subnet) = facts.subnets.get_mut("s-a") {
                subnet.ipv6 = vec!["2001:db8::/64".parse().expect("a prefix")];
            }
        }))
    };
    assert_eq!(dualstack(Subnets::Discovered), "s-a");
    let found = dualstack(Subnets::Listed(vec!["s-a".into(), "s-b".into()]));
    assert!(found.contains("\"s-b\" has no IPv6 prefix"), "{found}");
}

#[test]
fn row_43_elastic_ips_go_with_the_subnets_in_their_order() {
    let mut desired = listed(&["s-q", "s-p"]);
    desired.load_balancer.scheme = Some(Scheme::InternetFacing);
    desired.load_balancer.addresses.allocations = vec!["e1".into(), "e2".into()];
    let subnets = placed(desired, |_| ()).expect("it fits");
    let pairs: Vec<(&str, Option<&str>)> = subnets
        .iter()
        .map(|place| (&*place.subnet, place.allocation.as_deref()))
        .collect();
    assert_eq!(pairs, [("s-q", Some("e1")), ("s-p", Some("e2"))]);
}

#[test]
fn rows_45_and_46_private_addresses_go_where_they_lie() {
    let with = |addresses: [&str; 2]| {
        let desired = asked(|desired| {
            desired.load_balancer.addresses.private = addresses
                .iter()
                .map(|address| address.parse().expect("an address"))
                .collect();
        });
        placed(desired, |_| ())
    };
    let subnets = with(["10.0.1.9", "10.0.0.9"]).expect("it fits");
    let pairs: Vec<String> = subnets
        .iter()
        .map(|place| format!("{}:{}", place.subnet, place.private.expect("one each")))
        .collect();
    assert_eq!(pairs, ["s-a:10.0.0.9", "s-b:10.0.1.9"]);
    let told = with(["10.0.0.9", "10.0.0.10"]).expect_err("s-b has none");
    let told = told.join(" | ");
    assert!(told.contains("\"s-b\" gets no address"), "{told}");
}
