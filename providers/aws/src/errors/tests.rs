//! Every code has its class, and every text ends with what to do.

use std::collections::BTreeSet;

use super::{table::ROWS, *};
use crate::call::{self, ALL};

/// What AWS's own model lists for the calls that we make.
const CODES: &str = include_str!("codes.txt");

fn answered(call: &Call, code: &str) -> CloudError {
    let answer = Answer {
        status: 400,
        code: code.to_owned(),
        message: "What AWS says.".to_owned(),
        request_id: Some("7a62".to_owned()),
    };
    from_answer(call, answer, None)
}

#[test]
fn every_code_that_awss_model_lists_is_in_the_table() {
    let mut operations = BTreeSet::new();
    for line in CODES.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (operation, code) = (
            words.next().expect("operation"),
            words.next().expect("code"),
        );
        assert!(ALL.iter().any(|call| call.operation == operation), "{line}");
        assert!(
            table::row_of(code, operation).is_some(),
            "{line} is not in the table"
        );
        operations.insert(operation);
    }
    assert!(operations.len() > 25, "{operations:?}");
}

#[test]
fn a_code_stands_once_for_an_operation() {
    for (index, row) in ROWS.iter().enumerate() {
        for later in &ROWS[index + 1..] {
            let common = row.codes.iter().find(|code| later.codes.contains(code));
            let narrower = !row.operations.is_empty() && row.operations != later.operations;
            assert!(common.is_none() || narrower, "{common:?} stands twice");
        }
        for operation in row.operations {
            assert!(
                ALL.iter().any(|call| call.operation == *operation),
                "{operation} is no call of ours"
            );
        }
        // Denials make their own text.
        assert_eq!(
            row.advice.is_empty(),
            row.means == Means::Denied,
            "{:?}",
            row.codes
        );
        assert!(!row.advice.ends_with('.'), "{:?}", row.codes);
    }
}

#[test]
fn classes() {
    use ErrorClass::{Conflict, Denied, Quota, Rejected, Throttled, Transient};
    let throttled = Throttled { after: None };
    for (call, code, class) in [
        (&call::CREATE_LISTENER, "LoadBalancerNotFound", Conflict),
        (&call::REGISTER_TARGETS, "TargetGroupNotFound", Conflict),
        (
            &call::CREATE_LOAD_BALANCER,
            "DuplicateLoadBalancerName",
            Rejected,
        ),
        (
            &call::CREATE_TARGET_GROUP,
            "DuplicateTargetGroupName",
            Conflict,
        ),
        (&call::CREATE_LISTENER, "DuplicateListener", Conflict),
        (&call::DELETE_TARGET_GROUP, "ResourceInUse", Transient),
        (&call::DELETE_LOAD_BALANCER, "ResourceInUse", Rejected),
        (&call::CREATE_LOAD_BALANCER, "ResourceInUse", Rejected),
        (
            &call::DELETE_LOAD_BALANCER,
            "OperationNotPermitted",
            Rejected,
        ),
        (
            &call::SET_SECURITY_GROUPS,
            "InvalidConfigurationRequest",
            Rejected,
        ),
        (&call::CREATE_LOAD_BALANCER, "ValidationError", Rejected),
        (&call::CREATE_LOAD_BALANCER, "InvalidSubnet", Rejected),
        (&call::CREATE_LOAD_BALANCER, "TooManyLoadBalancers", Quota),
        (&call::REGISTER_TARGETS, "TooManyTargets", Quota),
        (
            &call::DESCRIBE_TARGET_HEALTH,
            "HealthUnavailable",
            Transient,
        ),
        (&call::SET_SUBNETS, "PriorRequestNotComplete", Transient),
        (&call::DESCRIBE_LOAD_BALANCERS, "Throttling", throttled),
        (&call::AUTHORIZE_INGRESS, "RequestLimitExceeded", throttled),
        (
            &call::CREATE_SECURITY_GROUP,
            "UnauthorizedOperation",
            Denied,
        ),
        (&call::CREATE_TAGS, "ExpiredToken", Denied),
        (&call::DESCRIBE_SUBNETS, "AuthFailure", Denied),
        (
            &call::AUTHORIZE_INGRESS,
            "RulesPerSecurityGroupLimitExceeded",
            Quota,
        ),
        (
            &call::DELETE_SECURITY_GROUP,
            "DependencyViolation",
            Transient,
        ),
        (&call::DESCRIBE_SUBNETS, "InternalError", Transient),
        (&call::CREATE_LISTENER, "InternalFailure", Conflict),
        (&call::CREATE_LISTENER, "OfNextYear", Transient),
    ] {
        let error = answered(call, code);
        assert_eq!(error.class, class, "{} {code}", call.operation);
        assert_eq!(error.code.as_deref(), Some(code));
        assert_eq!(error.request_id.as_deref(), Some("7a62"));
    }
}

