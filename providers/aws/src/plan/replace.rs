//! Which load balancer is made what is wanted, and how one takes the place of another (Decides).
//!
//! The scheme is create-only, and so is whether there are security groups at all. Another one means a new load balancer with another
//! DNS name, which is only begun under an approval.
//! The new one gets target groups and listeners of its own. When it is active and its targets were judged, the old one is marked
//! as superseded, which is when clients are told the new name; the old one serves on for as long as its name may be remembered.
//! A crash anywhere is harmless: tags tell who succeeds whom and since when.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use evenkeel_core::{
    intent::Scheme,
    plan::{Action, Change, Disturbance, Plan, Reason, Until, approved},
};

use super::{View, load_balancer_id, tags, targets};
use crate::{
    model::{
        Desired, NamedLoadBalancer, Object, Phase, Security, SeenLoadBalancer, Step, TargetGroup,
        TargetState,
    },
    names::{self, tag},
};

/// When a load balancer that is being set up is looked at again. It takes some minutes.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// A load balancer with what hangs on it.
pub(super) struct Stack<'a> {
    /// Its name.
    pub(super) name: Arc<str>,
    /// The load balancer, where there is one.
    pub(super) live: Option<&'a SeenLoadBalancer>,
}

impl Stack<'_> {
    /// Whether its load balancer has no security group, or shall have none when it is made.
    pub(super) fn is_open(&self, desired: &Desired) -> bool {
        let wanted = matches!(desired.load_balancer.security, Security::Absent(_));
        self.live.map_or(wanted, SeenLoadBalancer::is_open)
    }

    /// The name of one of its target groups.
    pub(super) fn target_group(&self, view: View<'_>, group: &TargetGroup) -> Arc<str> {
        names::target_group(
            &view.context.cluster.uid,
            view.input.key,
            &self.name,
            &group.id,
            group.target_type,
            group.family,
        )
    }
}

/// What is create-only of a load balancer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) scheme: Scheme,
    /// Without security groups.
    pub(super) open: bool,
}

impl Kind {
    pub(super) fn of(lb: &SeenLoadBalancer) -> Self {
        Self {
            scheme: lb.scheme,
            open: lb.is_open(),
        }
    }
}

/// What is made what is wanted.
pub(super) struct Stacks<'a> {
    /// The load balancer that shall serve in the end.
    pub(super) main: Stack<'a>,
    /// Its scheme.
    pub(super) scheme: Scheme,
    /// Whether it is the one that was asked for; else it serves because that one cannot be made yet, and of the load balancer itself
    /// nothing is changed.
    pub(super) as_asked: bool,
    /// The one that serves until then, where it is another. Its ports and targets follow what is wanted.
    pub(super) before: Option<Stack<'a>>,
}

impl<'a> Stacks<'a> {
    /// The one that serves, where the one that was asked for cannot be made; None where there is none.
    pub(super) fn without_successor(self) -> Option<Self> {
        let before = self.before?;
        Some(Self {
            scheme: before.live?.scheme,
            main: before,
            as_asked: false,
            before: None,
        })
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Stack<'a>> {
        [&self.main].into_iter().chain(&self.before)
    }

    /// The names of all target groups that are wanted.
    pub(super) fn target_groups(&self, view: View<'_>, desired: &Desired) -> BTreeSet<Arc<str>> {
        self.all()
            .flat_map(|stack| {
                desired
                    .target_groups
                    .iter()
                    .map(|group| stack.target_group(view, group))
            })
            .collect()
    }
}

/// Decides which load balancer shall serve.
pub(super) fn stacks<'a>(plan: &mut Plan<Step>, view: View<'a>, desired: &Desired) -> Stacks<'a> {
    let want = &desired.load_balancer;
    let stack = |(name, live): NamedLoadBalancer<'a>| Stack {
        name: Arc::clone(name),
        live: Some(live),
    };
    let open = matches!(want.security, Security::Absent(_));
    let Some((name, current)) = view.seen.current() else {
        let scheme = want.new_scheme();
        return Stacks {
            main: Stack {
                name: new_name(view, desired, Kind { scheme, open }),
                live: None,
            },
            scheme,
            as_asked: true,
            before: None,
        };
    };
    // While the member that decides about it cannot be read it keeps its own.
    let kind = if desired.shared_unknown {
        Kind::of(current)
    } else {
        Kind {
            scheme: want.scheme.unwrap_or(current.scheme),
            open,
        }
    };
    let scheme = kind.scheme;
    let only = |as_asked| Stacks {
        main: stack((name, current)),
        scheme: current.scheme,
        as_asked,
        before: None,
    };
    if kind == Kind::of(current) {
        return only(true);
    }
    let successor =
        view.seen.load_balancers.iter().find(|(_, lb)| {
            Kind::of(lb) == kind && lb.superseded().is_none() && lb.succeeds(current)
        });
    if let Some(successor) = successor {
        return Stacks {
            main: stack(successor),
            scheme,
            as_asked: true,
            before: Some(stack((name, current))),
        };
    }
    if let Err(refusal) = approved(&[replacement(current, kind)], view.input.approval) {
        plan.refusals.push(*refusal);
        return only(false);
    }
    let new = new_name(view, desired, kind);
    if view.seen.load_balancers.contains_key(&new) {
        // It has been replaced itself and goes soon; then its name is free.
        plan.wait(
            load_balancer_id(),
            format!("the load balancer {new} to be gone, whose name is needed"),
            Until::After(LOOK_AGAIN),
        );
        return only(false);
    }
    Stacks {
        main: Stack {
            name: new,
            live: None,
        },
        scheme,
        as_asked: true,
        before: Some(stack((name, current))),
    }
}

