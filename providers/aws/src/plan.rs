//! Desired and observed in, the writes possible now out; all ordering, replacement and safety rules are here (Decides).
//!
//! ```text
//! make:   security group ─> its rules ─┐
//!         target group ─> targets      ├─> listener
//!         load balancer ───────────────┘
//! break:  listener ─> target group     load balancer ─> security group
//! ```
//!
//! What breaks something comes when there is nothing left to make, and after a fresh read. A load balancer that cannot be
//! changed into what is wanted gets a successor with target groups of its own (see `replace`).

mod attributes;
mod chosen;
mod delete;
mod listeners;
mod load_balancer;
mod nodes;
mod openings;
pub(crate) mod pods;
mod quota;
mod replace;
mod room;
mod security;
mod settled;
mod subnets;
mod tags;
mod target_groups;
mod targets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_core::{
    ids::{ResourceId, ServiceUid},
    plan::{Plan, Planned, Until},
    problem::{Problem, reason},
    provider::{PlanInput, Want},
};

use crate::{
    Aws, Context,
    model::{Desired, Facts, Marks, Observed, Opening, Rule, Step, Used},
    names,
};

/// What every part of a plan is decided from.
#[derive(Clone, Copy)]
struct View<'a> {
    context: &'a Context,
    input: PlanInput<'a, Aws>,
    seen: &'a Observed,
    nodes: &'a nodes::Instances,
    /// Those that were followed by a run before.
    followed: Option<&'a nodes::Instances>,
    /// Whether it is ours to have the nodes admit the load balancers.
    behind_backend: bool,
    /// The instances that do not admit it yet, as far as is known.
    unadmitted: &'a BTreeSet<Arc<str>>,
    /// What others have of what the account may have so many of, as far as is known.
    used: Option<Used>,
    /// What nodes are open to for the clients of load balancers without security groups.
    clients: &'a BTreeMap<Opening, BTreeSet<Rule>>,
}

impl View<'_> {
    /// Whether a step failed and is held back.
    fn failed(&self, step: &Step) -> bool {
        self.input.failures.holds(step).is_some()
    }

    /// Whether a plan does nothing that has not failed.
    fn stands_still(&self, plan: &Plan<Step>) -> bool {
        plan.steps.iter().all(|planned| self.failed(&planned.step))
    }
}

/// Why something cannot be decided or done.
enum Stop {
    /// What was seen is too old to say, or does not say it.
    FreshRead(&'static str),
    /// The user must change something.
    Refused(Vec<Problem>),
}

impl Stop {
    fn refused(problem: Problem) -> Self {
        Self::Refused(vec![problem])
    }

