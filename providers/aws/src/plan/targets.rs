//! Which instances are the targets of a target group, and at which port (Decides).
//!
//! A target group that has targets is never emptied: with no node left that can be one the last ones stay, because a wrong look at
//! the nodes must not be an outage. Nodes that left go from the targets of all groups before new ones come to those of any, where most stay;
//! else new ones are registered first. When the NodePort changes, the old targets leave
//! when the new ones were judged. So do those of nodes that are no longer chosen. A node becomes a target when its group admits
//! the load balancers.
//!
//! Where targets were not read (a bulk look lists none) nothing is known to be missing: they are read in their turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    View, chosen,
    nodes::{self, Member, Use, some},
    openings, pods,
    quota::{Limits, Standing},
    tags,
};
use crate::{
    desired::attributes::CROSS_ZONE,
    model::{
        Desired, Marks, Object, Opening, Pairs, SeenTargetGroup, Step, Target, TargetState,
        TargetType,
    },
    names::tag,
};
use evenkeel_core::{
    Timestamp,
    nodes::NodeSelector,
    plan::{Action, Change, Disturbance, Plan, Reason, Until},
    problem::{Warning, reason},
};

/// When targets that are being judged are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// When AWS is asked again to take targets that it would not take.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// For how long targets at an old node port wait for those at the new one to be judged: nothing answers at the old one any more.
const MOVE: Duration = Duration::from_secs(60);

/// How many targets a reason names.
const SHOWN: usize = 5;

/// What the targets of a target group are.
#[derive(Clone, Copy)]
pub(super) struct Whom<'a> {
    /// The port of the nodes.
    pub(super) port: u16,
    /// Which nodes.
    pub(super) nodes: &'a NodeSelector,
    /// What the nodes must be open to first.
    pub(super) openings: &'a BTreeSet<Opening>,
}

/// Brings the targets of a target group up to date. None is registered before what it needs is open.
pub(super) fn follow(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
    whom: Whom<'_>,
    limits: &Limits,
) {
    if found.target_type == TargetType::Ip {
        return pods::follow(plan, view, name, found, limits);
    }
    chosen::tell_none(plan, view, found, whom.nodes);
    let Some(known) = &found.targets else {
        return follow_unread(plan, view, name, found, whom, limits);
    };
    if !view.nodes.tell(whom.nodes) {
        return plan.wait(
            found.marks.id.clone(),
            "the labels of the nodes to be read",
            Until::Told,
        );
    }
    let port = whom.port;
    let present: Vec<(&Target, TargetState)> = known
        .iter()
        .filter(|(_, state)| state.is_registered())
        .map(|(target, state)| (target, *state))
        .collect();
    let wanted = wanted(plan, view, (found, &present), whom.nodes, limits);
    let mut moves = Moves::between(&wanted, &present, port, &found.not_taken);
    let noted = found.nodes();
    if !whom.nodes.is_all() || !noted.is_all() {
        moves.free = chosen::set_free(view.nodes, &mut moves.leave);
    }
    remember(plan, name, found, (whom, &noted), &moves);
    not_taken(plan, found);

    let Moves {
        mut register,
        mut leave,
        free,
        moved,
        served,
        judged,
        arrived,
    } = moves;
    let all_there = register.is_empty();
    hold_back(plan, view, found, whom.openings, &mut register);
    let zone = |target: &Target| zone(view, target);
    let lacks_room = limits.leave_out(
        &mut register,
        present.iter().map(|(target, _)| *target),
        zone,
    );
    let going: Vec<Target> = match lacks_room {
        true => leave
            .iter()
            .chain(&free)
            .chain(moved.keys())
            .cloned()
            .collect(),
        false => Vec::new(),
    };
    // Never emptied: what is not wanted leaves when something wanted is there.
    if !served {
        leave.clear();
    }
    if !free.is_empty() && served && all_there {
        if judged {
            leave.extend(free);
        } else {
            plan.wait(
                found.marks.id.clone(),
                "the targets on the nodes that are chosen now to be judged",
                Until::After(LOOK_AGAIN),
            );
        }
    }
    if old_may_go(plan, view, (name, found), port, &moved) {
        leave.extend(moved.into_keys());
    }
    if register.is_empty() && leave.is_empty() {
        leave = make_room(going, arrived);
    } else if !all_there && may_leave_first(view, name, &present, &leave) {
        register.clear();
        plan.wait(
            found.marks.id.clone(),
            "other groups to let go of the nodes that left",
            Until::Turn,
        );
    }
    write(
        plan,
        name,
        found,
        Some(port),
        Some(present.len()),
        register,
        leave,
    );
}

