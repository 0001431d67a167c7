//! Every code has its class, and every text ends with what to do.

use std::time::Duration;

use super::{table::ROWS, *};

fn answered(access: Access, status: u16, body: &str) -> CloudError {
    from_answer("PUT loadBalancers", access, Answer::read(status, body))
}

fn coded(status: u16, code: &str) -> CloudError {
    let body = serde_json::json!({ "error": { "code": code, "message": "What Azure says." } });
    answered(Access::Write, status, &body.to_string())
}

#[test]
fn a_code_stands_once_and_its_advice_is_a_clause() {
    for (index, row) in ROWS.iter().enumerate() {
        for later in &ROWS[index + 1..] {
            let common = row.codes.iter().find(|code| later.codes.contains(code));
            assert!(common.is_none(), "{common:?} stands twice");
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
    for (status, code, class) in [
        (404, "ResourceNotFound", Conflict),
        (404, "ResourceGroupNotFound", Rejected),
        (412, "PreconditionFailed", Conflict),
        (409, "AnotherOperationInProgress", Transient),
        (200, "CanceledAndSupersededDueToAnotherOperation", Conflict),
        (429, "RetryableError", Transient),
        (429, "TooManyRequests", Throttled { after: None }),
        (500, "InternalServerError", Conflict),
        (400, "PublicIPAddressCannotBeDeleted", Transient),
        (400, "PublicIPAddressInUse", Rejected),
        (400, "LoadBalancerInUseByVirtualMachineScaleSet", Rejected),
        (400, "RulesUseSameBackendPortProtocolAndPool", Rejected),
        (400, "InvalidRequestFormat", Rejected),
        (400, "SubnetIsFull", Quota),
        (400, "PrivateIPAddressInUse", Rejected),
        (400, "DnsRecordInUse", Rejected),
        (400, "PublicIPCountLimitReached", Quota),
        (
            400,
            "SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached",
            Quota,
        ),
        (409, "OperationNotAllowed", Quota),
        (403, "AuthorizationFailed", Denied),
        (403, "RequestDisallowedByPolicy", Denied),
        (409, "ScopeLocked", Denied),
        (409, "ReadOnlyDisabledSubscription", Denied),
        (401, "ExpiredAuthenticationToken", Denied),
        (400, "SomethingNew", Transient),
        (503, "SomethingNew", Conflict),
    ] {
        let error = coded(status, code);
        assert_eq!(error.class, class, "{code}");
        assert_eq!(error.code.as_deref(), Some(code));
        assert!(error.message.starts_with("What Azure says"), "{error}");
    }
}

#[test]
fn the_innermost_code_says_most() {
    let body = r#"{"status":"Failed","error":{"code":"RetryableError","message":"A retryable error occurred.","details":[
        {"code":"ReferencedResourceNotProvisioned","message":"Resource /subscriptions/s/publicIPAddresses/ip1 is not provisioned."}]}}"#;
    let error = answered(Access::Write, 429, body);
    assert_eq!(
        error.code.as_deref(),
        Some("ReferencedResourceNotProvisioned")
    );
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("ip1"), "{error}");
}

#[test]
fn throttled_for_as_long_as_azure_says() {
    for code in ["TooManyRequests", "OperationNotAllowed"] {
        let body = format!(r#"{{"error":{{"code":"{code}","message":"Slow down."}}}}"#);
        let mut answer = Answer::read(429, &body);
        answer.after = Some(Duration::from_secs(17));
        let error = from_answer("PUT loadBalancers", Access::Write, answer);
        let after = Some(Duration::from_secs(17));
        assert_eq!(error.class, ErrorClass::Throttled { after }, "{code}");
    }
}

#[test]
fn a_denial_names_action_and_scope() {
    let text = |code: &str, message: &str| {
        let body = serde_json::json!({ "error": { "code": code, "message": message } });
        answered(Access::Write, 403, &body.to_string()).message
    };
    let plain = "The client 'x' with object id 'y' does not have authorization to perform action 'Microsoft.Network/loadBalancers/write' over scope '/subscriptions/s/resourceGroups/rg1' or the scope is invalid.";
    let found = text("AuthorizationFailed", plain);
    assert_eq!(
        found,
        "not allowed: Microsoft.Network/loadBalancers/write on /subscriptions/s/resourceGroups/rg1; give the controller's identity a role with that action there"
    );
    let found = text(
        "AuthorizationFailed",
        &plain.replace("rg1", "MC_rg1_prod_westeurope"),
    );
    assert!(found.contains("locked cluster"), "{found}");
    let has = "The client 'x' with object id 'y' has permission to perform action 'Microsoft.Network/loadBalancers/write' on scope '/subscriptions/s/resourceGroups/rg1'; however, ";
    let found = text(
        "LinkedAuthorizationFailed",
        &format!(
            "{has}it does not have permission to perform action(s) 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/subscriptions/s/subnets/a' (respectively) or the linked scope(s) are invalid."
        ),
    );
    assert!(
        found.starts_with("not allowed: Microsoft.Network/virtualNetworks/subnets/join/action on /subscriptions/s/subnets/a; give"),
        "{found}"
    );
    let found = text(
        "DenyAssignmentAuthorizationFailed",
        &format!(
            "{has}the access is denied because of the deny assignment with name 'AKS lock' and Id 'y' at scope '/subscriptions/s/resourceGroups/rg1'."
        ),
    );
    assert!(
        found.starts_with("not allowed: Microsoft.Network/loadBalancers/write on /subscriptions/s/resourceGroups/rg1: the deny assignment AKS lock forbids it"),
        "{found}"
    );
    assert!(found.contains("AKS Automatic"), "{found}");
    let body = serde_json::json!({ "error": { "code": "AuthorizationFailed", "message": plain } })
        .to_string();
    let write = answered(Access::Write, 403, &body);
    assert_eq!(write.of_provider, None);
    let read = answered(Access::Read, 403, &body);
    assert_eq!(read.of_provider, Some(ProviderFault::PermissionDenied));
}

#[test]
fn of_two_that_are_named_the_last_is_found_and_no_name_that_only_begins_so() {
    let names = [("a", "ek-c-1"), ("b", "ek-c-2"), ("c", "ek-c-22")];
    let candidates = || {
        names
            .iter()
            .map(|(key, name)| (key, vec![name.to_string()]))
    };
    for (said, found) in [
        (
            "Rules /x/loadBalancingRules/EK-C-1-TCP-80-v4 and /x/ek-c-22-TCP-80-v4 clash",
            Some("c"),
        ),
        ("Rule ek-c-1-TCP-80-v4 is wrong", Some("a")),
        ("Rule ek-c-3 is wrong", None),
        ("", None),
    ] {
        let body = serde_json::json!({ "error": { "code": "X", "message": said } });
        let error = answered(Access::Write, 400, &body.to_string());
        assert_eq!(named(&error, candidates()).copied(), found, "{said}");
    }
}

#[test]
fn what_cannot_be_read_is_judged_by_its_status() {
    let error = answered(Access::Read, 502, "<html>");
    assert_eq!(error.class, ErrorClass::Transient);
    assert!(error.message.contains("502"), "{error}");
}
