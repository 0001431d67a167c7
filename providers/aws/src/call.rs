//! Every call that we make of AWS's APIs, by name (Decides).
//!
//! What a call counts against, who goes first where calls queue, and which permission it needs all follow from its name.

use evenkeel_core::limiter::Urgency;

use crate::limiter::Class;

/// An API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Elastic Load Balancing, version 2.
    Elb,
    /// EC2.
    Ec2,
    /// The token service.
    Sts,
}

impl Service {
    /// As policies write it.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Elb => "elasticloadbalancing",
            Self::Ec2 => "ec2",
            Self::Sts => "sts",
        }
    }
}

/// Whether a call may have changed something when its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It changes nothing.
    Read,
    /// It may have had its effect: only a fresh read knows.
    Write,
}

/// One operation of an API.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// As AWS names it.
    pub operation: &'static str,
    /// Whose it is.
    pub service: Service,
    /// What it counts against.
    pub class: Class,
    /// Who goes first.
    pub urgency: Urgency,
}

impl Call {
    const fn new(
        service: Service,
        operation: &'static str,
        class: Class,
        urgency: Urgency,
    ) -> Self {
        Self {
            operation,
            service,
            class,
            urgency,
        }
    }

    /// Whether it may change something.
    pub fn access(&self) -> Access {
        match self.class {
            Class::Read => Access::Read,
            Class::Write | Class::Register => Access::Write,
        }
    }

    /// The permission that it needs: `ec2:CreateTags`.
    pub fn action(&self) -> String {
        format!("{}:{}", self.service.prefix(), self.operation)
    }
}

macro_rules! calls {
    ($($name:ident = $service:ident $operation:literal $class:ident $urgency:ident;)*) => {
        $(
            #[doc = concat!("`", $operation, "`.")]
            pub static $name: Call =
                Call::new(Service::$service, $operation, Class::$class, Urgency::$urgency);
        )*

        /// All of them.
        pub static ALL: &[&Call] = &[$(&$name),*];
    };
}