/// Whether what leaves can go before what comes is there: few calls a second change targets, and what is gone in all groups serves nobody,
/// while what comes is only one more. Most targets stay, and one that gets traffic.
fn may_leave_first(
    view: View<'_>,
    name: &Arc<str>,
    present: &[(&Target, TargetState)],
    leave: &BTreeSet<Target>,
) -> bool {
    let step = Step::Deregister {
        target_group: Arc::clone(name),
        targets: leave.clone(),
    };
    let healthy = |(target, state): &&(&Target, TargetState)| {
        *state == TargetState::Healthy && !leave.contains(*target)
    };
    let none_is_healthy = || {
        let mut states = present.iter().map(|(_, state)| *state);
        !states.any(|state| state == TargetState::Healthy)
    };
    !leave.is_empty()
        && 2 * leave.len() <= present.len()
        && (present.iter().any(|one| healthy(&one)) || none_is_healthy())
        && !view.failed(&step)
}

/// What leaves first where what comes has no room beside what goes: all of that where something wanted has come, else half of it, so that
/// somebody serves all the while.
pub(super) fn make_room(going: Vec<Target>, arrived: bool) -> BTreeSet<Target> {
    let count = match arrived {
        true => going.len(),
        false => going.len().div_ceil(2),
    };
    going.into_iter().take(count).collect()
}

/// The zone of a target, where it is a node that is known.
pub(super) fn zone(view: View<'_>, target: &Target) -> Option<Arc<str>> {
    let members = &view.nodes.members;
    let at = members.binary_search_by(|member| member.id.cmp(&target.id));
    members[at.ok()?].zone.clone()
}

/// Takes out the targets whose nodes do not admit the load balancers yet, and has these admitted first. What else the target group
/// rests on is opened by the plan's own step.
fn hold_back(
    plan: &mut Plan<Step>,
    view: View<'_>,
    found: &SeenTargetGroup,
    needed: &BTreeSet<Opening>,
    register: &mut BTreeSet<Target>,
) {
    let strange = |target: &&Target| view.unadmitted.contains(&target.id);
    let ids: BTreeSet<Arc<str>> = register
        .iter()
        .filter(strange)
        .map(|target| Arc::clone(&target.id))
        .collect();
    // Where they cannot be admitted somebody may have opened the way by hand.
    if nodes::admission_failed(view) {
        return;
    }
    if !ids.is_empty() {
        register.retain(|target| !ids.contains(&target.id));
        nodes::admit(plan, view, ids);
    }
    if !needed.is_subset(&found.openings()) {
        register.clear();
    } else if !needed.is_empty() {
        register.retain(|target| openings::are_open(view, &target.id, needed));
    }
}

/// Registers and deregisters, where all are reached at one port, or each at its own.
pub(super) fn write(
    plan: &mut Plan<Step>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
    port: Option<u16>,
    count: Option<usize>,
    register: BTreeSet<Target>,
    leave: BTreeSet<Target>,
) {
    let change = |detail: String, sign: char, moved: &BTreeSet<Target>| {
        let one = |target: &Target| match port {
            Some(_) => format!("{sign}{}", target.id),
            None => format!("{sign}{} :{}", target.id, target.port),
        };
        let mut shown: Vec<String> = moved.iter().take(SHOWN).map(one).collect();
        if moved.len() > SHOWN {
            shown.push(format!("{sign}{} more", moved.len() - SHOWN));
        }
        let from = count.map_or_else(|| "not read".to_owned(), |count| count.to_string());
        Change::new(
            Action::Change,
            "target group",
            found.marks.id.clone(),
            detail,
        )
        .because(vec![Reason::new("targets", from, shown.join(" "))])
    };
    if !register.is_empty() {
        let detail = match port {
            Some(port) => format!("register targets at :{port}"),
            None => "register targets".to_owned(),
        };
        let change = change(detail, '+', &register);
        plan.step(
            Step::Register {
                target_group: Arc::clone(name),
                targets: register,
            },
            change,
        );
    }
    if !leave.is_empty() {
        let change =
            change("deregister targets".to_owned(), '-', &leave).disturbing(Disturbance::Drains);
        plan.step(
            Step::Deregister {
                target_group: Arc::clone(name),
                targets: leave,
            },
            change,
        );
    }
}

