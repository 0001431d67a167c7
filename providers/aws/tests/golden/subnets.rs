//! 8.3: subnets and addresses, given the VPC.

use std::sync::Arc;

use evenkeel_aws::model::{SubnetMapping, facts::Subnet};

use super::{
    rig::*,
    stage::{Stage, subnet},
};

const OWN: (&str, &str) = ("kubernetes.io/cluster/c1", "shared");
const OTHERS: (&str, &str) = ("kubernetes.io/cluster/c2", "shared");
const ROLE: (&str, &str) = ("kubernetes.io/role/internal-elb", "1");

/// Where a load balancer stands when it is made, or why none is. Nothing is made for what is refused.
fn placed(mut stage: Stage) -> Result<Vec<SubnetMapping>, String> {
    let first = stage.plan();
    if !first.refusals.is_empty() {
        assert_eq!(first.steps, [], "nothing is made for what is refused");
        return Err(stage.refused().join(" | "));
    }
    stage.settle();
    Ok(stage.load_balancer().subnets.clone())
}

fn ids(stage: Stage) -> String {
    match placed(stage) {
        Ok(subnets) => {
            let ids: Vec<&str> = subnets.iter().map(|place| &*place.subnet).collect();
            ids.join(",")
        }
        Err(told) => told,
    }
}

/// A Service in a VPC with these subnets.
fn within(asking: &Asking, subnets: Vec<Subnet>) -> Stage {
    let mut stage = Stage::of(asking);
    stage.facts().subnets = subnets
        .into_iter()
        .map(|subnet| (subnet.id.clone(), subnet))
        .collect();
    stage
}

fn found(subnets: Vec<Subnet>) -> String {
    ids(within(&plain(), subnets))
}

fn listed(list: &str) -> Asking {
    plain().aws("subnets", list)
}

fn change(stage: &mut Stage, id: &str, change: impl FnOnce(&mut Subnet)) {
    change(stage.facts().subnets.get_mut(id).expect("a subnet"));
}

#[test]
fn row_025_the_own_clusters_subnet_goes_before() {
    let found = found(vec![
        subnet("s-a", "az1", &[ROLE]),
        subnet("s-a2", "az1", &[ROLE, OWN]),
        subnet("s-b", "az2", &[ROLE]),
    ]);
    assert_eq!(found, "s-a2,s-b");
}

#[test]
fn row_026_the_lowest_id_of_equals() {
    let found = found(vec![
        subnet("s-a1", "az1", &[ROLE]),
        subnet("s-a0", "az1", &[ROLE]),
    ]);
    assert_eq!(found, "s-a0");
}

#[test]
fn row_027_another_value_of_the_role_is_ignored_and_told() {
    let stage = within(
        &plain(),
        vec![
            subnet("s-a", "az1", &[ROLE]),
            subnet("s-b", "az2", &[("kubernetes.io/role/internal-elb", "true")]),
        ],
    );
    let told = stage.told().join(" | ");
    assert!(told.contains("s-b") && told.contains("\"true\""), "{told}");
    assert_eq!(ids(stage), "s-a");
}

#[test]
fn row_028_subnets_of_another_cluster_do_not_fit() {
    let found = found(vec![
        subnet("s-a", "az1", &[ROLE, OTHERS]),
        subnet("s-b", "az2", &[ROLE, OTHERS]),
    ]);
    for told in [
        "no subnet of the VPC vpc-1 fits an internal load balancer",
        "s-a (az1): its tags name another cluster",
        "s-b (az2): its tags name another cluster",
    ] {
        assert!(found.contains(told), "{found}");
    }
}

#[test]
fn row_029_a_subnet_of_two_clusters_fits_both() {
    let found = found(vec![subnet("s-a", "az1", &[ROLE, OWN, OTHERS])]);
    assert_eq!(found, "s-a");
}

