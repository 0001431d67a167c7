//! The table (Decides).

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// The user must change something.
    Rejected,
    /// What is in the way belongs to somebody else.
    Taken,
    /// The asked address cannot be had.
    NoAddress,
    /// The subscription's owner must raise a limit.
    Quota,
    /// The same, but with `Retry-After` a throttling.
    QuotaUnlessTold,
    /// What was seen is not what there is: look again.
    Conflict,
    /// Nothing was changed; it may succeed later.
    Transient,
    /// It may have had its effect all the same.
    Lost,
    /// Too many calls in the subscription.
    Throttled,
    /// A permission is missing.
    Denied,
    /// A policy or a lock of the owner's forbids it.
    Policy,
    /// The credentials are expired, or none.
    Credentials,
    /// The subscription cannot be used.
    Account,
}

/// One or several codes.
#[derive(Debug)]
pub(super) struct Row {
    /// As they stand on the wire.
    pub(super) codes: &'static [&'static str],
    /// What they mean.
    pub(super) means: Means,
    /// What to do, after Azure's own words.
    pub(super) advice: &'static str,
}

const fn row(codes: &'static [&'static str], means: Means, advice: &'static str) -> Row {
    Row {
        codes,
        means,
        advice,
    }
}

const WAIT: &str = "it is tried again";
const LOOK: &str = "it is looked at anew";
const QUOTA: &str = "delete what is not needed, or ask Azure for a higher limit of it";
const CREDENTIALS: &str = "give the controller an identity that is valid (workload identity, managed identity, service principal), \
     and see that its clock is right";
const OURS: &str = "please report this with the log";

use Means::{
    Account, Conflict, Credentials, Denied, Lost, NoAddress, Policy, Quota, QuotaUnlessTold,
    Rejected, Taken, Throttled, Transient,
};

pub(super) const ROWS: &[Row] = &[
    // What is gone. Who reads or deletes takes it for an answer before it comes here.
    row(&["ResourceNotFound", "NotFound"], Conflict, LOOK),
    row(
        &["ResourceGroupNotFound"],
        Rejected,
        "name a resource group that there is",
    ),
    // Somebody else wrote, or writes.
    row(
        &["PreconditionFailedEtagMismatch", "PreconditionFailed"],
        Conflict,
        LOOK,
    ),
    row(
        &[
            "CanceledAndSupersededDueToAnotherOperation",
            "OperationPreempted",
            "Canceled",
        ],
        Conflict,
        "another hand writes the same object; it is looked at anew",
    ),
    row(
        &[
            "AnotherOperationInProgress",
            "ReferencedResourceNotProvisioned",
        ],
        Transient,
        WAIT,
    ),
    // Comes with status 429 and is no throttling.
    row(&["RetryableError", "GatewayError"], Transient, WAIT),
    row(
        &["TooManyRequests", "SubscriptionRequestsThrottled"],
        Throttled,
        WAIT,
    ),
    row(
        &["InternalServerError", "GatewayTimeout", "ServerTimeout"],
        Lost,
        WAIT,
    ),
    row(&["PublicIPAddressCannotBeDeleted"], Transient, WAIT),
    // Addresses.
    row(
        &["PublicIPAddressInUse"],
        Taken,
        "use another address, or detach it from what has it",
    ),
    row(
        &["PublicIPAddressInUseCannotUpdate"],
        Rejected,
        "use another address, or delete this one",
    ),
    row(
        &[
            "PublicIPAndLBSkuDoNotMatch",
            "PublicIPAddressSkuNotStandard",
        ],
        Rejected,
        "use an address of the SKU Standard",
    ),
    row(
        &["SubnetIsFull"],
        Quota,
        "use another subnet, or free addresses of this one",
    ),
    row(
        &[
            "PrivateIPAddressInUse",
            "PrivateIPAddressNotInSubnet",
            "PrivateIPAddressIsAllocated",
        ],
        NoAddress,
        "write another address, or remove it for any free one",
    ),
    row(
        &["DnsRecordInUse"],
        Taken,
        "choose another label: it is unique in its region",
    ),
    row(
        &[
            "PublicIPCountLimitReached",
            "StaticPublicIPCountLimitReached",
            "StandardSkuPublicIPCountLimitReached",
        ],
        Quota,
        QUOTA,
    ),
    // The load balancer and the security group.
    row(
        &["LoadBalancerInUseByVirtualMachineScaleSet"],
        Taken,
        "take the pool out of the scale set's model first",
    ),
    row(
        &["CannotRemoveRuleUsedByProbeUsedByVMSS"],
        Taken,
        "take the probe out of the scale set's model first",
    ),
    row(
        &[
            "RulesUseSameBackendPortProtocolAndPool",
            "RulesUseSameBackendPortProtocolAndIPConfig",
            "RulesOfSameLoadBalancerTypeUseSameBackendPortProtocolAndIPConfig",
        ],
        Rejected,
        "use another port, or a floating IP",
    ),
    row(
        &[
            "InvalidRequestFormat",
            "MissingJsonReferenceId",
            "DuplicateIpConfigurationReferenceOnBackendAddressPool",
            "InvalidResourceName",
        ],
        Rejected,
        OURS,
    ),
    row(&["InvalidResourceReference"], Transient, WAIT),
    row(
        &[
            "SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached",
            "SecurityRuleCountLimitReached",
            "RulesPerLoadBalancerLimitReached",
            "FrontendIPConfigurationsPerLoadBalancerLimitReached",
        ],
        Quota,
        QUOTA,
    ),
    row(
        &[
            "InUseBackendAddressPoolCannotBeDeleted",
            "InUseSubnetCannotBeDeleted",
        ],
        Transient,
        WAIT,
    ),
    row(&["OperationNotAllowed"], QuotaUnlessTold, QUOTA),
    // Who may.
    row(
        &[
            "AuthorizationFailed",
            "LinkedAuthorizationFailed",
            "DenyAssignmentAuthorizationFailed",
        ],
        Denied,
        "",
    ),
    row(
        &["RequestDisallowedByPolicy"],
        Policy,
        "ask whom the policy is of to let this pass",
    ),
    row(
        &["ScopeLocked"],
        Policy,
        "take the lock away, or name another resource group",
    ),
    row(
        &[
            "MissingSubscriptionRegistration",
            "SubscriptionNotRegistered",
        ],
        Account,
        "register Microsoft.Network in the subscription",
    ),
    row(
        &["ReadOnlyDisabledSubscription", "SubscriptionNotFound"],
        Account,
        "see that the subscription is enabled, and is the right one",
    ),
    row(
        &[
            "ExpiredAuthenticationToken",
            "InvalidAuthenticationToken",
            "InvalidAuthenticationTokenTenant",
        ],
        Credentials,
        CREDENTIALS,
    ),
];

/// What is known of a code.
pub(super) fn row_of(code: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.codes.contains(&code))
}

/// What a status means that came with a code nobody knows, or with none.
pub(super) fn by_status(status: u16) -> Means {
    match status {
        401 => Means::Credentials,
        403 => Means::Denied,
        404 | 412 => Means::Conflict,
        429 => Means::Throttled,
        // The connection, or Azure, gave up while it was being done.
        408 | 500..=599 => Means::Lost,
        _ => Means::Transient,
    }
}