/// The same where the targets were not read: a node that came since a run before, of which it is known that it left the
/// targets in peace, is registered without a look.
fn follow_unread(
    plan: &mut Plan<Step>,
    view: View<'_>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
    Whom {
        port,
        nodes: chosen,
        openings: needed,
    }: Whom<'_>,
    limits: &Limits,
) {
    let look = |plan: &mut Plan<Step>| {
        plan.wait(
            found.marks.id.clone(),
            "a fresh look at the targets",
            Until::FreshRead,
        );
    };
    // Targets at another port, or on other nodes, may be there still.
    if found.node_port() != port || found.nodes() != *chosen {
        return look(plan);
    }
    let Some(followed) = view.followed else {
        return;
    };
    // What is not known of labels now or then is no change.
    let tell = view.nodes.tell(chosen) && followed.tell(chosen);
    if std::ptr::eq(followed, view.nodes) || !tell {
        return;
    }
    let ids = |members: &[&Member]| -> BTreeSet<Arc<str>> {
        members
            .iter()
            .map(|member| Arc::clone(&member.id))
            .collect()
    };
    let used = |member: &&Member| match member.use_ {
        Use::Add => member.is_chosen(chosen),
        Use::Keep => true,
        Use::Remove => false,
    };
    let of_before: Vec<&Member> = followed.members.iter().filter(used).collect();
    let before = ids(&of_before);
    let members = view.nodes.members.iter();
    let of_now: Vec<&Member> = members
        .filter(|member| match member.use_ {
            Use::Add => member.is_chosen(chosen),
            Use::Keep => before.contains(&member.id),
            Use::Remove => false,
        })
        .collect();
    let now = ids(&of_now);
    if before == now {
        return;
    }
    // Whether anything would be left, or there is room, only a look tells.
    let all = limits.takes_all(&of_before) && limits.takes_all(&of_now);
    if !all || !before.is_subset(&now) {
        return look(plan);
    }
    let come = now.difference(&before).map(|id| Target {
        id: Arc::clone(id),
        port,
    });
    let mut register: BTreeSet<Target> = come
        .filter(|target| !found.since.contains(target) && !found.not_taken.contains_key(target))
        .collect();
    hold_back(plan, view, found, needed, &mut register);
    not_taken(plan, found);
    write(
        plan,
        name,
        found,
        Some(port),
        None,
        register,
        BTreeSet::new(),
    );
}

/// The ids of the instances that shall be targets, ascending.
fn wanted<'a>(
    plan: &mut Plan<Step>,
    view: View<'a>,
    (found, present): (&SeenTargetGroup, &[(&'a Target, TargetState)]),
    chosen: &NodeSelector,
    limits: &Limits,
) -> Vec<&'a Arc<str>> {
    let is_present = |id: &Arc<str>| {
        let from = present.partition_point(|(target, _)| target.id < *id);
        present
            .get(from)
            .is_some_and(|(target, _)| target.id == *id)
    };
    let usable: Vec<&Member> = view
        .nodes
        .members
        .iter()
        .filter(|member| match member.use_ {
            Use::Add => member.is_chosen(chosen),
            // One that is held stays: of what vanished nobody can say how it is labelled now.
            Use::Keep => is_present(&member.id),
            Use::Remove => false,
        })
        .collect();
    // What is held alone is no reason for the others to leave.
    let nobody =
        !view.nodes.has_targets(chosen) && view.nodes.has_targets(&NodeSelector::default());
    if usable.is_empty() || nobody {
        let mut ids: Vec<&Arc<str>> = present.iter().map(|(target, _)| &target.id).collect();
        ids.dedup();
        return if ids.is_empty() {
            last_targets(view, nobody.then_some(&found.marks))
        } else {
            ids
        };
    }
    let all = usable.len();
    let standings = standings(present);
    let standing = |member: &Member| standings.get(&member.id).copied().unwrap_or(Standing::New);
    let chosen = limits.choose(usable, standing);
    limits.tell(plan, chosen.len(), all, "nodes");
    chosen.into_iter().map(|member| &member.id).collect()
}

/// How nodes stand that are targets. Where most of those that were judged are unhealthy it is not for the nodes.
fn standings<'a>(present: &[(&'a Target, TargetState)]) -> BTreeMap<&'a Arc<str>, Standing> {
    let are = |wanted: TargetState| present.iter().filter(|(_, state)| *state == wanted).count();
    let by_nodes = are(TargetState::Healthy) > are(TargetState::Unhealthy);
    let mut standings = BTreeMap::new();
    for (target, state) in present {
        let standing = match state {
            TargetState::Unhealthy if by_nodes => Standing::Unhealthy,
            _ => Standing::Registered,
        };
        // With targets at two ports the better counts.
        let known = standings.entry(&target.id).or_insert(standing);
        *known = standing.min(*known);
    }
    standings
}

