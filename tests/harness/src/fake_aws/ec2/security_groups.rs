//! Security groups. Decides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::asked::{Parameters as _, pairs};
use super::super::paging;
use super::super::refusal::{Answer, Refusal, bad_value, refuse};
use super::super::state::State;
use super::super::turn::{Ask, Turn};
use super::filters::{Filters, Wanted};
use super::rules::{self, grouped};
use super::tags;

/// A security group.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// `sg-...`
    pub id: String,
    /// Its name, unique in its VPC.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// What may come in.
    pub ingress: Vec<Rule>,
    /// What may go out.
    pub egress: Vec<Rule>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A rule with one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `sgr-...`
    pub id: String,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, a number, or `-1` for all.
    pub protocol: String,
    /// The first port, or the ICMP type; -1 for all.
    pub from: i64,
    /// The last port, or the ICMP code; -1 for all.
    pub to: i64,
    /// Whom it is about.
    pub source: Source,
    /// What it is for.
    pub description: Option<String>,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A canonical block of addresses.
    Block(String),
    /// A prefix list.
    PrefixList(String),
    /// Whatever has this security group.
    Group(String),
}

impl SecurityGroup {
    /// The security groups that its inbound rules let in.
    fn sources(&self) -> Vec<String> {
        let groups = self.ingress.iter().filter_map(|rule| match &rule.source {
            Source::Group(id) => Some(id.clone()),
            _ => None,
        });
        groups.collect()
    }
}

const GROUPS: Wanted<'static> = Wanted {
    name: "GroupIds",
    prefix: "sg",
    malformed: "InvalidGroupId.Malformed",
    missing: "InvalidGroup.NotFound",
    noun: "security group",
};

/// Client error codes, InvalidGroup.NotFound.
fn not_there(id: &str) -> Refusal {
    refuse(
        "InvalidGroup.NotFound",
        format!("The security group '{id}' does not exist"),
    )
}

/// Fails if one of them is not there.
pub(super) fn check_there(state: &State, groups: &BTreeSet<String>) -> Result<(), Refusal> {
    let missing = groups
        .iter()
        .find(|id| state.security_groups.get(id).is_none());
    missing.map_or(Ok(()), |id| Err(not_there(id)))
}

/// VPC guide, "Security group rules": a group begins without inbound rules, and with one that lets everything out.
pub(super) fn make(
    turn: &mut Turn<'_>,
    name: &str,
    description: &str,
    vpc: &str,
    tags: BTreeMap<String, String>,
) -> String {
    let id = turn.ids.ec2("sg");
    let out = Rule {
        id: turn.ids.ec2("sgr"),
        protocol: "-1".to_owned(),
        from: -1,
        to: -1,
        source: Source::Block("0.0.0.0/0".to_owned()),
        description: None,
    };
    let group = SecurityGroup {
        id: id.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
        vpc: vpc.to_owned(),
        ingress: Vec::new(),
        egress: vec![out],
        tags,
    };
    turn.state.security_groups.insert(id.clone(), group);
    id
}

/// EC2 API reference, CreateSecurityGroup: GroupName and GroupDescription "up to 255 characters in length. Can't start with sg-. Valid
/// characters: a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*"; "You can't have two security groups for the same VPC with the same
/// name."
pub(in super::super) fn create(turn: &mut Turn<'_>) -> Answer {
    let tags = tags::of_new(turn, "security-group")?;
    let name = turn.asked.required("GroupName").trim_end();
    let description = turn.asked.required("Description");
    let allowed = |c: char| c.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(c);
    for (what, text) in [("group name", name), ("group description", description)] {
        if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
            return Err(bad_value(format!(
                "Value ({text}) for parameter {what} is invalid. Character sets beyond ASCII are not supported."
            )));
        }
    }
    if name.starts_with("sg-") {
        return Err(bad_value(format!(
            "Value ({name}) for parameter group name is invalid. Group names may not be in the format sg-*."
        )));
    }
    let vpc = turn.asked.text("VpcId").unwrap_or_default();
    if turn.state.vpcs.get(vpc).is_none() {
        return Err(refuse(
            "InvalidVpcID.NotFound",
            format!("The vpc ID '{vpc}' does not exist"),
        ));
    }
    // Names are compared without regard to case: CreateSecurityGroup, GroupName: "Names and descriptions are limited to [...]" and
    // the error InvalidGroup.Duplicate of the client error codes.
    if turn
        .state
        .security_groups
        .any(|group| group.vpc == vpc && group.name.eq_ignore_ascii_case(name))
    {
        return Err(refuse(
            "InvalidGroup.Duplicate",
            format!("The security group '{name}' already exists for VPC '{vpc}'"),
        ));
    }
    if turn.state.security_groups.len() >= turn.settings.quotas.security_groups {
        return Err(refuse(
            "SecurityGroupLimitExceeded",
            "The maximum number of security groups has been reached.",
        ));
    }
    let shown = pairs(&tags);
    let id = make(turn, name, description, vpc, tags);
    Ok(json!({"GroupId": id, "Tags": shown}))
}

