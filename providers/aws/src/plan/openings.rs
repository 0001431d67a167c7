//! Openings of node groups: where load balancers reach nodes beside the NodePorts and kube-proxy's health (Decides).
//!
//! A target group lists its openings in a tag before it uses them, and until their rules are gone. A rule is there before anything needs
//! it, and goes when nothing of the group does and, by a fresh look, no other group lists it. One rule may serve many groups, so
//! whoever begins to rely on one says so in a step, also where the rule is there: a step that removes it cannot come between.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    ids::ResourceId,
    intent::Scheme,
    net::IpFamily,
    plan::{Action, Change, Disturbance, Plan, Reason},
    ports::Protocol,
    problem::{Problem, reason},
};

use super::{
    View,
    nodes::{self, Use},
    pods,
    replace::{Stack, Stacks},
    target_groups,
};
use crate::{
    model::{
        CloudId, Desired, Facts, Opening, Origin, ProbePort, Rule, Security, SeenTargetGroup,
        Source, Step, TargetGroup, facts::Instance,
    },
    names,
    quotas::Quota,
};

/// The openings that a target group of a load balancer needs.
pub(super) fn needed(
    view: View<'_>,
    desired: &Desired,
    stack: &Stack<'_>,
    want: &TargetGroup,
) -> BTreeSet<Opening> {
    if stack.is_open(desired) {
        return direct(want);
    }
    match desired.load_balancer.security {
        Security::Given { backend: false, .. } => BTreeSet::new(),
        _ if want.target_type.is_pods() => {
            let pods = pods::openings(view, want).into_iter();
            pods.chain(want.openings.iter().copied()).collect()
        }
        _ => want.openings.clone(),
    }
}

/// Those of a load balancer without security groups: for its clients, whom targets see as they are or with an address of the
/// load balancer's; and for its probes, where what is open for clients does not let them in.
fn direct(want: &TargetGroup) -> BTreeSet<Opening> {
    let (vpc, clients) = (Origin::Vpc(want.family), Origin::Clients(want.family));
    let preserves = want.preserves_clients();
    let transports = want.protocol.transports();
    let mut openings: BTreeSet<Opening> = transports
        .iter()
        .map(|protocol| Opening {
            from: if preserves { clients } else { vpc },
            ..Opening::port(*protocol, want.node_port)
        })
        .collect();
    let everyone = |source: &Source| matches!(source, Source::Cidr(cidr) if cidr.net().prefix_len() == 0 && cidr.family() == want.family);
    let all_connect = transports.contains(&Protocol::Tcp)
        && want
            .clients
            .as_ref()
            .is_none_or(|clients| clients.iter().any(everyone));
    let probed = match want.health_check.port {
        ProbePort::Number(port) => port,
        ProbePort::Traffic => want.node_port,
    };
    // A probe that nobody chose may give way to a connection.
    let second = want.probe_by_default.then_some(want.node_port);
    for port in [probed].into_iter().chain(second) {
        if port != want.node_port || !all_connect {
            openings.insert(Opening {
                from: vpc,
                ..Opening::port(Protocol::Tcp, port)
            });
        }
    }
    openings
}

/// The rules of what is open for the clients of load balancers without security groups.
pub(super) fn of_clients(
    view: View<'_>,
    desired: &Desired,
    stacks: &Stacks<'_>,
) -> BTreeMap<Opening, BTreeSet<Rule>> {
    let facts = &view.seen.facts;
    let mut all: BTreeMap<Opening, BTreeSet<Rule>> = BTreeMap::new();
    for stack in stacks.all().filter(|stack| stack.is_open(desired)) {
        let scheme = stack.live.map_or(stacks.scheme, |live| live.scheme);
        for want in &desired.target_groups {
            let family = want.family;
            let sources: Vec<Source> = match (&want.clients, scheme) {
                (Some(clients), _) => clients.iter().cloned().collect(),
                (None, Scheme::Internal) => facts.vpc_sources(family).collect(),
                (None, Scheme::InternetFacing) => vec![Source::everyone(family)],
            };
            let fits = |source: &Source| match source {
                Source::Cidr(cidr) => cidr.family() == family,
                Source::PrefixList(_) | Source::Group(_) => true,
            };
            for opening in direct(want) {
                if let Origin::Clients(_) = opening.from {
                    let sources = sources.iter().filter(|source| fits(source));
                    let rules = opening.rules_from(sources.cloned());
                    all.entry(opening).or_default().extend(rules);
                }
            }
        }
    }
    all
}

