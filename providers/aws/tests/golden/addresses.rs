//! 8.3: subnets and addresses, as far as a Service alone decides them.

use evenkeel_aws::model::Subnets;

use super::rig::*;

#[test]
fn changed_036_a_blank_list_of_subnets_is_no_list() {
    let got = plain().aws("subnets", "").gets().silently();
    assert_eq!(got.desired.load_balancer.subnets, Subnets::Discovered);
}

#[test]
fn row_047_source_nat_is_on_or_off_to_the_letter() {
    let asking = || plain().aws("ip-address-type", "dualstack");
    let key = "enable-prefix-for-ipv6-source-nat";
    let told = asking().aws(key, "On").is_refused_for(key);
    assert!(told.contains("Did you mean \"on\"?"), "{told}");
    let got = asking().aws(key, "on").gets().silently();
    assert_eq!(got.desired.load_balancer.source_nat, Some(true));
    plain().aws(key, "on").is_refused_for(key);
}

#[test]
fn a_name_of_a_subnet_may_stand_several_times() {
    let got = plain().aws("subnets", "edge, edge ,").gets().silently();
    let want = Subnets::Listed(vec!["edge".into(), "edge".into()]);
    assert_eq!(got.desired.load_balancer.subnets, want);
}

#[test]
fn addresses_are_checked_against_scheme_kind_and_number() {
    let facing = || {
        plain()
            .aws("scheme", "internet-facing")
            .aws("subnets", "s-q,s-p")
    };
    let eip = "eip-allocations";
    let got = facing()
        .aws(eip, "eipalloc-1, eipalloc-2")
        .gets()
        .silently();
    let allocations = &got.desired.load_balancer.addresses.allocations;
    assert_eq!(**allocations, ["eipalloc-1".into(), "eipalloc-2".into()]);
    plain().aws(eip, "eipalloc-1").is_refused_for(eip);
    facing().aws(eip, "eipalloc-1").is_refused_for(eip);
    facing().aws(eip, "eipalloc-1,e2").is_refused_for(eip);

    let private = "private-ipv4-addresses";
    let got = plain().aws(private, "10.0.1.9, 10.0.0.9").gets().silently();
    assert_eq!(got.desired.load_balancer.addresses.private.len(), 2);
    facing()
        .aws(private, "10.0.1.9,10.0.0.9")
        .is_refused_for(private);
    plain().aws(private, "2001:db8::9").is_refused_for(private);
    plain()
        .aws("subnets", "s-a")
        .aws(private, "10.0.1.9,10.0.0.9")
        .is_refused_for(private);

    let ipv6 = "ipv6-addresses";
    plain().aws(ipv6, "2001:db8::9").is_refused_for(ipv6);
    plain()
        .aws("ip-address-type", "dualstack")
        .aws(ipv6, "2001:db8::9")
        .gets()
        .silently();

    let prefixes = "source-nat-ipv6-prefixes";
    let translated = || {
        plain()
            .aws("ip-address-type", "dualstack")
            .aws("enable-prefix-for-ipv6-source-nat", "on")
    };
    plain()
        .aws(prefixes, "auto_assigned")
        .is_refused_for(prefixes);
    translated()
        .aws(prefixes, "2001:db8::/64")
        .is_refused_for(prefixes);
    translated()
        .aws(prefixes, "auto_assigned,auto_assigned,2001:db8::/80")
        .gets()
        .silently();
}

#[test]
fn the_neutral_key_names_elastic_ips_or_private_addresses() {
    let address = "evenkeel.dev/static-address";
    let field = format!("metadata.annotations[{address}]");
    let facing = || plain().annotated("evenkeel.dev/scheme", "internet-facing");
    let got = facing().annotated(address, "eipalloc-1").gets().silently();
    let addresses = &got.desired.load_balancer.addresses;
    assert_eq!(*addresses.allocations, ["eipalloc-1".into()]);
    facing()
        .annotated(address, "192.0.2.1")
        .is_refused_at(&field);
    plain()
        .annotated(address, "eipalloc-1")
        .is_refused_at(&field);
    facing()
        .annotated(address, "my-address")
        .is_refused_at(&field);
    let got = plain().annotated(address, "10.0.0.9").gets().silently();
    let addresses = &got.desired.load_balancer.addresses;
    assert_eq!(addresses.private, [std::net::Ipv4Addr::new(10, 0, 0, 9)]);
}

#[test]
fn the_deprecated_field_has_no_effect() {
    let got = plain()
        .spec("loadBalancerIP", serde_json::json!("10.0.0.9"))
        .gets()
        .warning_with("spec.loadBalancerIP has no effect");
    assert_eq!(
        got.desired.load_balancer.addresses,
        evenkeel_aws::model::ZoneAddresses::default()
    );
}
