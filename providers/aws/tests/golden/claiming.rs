//! 8.1: who serves a Service, and what it gets without a word.

use evenkeel_core::{
    claim::{self, Claim, ClaimRules, ClassRule, Profile},
    ids::ProviderName,
    intent::Scheme,
};
use serde_json::json;

use super::rig::*;

#[test]
fn row_001_a_plain_service_is_an_internal_load_balancer_on_instances() {
    let got = plain().gets().silently();
    let load_balancer = &got.desired.load_balancer;
    assert_eq!(load_balancer.scheme, None);
    assert_eq!(load_balancer.new_scheme(), Scheme::Internal);
    assert_eq!(
        load_balancer.address_type.unwrap_or_default().as_str(),
        "ipv4"
    );
    assert_eq!(got.listeners(), ["TCP:7000"]);
    let target_group = got.target_group(7000);
    assert_eq!(target_group.protocol.as_str(), "TCP");
    assert_eq!(target_group.target_type.as_str(), "instance");
    assert_eq!(target_group.node_port, 30700);
    assert_eq!(got.health_check(7000), "TCP traffic-port 10s/10s/3/3");
    // AWS has the PROXY protocol off by itself.
    assert_eq!(got.target_attributes(7000), [""; 0]);
    assert_eq!(got.rules(), ["tcp 7000 from 0.0.0.0/0"]);
}

#[test]
fn row_007_a_target_type_that_there_is_not_is_refused() {
    plain()
        .aws("nlb-target-type", "lambda")
        .is_refused_for("nlb-target-type");
}

#[test]
fn row_009_a_node_port_set_by_hand_is_enough() {
    let asking = service(&["a:80/TCP>30080"]).spec("allocateLoadBalancerNodePorts", json!(false));
    assert_eq!(asking.gets().silently().listeners(), ["TCP:80"]);
}

#[test]
fn row_010_a_type_that_there_is_not_is_refused() {
    plain().aws("type", "clb").is_refused_for("type");
    for known in ["external", "nlb"] {
        plain().aws("type", known).gets().silently();
    }
}

/// The rules of a process that serves AWS, with the class that Services of the former controller carry.
fn rules() -> ClaimRules {
    let aws = || ProviderName::from(evenkeel_aws::NAME);
    let rule = ClassRule {
        provider: aws(),
        profile: Profile::Lbc,
    };
    ClaimRules::new([aws()]).with_class("service.k8s.aws/nlb", rule)
}

fn claimed(asking: &Asking) -> bool {
    matches!(claim::claim(&asking.service(), &rules()), Claim::Ours(_))
}

#[test]
fn row_002_a_service_of_another_class_is_left_alone() {
    let of_class = |class: &str| {
        plain()
            .spec("loadBalancerClass", json!(class))
            .aws("type", "external")
            .aws("nlb-target-type", "ip")
    };
    assert!(!claimed(&of_class("vendor.example/lb")));
    for ours in ["service.k8s.aws/nlb", "evenkeel.dev/aws"] {
        assert!(claimed(&of_class(ours)), "{ours}");
    }
}

#[test]
fn row_003_a_type_alone_claims_nothing() {
    assert!(!claimed(&plain().aws("type", "external")));
}

#[test]
fn row_004_nor_does_a_target_type() {
    for target_type in ["Instance", "instance"] {
        let asking = plain()
            .aws("type", "external")
            .aws("nlb-target-type", target_type);
        assert!(!claimed(&asking));
    }
}

#[test]
fn row_005_a_service_of_another_type_is_left_alone() {
    let asking = plain()
        .aws("type", "nlb-ip")
        .spec("type", json!("NodePort"));
    assert!(!claimed(&asking));
}

#[test]
fn row_008_a_service_that_became_another_type_is_given_back() {
    let mut service = plain().spec("type", json!("ClusterIP")).service();
    service.metadata.finalizers = Some(vec!["evenkeel.dev/aws".to_owned()]);
    let leaving = claim::leaving(&service, &rules());
    assert_eq!(leaving, [ProviderName::from(evenkeel_aws::NAME)]);
}

#[test]
fn plain_manifests_without_a_class_are_served_by_the_default_provider() {
    let asking = plain()
        .profile(Profile::Neutral)
        .aws("type", "nlb")
        .aws("internal", "true");
    let aws = ClassRule::neutral(ProviderName::from(evenkeel_aws::NAME));
    let rules = rules().with_default(aws.clone());
    assert_eq!(claim::claim(&asking.service(), &rules), Claim::Ours(aws));
    let got = asking.gets().silently();
    assert_eq!(got.desired.load_balancer.scheme, Some(Scheme::Internal));
    assert_eq!(got.target_group(7000).target_type.as_str(), "instance");
}
