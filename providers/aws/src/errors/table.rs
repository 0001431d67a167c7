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
    /// The account's owner must raise a limit.
    Quota,
    /// What was seen is not what there is: look again.
    Conflict,
    /// Nothing was changed; it may succeed later.
    Transient,
    /// It may have had its effect all the same.
    Lost,
    /// Too many calls in the account.
    Throttled,
    /// A permission is missing.
    Denied,
    /// The credentials are expired, or none.
    Credentials,
    /// The account cannot use the service.
    Account,
}

/// One or several codes.
#[derive(Debug)]
pub(super) struct Row {
    /// As they stand on the wire.
    pub(super) codes: &'static [&'static str],
    /// Of these operations; empty: of any.
    pub(super) operations: &'static [&'static str],
    /// What they mean.
    pub(super) means: Means,
    /// What to do, after AWS's own words; empty where the loop does it.
    pub(super) advice: &'static str,
}

const fn row(codes: &'static [&'static str], means: Means, advice: &'static str) -> Row {
    Row {
        codes,
        operations: &[],
        means,
        advice,
    }
}

const fn of(
    operations: &'static [&'static str],
    codes: &'static [&'static str],
    means: Means,
    advice: &'static str,
) -> Row {
    Row {
        codes,
        operations,
        means,
        advice,
    }
}

const WAIT: &str = "it is tried again";
const LOOK: &str = "it is looked at anew";
const QUOTA: &str = "delete what is not needed, or ask AWS for a higher quota of it";
const CREDENTIALS: &str = "give the controller credentials that are valid (its role, its service account's annotation, its profile), \
     and see that its clock is right";

use Means::{
    Account, Conflict, Credentials, Denied, Lost, NoAddress, Quota, Rejected, Taken, Throttled,
    Transient,
};

