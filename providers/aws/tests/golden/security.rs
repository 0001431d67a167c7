//! 8.6: security groups, as far as a Service alone decides them.

use evenkeel_aws::model::Security;
use serde_json::json;

use super::rig::*;

const RANGES: &str = "loadBalancerSourceRanges";

fn web() -> Asking {
    service(&["h:80/TCP>30080"])
}

#[test]
fn row_105_a_rule_for_each_port_and_range() {
    let got = service(&["h:80/TCP>30080", "d:53/UDP>30053"])
        .spec(RANGES, json!(["10.0.0.0/8", "192.168.0.0/16"]))
        .gets()
        .silently();
    let want = [
        "tcp 80 from 10.0.0.0/8",
        "tcp 80 from 192.168.0.0/16",
        "udp 53 from 10.0.0.0/8",
        "udp 53 from 192.168.0.0/16",
    ];
    assert_eq!(got.rules(), want);
}

#[test]
fn row_106_the_field_wins_over_the_annotation() {
    let got = web()
        .spec(RANGES, json!(["10.0.0.0/8"]))
        .annotated(
            "service.beta.kubernetes.io/load-balancer-source-ranges",
            "0.0.0.0/0",
        )
        .gets();
    assert_eq!(got.rules(), ["tcp 80 from 10.0.0.0/8"]);
}

#[test]
fn row_107_prefix_lists_stand_beside_ranges() {
    let got = web()
        .aws("security-group-prefix-lists", "pl-1")
        .spec(RANGES, json!(["10.0.0.0/8"]))
        .gets()
        .silently();
    assert_eq!(got.rules(), ["tcp 80 from 10.0.0.0/8", "tcp 80 from pl-1"]);
    let got = web()
        .aws("security-group-prefix-lists", "pl-1")
        .gets()
        .silently();
    assert_eq!(got.rules(), ["tcp 80 from pl-1"]);
    let key = "security-group-prefix-lists";
    web().aws(key, "1").is_refused_for(key);
}

#[test]
fn row_108_ranges_are_canonical() {
    let got = web()
        .spec(RANGES, json!(["10.1.2.3/8", " 10.0.0.0/8"]))
        .gets()
        .silently();
    assert_eq!(got.rules(), ["tcp 80 from 10.0.0.0/8"]);
}

#[test]
fn given_groups_decide_who_may_connect() {
    let given = || web().aws("security-groups", "web-sg, sg-9");
    let security = |got: &Got| got.desired.load_balancer.security.clone();
    let groups = vec!["web-sg".into(), "sg-9".into()];
    let want = |backend| Security::Given {
        groups: groups.clone(),
        backend,
    };
    assert_eq!(security(&given().gets().silently()), want(false));
    let with_rules = given().aws("manage-backend-security-group-rules", "true");
    assert_eq!(security(&with_rules.gets().silently()), want(true));
    given()
        .spec(RANGES, json!(["10.0.0.0/8"]))
        .gets()
        .warning_with("spec.loadBalancerSourceRanges");
    let key = "security-group-prefix-lists";
    given().aws(key, "pl-1").gets().warning_of(key);
    let key = "enable-icmp-for-path-mtu-discovery";
    given().aws(key, "on").gets().warning_of(key);
    web()
        .aws("security-groups", "a,b,c,d,e,f")
        .is_refused_for("security-groups");
}

#[test]
fn row_110_rules_of_the_backend_without_given_groups_are_told() {
    let key = "manage-backend-security-group-rules";
    let got = web().aws(key, "false").gets().warning_of(key);
    assert_eq!(got.rules(), ["tcp 80 from 0.0.0.0/0"]);
}

#[test]
fn row_118_rules_of_private_link_are_on_or_off_to_the_letter() {
    let key = "inbound-sg-rules-on-private-link-traffic";
    let got = web().aws(key, "off").gets().silently();
    assert_eq!(got.desired.load_balancer.private_link_rules, Some(false));
    web().aws(key, "OFF").is_refused_for(key);
}

const ICMP: &str = "enable-icmp-for-path-mtu-discovery";

#[test]
fn row_119_path_mtu_discovery_for_each_range() {
    let got = web()
        .aws(ICMP, "on")
        .spec(RANGES, json!(["10.0.0.0/8"]))
        .gets()
        .silently();
    assert_eq!(
        got.rules(),
        ["tcp 80 from 10.0.0.0/8", "icmp 3-4 from 10.0.0.0/8"]
    );
    let got = web()
        .aws(ICMP, "on")
        .aws("ip-address-type", "dualstack")
        .spec("ipFamilies", json!(["IPv4", "IPv6"]))
        .spec(RANGES, json!(["2001:db8::/32", "10.0.0.0/8"]))
        .gets()
        .silently();
    assert_eq!(got.rules().len(), 4);
    assert_eq!(got.rules()[3], "icmpv6 2-0 from 2001:db8::/32");
    let got = web()
        .aws(ICMP, "on")
        .aws("security-group-prefix-lists", "pl-1")
        .gets()
        .silently();
    assert_eq!(got.rules(), ["tcp 80 from pl-1"]);
}

#[test]
fn row_120_path_mtu_discovery_is_on_or_off_to_the_letter() {
    web().aws(ICMP, "true").is_refused_for(ICMP);
}

#[test]
fn a_dualstack_load_balancer_is_open_to_both_families() {
    let got = web().aws("ip-address-type", "dualstack").gets().silently();
    assert_eq!(got.rules(), ["tcp 80 from 0.0.0.0/0", "tcp 80 from ::/0"]);
}

#[test]
fn ranges_of_a_family_that_is_not_there_cost_no_rule() {
    let got = web()
        .spec("ipFamilies", json!(["IPv4", "IPv6"]))
        .spec(RANGES, json!(["10.0.0.0/8", "2001:db8::/32"]))
        .gets();
    assert_eq!(got.rules(), ["tcp 80 from 10.0.0.0/8"]);
}

#[test]
fn more_rules_than_a_group_may_have_are_refused() {
    let ranges: Vec<String> = (0..61).map(|n| format!("10.{n}.0.0/16")).collect();
    web()
        .spec(RANGES, json!(ranges))
        .is_refused_at("spec.loadBalancerSourceRanges");
    assert_eq!(
        web().spec(RANGES, json!(ranges[1..])).gets().rules().len(),
        60
    );
    let given = web()
        .spec(RANGES, json!(ranges))
        .aws("security-groups", "sg-1");
    given.gets().warning_with("no effect");
}