    fn tell(self, plan: &mut Plan<Step>, id: &ResourceId) {
        match self {
            Self::FreshRead(what) => plan.wait(id.clone(), what, Until::FreshRead),
            Self::Refused(problems) => {
                for problem in problems {
                    plan.refuse(id.clone(), problem);
                }
            }
        }
    }
}

/// Decides the writes possible now.
pub fn plan(context: &Context, input: PlanInput<'_, Aws>) -> Plan<Step> {
    plan_knowing(context, input, &input.seen.facts, None)
}

/// The same where facts are known that may be younger than what was seen (who admitted nodes meanwhile did it for all groups), and what
/// others have of what the account may have so many of.
pub fn plan_knowing(
    context: &Context,
    input: PlanInput<'_, Aws>,
    known: &Facts,
    used: Option<Used>,
) -> Plan<Step> {
    let nodes = nodes::instances(input.nodes);
    let followed = input.followed.map(nodes::instances);
    let behind_backend = nodes::behind_backend(input.seen, input.want);
    let mut unadmitted = if behind_backend {
        nodes::unadmitted(&input.seen.facts, &nodes)
    } else {
        BTreeSet::new()
    };
    if !unadmitted.is_empty() && !std::ptr::eq(&*input.seen.facts, known) {
        let still = nodes::unadmitted(known, &nodes);
        unadmitted.retain(|id| still.contains(id));
    }
    let view = View {
        context,
        input,
        seen: input.seen,
        nodes: &nodes,
        followed: followed.as_deref(),
        behind_backend,
        unadmitted: &unadmitted,
        used,
        clients: &BTreeMap::new(),
    };
    let mut plan = match input.want {
        Want::Exists(desired) => exists(view, desired),
        Want::Frozen => frozen(view),
        Want::FrozenWithout(gone) => frozen_without(view, gone),
        Want::Nothing => return delete::everything(view),
        Want::Released => return Plan::empty(),
    };
    let only_follows = |planned: &Planned<Step>| {
        matches!(
            planned.step,
            Step::Deregister { .. } | Step::AdmitNodes(_) | Step::OpenNodes { .. }
        )
    };
    // Somebody waits for the rest.
    if !plan.steps.iter().all(only_follows) {
        plan.waits.retain(|wait| wait.until != Until::Turn);
    }
    plan.node_labels = chosen::looked_at(view);
    plan
}

fn exists(view: View<'_>, desired: &Desired) -> Plan<Step> {
    let mut plan = Plan::empty();
    let mut stacks = replace::stacks(&mut plan, view, desired);
    if !load_balancer::can_be_made(&mut plan, view, desired, &stacks) {
        let Some(serving) = stacks.without_successor() else {
            // Nothing is made for a load balancer that cannot be made; what is there follows the nodes.
            follow_nodes(&mut plan, view, |_| true);
            openings::open(&mut plan, view, None);
            return plan;
        };
        stacks = serving;
    }
    let clients = openings::of_clients(view, desired, &stacks);
    let view = View {
        clients: &clients,
        ..view
    };
    for stack in stacks.all() {
        target_groups::plan(&mut plan, view, desired, stack);
        listeners::plan(&mut plan, view, desired, stack);
    }
    load_balancer::plan(&mut plan, view, desired, &stacks);
    // What is not wanted by name still has its targets: it goes later, or belongs to a member that cannot be read.
    let wanted = stacks.target_groups(view, desired);
    follow_nodes(&mut plan, view, |name| !wanted.contains(name));
    nodes::open(&mut plan, view);
    openings::open(&mut plan, view, Some((desired, &stacks)));
    if view.stands_still(&plan) {
        replace::switch(&mut plan, view, desired, &stacks);
    }
    // Steps that failed stay in the plan, which is how they are reported, and keep nothing else from being done.
    if view.stands_still(&plan) {
        delete::surplus(&mut plan, view, desired, &stacks, &wanted);
    }
    replace::lingering(&mut plan, view);
    settled::look(&mut plan, view, desired, &stacks);
    settled::note(&mut plan, desired, &stacks);
    plan
}

/// The group is rejected: everything stays, and targets follow the nodes.
fn frozen(view: View<'_>) -> Plan<Step> {
    let mut plan = Plan::empty();
    follow_nodes(&mut plan, view, |_| true);
    openings::open(&mut plan, view, None);
    plan
}

/// The same, and what serves these members goes: who listens first, and what that used after it. The load balancer stays for
/// the others.
fn frozen_without(view: View<'_>, gone: &BTreeSet<ServiceUid>) -> Plan<Step> {
    let theirs = |marks: &Marks| gone.contains(&marks.member());
    let mut plan = Plan::empty();
    follow_nodes(&mut plan, view, |name| {
        view.seen
            .target_groups
            .get(name)
            .is_some_and(|group| !theirs(&group.marks))
    });
    openings::open(&mut plan, view, None);
    delete::members(&mut plan, view, theirs);
    plan
}

/// Brings the targets of these target groups up to date, and nothing else of them.
fn follow_nodes(plan: &mut Plan<Step>, view: View<'_>, which: impl Fn(&Arc<str>) -> bool) {
    let limits = quota::Limits::of_seen(view.context.quotas, view.seen);
    for (name, group) in view
        .seen
        .target_groups
        .iter()
        .filter(|(name, _)| which(name))
    {
        let whom = targets::Whom {
            port: group.node_port(),
            nodes: &group.nodes(),
            openings: &group.openings(),
        };
        targets::follow(plan, view, name, group, whom, &limits);
    }
}

fn load_balancer_id() -> ResourceId {
    ResourceId::new(names::LOAD_BALANCER)
}

fn is_unknown(desired: &Desired, marks: &Marks) -> bool {
    desired.unknown.contains(&marks.member())
}

/// The marks of an object that is wanted for one member and serves another, which cannot be read now: it stays as it is.
fn held_by_unknown<'a>(
    desired: &Desired,
    found: Option<&'a Marks>,
    want: &Marks,
) -> Option<&'a Marks> {
    found.filter(|holder| holder.member != want.member && is_unknown(desired, holder))
}

fn taken(field: String, want: &Marks, holder: &Marks) -> Problem {
    Problem::new(
        field,
        &*want.service,
        format!(
            "asks for a port that {} of the same group has, which cannot be read now",
            holder.service
        ),
        "Correct that Service, or use another port.",
    )
    .with_reason(reason::PORT_CONFLICT)
}