/// The rules of an opening. Where nobody says now who the clients are, they are those that any node group admits.
fn rules(view: View<'_>, opening: &Opening) -> Option<BTreeSet<Rule>> {
    let facts = &view.seen.facts;
    if let Some(rules) = opening
        .rules(facts)
        .or_else(|| view.clients.get(opening).cloned())
    {
        return Some(rules);
    }
    let Origin::Clients(_) = opening.from else {
        return None;
    };
    let known = facts.node_groups.values().flat_map(|one| &one.openings);
    Some(
        known
            .filter(|rule| opening.covers(rule, facts))
            .cloned()
            .collect(),
    )
}

/// Whether a target group may use what it needs: its tag lists it, and every node group has it.
pub(super) fn are_ready(
    view: View<'_>,
    found: &SeenTargetGroup,
    needed: &BTreeSet<Opening>,
) -> bool {
    if needed.is_empty() || nodes::admission_failed(view) {
        return true;
    }
    let mut groups = node_groups(view).into_iter();
    needed.is_subset(&found.openings()) && groups.all(|group| !lacks(view, group, needed))
}

/// What the tag of a live target group shall list: what it needs, and what it once needed while that is in use or its rule may be left.
pub(super) fn listed(
    view: View<'_>,
    found: &SeenTargetGroup,
    needed: BTreeSet<Opening>,
    settled: bool,
) -> BTreeSet<Opening> {
    let facts = &view.seen.facts;
    let others = of_others(view);
    let is_left = |opening: &Opening| {
        let rules = facts.node_groups.values().flat_map(|group| &group.openings);
        rules
            .filter(|rule| opening.covers(rule, facts))
            .any(|rule| !covers(&others, rule, facts))
    };
    let mut listed = found.openings();
    listed.retain(|opening| !settled || is_left(opening));
    listed.extend(needed);
    listed
}

