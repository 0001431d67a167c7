//! Dualstack, and source NAT by prefix, as they come to a live load balancer and leave it again.

use std::sync::Arc;

use evenkeel_aws::model::{AddressType, Step};
use serde_json::json;

use super::{rig::*, stage::Stage};

const SOURCE_NAT: &str = "enable-prefix-for-ipv6-source-nat";
const PREFIXES: &str = "source-nat-ipv6-prefixes";

fn one() -> Asking {
    plain().aws("subnets", "s-a")
}

fn dualstack() -> Asking {
    one().aws("ip-address-type", "dualstack")
}

/// Made so, in a VPC whose subnets have IPv6.
fn made(asking: &Asking) -> Stage {
    let mut stage = Stage::of(asking);
    for (number, subnet) in stage.facts().subnets.values_mut().enumerate() {
        let prefix = format!("2001:db8:0:{number}::/64");
        subnet.ipv6 = vec![prefix.parse().expect("a prefix")];
    }
    stage.settle();
    assert_eq!(stage.plan().refusals, []);
    stage
}

/// What each `SetSubnets` and `SetIpAddressType` of the waves to come says.
fn told(stage: &mut Stage) -> Vec<String> {
    let waves = stage.settle();
    let words = waves.steps().filter_map(|step| match step {
        Step::SetSubnets {
            subnets,
            source_nat,
            ..
        } => {
            let prefixes = subnets.iter().map(|it| it.source_nat_prefix.as_deref());
            let prefixes: Vec<_> = prefixes.map(|it| it.unwrap_or("none")).collect();
            Some(format!("subnets {source_nat:?} {}", prefixes.join(",")))
        }
        Step::SetAddressType { address_type, .. } => Some(address_type.to_string()),
        _ => None,
    });
    words.collect()
}

