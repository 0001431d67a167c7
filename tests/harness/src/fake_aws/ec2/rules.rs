//! Rules of security groups: reading permissions, canonical blocks, comparing, showing. Decides.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::super::asked::Parameters as _;
use super::super::ids::is_ec2_id;
use super::super::refusal::{Refusal, bad_value, refuse};
use super::security_groups::{Rule, Source};

/// EC2 API reference, IpRange: "Amazon Web Services canonicalizes IPv4 and IPv6 CIDRs. For example, if you specify 100.68.0.18/18 for the
/// CIDR block, Amazon Web Services canonicalizes the CIDR block to 100.68.0.0/18. Any subsequent DescribeSecurityGroups and
/// DescribeSecurityGroupRules calls will return the canonicalized form of the CIDR block."
pub(super) fn canonical(text: &str) -> Result<String, Refusal> {
    let malformed = || bad_value(format!("CIDR block {text} is malformed"));
    let (address, length) = text.split_once('/').ok_or_else(malformed)?;
    let address: IpAddr = address.parse().map_err(|_| malformed())?;
    let length: u32 = length.parse().map_err(|_| malformed())?;
    match address {
        IpAddr::V4(address) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Ok(format!(
                "{}/{length}",
                Ipv4Addr::from(u32::from(address) & mask)
            ))
        }
        IpAddr::V6(address) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Ok(format!(
                "{}/{length}",
                Ipv6Addr::from(u128::from(address) & mask)
            ))
        }
        _ => Err(malformed()),
    }
}

/// The rules in `IpPermissions`, one a source, without ids.
pub(super) fn read(asked: &Value) -> Result<Vec<Rule>, Refusal> {
    let mut all = Vec::new();
    for permission in asked.list("IpPermissions") {
        let protocol = protocol(permission.required("IpProtocol"))?;
        let (from, to) = ports(permission, &protocol)?;
        let mut add = |source, given: &Value| {
            all.push(Rule {
                id: String::new(),
                protocol: protocol.clone(),
                from,
                to,
                source,
                description: given.text("Description").map(str::to_owned),
            });
        };
        for (list, key, six) in [
            ("IpRanges", "CidrIp", false),
            ("Ipv6Ranges", "CidrIpv6", true),
        ] {
            for range in permission.list(list) {
                let block = canonical(range.required(key))?;
                if block.contains(':') != six {
                    return Err(bad_value(format!("CIDR block {block} is malformed")));
                }
                add(Source::Block(block), range);
            }
        }
        for list in permission.list("PrefixListIds") {
            add(
                Source::PrefixList(list.required("PrefixListId").to_owned()),
                list,
            );
        }
        for pair in permission.list("UserIdGroupPairs") {
            let id = pair.required("GroupId");
            if !is_ec2_id(id, "sg") {
                return Err(refuse(
                    "InvalidGroupId.Malformed",
                    format!("Invalid id: \"{id}\" (expecting \"sg-...\")"),
                ));
            }
            add(Source::Group(id.to_owned()), pair);
        }
    }
    if all.is_empty() {
        // Client error codes, MissingParameter: "The request is missing a required parameter."
        return Err(refuse(
            "MissingParameter",
            "Either 'ipPermissions' or 'securityGroupRuleIds' should be provided with a source.",
        ));
    }
    Ok(all)
}

/// IpPermission: "The IP protocol name (tcp, udp, icmp, icmpv6) or number"; names come back.
fn protocol(text: &str) -> Result<String, Refusal> {
    Ok(match text {
        "6" => "tcp",
        "17" => "udp",
        "1" => "icmp",
        "58" => "icmpv6",
        "tcp" | "udp" | "icmp" | "icmpv6" | "-1" => text,
        number if number.parse::<u8>().is_ok() => number,
        _ => {
            return Err(bad_value(format!(
                "Invalid value '{text}' for IP protocol. Unknown protocol."
            )));
        }
    }
    .to_owned())
}

