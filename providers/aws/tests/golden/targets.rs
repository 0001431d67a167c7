//! 8.7: targets and nodes, as far as a Service alone decides them.

use evenkeel_aws::names;
use evenkeel_core::net::IpFamily;
use serde_json::json;

use super::rig::*;

#[test]
fn row_137_the_first_family_is_that_of_the_targets() {
    let got = plain().spec("ipFamilies", json!(["IPv4", "IPv6"])).gets();
    let got = got.warning_with("over IPv4 only");
    assert_eq!(got.target_group(7000).family, IpFamily::V4);
}

#[test]
fn row_138_ipv6_targets_of_a_dualstack_load_balancer() {
    let asking = || plain().spec("ipFamilies", json!(["IPv6"]));
    let got = asking()
        .aws("ip-address-type", "dualstack")
        .gets()
        .silently();
    assert_eq!(got.target_group(7000).family, IpFamily::V6);
    asking().is_refused_at("spec.ipFamilies");
}

#[test]
fn row_139_a_change_of_the_first_family_is_another_target_group() {
    let families = |families| {
        let got = plain()
            .aws("ip-address-type", "dualstack")
            .spec("ipFamilies", families)
            .gets();
        let target_group = got.target_group(7000);
        let key = plain().group().key;
        names::target_group(
            &cluster().uid,
            &key,
            "ek-default-web",
            &target_group.id,
            target_group.target_type,
            target_group.family,
        )
    };
    assert_ne!(families(json!(["IPv4"])), families(json!(["IPv6"])));
}