#[test]
fn dualstack_that_is_no_longer_asked_for_goes() {
    let mut stage = made(&dualstack());
    stage.ask(&one());
    assert_eq!(
        stage.settle().words(),
        [
            ["SetAddressType ipv4"],
            ["Tag load balancer  -evenkeel.dev/attributes"],
            ["Revoke tcp 7000 from ::/0"],
        ]
    );
    assert_eq!(stage.load_balancer().address_type, AddressType::Ipv4);
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn dualstack_that_was_never_asked_for_stays() {
    let mut stage = made(&one());
    stage.load_balancer().address_type = AddressType::Dualstack;
    assert_eq!(stage.plan().steps, []);
}

#[test]
fn a_process_that_starts_takes_back_what_was_asked_for_before() {
    let mut stage = made(&dualstack());
    stage.look_in_bulk();
    assert_eq!((stage.plan().steps.len(), stage.plan().waits.len()), (0, 0));
    stage.ask(&one());
    assert_eq!(told(&mut stage), ["ipv4"]);
}

#[test]
fn source_nat_comes_after_dualstack_and_goes_before() {
    let mut stage = made(&one());
    let udp = || {
        dualstack()
            .spec(
                "ports",
                json!([{ "port": 53, "protocol": "UDP", "nodePort": 30053 }]),
            )
            .aws(SOURCE_NAT, "on")
    };
    stage.ask(&udp());
    assert_eq!(told(&mut stage), ["dualstack", "subnets Some(true) none"]);
    stage.ask(&dualstack());
    assert_eq!(told(&mut stage), ["subnets Some(false) none"]);
    stage.ask(&udp());
    stage.settle();
    stage.ask(&one());
    assert_eq!(told(&mut stage), ["subnets Some(false) none", "ipv4"]);
    assert_eq!(
        stage.load_balancer().tags.get("evenkeel.dev/attributes"),
        None
    );
}

#[test]
fn other_prefixes_for_source_nat_are_set() {
    let asking = |prefixes: &str| dualstack().aws(SOURCE_NAT, "on").aws(PREFIXES, prefixes);
    let mut stage = made(&asking("auto_assigned"));
    // As AWS tells what it chose.
    let chosen: Arc<str> = "2001:db8:0:0:aaaa::/80".into();
    stage.load_balancer().subnets[0].source_nat_prefix = Some(chosen);
    assert_eq!(stage.plan().steps, []);
    stage.ask(&asking("2001:0DB8::1/80"));
    assert_eq!(told(&mut stage), ["subnets None 2001:db8::/80"]);
    // Left to AWS again it may as well stay.
    stage.ask(&asking("auto_assigned"));
    assert_eq!(stage.plan().steps, []);
    // Together with dualstack it waits for that.
    let mut stage = made(&one());
    stage.ask(&asking("2001:db8::/80"));
    assert_eq!(
        told(&mut stage),
        ["dualstack", "subnets Some(true) 2001:db8::/80"]
    );
}

#[test]
fn an_ipv6_address_that_was_chosen_is_only_given_up_under_an_approval() {
    let mut stage = made(&dualstack().aws("ipv6-addresses", "2001:db8::9"));
    stage.ask(&one());
    assert_eq!(told(&mut stage), Vec::<String>::new());
    let refused = stage.refused().join(" | ");
    assert!(
        refused.contains("address type: dualstack -> ipv4"),
        "{refused}"
    );
    stage.approve();
    // Of several members each may approve.
    let own = stage.approval.take();
    stage.approval = own.map(|own| format!("0123456789 {own}"));
    assert_eq!(told(&mut stage), ["ipv4"]);
}

#[test]
fn attributes_come_to_a_load_balancer_of_which_only_other_fields_were_asked() {
    let mut stage = made(&dualstack());
    // As one that was looked at: nothing says that an attribute was set, so none was read.
    stage.load_balancer().attributes = None;
    stage.ask(&dualstack().aws("attributes", "zonal_shift.config.enabled=true"));
    let waves = stage.settle().words().concat();
    let set = "SetAttributes load balancer zonal_shift.config.enabled=true";
    assert!(waves.iter().any(|step| step == set), "{waves:#?}");
}

/// A Service of UDP, dualstack with source NAT.
fn datagrams() -> Asking {
    dualstack().aws(SOURCE_NAT, "on").spec("ports", udp_port())
}

fn udp_port() -> serde_json::Value {
    json!([{ "port": 53, "protocol": "UDP", "nodePort": 30053 }])
}

#[test]
fn what_was_asked_for_is_noted_before_it_is_set() {
    let mut stage = made(&one());
    stage.ask(&datagrams());
    let waves = stage.settle().words();
    let at = |word: &str| {
        let mut waves = waves.iter();
        waves.position(|wave| wave.iter().any(|step| step.starts_with(word)))
    };
    let order = [
        "Tag load balancer evenkeel.dev/attributes=ip-address-type ipv6-source-nat",
        "SetAddressType dualstack",
        "SetSubnets",
        "CreateListener UDP:53",
    ];
    let order = order.map(|word| at(word).unwrap_or_else(|| panic!("{word}: {waves:#?}")));
    assert!(order.is_sorted_by(|a, b| a < b), "{order:?} {waves:#?}");
}

#[test]
fn source_nat_goes_after_the_last_listener_of_udp() {
    let mut stage = made(&datagrams());
    stage.ask(&one());
    let waves = stage.settle().words();
    let steps: Vec<_> = waves.concat();
    let at = |word: &str| steps.iter().position(|step| step.starts_with(word));
    let (gone, off) = (at("Delete listener"), at("SetSubnets"));
    assert!(
        gone.is_some() && gone < off && off < at("SetAddressType ipv4"),
        "{waves:#?}"
    );
    assert_eq!(stage.plan().steps, []);

    // With UDP that stays both stay, and one is told.
    let mut stage = made(&datagrams());
    stage.ask(&one().spec("ports", udp_port()));
    assert_eq!(stage.settle().words(), [["Revoke udp 53 from ::/0"]]);
    assert_eq!(stage.plan().steps, []);
    let told = stage.told().join(" | ");
    let part = "source NAT and dualstack stay while there are UDP ports, of which 53 is one";
    assert!(told.contains(part), "{told}");
    assert_eq!(stage.load_balancer().address_type, AddressType::Dualstack);
}