/// IpPermission: "If you specify -1 (all ports), then ToPort must also be -1 (all ports)"; for tcp and udp ports are needed.
fn ports(permission: &Value, protocol: &str) -> Result<(i64, i64), Refusal> {
    let given = (permission.number("FromPort"), permission.number("ToPort"));
    let wrong = |what: String| bad_value(what);
    match (protocol, given) {
        ("tcp" | "udp", (Some(from), Some(to))) => {
            if (0..=65_535).contains(&from) && (from..=65_535).contains(&to) {
                Ok((from, to))
            } else {
                Err(wrong(format!(
                    "Invalid value for portRange. Must specify valid ports, not {from}-{to}."
                )))
            }
        }
        ("tcp" | "udp", _) => Err(wrong(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
                .to_owned(),
        )),
        ("icmp" | "icmpv6", (from, to)) => Ok((from.unwrap_or(-1), to.unwrap_or(-1))),
        _ => Ok((-1, -1)),
    }
}

impl Rule {
    /// Whether it is the same rule: descriptions do not count (AuthorizeSecurityGroupIngress and RevokeSecurityGroupIngress: "If the security
    /// group rule has a description, you do not need to specify the description to revoke the rule").
    pub(super) fn is(&self, other: &Self) -> bool {
        (&self.protocol, self.from, self.to, &self.source)
            == (&other.protocol, other.from, other.to, &other.source)
    }

    pub(super) fn show(&self, group: &str, account: &str, egress: bool) -> Value {
        let mut shown = json!({
            "SecurityGroupRuleId": self.id,
            "GroupId": group,
            "GroupOwnerId": account,
            "IsEgress": egress,
            "IpProtocol": self.protocol,
            "FromPort": self.from,
            "ToPort": self.to,
            "Description": self.description,
        });
        match &self.source {
            Source::Block(block) if block.contains(':') => shown["CidrIpv6"] = json!(block),
            Source::Block(block) => shown["CidrIpv4"] = json!(block),
            Source::PrefixList(list) => shown["PrefixListId"] = json!(list),
            Source::Group(id) => {
                shown["ReferencedGroupInfo"] = json!({"GroupId": id, "UserId": account});
            }
        }
        shown
    }
}

impl fmt::Display for Rule {
    /// As InvalidPermission.Duplicate names it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = match &self.source {
            Source::Block(text) | Source::PrefixList(text) | Source::Group(text) => text,
        };
        let protocol = self.protocol.to_uppercase();
        let Self { from, to, .. } = self;
        write!(
            f,
            "peer: {peer}, {protocol}, from port: {from}, to port: {to}, ALLOW"
        )
    }
}

/// Rules as DescribeSecurityGroups groups them: by protocol and ports.
pub(super) fn grouped(rules: &[Rule], account: &str) -> Value {
    let mut permissions: Vec<Value> = Vec::new();
    for rule in rules {
        let same = |permission: &Value| {
            permission["IpProtocol"] == *rule.protocol
                && (rule.protocol == "-1"
                    || (permission["FromPort"] == rule.from && permission["ToPort"] == rule.to))
        };
        let place = permissions.iter().position(same).unwrap_or_else(|| {
            let mut permission = json!({
                "IpProtocol": rule.protocol,
                "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
            });
            if rule.protocol != "-1" {
                permission["FromPort"] = json!(rule.from);
                permission["ToPort"] = json!(rule.to);
            }
            permissions.push(permission);
            permissions.len() - 1
        });
        let (list, mut item) = match &rule.source {
            Source::Block(block) if block.contains(':') => {
                ("Ipv6Ranges", json!({"CidrIpv6": block}))
            }
            Source::Block(block) => ("IpRanges", json!({"CidrIp": block})),
            Source::PrefixList(id) => ("PrefixListIds", json!({"PrefixListId": id})),
            Source::Group(id) => (
                "UserIdGroupPairs",
                json!({"GroupId": id, "UserId": account}),
            ),
        };
        if let Some(description) = &rule.description {
            item["Description"] = json!(description);
        }
        if let Some(list) = permissions[place][list].as_array_mut() {
            list.push(item);
        }
    }
    Value::Array(permissions)
}