#[test]
fn row_030_a_subnet_needs_eight_free_addresses() {
    for (free, want) in [(7, "s-a"), (8, "s-a,s-b")] {
        let mut stage = Stage::of(&plain());
        change(&mut stage, "s-b", |subnet| subnet.free_addresses = free);
        assert_eq!(ids(stage), want);
    }
}

/// Subnets without roles: two whose routes lead to the internet, and two others.
fn routed() -> Vec<Subnet> {
    let routed = |(id, zone, public)| Subnet {
        public: Some(public),
        ..subnet(id, zone, &[])
    };
    [
        ("s-a", "az1", false),
        ("s-b", "az2", false),
        ("s-p", "az1", true),
        ("s-q", "az2", true),
    ]
    .map(routed)
    .to_vec()
}

#[test]
fn row_031_without_roles_the_routes_decide() {
    assert_eq!(ids(within(&plain(), routed())), "s-a,s-b");
    let facing = plain().aws("scheme", "internet-facing");
    assert_eq!(ids(within(&facing, routed())), "s-p,s-q");
}

#[test]
fn without_a_subnet_that_fits_every_subnet_is_named_with_its_fault() {
    let facing = plain().aws("scheme", "internet-facing");
    let mut subnets = routed();
    subnets.truncate(3);
    subnets[2].free_addresses = 2;
    let told = ids(within(&facing, subnets));
    for part in [
        "s-a (az1): its route table leads to no internet gateway",
        "s-p (az1): it has 2 free addresses and needs 8",
        "Tag a subnet of each zone with kubernetes.io/role/elb=1",
    ] {
        assert!(told.contains(part), "{told}");
    }
    let told = ids(within(&plain(), vec![]));
    assert!(told.contains(": it has none"), "{told}");
}

#[test]
fn what_is_not_found_is_looked_for_anew_before_it_is_refused() {
    for asking in [plain(), listed("subnet-1"), listed("edge")] {
        let mut stage = within(&asking, vec![]);
        stage.fresh = false;
        let plan = stage.plan();
        assert_eq!((plan.steps.len(), plan.refusals.len()), (0, 0));
        assert_eq!(plan.waits.len(), 1);
        assert_eq!(plan.waits[0].until, evenkeel_core::plan::Until::FreshRead);
    }
}

#[test]
fn row_033_one_subnet_per_zone() {
    let told = ids(Stage::of(&listed("s-a,s-p")));
    assert!(told.contains("\"s-a, s-p\" are both in az1"), "{told}");
}

#[test]
fn row_034_a_name_stands_for_as_many_as_it_is_listed() {
    let named = |list: &str| {
        let name = ("Name", "edge");
        let subnets = vec![subnet("s-1", "az1", &[name]), subnet("s-2", "az2", &[name])];
        ids(within(&listed(list), subnets))
    };
    assert_eq!(named("edge"), "s-1");
    assert_eq!(named("edge,edge"), "s-1,s-2");
    let told = named("edge,edge,edge");
    assert!(told.contains("it is listed more often"), "{told}");
}

#[test]
fn row_035_a_list_counts_as_it_is() {
    let mut stage = Stage::of(&listed("s-b,s-a"));
    for subnet in stage.facts().subnets.values_mut() {
        subnet.free_addresses = 3;
        subnet.tags = [(OTHERS.0.into(), OTHERS.1.into())].into_iter().collect();
    }
    let told = stage.told().join(" | ");
    assert!(told.contains("s-b (az2) has 3 free addresses"), "{told}");
    assert_eq!(ids(stage), "s-b,s-a");
}

#[test]
fn row_037_zones_are_of_one_kind() {
    let mut stage = Stage::of(&listed("s-a,s-b"));
    change(&mut stage, "s-b", |subnet| {
        subnet.locale = "local-zone".into();
    });
    let told = ids(stage);
    assert!(told.contains("zones of different kinds"), "{told}");
}

