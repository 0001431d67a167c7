//! Our constants for the keys, all under [`super::PREFIX`]. `{n}` stands for a port number, `{P}` for a protocol.

/// The kind of load balancer, a word of former controllers.
pub const TYPE: &str = "service.beta.kubernetes.io/aws-load-balancer-type";
/// What the targets are.
pub const NLB_TARGET_TYPE: &str = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type";
/// Whether the load balancer can be reached from outside.
pub const SCHEME: &str = "service.beta.kubernetes.io/aws-load-balancer-scheme";
/// The older way to say the scheme.
pub const INTERNAL: &str = "service.beta.kubernetes.io/aws-load-balancer-internal";
/// The load balancer's name.
pub const NAME: &str = "service.beta.kubernetes.io/aws-load-balancer-name";
/// Which addresses clients reach it at.
pub const IP_ADDRESS_TYPE: &str = "service.beta.kubernetes.io/aws-load-balancer-ip-address-type";
/// Where the load balancer stands.
pub const SUBNETS: &str = "service.beta.kubernetes.io/aws-load-balancer-subnets";
/// Elastic IPs.
pub const EIP_ALLOCATIONS: &str = "service.beta.kubernetes.io/aws-load-balancer-eip-allocations";
/// Private IPv4 addresses.
pub const PRIVATE_IPV4_ADDRESSES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-private-ipv4-addresses";
/// IPv6 addresses.
pub const IPV6_ADDRESSES: &str = "service.beta.kubernetes.io/aws-load-balancer-ipv6-addresses";
/// Whether sources are translated with an IPv6 prefix.
pub const SOURCE_NAT: &str =
    "service.beta.kubernetes.io/aws-load-balancer-enable-prefix-for-ipv6-source-nat";
/// The prefixes of source NAT.
pub const SOURCE_NAT_PREFIXES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-source-nat-ipv6-prefixes";
/// Attributes of the load balancer.
pub const ATTRIBUTES: &str = "service.beta.kubernetes.io/aws-load-balancer-attributes";
/// Whether targets of all zones get traffic of each.
pub const CROSS_ZONE: &str =
    "service.beta.kubernetes.io/aws-load-balancer-cross-zone-load-balancing-enabled";
/// Whether access is logged.
pub const ACCESS_LOG_ENABLED: &str =
    "service.beta.kubernetes.io/aws-load-balancer-access-log-enabled";
/// The bucket of the access log.
pub const ACCESS_LOG_BUCKET: &str =
    "service.beta.kubernetes.io/aws-load-balancer-access-log-s3-bucket-name";
/// The prefix of the access log.
pub const ACCESS_LOG_PREFIX: &str =
    "service.beta.kubernetes.io/aws-load-balancer-access-log-s3-bucket-prefix";
/// Reserved capacity.
pub const CAPACITY: &str =
    "service.beta.kubernetes.io/aws-load-balancer-minimum-load-balancer-capacity";
/// Tags of the user's.
pub const TAGS: &str = "service.beta.kubernetes.io/aws-load-balancer-additional-resource-tags";
/// Whether several clusters share a target group.
pub const MULTI_CLUSTER: &str =
    "service.beta.kubernetes.io/aws-load-balancer-multi-cluster-target-group";
/// Certificates.
pub const SSL_CERT: &str = "service.beta.kubernetes.io/aws-load-balancer-ssl-cert";
/// The ports with TLS.
pub const SSL_PORTS: &str = "service.beta.kubernetes.io/aws-load-balancer-ssl-ports";
/// The security policy of TLS listeners.
pub const SSL_POLICY: &str = "service.beta.kubernetes.io/aws-load-balancer-ssl-negotiation-policy";
/// What is spoken to the targets of TLS listeners.
pub const BACKEND_PROTOCOL: &str = "service.beta.kubernetes.io/aws-load-balancer-backend-protocol";
/// The ALPN policy of TLS listeners.
pub const ALPN_POLICY: &str = "service.beta.kubernetes.io/aws-load-balancer-alpn-policy";
/// Attributes of one listener.
pub const LISTENER_ATTRIBUTES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-listener-attributes.{P}-{n}";
/// Whether TCP and UDP of one number share a listener.
pub const TCP_UDP: &str = "service.beta.kubernetes.io/aws-load-balancer-enable-tcp-udp-listener";
/// Ports with QUIC.
pub const QUIC_PORTS: &str = "service.beta.kubernetes.io/aws-load-balancer-quic-enabled-ports";
/// Weighted forwarding.
pub const ACTIONS: &str = "service.beta.kubernetes.io/actions.{P}-{n}";
/// The PROXY protocol on all ports.
pub const PROXY_PROTOCOL: &str = "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol";
/// The PROXY protocol on some ports.
pub const PROXY_PROTOCOL_PORTS: &str =
    "service.beta.kubernetes.io/aws-load-balancer-proxy-protocol-per-target-group";
/// Attributes of the target groups.
pub const TARGET_GROUP_ATTRIBUTES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes";
/// Attributes of one target group.
pub const PORT_ATTRIBUTES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-target-group-attributes.{n}";
/// Which nodes are targets.
pub const TARGET_NODE_LABELS: &str =
    "service.beta.kubernetes.io/aws-load-balancer-target-node-labels";
/// How a target is probed.
pub const HEALTH_PROTOCOL: &str =
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-protocol";
/// Which port is probed.
pub const HEALTH_PORT: &str = "service.beta.kubernetes.io/aws-load-balancer-healthcheck-port";
/// Which path is asked for.
pub const HEALTH_PATH: &str = "service.beta.kubernetes.io/aws-load-balancer-healthcheck-path";
/// Which status codes are healthy.
pub const HEALTH_CODES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-success-codes";
/// Seconds between two probes.
pub const HEALTH_INTERVAL: &str =
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-interval";
/// Seconds until a probe has failed.
pub const HEALTH_TIMEOUT: &str = "service.beta.kubernetes.io/aws-load-balancer-healthcheck-timeout";
/// Successes that make a target healthy.
pub const HEALTH_HEALTHY: &str =
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-healthy-threshold";
/// Failures that make a target unhealthy.
pub const HEALTH_UNHEALTHY: &str =
    "service.beta.kubernetes.io/aws-load-balancer-healthcheck-unhealthy-threshold";
/// Given security groups.
pub const SECURITY_GROUPS: &str = "service.beta.kubernetes.io/aws-load-balancer-security-groups";
/// Whether the backend group stands beside given groups.
pub const BACKEND_RULES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-manage-backend-security-group-rules";
/// Whether there is no security group at all.
pub const DISABLE_SECURITY_GROUP: &str =
    "service.beta.kubernetes.io/aws-load-balancer-disable-nlb-sg";
/// Prefix lists of clients.
pub const PREFIX_LISTS: &str =
    "service.beta.kubernetes.io/aws-load-balancer-security-group-prefix-lists";
/// Whether rules hold for PrivateLink.
pub const PRIVATE_LINK_RULES: &str =
    "service.beta.kubernetes.io/aws-load-balancer-inbound-sg-rules-on-private-link-traffic";
/// Whether path MTU discovery is let in.
pub const ICMP: &str =
    "service.beta.kubernetes.io/aws-load-balancer-enable-icmp-for-path-mtu-discovery";
/// Who may connect.
pub const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