pub(in super::super) fn describe(ask: &Ask<'_>) -> Answer {
    let known = [
        "group-id",
        "group-name",
        "vpc-id",
        "description",
        "owner-id",
        "ip-permission.group-id",
    ];
    let filters = Filters::of(ask.asked, &known)?;
    for id in ask.asked.texts("GroupIds") {
        GROUPS.check(id)?;
        if ask.state.security_groups.get(id).is_none() {
            return Err(not_there(id));
        }
    }
    let ids = ask.asked.texts("GroupIds");
    let names = ask.asked.texts("GroupNames");
    let account = &ask.place.account;
    let wanted = ask.state.security_groups.iter().filter(|(id, group)| {
        (ids.is_empty() || ids.contains(id))
            && (names.is_empty() || names.contains(&&*group.name))
            && filters.pass(&group.tags, |name| match name {
                "group-id" => vec![group.id.clone()],
                "group-name" => vec![group.name.clone()],
                "vpc-id" => vec![group.vpc.clone()],
                "description" => vec![group.description.clone()],
                "ip-permission.group-id" => group.sources(),
                _ => vec![account.clone()],
            })
    });
    paging::ec2(ask.asked, "GroupIds", "SecurityGroups", wanted, |group| {
        json!({
            "GroupId": group.id,
            "GroupName": group.name,
            "Description": group.description,
            "VpcId": group.vpc,
            "OwnerId": account,
            "IpPermissions": grouped(&group.ingress, account),
            "IpPermissionsEgress": grouped(&group.egress, account),
            "Tags": pairs(&group.tags),
        })
    })
}

pub(in super::super) fn describe_rules(ask: &Ask<'_>) -> Answer {
    let filters = Filters::of(ask.asked, &["group-id", "security-group-rule-id"])?;
    let ids = ask.asked.texts("SecurityGroupRuleIds");
    let mut all = Vec::new();
    for group in ask.state.security_groups.values() {
        for (egress, rules) in [(false, &group.ingress), (true, &group.egress)] {
            for rule in rules {
                let passes = filters.pass(&BTreeMap::new(), |name| {
                    vec![match name {
                        "group-id" => group.id.clone(),
                        _ => rule.id.clone(),
                    }]
                });
                if passes && (ids.is_empty() || ids.contains(&&*rule.id)) {
                    all.push((&*rule.id, rule.show(&group.id, &ask.place.account, egress)));
                }
            }
        }
    }
    all.sort_by(|one, other| one.0.cmp(other.0));
    paging::ec2(
        ask.asked,
        "SecurityGroupRuleIds",
        "SecurityGroupRules",
        all.into_iter(),
        |rule| rule,
    )
}

fn group<'a>(turn: &'a mut Turn<'_>, id: &str) -> Result<&'a mut SecurityGroup, Refusal> {
    GROUPS.check(id)?;
    let group = turn.state.security_groups.get_mut(id);
    group.ok_or_else(|| not_there(id))
}

