//! How many of everything the account may have (Decides).
//!
//! AWS's defaults, unless the operator says what the account has: quotas are raised account by account, and what is left for one
//! cluster may be less. What would be over a quota is refused before anything of it is made; of nodes a part becomes targets.
//!
//! Names, codes and defaults: Network Load Balancer guide, "Quotas for your Network Load Balancers", and VPC guide, "Amazon VPC quotas",
//! "Security groups". A quota of target groups for each load balancer is in the guide of Application Load Balancers only ("Target Groups per
//! Application Load Balancer"); here each listener forwards to exactly one, a move to another is one `ModifyListener`, and a replacement is a load
//! balancer of its own, so that [`LISTENERS`] is the limit of both.

#[cfg(test)]
mod tests;

use std::fmt;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quota {
    /// Network Load Balancers of the region, whoever made them.
    LoadBalancers,
    /// Network interfaces of Network Load Balancers in the VPC: each has one in each of its zones.
    Interfaces,
    /// Target groups of the region, whatever they are for.
    TargetGroups,
    /// Targets of a load balancer, in all its target groups.
    Targets,
    /// The same in each zone; with cross-zone load balancing in all zones together.
    TargetsPerZone,
    /// Targets of a target group.
    TargetsPerGroup,
    /// Certificates of a load balancer, beside the default ones.
    Certificates,
    /// Security groups of the region.
    SecurityGroups,
    /// Rules of a security group in one direction.
    Rules,
    /// Security groups of a network interface, and so of a load balancer.
    GroupsPerInterface,
}

/// Listeners of a load balancer ("Listeners per Network Load Balancer"); AWS raises it for nobody.
pub const LISTENERS: usize = 50;

/// Rules of a security group times groups of an interface: AWS allows no more, whatever is raised.
pub const RULES_PER_INTERFACE: usize = 1_000;

/// What AWS says of a quota.
struct Row {
    /// As operators write it.
    name: &'static str,
    /// As Service Quotas has it.
    title: &'static str,
    code: &'static str,
    default: usize,
    /// The most that AWS raises it to, where that is known.
    most: usize,
}

/// More than any account has.
const MANY: usize = 1_000_000;

const fn row(
    name: &'static str,
    title: &'static str,
    code: &'static str,
    default: usize,
    most: usize,
) -> Row {
    Row {
        name,
        title,
        code,
        default,
        most,
    }
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::LoadBalancers,
        Self::Interfaces,
        Self::TargetGroups,
        Self::Targets,
        Self::TargetsPerZone,
        Self::TargetsPerGroup,
        Self::Certificates,
        Self::SecurityGroups,
        Self::Rules,
        Self::GroupsPerInterface,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::LoadBalancers => row("load-balancers", "Network Load Balancers per Region", "L-69A177A2", 50, MANY),
            Self::Interfaces => row("interfaces", "Network Load Balancer ENIs per VPC", "L-23568085", 1_200, MANY),
            Self::TargetGroups => row("target-groups", "Target Groups per Region", "L-B22855CB", 3_000, MANY),
            Self::Targets => row("targets", "Targets per Network Load Balancer", "L-EEF1AD04", 3_000, MANY),
            Self::TargetsPerZone => row("targets-per-zone", "Targets per Availability Zone per Network Load Balancer", "L-B211E961", 500, MANY),
            Self::TargetsPerGroup => row("targets-per-group", "Targets per Target Group per Region", "L-A0D0B863", 1_000, MANY),
            Self::Certificates => row("certificates", "Certificates per Network Load Balancer", "L-52964454", 25, MANY),
            Self::SecurityGroups => row("security-groups", "VPC security groups per Region", "L-E79EC296", 2_500, MANY),
            Self::Rules => row("rules", "Inbound or outbound rules per security group", "L-0EA8095F", 60, RULES_PER_INTERFACE),
            Self::GroupsPerInterface => row("groups-per-interface", "Security groups per network interface", "L-2AFB9258", 5, 16),
        }
    }

    /// As operators write it: `load-balancers`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// AWS's default.
    pub const fn default(self) -> usize {
        self.row().default
    }

    /// The code by which it is raised in Service Quotas.
    pub const fn code(self) -> &'static str {
        self.row().code
    }

    /// The quota of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quota| quota.name() == name)
    }

    /// What to do to have more of it.
    pub fn how_to_raise(self) -> String {
        format!(
            "ask AWS for more in Service Quotas ({}) and set aws-quota {}",
            self.code(),
            self.name()
        )
    }
}

/// As AWS calls it: `Network Load Balancers per Region (L-69A177A2)`.
impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { title, code, .. } = self.row();
        write!(f, "{title} ({code})")
    }
}

/// How many there may be of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quotas([usize; Quota::ALL.len()]);

impl Default for Quotas {
    fn default() -> Self {
        Self(Quota::ALL.map(Quota::default))
    }
}

impl Quotas {
    /// How many there may be.
    pub fn of(&self, quota: Quota) -> usize {
        self.0[quota as usize]
    }

    /// The same with another number of something.
    #[must_use]
    pub fn with(mut self, quota: Quota, most: usize) -> Self {
        self.0[quota as usize] = most;
        self
    }

    /// The numbers that are not AWS's defaults.
    pub fn changed(&self) -> impl Iterator<Item = (Quota, usize)> {
        let all = Quota::ALL.into_iter().zip(self.0);
        all.filter(|(quota, most)| *most != quota.default())
    }

    /// Reads `load-balancers=200`.
    ///
    /// # Errors
    /// What is wrong, as a clause, where it says no quota or a number that it cannot be.
    pub fn read(&mut self, text: &str) -> Result<(), String> {
        let names = || Quota::ALL.map(Quota::name).join(", ");
        let Some((name, number)) = text.split_once('=') else {
            return Err(format!("must be a quota with a number, one of {}", names()));
        };
        let Some(quota) = Quota::named(name.trim()) else {
            return Err(format!("must name one of {}", names()));
        };
        let most = quota.row().most;
        match number.trim().parse() {
            Ok(number) if (1..=most).contains(&number) => {
                *self = self.with(quota, number);
                Ok(())
            }
            _ => Err(format!("must have a number from 1 to {most}")),
        }
    }

    /// What two of them say together and AWS does not allow, as a clause.
    pub fn contradiction(&self) -> Option<String> {
        let (rules, groups) = (self.of(Quota::Rules), self.of(Quota::GroupsPerInterface));
        (rules * groups > RULES_PER_INTERFACE).then(|| {
            format!(
                "makes {rules} rules in each of {groups} security groups of an interface, and AWS allows {RULES_PER_INTERFACE} in all"
            )
        })
    }
}
