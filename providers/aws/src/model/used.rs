//! What others have of what an account may have so many of (Decides).

/// What others have: other groups of the cluster, and, where a bulk look tells, whoever else uses the region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Network Load Balancers of the region.
    pub load_balancers: usize,
    /// Groups of the cluster that have begun to make a load balancer, or whose load balancer is gone and that have not ended.
    pub begun: usize,
    /// Network interfaces of Network Load Balancers in the VPC.
    pub interfaces: usize,
    /// Target groups of the region.
    pub target_groups: usize,
    /// Security groups, of which only the cluster's own are known.
    pub security_groups: usize,
}