/// Opens the node groups for all that the target groups of the group need.
pub(super) fn open(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: Option<(&Desired, &Stacks<'_>)>,
) {
    let mut openings = BTreeSet::new();
    for (name, group) in &view.seen.target_groups {
        openings.extend(match desired {
            Some((desired, stacks)) => {
                target_groups::needed_when_settled(view, desired, stacks, name, group)
                    .unwrap_or_else(|| group.openings())
            }
            None => group.openings(),
        });
    }
    let mut begun = false;
    if let Some((desired, stacks)) = desired {
        for stack in stacks.all() {
            for want in &desired.target_groups {
                let needed = needed(view, desired, stack, want);
                let found = view.seen.target_groups.get(&stack.target_group(view, want));
                let listed = found.map(SeenTargetGroup::openings).unwrap_or_default();
                begun |= !needed.is_subset(&listed);
                openings.extend(needed);
            }
        }
    }
    if openings.is_empty() {
        return;
    }
    let rules = openings.iter().filter_map(|one| rules(view, one));
    let rules: BTreeSet<Rule> = rules.flatten().collect();
    let groups: BTreeSet<CloudId> = node_groups(view)
        .into_iter()
        .filter(|group| begun || lacks(view, group, &openings))
        .cloned()
        .collect();
    if groups.is_empty() || rules.is_empty() {
        return;
    }
    if let Some(problem) = crowded(view, &rules) {
        return plan.refuse(ResourceId::new(names::NODES), problem);
    }
    let list: Vec<String> = openings.iter().map(Opening::to_string).collect();
    let change = Change::new(
        Action::Change,
        nodes::ADMISSION,
        ResourceId::new(names::NODES),
        format!("of {}", list.join(", ")),
    );
    plan.step(
        Step::OpenNodes {
            openings,
            groups,
            rules,
        },
        change,
    );
}

/// Why the node groups have no room for what a load balancer needs that is still to be made.
pub(super) fn no_room(view: View<'_>, desired: &Desired, stacks: &Stacks<'_>) -> Option<Problem> {
    let clients = of_clients(view, desired, stacks);
    let view = View {
        clients: &clients,
        ..view
    };
    let groups = desired.target_groups.iter();
    let openings = groups.flat_map(|want| needed(view, desired, &stacks.main, want));
    let rules = openings.filter_map(|opening| rules(view, &opening));
    crowded(view, &rules.flatten().collect())
}

/// Why a node group cannot have these rules beside those that it has, whoever made them. Each family has room of its own, and what
/// names no prefix counts for both (VPC guide, "Amazon VPC quotas").
fn crowded(view: View<'_>, rules: &BTreeSet<Rule>) -> Option<Problem> {
    let facts = &view.seen.facts;
    let most = view.context.quotas.of(Quota::Rules);
    let of = |family| {
        move |rule: &&Rule| match &rule.source {
            Source::Cidr(cidr) => cidr.family() == family,
            Source::PrefixList(_) | Source::Group(_) => true,
        }
    };
    let families = [IpFamily::V4, IpFamily::V6];
    let mut all = node_groups(view)
        .into_iter()
        .flat_map(|group| families.map(|family| (group, family)));
    let (group, there, more) = all.find_map(|(group, family)| {
        let known = &facts.node_groups.get(group)?.rules;
        let more = rules.difference(known).filter(of(family)).count();
        let there = known.iter().filter(of(family)).count();
        (more > 0 && there + more > most).then_some((group, there, more))
    })?;
    let problem = Problem::new(
        Quota::Rules.to_string(),
        there.to_string(),
        format!(
            "are in the node group {group}, {more} more would be needed, and the quota is {most}: none is added"
        ),
        format!(
            "Use fewer ports or source ranges, or wider ones, remove rules that nobody needs from the group, or {}.",
            Quota::Rules.how_to_raise()
        ),
    );
    Some(problem.with_reason(reason::QUOTA_EXCEEDED))
}

/// Removes the rules that nothing needs. `settled` tells what a target group of the group needs; None: all that it lists may be in
/// use. Returns whether the group itself lists one of them, so that it is to see to that; else some other group left it, which is no
/// hurry.
pub(super) fn close(
    plan: &mut Plan<Step>,
    view: View<'_>,
    settled: impl Fn(&Arc<str>, &SeenTargetGroup) -> Option<BTreeSet<Opening>>,
) -> bool {
    let facts = &view.seen.facts;
    if facts
        .node_groups
        .values()
        .all(|one| one.openings.is_empty())
    {
        return false;
    }
    let (mut needed, mut listed) = (of_others(view), BTreeSet::new());
    let mut exact: BTreeSet<Rule> = BTreeSet::new();
    for (name, group) in &view.seen.target_groups {
        listed.extend(group.openings());
        match settled(name, group) {
            Some(openings) => {
                let rules = openings.iter().filter_map(|opening| rules(view, opening));
                exact.extend(rules.flatten());
            }
            None => needed.extend(group.openings()),
        }
    }
    let rules = facts.node_groups.values().flat_map(|one| &one.openings);
    let surplus: BTreeSet<Rule> = rules
        .filter(|rule| !exact.contains(*rule) && !covers(&needed, rule, facts))
        .cloned()
        .collect();
    if surplus.is_empty() {
        return false;
    }
    let own = surplus.iter().any(|rule| covers(&listed, rule, facts));
    let reasons = surplus.iter().map(|rule| Reason::new("rule", rule, ""));
    let change = Change::new(
        Action::Change,
        nodes::ADMISSION,
        ResourceId::new(names::NODES),
        "remove rules that nothing needs",
    )
    .because(reasons.collect())
    .disturbing(Disturbance::None);
    plan.step(Step::CloseNodes(surplus), change);
    own
}

/// The openings that other groups list.
fn of_others(view: View<'_>) -> BTreeSet<Opening> {
    let facts = &view.seen.facts;
    if facts.openings.is_empty() {
        return BTreeSet::new();
    }
    let own = view.input.key.identity();
    let others = facts.openings.iter().filter(|(group, _)| ***group != *own);
    others.flat_map(|(_, openings)| openings).copied().collect()
}

fn covers(openings: &BTreeSet<Opening>, rule: &Rule, facts: &Facts) -> bool {
    openings.iter().any(|opening| opening.covers(rule, facts))
}

/// The node groups of the instances that may be targets, as far as they admit the load balancers.
fn node_groups(view: View<'_>) -> BTreeSet<&CloudId> {
    let facts = &view.seen.facts;
    let members = view.nodes.members.iter();
    members
        .filter(|member| member.use_ != Use::Remove)
        .filter_map(|member| match facts.instances.get(&member.id)? {
            Instance::Group { group, .. } => Some(group),
            Instance::Unknown | Instance::Ambiguous => None,
        })
        .filter(|group| facts.admitted.contains(*group))
        .collect()
}

/// Whether the node group of an instance has these openings; where the group is not known nobody can say so, and it is as open as it is.
pub(super) fn are_open(view: View<'_>, instance: &str, openings: &BTreeSet<Opening>) -> bool {
    let facts = &view.seen.facts;
    match facts.instances.get(instance) {
        Some(Instance::Group { group, .. }) => !lacks(view, group, openings),
        _ => true,
    }
}

/// Whether a node group lacks a rule of these openings.
fn lacks(view: View<'_>, group: &CloudId, openings: &BTreeSet<Opening>) -> bool {
    let known = view.seen.facts.node_groups.get(group);
    let has = |rule: &Rule| known.is_some_and(|known| known.rules.contains(rule));
    openings
        .iter()
        .filter_map(|opening| rules(view, opening))
        .any(|rules| !rules.iter().all(has))
}
