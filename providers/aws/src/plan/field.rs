//! The annotations that refusals of a plan name (Decides).

/// Which subnets.
pub(super) const SUBNETS: &str = "service.beta.kubernetes.io/aws-load-balancer-subnets";
/// Elastic IPs.
pub(super) const ALLOCATIONS: &str = "service.beta.kubernetes.io/aws-load-balancer-eip-allocations";
/// Private IPv4 addresses.
pub(super) const PRIVATE: &str =
    "service.beta.kubernetes.io/aws-load-balancer-private-ipv4-addresses";
/// IPv6 addresses.
pub(super) const IPV6: &str = "service.beta.kubernetes.io/aws-load-balancer-ipv6-addresses";
/// Prefixes for source NAT.
pub(super) const NAT_PREFIXES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-source-nat-ipv6-prefixes";
/// Whether there are prefixes for source NAT.
pub(super) const SOURCE_NAT: &str =
    "service.beta.kubernetes.io/aws-load-balancer-enable-prefix-for-ipv6-source-nat";
/// `ipv4` or `dualstack`.
pub(super) const ADDRESS_TYPE: &str =
    "service.beta.kubernetes.io/aws-load-balancer-ip-address-type";
/// Internal or internet-facing.
pub(super) const SCHEME: &str = "service.beta.kubernetes.io/aws-load-balancer-scheme";
/// The load balancer's name.
pub(super) const NAME: &str = "service.beta.kubernetes.io/aws-load-balancer-name";
/// Given security groups.
pub(super) const SECURITY_GROUPS: &str =
    "service.beta.kubernetes.io/aws-load-balancer-security-groups";
/// Who may connect.
pub(super) const SOURCE_RANGES: &str = "spec.loadBalancerSourceRanges";
/// Attributes of the load balancer.
pub(super) const ATTRIBUTES: &str = "service.beta.kubernetes.io/aws-load-balancer-attributes";
