//! Our constants for the keys. `{n}` stands for a port number.

/// Whether the load balancer can be reached from inside the virtual network only.
pub const INTERNAL: &str = "service.beta.kubernetes.io/azure-load-balancer-internal";
/// The subnet of an internal address, by its name in the virtual network of the nodes.
pub const INTERNAL_SUBNET: &str = "service.beta.kubernetes.io/azure-load-balancer-internal-subnet";
/// The IPv4 address: in the subnet, or that of a public IP address that is there.
pub const IPV4: &str = "service.beta.kubernetes.io/azure-load-balancer-ipv4";
/// The IPv6 address, likewise.
pub const IPV6: &str = "service.beta.kubernetes.io/azure-load-balancer-ipv6";
/// No effect: for load balancers of the SKU Basic.
pub const MODE: &str = "service.beta.kubernetes.io/azure-load-balancer-mode";
/// Not supported: several load balancers per cluster.
pub const CONFIGURATIONS: &str = "service.beta.kubernetes.io/azure-load-balancer-configurations";
/// The resource group of public IP addresses; the load balancer stays where it is.
pub const RESOURCE_GROUP: &str = "service.beta.kubernetes.io/azure-load-balancer-resource-group";
/// Minutes until a silent connection is forgotten.
pub const IDLE_TIMEOUT: &str = "service.beta.kubernetes.io/azure-load-balancer-tcp-idle-timeout";
/// Whether both ends of a forgotten TCP connection are left untold.
pub const DISABLE_TCP_RESET: &str =
    "service.beta.kubernetes.io/azure-load-balancer-disable-tcp-reset";
/// Not supported: one rule for all ports.
pub const HA_PORTS: &str =
    "service.beta.kubernetes.io/azure-load-balancer-enable-high-availability-ports";
/// How a node is probed.
pub const HEALTH_PROTOCOL: &str =
    "service.beta.kubernetes.io/azure-load-balancer-health-probe-protocol";
/// Seconds between two probes.
pub const HEALTH_INTERVAL: &str =
    "service.beta.kubernetes.io/azure-load-balancer-health-probe-interval";
/// So many failures take a node out, so many successes back in.
pub const HEALTH_COUNT: &str =
    "service.beta.kubernetes.io/azure-load-balancer-health-probe-num-of-probe";
/// The path that an http or https probe asks for; 200 is healthy.
pub const HEALTH_PATH: &str =
    "service.beta.kubernetes.io/azure-load-balancer-health-probe-request-path";
/// Whether packets arrive at the node's address and NodePort, else at the load balancer's address and the Service's port.
pub const DISABLE_FLOATING_IP: &str =
    "service.beta.kubernetes.io/azure-disable-load-balancer-floating-ip";
/// Whether the network security group is left without rules for the Service.
pub const DISABLE_SECURITY_RULES: &str =
    "service.beta.kubernetes.io/azure-disable-load-balancer-nsg-rule";
/// A public IP address that is there, by name.
pub const PIP_NAME: &str = "service.beta.kubernetes.io/azure-pip-name";
/// The same for IPv6.
pub const PIP_NAME_IPV6: &str = "service.beta.kubernetes.io/azure-pip-name-ipv6";
/// The id of the public IP prefix that an address is taken from.
pub const PREFIX_ID: &str = "service.beta.kubernetes.io/azure-pip-prefix-id";
/// The same for IPv6.
pub const PREFIX_ID_IPV6: &str = "service.beta.kubernetes.io/azure-pip-prefix-id-ipv6";
/// Tags of the public IP addresses; evenkeel.dev/tags wins for each of its keys.
pub const PIP_TAGS: &str = "service.beta.kubernetes.io/azure-pip-tags";
/// IP tags of the public IP addresses. A change takes another address, and needs an approval.
pub const IP_TAGS: &str = "service.beta.kubernetes.io/azure-pip-ip-tags";
/// The label of the address in the region's DNS.
pub const DNS_LABEL: &str = "service.beta.kubernetes.io/azure-dns-label-name";
/// Addresses that are published beside the load balancer's own.
pub const FURTHER_IPS: &str = "service.beta.kubernetes.io/azure-additional-public-ips";
/// Service tags that may connect.
pub const SERVICE_TAGS: &str = "service.beta.kubernetes.io/azure-allowed-service-tags";
/// Who may connect, by the network security group.
pub const IP_RANGES: &str = "service.beta.kubernetes.io/azure-allowed-ip-ranges";
/// Whether everyone else is kept out, also who is in the virtual network.
pub const DENY_ALL: &str =
    "service.beta.kubernetes.io/azure-deny-all-except-load-balancer-source-ranges";
/// Who may connect. spec.loadBalancerSourceRanges and evenkeel.dev/source-ranges win.
pub const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// Not supported: Private Link Service.
pub const PLS_CREATE: &str = "service.beta.kubernetes.io/azure-pls-create";
/// Not supported: Private Link Service.
pub const PLS_RESOURCE_GROUP: &str = "service.beta.kubernetes.io/azure-pls-resource-group";
/// Not supported: Private Link Service.
pub const PLS_NAME: &str = "service.beta.kubernetes.io/azure-pls-name";
/// Not supported: Private Link Service.
pub const PLS_IP_CONFIGURATION_SUBNET: &str =
    "service.beta.kubernetes.io/azure-pls-ip-configuration-subnet";
/// Not supported: Private Link Service.
pub const PLS_IP_CONFIGURATION_IP_ADDRESS_COUNT: &str =
    "service.beta.kubernetes.io/azure-pls-ip-configuration-ip-address-count";
/// Not supported: Private Link Service.
pub const PLS_IP_CONFIGURATION_IP_ADDRESS: &str =
    "service.beta.kubernetes.io/azure-pls-ip-configuration-ip-address";
/// Not supported: Private Link Service.
pub const PLS_FQDNS: &str = "service.beta.kubernetes.io/azure-pls-fqdns";
/// Not supported: Private Link Service.
pub const PLS_PROXY_PROTOCOL: &str = "service.beta.kubernetes.io/azure-pls-proxy-protocol";
/// Not supported: Private Link Service.
pub const PLS_VISIBILITY: &str = "service.beta.kubernetes.io/azure-pls-visibility";
/// Not supported: Private Link Service.
pub const PLS_AUTO_APPROVAL: &str = "service.beta.kubernetes.io/azure-pls-auto-approval";
/// Whether the port is not balanced, and not opened.
pub const NO_RULE: &str = "service.beta.kubernetes.io/port_{n}_no_lb_rule";
/// Whether every node counts as healthy for the port.
pub const NO_PROBE: &str = "service.beta.kubernetes.io/port_{n}_no_probe_rule";
/// How a node is probed for the port.
pub const PORT_HEALTH_PROTOCOL: &str = "service.beta.kubernetes.io/port_{n}_health-probe_protocol";
/// Where: the name or number of a port of the Service for its NodePort, or another number.
pub const PORT_HEALTH_PORT: &str = "service.beta.kubernetes.io/port_{n}_health-probe_port";
/// Seconds between two probes for the port; with policy Local {n} is the health check node port.
pub const PORT_HEALTH_INTERVAL: &str = "service.beta.kubernetes.io/port_{n}_health-probe_interval";
/// How many probes decide for the port; likewise.
pub const PORT_HEALTH_COUNT: &str = "service.beta.kubernetes.io/port_{n}_health-probe_num-of-probe";
/// The path that an http or https probe asks for, for the port.
pub const PORT_HEALTH_PATH: &str = "service.beta.kubernetes.io/port_{n}_health-probe_request-path";