#[test]
fn answers_without_a_code() {
    for (call, status, class) in [
        (&call::DESCRIBE_LOAD_BALANCERS, 500, ErrorClass::Transient),
        (&call::CREATE_LISTENER, 500, ErrorClass::Conflict),
        (&call::CREATE_LISTENER, 502, ErrorClass::Conflict),
        (
            &call::CREATE_LISTENER,
            503,
            ErrorClass::Throttled { after: None },
        ),
        (
            &call::CREATE_LISTENER,
            429,
            ErrorClass::Throttled { after: None },
        ),
        (&call::CREATE_LISTENER, 404, ErrorClass::Transient),
    ] {
        let answer = Answer {
            status,
            ..Answer::default()
        };
        let error = from_answer(call, answer, None);
        assert_eq!(error.class, class, "{} {status}", call.operation);
        assert!(error.message.contains(&status.to_string()), "{error}");
    }
}

#[test]
fn the_providers_own_faults() {
    use ProviderFault::{CredentialsExpired, PermissionDenied};
    for (call, code, fault) in [
        (
            &call::CREATE_LISTENER,
            "ExpiredTokenException",
            Some(CredentialsExpired),
        ),
        (
            &call::DESCRIBE_SUBNETS,
            "InvalidClientTokenId",
            Some(CredentialsExpired),
        ),
        (
            &call::DESCRIBE_SUBNETS,
            "UnauthorizedOperation",
            Some(PermissionDenied),
        ),
        // Of one object only: others may be allowed.
        (&call::CREATE_LISTENER, "AccessDenied", None),
        (
            &call::CREATE_LOAD_BALANCER,
            "OptInRequired",
            Some(PermissionDenied),
        ),
        (&call::CREATE_LOAD_BALANCER, "TooManyLoadBalancers", None),
    ] {
        assert_eq!(
            answered(call, code).of_provider,
            fault,
            "{} {code}",
            call.operation
        );
    }
    let reason = |code| answered(&call::CREATE_LOAD_BALANCER, code).reason;
    assert_eq!(
        reason("DuplicateLoadBalancerName"),
        Some(FailureReason::OwnershipConflict)
    );
    assert_eq!(
        reason("AllocationIdNotFound"),
        Some(FailureReason::AddressNotAvailable)
    );
}

#[test]
fn what_aws_says_is_followed_by_what_to_do() {
    let error = answered(&call::DELETE_LOAD_BALANCER, "OperationNotPermitted");
    assert_eq!(
        error.message,
        "What AWS says; set the attribute `deletion_protection.enabled` of the load balancer to false in AWS; then it is deleted"
    );
}

#[test]
fn denials_name_action_and_resource() {
    let elb = "User: arn:aws:sts::123456789012:assumed-role/evenkeel/x is not authorized to perform: \
        elasticloadbalancing:CreateLoadBalancer on resource: \
        arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/a/* because no identity-based policy allows \
        the elasticloadbalancing:CreateLoadBalancer action";
    let encoded = "You are not authorized to perform this operation. Encoded authorization failure message: 4GIOHlTkIaWHQD0Q";
    let decoded = Decoded::read(
        r#"{"allowed":false,"explicitDeny":true,"context":{"action":"ec2:CreateSecurityGroup","resource":"arn:aws:ec2:*:*:vpc/vpc-1"}}"#,
    );
    let role = "arn:aws:sts::123456789012:assumed-role/evenkeel/x";
    let cases = [
        (
            &call::CREATE_LOAD_BALANCER,
            elb,
            None,
            format!(
                "not allowed: elasticloadbalancing:CreateLoadBalancer on \
                 arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/a/* for {role}; \
                 allow it in the policy of the role that evenkeel runs as"
            ),
        ),
        (
            &call::CREATE_SECURITY_GROUP,
            encoded,
            None,
            "not allowed: ec2:CreateSecurityGroup; allow it in the policy of the role that evenkeel runs as \
             (AWS hides the details; allow sts:DecodeAuthorizationMessage to see them here)"
                .to_owned(),
        ),
        (
            &call::CREATE_SECURITY_GROUP,
            encoded,
            decoded.as_ref(),
            "not allowed: ec2:CreateSecurityGroup on arn:aws:ec2:*:*:vpc/vpc-1; a policy denies it: take that statement away, \
             or let it spare this role"
                .to_owned(),
        ),
        (
            &call::ADD_TAGS,
            "",
            None,
            "not allowed: elasticloadbalancing:AddTags; allow it in the policy of the role that evenkeel runs as".to_owned(),
        ),
    ];
    for (call, message, decoded, expected) in cases {
        let answer = Answer {
            status: 403,
            code: "AccessDenied".to_owned(),
            message: message.to_owned(),
            request_id: None,
        };
        let error = from_answer(call, answer, decoded);
        assert_eq!(error.message, expected);
        assert_eq!(error.class, ErrorClass::Denied);
    }
    assert_eq!(Decoded::read("no document"), None);
}