#[test]
fn a_list_names_subnets_of_the_clusters_vpc() {
    let mut stage = Stage::of(&listed("s-a,subnet-0a1b"));
    change(&mut stage, "s-a", |subnet| subnet.vpc = "vpc-2".into());
    let told = ids(stage);
    for part in [
        "is in the VPC vpc-2, and the cluster in vpc-1",
        "\"subnet-0a1b\" is not there",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn row_038_a_live_load_balancer_stays_where_it_is() {
    let mut stage = Stage::made(&plain());
    let new = subnet("s-c", "az3", &[ROLE]);
    stage.facts().subnets.insert(new.id.clone(), new);
    stage.only_tells("it could stand in s-c (az3) too");
}

#[test]
fn row_039_a_listed_subnet_is_added() {
    let mut stage = Stage::made(&listed("s-a"));
    stage.ask(&listed("s-a,s-b"));
    assert_eq!(stage.settle().words(), [["SetSubnets s-a,s-b"]]);
}

#[test]
fn row_040_a_subnet_of_a_zone_is_changed_in_two_steps() {
    let mut stage = Stage::made(&listed("s-a,s-b"));
    let new = subnet("s-a9", "az1", &[]);
    stage.facts().subnets.insert(new.id.clone(), new);
    stage.ask(&listed("s-a9,s-b"));
    assert_eq!(
        stage.settle().words(),
        [["SetSubnets s-b"], ["SetSubnets s-a9,s-b"]]
    );
}

#[test]
fn the_only_subnet_cannot_be_changed_for_another_of_its_zone() {
    let mut stage = Stage::made(&listed("s-a"));
    stage.ask(&listed("s-p"));
    assert_eq!(stage.plan().steps, []);
    let told = stage.refused().join(" | ");
    assert!(
        told.contains("Add a subnet of another zone first"),
        "{told}"
    );
}

#[test]
fn row_041_found_subnets_of_a_dualstack_load_balancer_have_ipv6() {
    let mut stage = Stage::of(&plain().aws("ip-address-type", "dualstack"));
    change(&mut stage, "s-a", with_ipv6);
    assert_eq!(ids(stage), "s-a");
}

fn with_ipv6(subnet: &mut Subnet) {
    subnet.ipv6 = vec!["2001:db8::/64".parse().expect("a prefix")];
}

#[test]
fn row_042_listed_subnets_of_a_dualstack_load_balancer_have_ipv6() {
    let mut stage = Stage::of(&listed("s-a,s-b").aws("ip-address-type", "dualstack"));
    change(&mut stage, "s-a", with_ipv6);
    let told = ids(stage);
    assert!(told.contains("\"s-b\" has no IPv6 prefix"), "{told}");
}

fn with_elastic_ips(list: &str) -> Asking {
    listed("s-q,s-p")
        .aws("scheme", "internet-facing")
        .aws("eip-allocations", list)
}

fn allocations(stage: Stage) -> Vec<(Arc<str>, Option<Arc<str>>)> {
    let subnets = placed(stage).expect("it is made").into_iter();
    subnets
        .map(|place| (place.subnet, place.allocation))
        .collect()
}

#[test]
fn row_043_elastic_ips_go_with_the_subnets_in_their_order() {
    let stage = Stage::of(&with_elastic_ips("eipalloc-1,eipalloc-2"));
    let want = [
        ("s-q".into(), Some("eipalloc-1".into())),
        ("s-p".into(), Some("eipalloc-2".into())),
    ];
    assert_eq!(allocations(stage), want);
}

#[test]
fn elastic_ips_for_found_subnets_are_as_many_as_those() {
    let asking = plain()
        .aws("scheme", "internet-facing")
        .aws("eip-allocations", "eipalloc-1");
    let told = ids(Stage::of(&asking));
    assert!(told.contains("for 2 subnets (s-p, s-q)"), "{told}");
}

#[test]
fn row_044_a_load_balancer_keeps_its_elastic_ips() {
    let mut stage = Stage::made(&with_elastic_ips("eipalloc-1,eipalloc-2"));
    stage.ask(&with_elastic_ips("eipalloc-1,eipalloc-3"));
    stage.only_tells("other addresses in s-p have no effect");
}

#[test]
fn an_address_that_was_chosen_is_only_given_up_under_an_approval() {
    let mut stage = Stage::made(&with_elastic_ips("eipalloc-1,eipalloc-2"));
    let fewer = listed("s-q")
        .aws("scheme", "internet-facing")
        .aws("eip-allocations", "eipalloc-1");
    stage.ask(&fewer);
    assert_eq!(stage.plan().steps, []);
    stage.approve();
    assert_eq!(stage.settle().words()[0], ["SetSubnets s-q"]);
    // The address comes back, and the approval still stands on the Service: it is used up.
    stage.ask(&with_elastic_ips("eipalloc-1,eipalloc-2"));
    assert_eq!(stage.settle().words(), [["SetSubnets s-q,s-p"]]);
    stage.ask(&fewer);
    assert_eq!(stage.plan().steps, []);
    stage.approve();
    assert_eq!(stage.settle().words()[0], ["SetSubnets s-q"]);
}

fn with_private(addresses: &str) -> Stage {
    Stage::of(&plain().aws("private-ipv4-addresses", addresses))
}

#[test]
fn row_045_private_addresses_go_where_they_lie() {
    let subnets = placed(with_private("10.0.1.9,10.0.0.9")).expect("it is made");
    let places: Vec<String> = subnets
        .iter()
        .map(|place| format!("{}:{}", place.subnet, place.private.expect("one each")))
        .collect();
    assert_eq!(places, ["s-a:10.0.0.9", "s-b:10.0.1.9"]);
}

#[test]
fn row_046_every_subnet_needs_a_private_address() {
    let told = ids(with_private("10.0.0.9,10.0.0.10"));
    assert!(told.contains("\"s-b\" gets no address"), "{told}");
    let told = ids(with_private("10.0.0.9,10.9.0.9"));
    assert!(
        told.contains("\"10.9.0.9\" lies in none of the subnets"),
        "{told}"
    );
}

#[test]
fn source_nat_prefixes_lie_in_their_subnets() {
    let asking = |prefixes: &str| {
        listed("s-a")
            .aws("ip-address-type", "dualstack")
            .aws("enable-prefix-for-ipv6-source-nat", "on")
            .aws("source-nat-ipv6-prefixes", prefixes)
    };
    for (prefixes, fault) in [
        ("auto_assigned", None),
        ("2001:db8::/80", None),
        ("2001:db8:0:1::/80", Some("lies outside of the subnet s-a")),
    ] {
        let mut stage = Stage::of(&asking(prefixes));
        change(&mut stage, "s-a", with_ipv6);
        match (placed(stage), fault) {
            (Ok(subnets), None) => {
                assert_eq!(subnets[0].source_nat_prefix.as_deref(), Some(prefixes));
            }
            (Err(told), Some(fault)) => assert!(told.contains(fault), "{told}"),
            (other, _) => panic!("{prefixes}: {other:?}"),
        }
    }
}

#[test]
fn row_048_dualstack_comes_in_place_its_addresses_first() {
    let mut stage = Stage::made(&listed("s-a"));
    change(&mut stage, "s-a", with_ipv6);
    let dualstack = || listed("s-a").aws("ip-address-type", "dualstack");
    stage.ask(&dualstack());
    let mut plain = stage.clone();
    let noted = "Tag load balancer evenkeel.dev/attributes=ip-address-type";
    assert_eq!(
        plain.settle().words(),
        [
            vec!["Authorize tcp 7000 from ::/0", noted],
            vec!["SetAddressType dualstack"]
        ]
    );
    stage.ask(&dualstack().aws("ipv6-addresses", "2001:db8::9"));
    assert_eq!(
        stage.settle().words(),
        [
            vec!["Authorize tcp 7000 from ::/0", "SetSubnets s-a", noted],
            vec!["SetAddressType dualstack"]
        ]
    );
}