/// The name of a new load balancer: the one that was asked for, where no live one of ours has it.
fn new_name(view: View<'_>, desired: &Desired, kind: Kind) -> Arc<str> {
    let asked = desired.load_balancer.name.as_ref();
    asked
        .filter(|name| !view.seen.load_balancers.contains_key(*name))
        .cloned()
        .unwrap_or_else(|| {
            let cluster = &view.context.cluster.uid;
            names::load_balancer(cluster, view.input.key, kind.scheme, kind.open)
        })
}

/// The change that gives a load balancer up for one of another kind.
pub(super) fn replacement(old: &SeenLoadBalancer, new: Kind) -> Change {
    let mut reasons = Vec::new();
    if old.scheme != new.scheme {
        let (from, to) = (scheme_word(old.scheme), scheme_word(new.scheme));
        reasons.push(Reason::new("scheme", from, to));
    }
    if old.is_open() != new.open {
        let word = |open| if open { "none, for good" } else { "some" };
        reasons.push(Reason::new(
            "security groups",
            word(old.is_open()),
            word(new.open),
        ));
    }
    Change::new(
        Action::Replace,
        "load balancer",
        load_balancer_id(),
        scheme_word(new.scheme),
    )
    .because(reasons)
    .disturbing(Disturbance::Drains)
    // An ARN is never used again, so the approval works once.
    .giving_up(old.arn.as_str())
}

/// A scheme as AWS writes it.
pub(super) fn scheme_word(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Internal => "internal",
        Scheme::InternetFacing => "internet-facing",
    }
}

/// Lets the successor serve when it can.
pub(super) fn switch(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    stacks: &Stacks<'_>,
) {
    let (Some(before), Some(live)) = (&stacks.before, stacks.main.live) else {
        return;
    };
    if !serves(view, desired, &stacks.main, live) {
        plan.wait(
            load_balancer_id(),
            format!(
                "the load balancer {} to be active and its targets to be judged",
                stacks.main.name
            ),
            Until::After(LOOK_AGAIN),
        );
        return;
    }
    let now: Arc<str> = view.input.now.to_string().into();
    tags::write(
        plan,
        Object::LoadBalancer(Arc::clone(&before.name)),
        load_balancer_id(),
        [(tag::SUPERSEDED.into(), now)].into_iter().collect(),
        BTreeSet::new(),
        vec![Reason::new("serving", &before.name, &stacks.main.name)],
    );
}

/// Whether clients can be sent there: it is active, and forwards every port to targets of which each was judged.
fn serves(view: View<'_>, desired: &Desired, stack: &Stack<'_>, live: &SeenLoadBalancer) -> bool {
    let judged = |group: &TargetGroup| {
        let seen = view
            .seen
            .target_groups
            .get(&stack.target_group(view, group));
        let known = seen.and_then(|seen| Some((seen, seen.targets.as_ref()?)));
        known.is_some_and(|(seen, targets)| {
            (!targets.is_empty() || !targets::can_have(view, seen, &group.nodes))
                && targets.values().all(|state| *state != TargetState::Initial)
        })
    };
    let forwards = desired.listeners.iter().all(|listener| {
        view.seen
            .listeners
            .contains_key(&(Arc::clone(&stack.name), listener.port))
    });
    matches!(live.phase, Phase::Active | Phase::Impaired)
        && forwards
        && desired.target_groups.iter().all(judged)
}

/// How long a superseded load balancer still serves; None when it may go.
pub(super) fn lingers(view: View<'_>, lb: &SeenLoadBalancer) -> Option<Duration> {
    let passed = view.input.now.duration_since(lb.superseded()?);
    let passed = Duration::try_from(passed).unwrap_or_default();
    view.context
        .linger
        .checked_sub(passed)
        .filter(|left| !left.is_zero())
}

/// Says how long superseded load balancers serve on.
pub(super) fn lingering(plan: &mut Plan<Step>, view: View<'_>) {
    for (name, lb) in &view.seen.load_balancers {
        if let Some(left) = lingers(view, lb) {
            plan.wait(
                load_balancer_id(),
                format!("clients to forget the DNS name of {name}, which was replaced"),
                Until::After(left),
            );
        }
    }
}