/// Whether a target group can have targets now: one of nodes, these.
pub(super) fn can_have(view: View<'_>, group: &SeenTargetGroup, nodes: &NodeSelector) -> bool {
    match group.target_type {
        TargetType::Instance => view.nodes.has_targets(nodes),
        TargetType::Ip => pods::has_targets(view, group),
    }
}

/// The targets of all target groups of the group, or of one member: what a new one begins with while no node can be a target.
fn last_targets<'a>(view: View<'a>, of: Option<&Marks>) -> Vec<&'a Arc<str>> {
    let targets = view.seen.target_groups.values();
    let ids: BTreeSet<&Arc<str>> = targets
        .filter(|group| group.target_type == TargetType::Instance)
        .filter(|group| of.is_none_or(|of| of.member == group.marks.member))
        .filter_map(|group| group.targets.as_ref())
        .flatten()
        .filter(|(_, state)| state.is_registered())
        .map(|(target, _)| &target.id)
        .collect();
    ids.into_iter().collect()
}

/// What has to be done for a target group to have its targets.
#[derive(Debug, Default)]
struct Moves {
    /// To be registered.
    register: BTreeSet<Target>,
    /// Of nodes that are no targets any more.
    leave: BTreeSet<Target>,
    /// Of nodes that could be and are no longer chosen.
    free: BTreeSet<Target>,
    /// Of nodes that stay, at another port, each with the state of the node's target at the port.
    moved: BTreeMap<Target, Option<TargetState>>,
    /// Whether anything wanted is registered, at whichever port.
    served: bool,
    /// Whether anything of that was judged.
    judged: bool,
    /// Whether anything wanted is registered at the port.
    arrived: bool,
}

impl Moves {
    /// Both ascending, so one pass finds all.
    fn between(
        wanted: &[&Arc<str>],
        present: &[(&Target, TargetState)],
        port: u16,
        refused: &BTreeMap<Target, Arc<str>>,
    ) -> Self {
        let mut moves = Self::default();
        let mut rest = present;
        for id in wanted {
            let before = rest.partition_point_linear(|target| target.id < **id);
            moves
                .leave
                .extend(rest[..before].iter().map(|(target, _)| (*target).clone()));
            rest = &rest[before..];
            let here = rest.partition_point_linear(|target| target.id == **id);
            let (own, others) = rest.split_at(here);
            rest = others;
            moves.served |= !own.is_empty();
            moves.judged |= own.iter().any(|(_, state)| *state != TargetState::Initial);
            let at_port = own.iter().find(|(target, _)| target.port == port);
            moves.arrived |= at_port.is_some();
            for (old, _) in own.iter().filter(|(target, _)| target.port != port) {
                moves
                    .moved
                    .insert((*old).clone(), at_port.map(|(_, state)| *state));
            }
            if at_port.is_none() {
                let target = Target {
                    id: Arc::clone(id),
                    port,
                };
                if !refused.contains_key(&target) {
                    moves.register.insert(target);
                }
            }
        }
        moves
            .leave
            .extend(rest.iter().map(|(target, _)| (*target).clone()));
        moves
    }
}

/// How many targets at the front are so: few, so that looking at each is faster than halving.
trait Front {
    fn partition_point_linear(&self, is_so: impl Fn(&Target) -> bool) -> usize;
}

impl Front for [(&Target, TargetState)] {
    fn partition_point_linear(&self, is_so: impl Fn(&Target) -> bool) -> usize {
        self.iter().take_while(|(target, _)| is_so(target)).count()
    }
}

