//! How many there may be. Decides.
//!
//! "Azure subscription and service limits", "Load balancer limits" and "Networking limits", and the Azure cloud provider for Kubernetes,
//! `content/en/topics/loadbalancer.md`: Standard.

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// "Load balancers", a region.
    pub load_balancers: usize,
    /// "Rules (Load Balancer + Inbound NAT) per resource".
    pub rules: usize,
    /// "Rules per NIC (across all IPs on a NIC)".
    pub rules_per_interface: usize,
    /// "Frontend IP configurations".
    pub frontends: usize,
    /// "Backend pool size", of one virtual network.
    pub pool: usize,
    /// "Outbound rules per Load Balancer".
    pub outbound_rules: usize,
    /// "Public IP addresses", a region. What a subscription has differs.
    pub public_ips: usize,
    /// "NSG rules per NSG".
    pub security_rules: usize,
    /// "IP addresses and ranges specified for source or destination in a security group", each way.
    pub security_prefixes: usize,
    /// "Tag name/value pairs per resource".
    pub tags: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            load_balancers: 1000,
            rules: 1500,
            rules_per_interface: 300,
            frontends: 600,
            pool: 1000,
            outbound_rules: 600,
            public_ips: 1000,
            security_rules: 1000,
            security_prefixes: 4000,
            tags: 50,
        }
    }
}

impl Quotas {
    /// So many rules, frontends and public addresses, as no load balancer has: to see how a cluster grows.
    #[must_use]
    pub fn raised(self, count: usize) -> Self {
        Self {
            rules: count,
            rules_per_interface: count,
            frontends: count,
            public_ips: count,
            security_rules: count,
            ..self
        }
    }
}