/// Rows for some operations come before those for any.
pub(super) const ROWS: &[Row] = &[
    // Names and ports that are taken.
    row(
        &["DuplicateLoadBalancerName"],
        Taken,
        "choose another name in `aws-load-balancer-name`, or delete that load balancer",
    ),
    row(
        &["DuplicateTargetGroupName", "DuplicateListener"],
        Conflict,
        LOOK,
    ),
    row(&["InvalidGroup.Duplicate"], Conflict, LOOK),
    // What is gone. Who deletes takes it for success before it comes here.
    row(
        &[
            "LoadBalancerNotFound",
            "TargetGroupNotFound",
            "ListenerNotFound",
            "RuleNotFound",
        ],
        Conflict,
        LOOK,
    ),
    row(
        &[
            "InvalidGroup.NotFound",
            "InvalidGroupId.NotFound",
            "InvalidSecurityGroupID.NotFound",
        ],
        Conflict,
        LOOK,
    ),
    row(
        &[
            "InvalidPermission.Duplicate",
            "InvalidPermission.NotFound",
            "UnknownIpPermissions",
        ],
        Conflict,
        LOOK,
    ),
    // What is still used. It goes when AWS has let go of it.
    of(
        &["DeleteTargetGroup"],
        &["ResourceInUse"],
        Transient,
        "AWS lets go of it some seconds after its listener; it is tried again",
    ),
    of(
        &["DeleteLoadBalancer"],
        &["ResourceInUse"],
        Rejected,
        "an endpoint service (AWS PrivateLink) uses the load balancer: take it out there first",
    ),
    of(
        &["CreateLoadBalancer", "SetSubnets"],
        &["ResourceInUse"],
        NoAddress,
        "name an Elastic IP that nothing uses",
    ),
    row(&["ResourceInUse"], Rejected, "release what uses it first"),
    row(
        &["DependencyViolation"],
        Transient,
        "AWS lets go of it minutes after its load balancer; if that lasts, look in EC2 for the network interfaces that use it",
    ),
    row(&["RevisionIdNotFound"], Conflict, LOOK),
    // What the user asked for and AWS does not do.
    of(
        &["DeleteLoadBalancer"],
        &["OperationNotPermitted"],
        Rejected,
        "set the attribute `deletion_protection.enabled` of the load balancer to false in AWS; then it is deleted",
    ),
    row(
        &["OperationNotPermitted"],
        Rejected,
        "change what was asked for",
    ),
    row(
        &["InvalidConfigurationRequest"],
        Rejected,
        "change the annotation that asks for it",
    ),
    row(
        &[
            "ValidationError",
            "InvalidParameterValue",
            "InvalidParameterCombination",
            "MissingParameter",
            "InvalidParameter",
        ],
        Rejected,
        "change the annotation or field that asks for it",
    ),
    row(
        &[
            "IncompatibleProtocols",
            "UnsupportedProtocol",
            "InvalidLoadBalancerAction",
        ],
        Rejected,
        "change the protocols of the port, its listener or its target group",
    ),
    row(
        &["InvalidScheme"],
        Rejected,
        "write `internal` or `internet-facing` in `aws-load-balancer-scheme`",
    ),
    row(
        &["SubnetNotFound", "InvalidSubnetID.NotFound"],
        Rejected,
        "name subnets that are there in `aws-load-balancer-subnets`",
    ),
    row(
        &["InvalidSubnet"],
        Rejected,
        "use a subnet that has 8 free addresses, and an internet gateway where the load balancer is internet-facing",
    ),
    row(
        &["AvailabilityZoneNotSupported"],
        Rejected,
        "use subnets in other zones",
    ),
    row(
        &["AllocationIdNotFound", "InvalidAllocationID.NotFound"],
        NoAddress,
        "name Elastic IPs of this account and region in `aws-load-balancer-eip-allocations`",
    ),
    row(
        &["InvalidSecurityGroup"],
        Transient,
        "name security groups of the load balancer's VPC; one that was just made is tried again",
    ),
    row(
        &["CertificateNotFound"],
        Rejected,
        "name certificates of this account and region in `aws-load-balancer-ssl-cert`",
    ),
    row(
        &["SSLPolicyNotFound"],
        Rejected,
        "name a security policy that AWS has in `aws-load-balancer-ssl-negotiation-policy`",
    ),
    row(
        &["ALPNPolicyNotSupported", "ALPNPolicyNotFound"],
        Rejected,
        "write one of None, HTTP1Only, HTTP2Only, HTTP2Optional, HTTP2Preferred in `aws-load-balancer-alpn-policy`",
    ),
    row(
        &["InvalidTarget"],
        Transient,
        "AWS does not take these instances as targets: the others are registered, these are tried again",
    ),
    row(
        &["InvalidVpcID.NotFound"],
        Rejected,
        "configure the VPC of the cluster's nodes, or let it be found by a node",
    ),
    row(
        &[
            "InvalidPrefixListID.NotFound",
            "InvalidPrefixListId.NotFound",
        ],
        Rejected,
        "name prefix lists of this account and region in `aws-load-balancer-security-group-prefix-lists`",
    ),
    row(
        &[
            "InvalidGroupId.Malformed",
            "InvalidSecurityGroupId.Malformed",
            "InvalidSubnetId.Malformed",
            "InvalidPrefixListId.Malformed",
            "InvalidVpcId.Malformed",
        ],
        Rejected,
        "correct the id",
    ),
    row(
        &["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"],
        Transient,
        "nodes that EC2 does not know are left out",
    ),
    row(
        &[
            "DuplicateTagKeys",
            "InvalidID",
            "TrustStoreNotFound",
            "TrustStoreNotReady",
        ],
        Rejected,
        "report this: evenkeel should not have asked for it",
    ),
    row(
        &["ResourceNotFound", "CapacityReservationNotFound"],
        Conflict,
        LOOK,
    ),
    // Limits of the account.
    row(
        &["TooManyLoadBalancers"],
        Quota,
        "delete load balancers that are not needed, or ask AWS for a higher quota `Network Load Balancers per Region`",
    ),
    row(
        &["TooManyTargetGroups"],
        Quota,
        "delete target groups that are not needed, or ask AWS for a higher quota `Target Groups per Region`",
    ),
    row(
        &["TooManyListeners"],
        Quota,
        "a Network Load Balancer has 50 listeners at most: put the ports on several Services",
    ),
    row(&["TooManyCertificates"], Quota, QUOTA),
    row(
        &["TooManyTags", "TagLimitExceeded"],
        Quota,
        "an object has 50 tags at most: ask for fewer in `aws-load-balancer-additional-resource-tags`",
    ),
    row(
        &["TooManyTargets", "TooManyRegistrationsForTargetId"],
        Quota,
        "ask AWS for a higher quota of targets, or switch cross-zone load balancing off",
    ),
    row(
        &[
            "TooManyActions",
            "TooManyRules",
            "TooManyUniqueTargetGroupsPerLoadBalancer",
            "TargetGroupAssociationLimit",
        ],
        Quota,
        QUOTA,
    ),
    row(
        &[
            "RulesPerSecurityGroupLimitExceeded",
            "SecurityGroupLimitExceeded",
            "SecurityGroupsPerInterfaceLimitExceeded",
        ],
        Quota,
        "ask for fewer source ranges or ports, or ask AWS for a higher quota",
    ),
    row(
        &[
            "CapacityUnitsLimitExceeded",
            "CapacityDecreaseRequestsLimitExceeded",
            "CapacityDecreaseRequestLimitExceeded",
        ],
        Quota,
        QUOTA,
    ),
    // What passes by itself.
    row(
        &[
            "CapacityReservationPending",
            "PriorRequestNotComplete",
            "InsufficientCapacity",
        ],
        Transient,
        WAIT,
    ),
    row(&["HealthUnavailable"], Transient, WAIT),
    row(
        &["IncorrectState", "InvalidState", "InvalidGroup.InUse"],
        Transient,
        WAIT,
    ),
    row(
        &[
            "InternalFailure",
            "InternalError",
            "InternalServerError",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
        ],
        Lost,
        WAIT,
    ),
    // Too much.
    row(
        &[
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "SlowDown",
            "RequestLimitExceeded",
            "EC2ThrottledException",
            "BandwidthLimitExceeded",
            "LimitExceededException",
            "PriorRequestNotCompleteException",
        ],
        Throttled,
        "the account makes too many calls; evenkeel makes fewer and tries again",
    ),
    // Who may do what.
    row(
        &[
            "AccessDenied",
            "AccessDeniedException",
            "UnauthorizedOperation",
            "NotAuthorized",
            "Client.UnauthorizedOperation",
        ],
        Denied,
        "",
    ),
    row(
        &[
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
            "RequestExpired",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "AuthFailure",
            "SignatureDoesNotMatch",
            "InvalidSignatureException",
            "IncompleteSignature",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "InvalidToken",
            "NotSignedUp",
        ],
        Credentials,
        CREDENTIALS,
    ),
    row(
        &[
            "OptInRequired",
            "PendingVerification",
            "SubscriptionRequired",
            "Blocked",
            "UnsupportedOperation.OptInRequired",
        ],
        Account,
        "let the account's owner enable the service and the region, or settle with AWS what is pending",
    ),
    row(
        &[
            "InvalidAction",
            "NoSuchVersion",
            "UnsupportedOperation",
            "UnknownOperationException",
        ],
        Rejected,
        "see that the endpoint is one of AWS: this one does not know the call",
    ),
];

/// The row of a code from an operation.
pub(super) fn row_of(code: &str, operation: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| {
        let theirs = row.operations.is_empty() || row.operations.contains(&operation);
        theirs && row.codes.contains(&code)
    })
}

/// What an answer means whose code is not in the table.
pub(super) fn by_status(status: u16) -> Means {
    match status {
        429 | 503 => Throttled,
        500.. => Lost,
        _ => Transient,
    }
}