/// Notes on the target group at which port its targets are, and on which nodes, when no others are left: so a bulk look shows what
/// was not ended.
fn remember(
    plan: &mut Plan<Step>,
    name: &Arc<str>,
    found: &SeenTargetGroup,
    (whom, chosen): (Whom<'_>, &NodeSelector),
    moves: &Moves,
) {
    let (mut set, mut remove, mut reasons) = (Pairs::new(), BTreeSet::new(), Vec::new());
    let noted = found.node_port();
    if noted != whom.port && moves.register.is_empty() && moves.moved.is_empty() {
        set.insert(tag::NODE_PORT.into(), whom.port.to_string().into());
        reasons.push(Reason::new("node port", noted, whom.port));
    }
    let moving = found.tags.contains_key(tag::MOVING);
    if moving && moves.register.is_empty() && moves.moved.is_empty() {
        remove.insert(tag::MOVING.into());
        reasons.push(Reason::new("moving", "to another node port", ""));
    }
    if chosen != whom.nodes && moves.register.is_empty() && moves.free.is_empty() {
        let (was, shall) = (chosen::note(chosen), chosen::note(whom.nodes));
        remove.extend(was.into_keys().filter(|key| !shall.contains_key(key)));
        set.extend(shall);
        reasons.push(Reason::new("node labels", chosen, whom.nodes));
    }
    if !reasons.is_empty() {
        let object = Object::TargetGroup(Arc::clone(name));
        let id = found.marks.id.clone();
        tags::write(plan, object, id, set, remove, reasons);
    }
}

/// Whether the targets at an old port may leave: each node has one at the new port, and it was judged, or was waited for long enough.
/// Else that is waited for, since those at the new port were registered, which the target group remembers.
fn old_may_go(
    plan: &mut Plan<Step>,
    view: View<'_>,
    (name, found): (&Arc<str>, &SeenTargetGroup),
    port: u16,
    moved: &BTreeMap<Target, Option<TargetState>>,
) -> bool {
    let judged =
        |state: &Option<TargetState>| state.is_some_and(|state| state != TargetState::Initial);
    if moved.values().all(judged) {
        return true;
    }
    let since = moving_since(found, port);
    let passed = since.map(|since| view.input.now.duration_since(since));
    let passed = passed.map(|passed| Duration::try_from(passed).unwrap_or_default());
    let all_there = moved.values().all(Option::is_some);
    if all_there && passed.is_some_and(|passed| passed >= MOVE) {
        return true;
    }
    if since.is_none() {
        let now = format!("{port} {}", view.input.now);
        tags::write(
            plan,
            Object::TargetGroup(Arc::clone(name)),
            found.marks.id.clone(),
            [(tag::MOVING.into(), now.into())].into_iter().collect(),
            BTreeSet::new(),
            vec![Reason::new("node port", found.node_port(), port)],
        );
    }
    plan.wait(
        found.marks.id.clone(),
        "the targets at the new node port to be judged",
        Until::After(LOOK_AGAIN),
    );
    false
}

/// Since when targets at this port are waited for; a time that somebody spoilt is long ago.
fn moving_since(found: &SeenTargetGroup, port: u16) -> Option<Timestamp> {
    let (to, since) = found.tags.get(tag::MOVING)?.split_once(' ')?;
    (to.parse() == Ok(port)).then(|| since.parse().unwrap_or(Timestamp::UNIX_EPOCH))
}

/// Tells which targets AWS would not take, and asks again later.
pub(super) fn not_taken(plan: &mut Plan<Step>, found: &SeenTargetGroup) {
    let Some((target, why)) = found.not_taken.first_key_value() else {
        return;
    };
    let ids: Vec<&str> = found.not_taken.keys().map(|target| &*target.id).collect();
    plan.warnings.push(Warning::new(
        reason::INVALID_CONFIGURATION,
        format!(
            "{}: AWS does not take {} as targets ({}: {why}). It is asked again every minute.",
            found.marks.id,
            some(&ids),
            target.id,
        ),
    ));
    plan.wait(
        found.marks.id.clone(),
        "AWS to take every target",
        Until::After(ASK_AGAIN),
    );
}

/// Says that nodes stand in zones that the load balancer does not.
pub(super) fn tell_stranded(
    plan: &mut Plan<Step>,
    view: View<'_>,
    desired: &Desired,
    zones: &BTreeSet<&str>,
) {
    let choices: BTreeSet<_> = desired
        .target_groups
        .iter()
        .map(|group| &group.nodes)
        .collect();
    let stranded: Vec<String> = view
        .nodes
        .zones_of(&choices)
        .iter()
        .filter(|(zone, _)| !zones.contains(&***zone))
        .map(|(zone, nodes)| format!("{nodes} in {zone}"))
        .collect();
    if zones.is_empty() || stranded.is_empty() {
        return;
    }
    plan.warnings.push(Warning::new(
        reason::INVALID_CONFIGURATION,
        format!(
            "nodes in zones where the load balancer does not stand get no traffic: {}. It stands in {}. Add a subnet of their zone, \
             or switch on the attribute {}.",
            stranded.join(", "),
            zones.iter().copied().collect::<Vec<_>>().join(", "),
            CROSS_ZONE,
        ),
    ));
}