/// EC2 API reference, AuthorizeSecurityGroupIngress, with the client error codes InvalidPermission.Duplicate and
/// RulesPerSecurityGroupLimitExceeded: all rules of a call are added or none.
fn authorize(turn: &mut Turn<'_>, egress: bool) -> Answer {
    let mut added = rules::read(turn.asked)?;
    for rule in &mut added {
        match &rule.source {
            Source::Group(id) if turn.state.security_groups.get(id).is_none() => {
                return Err(not_there(id));
            }
            Source::PrefixList(id) if turn.state.prefix_lists.get(id).is_none() => {
                return Err(refuse(
                    "InvalidPrefixListID.NotFound",
                    format!("The prefix list ID '{id}' does not exist"),
                ));
            }
            _ => {}
        }
        rule.id = turn.ids.ec2("sgr");
    }
    let most = turn.settings.quotas.rules;
    let lists: BTreeMap<String, usize> = turn
        .state
        .prefix_lists
        .values()
        .map(|list| (list.id.clone(), usize::try_from(list.most).unwrap_or(1)))
        .collect();
    let account = turn.place.account.clone();
    let asked = turn.asked;
    let group = group(turn, asked.required("GroupId"))?;
    let rules = if egress {
        &mut group.egress
    } else {
        &mut group.ingress
    };
    for rule in &added {
        if rules.iter().any(|there| there.is(rule)) {
            return Err(refuse(
                "InvalidPermission.Duplicate",
                format!("the specified rule \"{rule}\" already exists"),
            ));
        }
        rules.push(rule.clone());
    }
    // VPC guide, "Security groups": the quota counts rules of IPv4 and of IPv6 apart; a rule with a security group counts for both, and
    // one with a prefix list as many times as the list may have entries.
    let weight = |six: bool| -> usize {
        let counted = rules.iter().map(|rule| match &rule.source {
            Source::Block(block) => usize::from(block.contains(':') == six),
            Source::Group(_) => 1,
            Source::PrefixList(id) => lists.get(id).copied().unwrap_or(1),
        });
        counted.sum()
    };
    if weight(false).max(weight(true)) > most {
        return Err(refuse(
            "RulesPerSecurityGroupLimitExceeded",
            "The maximum number of rules per security group has been reached.",
        ));
    }
    let id = group.id.clone();
    let shown = added.iter().map(|rule| rule.show(&id, &account, egress));
    Ok(json!({"Return": true, "SecurityGroupRules": shown.collect::<Value>()}))
}

/// EC2 API reference, RevokeSecurityGroupIngress: "[EC2-VPC, default VPC] If the values you specify do not match the existing rule's values,
/// no error is returned [...]. Non-default VPC: InvalidPermission.NotFound client error is returned, and no rules are revoked."
fn revoke(turn: &mut Turn<'_>, egress: bool) -> Answer {
    let by_id: BTreeSet<_> = turn
        .asked
        .texts("SecurityGroupRuleIds")
        .into_iter()
        .collect();
    let meant = match by_id.is_empty() {
        true => rules::read(turn.asked)?,
        false => Vec::new(),
    };
    let asked = turn.asked;
    let group = group(turn, asked.required("GroupId"))?;
    let rules = if egress {
        &mut group.egress
    } else {
        &mut group.ingress
    };
    let missing = meant
        .iter()
        .any(|rule| !rules.iter().any(|there| there.is(rule)));
    if missing {
        return Err(refuse(
            "InvalidPermission.NotFound",
            "The specified rule does not exist in this security group.",
        ));
    }
    if let Some(id) = by_id
        .iter()
        .find(|id| !rules.iter().any(|rule| rule.id == **id))
    {
        return Err(refuse(
            "InvalidSecurityGroupRuleId.NotFound",
            format!("The security group rule ID '{id}' does not exist"),
        ));
    }
    rules.retain(|rule| !by_id.contains(&*rule.id) && !meant.iter().any(|gone| gone.is(rule)));
    Ok(json!({"Return": true}))
}

pub(in super::super) fn authorize_ingress(turn: &mut Turn<'_>) -> Answer {
    authorize(turn, false)
}

pub(in super::super) fn authorize_egress(turn: &mut Turn<'_>) -> Answer {
    authorize(turn, true)
}

pub(in super::super) fn revoke_ingress(turn: &mut Turn<'_>) -> Answer {
    revoke(turn, false)
}

pub(in super::super) fn revoke_egress(turn: &mut Turn<'_>) -> Answer {
    revoke(turn, true)
}

/// EC2 API reference, DeleteSecurityGroup: "If you attempt to delete a security group that is associated with an instance or network
/// interface, is referenced by another security group in the same VPC, or has a VPC association, the operation fails with
/// DependencyViolation."
pub(in super::super) fn delete(turn: &mut Turn<'_>) -> Answer {
    let id = turn.asked.required("GroupId");
    if group(turn, id)?.name == "default" {
        return Err(refuse(
            "CannotDelete",
            "the specified group: \"default\" name: \"default\" cannot be deleted by a user",
        ));
    }
    super::interfaces::let_go(turn, |one| one.groups.contains(id));
    let state = &turn.state;
    let of_instance = state
        .instances
        .values()
        .any(|instance| instance.state != "terminated" && instance.groups.contains(id));
    let of_interface = state.interfaces.values().any(|one| one.groups.contains(id));
    let referenced = state.security_groups.values().any(|other| {
        let mut rules = other.ingress.iter().chain(&other.egress);
        other.id != id && rules.any(|rule| rule.source == Source::Group(id.to_owned()))
    });
    if of_instance || of_interface || referenced {
        return Err(refuse(
            "DependencyViolation",
            format!("resource {id} has a dependent object"),
        ));
    }
    turn.state.security_groups.remove(id);
    Ok(json!({"Return": true, "GroupId": id}))
}
