//! How many there may be. Decides.
//!
//! Network Load Balancer guide, "Quotas for your Network Load Balancers", and VPC guide, "Amazon VPC quotas", "Security groups": the
//! defaults of an account that never asked for more.

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas {
    /// "Network Load Balancers per Region".
    pub load_balancers: usize,
    /// "Network Load Balancer ENIs per VPC": each has one in each of its zones.
    pub interfaces: usize,
    /// "Target groups per Region".
    pub target_groups: usize,
    /// "Listeners per Network Load Balancer".
    pub listeners: usize,
    /// "Targets per Network Load Balancer". A target in several groups counts in each.
    pub targets_per_load_balancer: usize,
    /// "Targets per Availability Zone per Network Load Balancer"; with cross-zone load balancing on, in all zones together.
    pub targets_per_zone: usize,
    /// "Targets per target group per Region (instances or IP addresses)".
    pub targets_per_group: usize,
    /// "Certificates per Network Load Balancer", without the default ones.
    pub certificates: usize,
    /// "Load balancers per target group".
    pub load_balancers_per_group: usize,
    /// "Tags per resource": ELB and EC2 alike.
    pub tags: usize,
    /// "VPC security groups per Region".
    pub security_groups: usize,
    /// "Inbound or outbound rules per security group", each way, IPv4 and IPv6 apart.
    pub rules: usize,
    /// "Security groups per network interface".
    pub security_groups_per_interface: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            load_balancers: 50,
            interfaces: 1200,
            target_groups: 3000,
            listeners: 50,
            targets_per_load_balancer: 3000,
            targets_per_zone: 500,
            targets_per_group: 1000,
            certificates: 25,
            load_balancers_per_group: 1,
            tags: 50,
            security_groups: 2500,
            rules: 60,
            security_groups_per_interface: 5,
        }
    }
}

impl Quotas {
    /// As [`Quotas::raised`], and of targets too.
    #[must_use]
    pub fn raised_with_targets(self, count: usize) -> Self {
        Self {
            targets_per_load_balancer: count,
            targets_per_zone: count,
            targets_per_group: count,
            ..self.raised(count)
        }
    }

    /// Panics where they are what AWS grants nobody. VPC guide, "Amazon VPC quotas", "Inbound or outbound rules per security group": "This
    /// quota multiplied by the quota for security groups per network interface cannot exceed 1,000."
    pub(super) fn check(&self) {
        let (rules, groups) = (self.rules, self.security_groups_per_interface);
        assert!(
            rules * groups <= 1000,
            "AWS grants nobody {rules} rules in each of {groups} security groups of an interface"
        );
    }

    /// So many of everything that a whole region or VPC counts, as after a request to AWS; what one object may have stays.
    #[must_use]
    pub fn raised(self, count: usize) -> Self {
        Self {
            load_balancers: count,
            interfaces: count,
            target_groups: count,
            security_groups: count,
            ..self
        }
    }
}