calls! {
    DESCRIBE_LOAD_BALANCERS = Elb "DescribeLoadBalancers" Read Sweep;
    DESCRIBE_TARGET_GROUPS = Elb "DescribeTargetGroups" Read Sweep;
    DESCRIBE_TAGS = Elb "DescribeTags" Read Sweep;
    DESCRIBE_LISTENERS = Elb "DescribeListeners" Read Group;
    DESCRIBE_LISTENER_CERTIFICATES = Elb "DescribeListenerCertificates" Read Group;
    DESCRIBE_TARGET_HEALTH = Elb "DescribeTargetHealth" Read Group;
    DESCRIBE_LOAD_BALANCER_ATTRIBUTES = Elb "DescribeLoadBalancerAttributes" Read Group;
    DESCRIBE_TARGET_GROUP_ATTRIBUTES = Elb "DescribeTargetGroupAttributes" Read Group;
    DESCRIBE_LISTENER_ATTRIBUTES = Elb "DescribeListenerAttributes" Read Group;
    CREATE_LOAD_BALANCER = Elb "CreateLoadBalancer" Write Group;
    SET_SUBNETS = Elb "SetSubnets" Write Group;
    SET_SECURITY_GROUPS = Elb "SetSecurityGroups" Write Group;
    SET_IP_ADDRESS_TYPE = Elb "SetIpAddressType" Write Group;
    MODIFY_LOAD_BALANCER_ATTRIBUTES = Elb "ModifyLoadBalancerAttributes" Write Group;
    DELETE_LOAD_BALANCER = Elb "DeleteLoadBalancer" Write First;
    CREATE_TARGET_GROUP = Elb "CreateTargetGroup" Write Group;
    MODIFY_TARGET_GROUP = Elb "ModifyTargetGroup" Write Group;
    MODIFY_TARGET_GROUP_ATTRIBUTES = Elb "ModifyTargetGroupAttributes" Write Group;
    DELETE_TARGET_GROUP = Elb "DeleteTargetGroup" Write First;
    REGISTER_TARGETS = Elb "RegisterTargets" Register First;
    DEREGISTER_TARGETS = Elb "DeregisterTargets" Register First;
    CREATE_LISTENER = Elb "CreateListener" Write Group;
    MODIFY_LISTENER = Elb "ModifyListener" Write Group;
    MODIFY_LISTENER_ATTRIBUTES = Elb "ModifyListenerAttributes" Write Group;
    ADD_LISTENER_CERTIFICATES = Elb "AddListenerCertificates" Write Group;
    REMOVE_LISTENER_CERTIFICATES = Elb "RemoveListenerCertificates" Write Group;
    DELETE_LISTENER = Elb "DeleteListener" Write First;
    ADD_TAGS = Elb "AddTags" Write Group;
    REMOVE_TAGS = Elb "RemoveTags" Write Group;
    DESCRIBE_VPCS = Ec2 "DescribeVpcs" Read Group;
    DESCRIBE_SUBNETS = Ec2 "DescribeSubnets" Read Group;
    DESCRIBE_ROUTE_TABLES = Ec2 "DescribeRouteTables" Read Group;
    DESCRIBE_AVAILABILITY_ZONES = Ec2 "DescribeAvailabilityZones" Read Group;
    DESCRIBE_SECURITY_GROUPS = Ec2 "DescribeSecurityGroups" Read Group;
    DESCRIBE_PREFIX_LISTS = Ec2 "DescribeManagedPrefixLists" Read Group;
    DESCRIBE_INSTANCES = Ec2 "DescribeInstances" Read Group;
    DESCRIBE_NETWORK_INTERFACES = Ec2 "DescribeNetworkInterfaces" Read Group;
    CREATE_SECURITY_GROUP = Ec2 "CreateSecurityGroup" Write Group;
    AUTHORIZE_INGRESS = Ec2 "AuthorizeSecurityGroupIngress" Write Group;
    REVOKE_INGRESS = Ec2 "RevokeSecurityGroupIngress" Write First;
    DELETE_SECURITY_GROUP = Ec2 "DeleteSecurityGroup" Write First;
    CREATE_TAGS = Ec2 "CreateTags" Write Group;
    DELETE_TAGS = Ec2 "DeleteTags" Write Group;
    GET_CALLER_IDENTITY = Sts "GetCallerIdentity" Read Sweep;
    DECODE_MESSAGE = Sts "DecodeAuthorizationMessage" Read Group;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Who writes a policy reads it there.
    #[test]
    fn every_call_is_in_the_readme() {
        let readme = include_str!("../README.md");
        for call in ALL {
            let row = format!("| `{}` |", call.service.prefix());
            let row = readme.lines().find(|line| line.starts_with(&row));
            let (_, row) = row.and_then(|row| row.split_once("` | ")).expect("a row");
            let (reads, writes) = row.split_once(" | ").expect("two columns");
            let column = match call.access() {
                Access::Read => reads,
                Access::Write => writes,
            };
            assert!(
                column.contains(&format!("`{}`", call.operation)),
                "{}",
                call.action()
            );
        }
        assert_eq!(CREATE_TAGS.action(), "ec2:CreateTags");
    }

    /// What ELB, by its guide, asks EC2 and IAM in the caller's name.
    const IN_OUR_NAME: [&str; 5] = [
        "ec2:DescribeAccountAttributes",
        "ec2:DescribeAddresses",
        "ec2:DescribeInternetGateways",
        "ec2:GetSecurityGroupsForVpc",
        "iam:CreateServiceLinkedRole",
    ];

    /// What the policy allows.
    fn allowed() -> BTreeSet<String> {
        let policy = include_str!("../../../deploy/aws/iam-policy.json");
        let policy: serde_json::Value = serde_json::from_str(policy).expect("JSON");
        let statements = policy["Statement"].as_array().expect("a list");
        let mut allowed = BTreeSet::new();
        for statement in statements {
            assert_eq!(statement["Effect"], "Allow");
            let actions = match &statement["Action"] {
                serde_json::Value::Array(actions) => actions.clone(),
                one => vec![one.clone()],
            };
            let actions = actions
                .iter()
                .map(|action| action.as_str().expect("a text").to_owned());
            allowed.extend(actions);
            // Whatever changes something is bound to a mark, save in which VPC a group is made.
            let changes = statement["Action"].to_string().contains("Delete")
                || statement["Action"].to_string().contains("Modify");
            assert!(
                !changes || statement["Condition"].is_object(),
                "{statement}"
            );
        }
        allowed
    }

    /// A call that the policy forgets fails in a real account only.
    #[test]
    fn the_policy_allows_what_is_called_and_nothing_else() {
        let mut needed: BTreeSet<String> = ALL.iter().map(|call| call.action()).collect();
        // Everybody may ask who he is, whatever a policy says.
        needed.remove(&GET_CALLER_IDENTITY.action());
        needed.extend(IN_OUR_NAME.map(str::to_owned));
        assert_eq!(allowed(), needed);
    }

    /// The book gives a reason for each permission, once.
    #[test]
    fn the_page_tells_what_each_permission_is_for() {
        let page = include_str!("../../../docs/aws.md");
        let (_, table) = page.split_once("\n## Permissions\n").expect("a section");
        let (table, _) = table.split_once("\n## ").expect("another section");
        let mut told = Vec::new();
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [actions, on_what, why] = cells[..] else {
                panic!("three columns: {row}");
            };
            assert!(!on_what.is_empty() && !why.is_empty(), "{row}");
            let actions = actions.split(", ").map(|action| action.trim_matches('`'));
            told.extend(actions.map(str::to_owned));
        }
        let once: BTreeSet<String> = told.iter().cloned().collect();
        assert_eq!(once.len(), told.len(), "an action stands in one row");
        assert_eq!(once, allowed());
    }
}
