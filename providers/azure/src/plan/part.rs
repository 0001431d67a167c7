//! What a group claims of a load balancer (Decides).

use std::{collections::BTreeMap, sync::Arc};

use evenkeel_core::{
    nodes::ProxyHealth,
    plan::{Action, Change, Plan, Reason},
    problem::{Problem, Warning, reason},
    shared::Claim,
};

use super::{View, addresses::Placed, claims::hand_in, members};
use crate::{
    model::{Desired, Fragment, Part, Probe, ProbeProtocol, Rule, SeenBalancer, Step, Transport},
    names,
};

/// What shall be of the group.
pub(super) struct Next {
    part: Part,
    /// It serves.
    pub(super) is_live: bool,
    /// Another one serves.
    pub(super) moves: bool,
}

/// What shall be of it; None where there is no room for that.
pub(super) fn next(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    placed: &Placed,
) -> Option<Next> {
    let none = SeenBalancer::default();
    let seen = view.seen.balancers.get(&placed.scheme).unwrap_or(&none);
    let part = wanted(plan, view, desired, placed, seen);
    let is_live = seen.part.is(&part);
    let moves = !seen.part.rules.is_empty() && !is_live;
    has_room(plan, view, placed, seen, &part).then_some(Next {
        part,
        is_live,
        moves,
    })
}

/// Claims it.
pub(super) fn plan(
    plan: &mut Plan<Step>,
    view: View<'_>,
    placed: &Placed,
    Next {
        mut part, is_live, ..
    }: Next,
    replaced: Option<Change>,
) {
    let none = SeenBalancer::default();
    let seen = view.seen.balancers.get(&placed.scheme).unwrap_or(&none);
    part.seed = members::next(view, &seen.members);
    let id = names::part_id(placed.scheme);
    let detail = part.to_string();
    let change = match replaced {
        Some(replaced) if replaced.id == id => replaced,
        _ if seen.part.is_empty() => Change::new(Action::Create, "load balancer", id, detail),
        _ => Change::new(Action::Change, "load balancer", id, detail)
            .because(vec![Reason::new("part", &seen.part, &part)]),
    };
    let claim = Claim::Want(Fragment::Part(part));
    let step = Step::Claim {
        of: placed.scheme,
        claim: claim.clone(),
    };
    hand_in(plan, (&claim, is_live), seen.claim.as_ref(), step, change);
}

fn wanted(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    placed: &Placed,
    seen: &SeenBalancer,
) -> Part {
    let mut part = Part {
        frontends: placed.frontends.clone(),
        ..Part::default()
    };
    for listener in &desired.rules {
        let Some((frontend, _)) = placed.of(listener.rule.family) else {
            continue;
        };
        let mut rule = Rule {
            frontend: Arc::clone(frontend),
            no_outbound: listener.rule.no_outbound || seen.outbound,
            ..listener.rule.clone()
        };
        if let Some((name, probe)) = probe(plan, view, desired, seen, &listener.name, &mut rule) {
            part.probes.insert(name, probe);
        }
        part.rules.insert(Arc::clone(&listener.name), rule);
    }
    keep_unknown(view, desired, placed, &seen.part, &mut part);
    part
}

/// The probe of a rule. Where kube-proxy's health does not answer on the nodes, a rule that is new gets a probe of its own port.
fn probe(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    seen: &SeenBalancer,
    listener: &Arc<str>,
    rule: &mut Rule,
) -> Option<(Arc<str>, Probe)> {
    let name = rule.probe.clone()?;
    let of_proxy = name == names::proxy_probe(&view.context.cluster);
    let there = seen
        .part
        .rules
        .get(listener)
        .and_then(|rule| rule.probe.as_ref());
    let by_proxy = there.is_some_and(|there| there.eq_ignore_ascii_case(&name));
    let silent = view.nodes.proxy_health() == ProxyHealth::Silent;
    if !of_proxy || by_proxy || !silent && there.is_none() {
        return Some((name.clone(), desired.probes.get(&name)?.clone()));
    }
    if !silent && there.is_some_and(|there| **there != *own_probe(listener)) {
        return Some((name.clone(), desired.probes.get(&name)?.clone()));
    }
    let warning = Warning::new(
        reason::UNSUPPORTED_FEATURE,
        "kube-proxy's health does not answer on port 10256 of the nodes, so they are probed on the port of the traffic. \
         Let the service proxy serve it, or choose a probe.",
    );
    if !plan.warnings.contains(&warning) {
        plan.warnings.push(warning);
    }
    if rule.transport == Transport::Udp || rule.floating {
        rule.probe = None;
        return None;
    }
    let name = own_probe(listener);
    rule.probe = Some(Arc::clone(&name));
    let probe = Probe {
        protocol: ProbeProtocol::Tcp,
        port: rule.backend_port,
        path: None,
        interval: 5,
        threshold: 2,
    };
    Some((name, probe))
}

/// The probe of a rule's own port.
fn own_probe(listener: &Arc<str>) -> Arc<str> {
    format!("{listener}-tcp").into()
}

/// What serves members that cannot be read stays as it is.
fn keep_unknown(view: View<'_>, desired: &Desired, placed: &Placed, live: &Part, part: &mut Part) {
    for uid in &desired.unknown {
        let member = names::member(&view.context.cluster, view.key, uid);
        for (name, rule) in &live.rules {
            let Some((frontend, _)) = placed.of(rule.family) else {
                continue;
            };
            let taken = part.rules.values().any(|other| {
                (other.family, other.transport, other.port)
                    == (rule.family, rule.transport, rule.port)
            });
            if !names::is_of(name, &member) || taken {
                continue;
            }
            let rule = Rule {
                frontend: Arc::clone(frontend),
                ..rule.clone()
            };
            let probe = rule
                .probe
                .as_ref()
                .and_then(|probe| live.probes.get_key_value(probe));
            if let Some((name, probe)) = probe {
                part.probes.insert(Arc::clone(name), probe.clone());
            }
            part.rules.insert(Arc::clone(name), rule);
        }
    }
}

/// Whether Azure has room for the rules: as many as a network interface may have, over both load balancers.
fn has_room(
    plan: &mut Plan<Step>,
    view: View<'_>,
    placed: &Placed,
    seen: &SeenBalancer,
    part: &Part,
) -> bool {
    let limit = view.context.limits.rules;
    let all: BTreeMap<_, _> = view
        .seen
        .balancers
        .iter()
        .map(|(scheme, seen)| (scheme, seen.rules))
        .collect();
    let others = all
        .values()
        .sum::<usize>()
        .saturating_sub(seen.part.rules.len());
    let needed = part.rules.len();
    if needed <= seen.part.rules.len() || others + needed <= limit {
        return true;
    }
    let problem = Problem::new(
        "spec.ports",
        needed.to_string(),
        format!(
            "rules are needed, and Azure allows {limit} for the load balancers of one node, of which {} are left",
            limit.saturating_sub(others)
        ),
        "Use fewer ports, delete Services, or spread the nodes over several clusters.",
    );
    plan.refuse(
        names::part_id(placed.scheme),
        problem.with_reason(reason::QUOTA_EXCEEDED),
    );
    false
}
