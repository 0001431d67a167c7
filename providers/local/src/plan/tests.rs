//! Safety and order, one rule per test, on rehearsals that are cut, failed and looked at in between.

use std::{net::IpAddr, time::Duration};

use evenkeel_core::{
    Timestamp,
    claim::Profile,
    endpoints::EndpointSet,
    error::{CloudError, ErrorClass},
    failure::{Failure, Failures},
    group::Group,
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef},
    intent::{
        Affinity, HealthCheckPort, Intent, Options, PortIntent, ReclaimPolicy, SourceRanges,
        TargetPort, TrafficPolicy,
    },
    nodes::{Node, NodeReason, Placement, ProxyHealth},
    plan::{Action, Change, Refusal},
    ports::{PortKey, Protocol},
    provider::{Provider, Verdict},
};

use super::*;
use crate::{LocalConfig, api::LeaseStatus};

fn provider() -> Local {
    Local::new(LocalConfig::new("/nonexistent/dataplane.sock", cluster()))
}

fn cluster() -> Cluster {
    Cluster::new("cluster-uid", "harbour")
}

fn reference(name: &str) -> ServiceRef {
    ServiceRef {
        key: ServiceKey::new("shop", name),
        uid: ServiceUid::new(format!("uid-{name}")),
    }
}

fn intent(name: &str, ports: &[u16]) -> Intent {
    let port = |port: &u16| PortIntent {
        key: PortKey {
            port: *port,
            protocol: Protocol::Tcp,
        },
        name: None,
        node_port: Some(30_000 + port % 1_000),
        target_port: TargetPort::Number(*port),
        app_protocol: None,
    };
    Intent {
        service: reference(name),
        profile: Profile::Neutral,
        ports: ports.iter().map(port).collect(),
        families: vec![IpFamily::V4],
        traffic_policy: TrafficPolicy::Cluster,
        affinity: Affinity::None,
        source_ranges: SourceRanges::All,
        allocate_node_ports: true,
        options: Options::default(),
        annotations: BTreeMap::new(),
    }
}

fn at(mut intent: Intent, addresses: &[&str]) -> Intent {
    intent.options.addresses = addresses
        .iter()
        .map(|address| address.parse().expect("an address"))
        .collect();
    intent
}

fn dual(mut intent: Intent) -> Intent {
    intent.families = vec![IpFamily::V4, IpFamily::V6];
    intent
}

fn nodes(names: &[&str]) -> NodeSet {
    let node = |(index, name): (usize, &&str)| Node {
        name: NodeName::from(*name),
        provider_id: None,
        addresses: vec![IpAddr::from([
            10,
            0,
            0,
            u8::try_from(index).expect("few nodes") + 1,
        ])],
        zone: None,
        placement: Placement::Add,
    };
    NodeSet::new(names.iter().enumerate().map(node).collect())
}

/// A group, what is there of it, and what is known of its failures.
struct Stage {
    provider: Local,
    key: GroupKey,
    nodes: NodeSet,
    seen: Observed,
    fresh: bool,
    failures: Failures,
    approval: Option<String>,
}

impl Stage {
    fn new() -> Self {
        Self {
            provider: provider(),
            key: GroupKey::Service(reference("checkout")),
            nodes: nodes(&["a", "b"]),
            seen: Observed::default(),
            fresh: true,
            failures: Failures::default(),
            approval: None,
        }
    }

    /// A stage where this has been done.
    fn with(intent: Intent) -> Self {
        let mut stage = Self::new();
        let want = stage.want(intent);
        stage.settle(&want);
        stage
    }

    fn want(&self, intent: Intent) -> Want<Desired> {
        self.want_group(vec![intent], vec![])
    }

    fn want_group(&self, members: Vec<Intent>, unknown: Vec<ServiceRef>) -> Want<Desired> {
        let group = Group {
            key: self.key.clone(),
            cluster: cluster(),
            members,
            unknown,
        };
        match self.provider.desired(&group) {
            Verdict::Accepted { desired, .. } => Want::Exists(desired),
            Verdict::Rejected(problems) => panic!("rejected: {problems}"),
        }
    }

    fn plan(&self, want: &Want<Desired>) -> Plan<Step> {
        self.provider.plan(PlanInput {
            key: &self.key,
            want,
            seen: &self.seen,
            fresh: self.fresh,
            nodes: &self.nodes,
            followed: None,
            endpoints: &EndpointSet::unknown(),
            failures: &self.failures,
            approval: self.approval.as_deref(),
            now: Timestamp::UNIX_EPOCH,
        })
    }

    /// The steps that the loop would do now.
    fn due(&self, want: &Want<Desired>) -> Plan<Step> {
        let mut plan = self.plan(want);
        self.failures.hold_back(&mut plan);
        plan
    }

    /// What would be done now: `+ ls/TCP/443/IPv4`.
    fn steps(&self, want: &Want<Desired>) -> Vec<String> {
        self.due(want)
            .steps
            .iter()
            .map(|planned| format!("{} {}", planned.change.action.sign(), planned.change.id))
            .collect()
    }

    /// Does one step of what would be done now: the first for which this holds.
    fn does(&mut self, want: &Want<Desired>, which: impl Fn(&Change) -> bool) {
        let plan = self.due(want);
        let planned = plan
            .steps
            .iter()
            .find(|planned| which(&planned.change))
            .expect("there is such a step");
        let effect = self.provider.predict(&planned.step, &self.seen);
        self.provider.absorb(&mut self.seen, effect);
    }

    /// Lets the first step for which this holds fail for good.
    fn fails(&mut self, want: &Want<Desired>, which: impl Fn(&Change) -> bool) {
        let error = CloudError::new(ErrorClass::Rejected, "PUT", "refused for good");
        self.fails_as(want, which, &error);
    }

    fn fails_as(
        &mut self,
        want: &Want<Desired>,
        which: impl Fn(&Change) -> bool,
        error: &CloudError,
    ) {
        let plan = self.due(want);
        let planned = plan
            .steps
            .iter()
            .find(|planned| which(&planned.change))
            .expect("there is such a step");
        let digest = evenkeel_core::digest::Digest::of(want);
        self.failures.record(
            &planned.step,
            Failure::new(planned.change.clone(), error, digest, Timestamp::UNIX_EPOCH),
        );
    }

    /// Does everything until nothing is left, wave by wave, and returns what was done.
    fn settle(&mut self, want: &Want<Desired>) -> Vec<Vec<String>> {
        let mut waves = Vec::new();
        for _ in 0..16 {
            let plan = self.due(want);
            if plan.steps.is_empty() {
                return waves;
            }
            waves.push(self.steps(want));
            for planned in plan.steps {
                let effect = self.provider.predict(&planned.step, &self.seen);
                self.provider.absorb(&mut self.seen, effect);
            }
        }
        panic!("it does not settle: {waves:#?}");
    }

    fn refusal(&self, want: &Want<Desired>) -> Refusal {
        self.plan(want)
            .refusals
            .into_iter()
            .next()
            .expect("a refusal")
    }

    /// Approves what is asked for now.
    fn approve(&mut self, want: &Want<Desired>) {
        self.approval = Some(
            self.refusal(want)
                .approval
                .expect("an approval is asked for"),
        );
    }

    fn ids(&self) -> Vec<String> {
        let leases = self
            .seen
            .leases
            .iter()
            .map(|(name, object)| model::id(Kind::Lease, name, &object.marks));
        let sets = self
            .seen
            .backend_sets
            .iter()
            .map(|(name, object)| model::id(Kind::BackendSet, name, &object.marks));
        let listeners = self
            .seen
            .listeners
            .iter()
            .map(|(name, object)| model::id(Kind::Listener, name, &object.marks));
        let mut ids: Vec<String> = leases
            .chain(sets)
            .chain(listeners)
            .map(|id| id.to_string())
            .collect();
        ids.sort();
        ids
    }

    fn close(&mut self, port: u16) {
        let failed = ListenerPhase::Failed {
            code: "PortForbidden".into(),
            message: "set the sysctl".into(),
        };
        for listener in self
            .seen
            .listeners
            .values_mut()
            .filter(|listener| listener.spec.port == port)
        {
            listener.status = Some(failed.clone());
        }
    }

    fn probes(&self) -> Vec<String> {
        let sets = self.seen.backend_sets.values();
        sets.map(|set| model::Probe(set.spec.health_check.as_ref()).to_string())
            .collect()
    }

    fn targets(&self) -> Vec<Vec<String>> {
        self.seen
            .backend_sets
            .values()
            .map(|set| {
                set.spec
                    .members
                    .iter()
                    .map(|member| member.node.to_string())
                    .collect()
            })
            .collect()
    }
}

fn is(action: Action, id: &'static str) -> impl Fn(&Change) -> bool {
    move |change| change.action == action && change.id.as_str() == id
}

#[test]
fn a_removal_waits_for_a_fresh_look_and_for_nothing_to_make() {
    let mut stage = Stage::with(intent("checkout", &[80, 443]));
    let want = stage.want(intent("checkout", &[443, 8080]));
    stage.fresh = false;
    assert_eq!(stage.steps(&want), ["~ lease/IPv4", "+ bs/TCP/8080/IPv4"]);
    stage.does(&want, is(Action::Change, "lease/IPv4"));
    stage.does(&want, is(Action::Create, "bs/TCP/8080/IPv4"));
    assert_eq!(stage.steps(&want), ["+ ls/TCP/8080/IPv4"]);
    stage.does(&want, |_| true);
    let plan = stage.plan(&want);
    assert!(plan.steps.is_empty(), "{plan:#?}");
    assert_eq!(
        plan.waits.iter().map(|wait| wait.until).collect::<Vec<_>>(),
        [Until::FreshRead]
    );
    stage.fresh = true;
    assert_eq!(
        stage.settle(&want),
        [["- ls/TCP/80/IPv4"], ["- bs/TCP/80/IPv4"]]
    );
}

#[test]
fn what_failed_stops_only_what_depends_on_it() {
    let mut stage = Stage::with(intent("checkout", &[80, 443]));
    let want = stage.want(intent("checkout", &[443, 8080, 9090]));
    stage.fails(&want, is(Action::Create, "bs/TCP/8080/IPv4"));
    let waves = stage.settle(&want);
    assert_eq!(
        waves,
        [
            vec!["~ lease/IPv4", "+ bs/TCP/9090/IPv4"],
            vec!["+ ls/TCP/9090/IPv4"],
            vec!["- ls/TCP/80/IPv4"],
            vec!["- bs/TCP/80/IPv4"]
        ]
    );
    let held: Vec<_> = stage
        .plan(&want)
        .steps
        .iter()
        .map(|planned| planned.change.id.to_string())
        .collect();
    assert_eq!(
        held,
        ["bs/TCP/8080/IPv4"],
        "what failed stays planned, so that it is reported"
    );
}

#[test]
fn without_approval_the_address_stays_and_all_else_goes_on() {
    let mut stage = Stage::with(at(intent("checkout", &[443]), &["127.0.0.9"]));
    let want = stage.want(at(intent("checkout", &[443, 80]), &["127.0.0.10"]));
    assert_eq!(
        stage.settle(&want),
        [["+ bs/TCP/80/IPv4"], ["+ ls/TCP/80/IPv4"]]
    );
    let refusal = stage.refusal(&want);
    assert_eq!(
        (refusal.id.as_str(), refusal.problem.reason),
        ("lease/IPv4", reason::APPROVAL_REQUIRED)
    );
    stage.approval = Some("0000000000".into());
    assert_eq!(stage.refusal(&want), refusal, "another approval is none");
}

#[test]
fn a_new_address_is_made_before_the_old_one_goes() {
    let mut stage = Stage::with(at(intent("checkout", &[80, 443]), &["127.0.0.9"]));
    let want = stage.want(at(intent("checkout", &[80, 443]), &["127.0.0.10"]));
    stage.approve(&want);
    assert_eq!(
        stage.settle(&want),
        [
            vec!["± lease/IPv4"],
            vec!["+ ls/TCP/80/IPv4", "+ ls/TCP/443/IPv4"],
            vec!["- ls/TCP/443/IPv4", "- ls/TCP/80/IPv4"],
            vec!["- lease/IPv4"],
        ]
    );
    let addresses: Vec<_> = stage
        .seen
        .leases
        .values()
        .map(|lease| lease.held())
        .collect();
    assert_eq!(addresses, [Some(IpAddr::from([127, 0, 0, 10]))]);
}

#[test]
fn an_approval_is_used_up() {
    let old = at(intent("checkout", &[443]), &["127.0.0.9"]);
    let new = at(intent("checkout", &[443]), &["127.0.0.10"]);
    let mut stage = Stage::with(old.clone());
    let (there, back) = (stage.want(new), stage.want(old));
    let mut digests = Vec::new();
    for want in [&there, &back, &there, &back] {
        let before = stage.approval.clone();
        stage.approve(want);
        assert_ne!(stage.approval, before);
        digests.extend(stage.approval.clone());
        stage.settle(want);
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), 4, "each is asked for once");
}

#[test]
fn an_address_that_cannot_be_had_leaves_the_old_one_serving() {
    let mut stage = Stage::with(at(intent("checkout", &[443]), &["127.0.0.9"]));
    let want = stage.want(at(intent("checkout", &[443, 80]), &["127.0.0.10"]));
    stage.approve(&want);
    stage.fails(&want, is(Action::Replace, "lease/IPv4"));
    assert_eq!(
        stage.settle(&want),
        [["+ bs/TCP/80/IPv4"], ["+ ls/TCP/80/IPv4"]]
    );
    assert_eq!(stage.seen.published(&stage.key).ports.len(), 2);
    assert!(
        stage.plan(&want).refusals.is_empty(),
        "it was approved; that it failed is told as a failure"
    );
}

#[test]
fn a_replacement_of_two_addresses_needs_one_approval_wherever_it_is_cut() {
    let old = dual(at(intent("checkout", &[443]), &["127.0.0.9", "::9"]));
    let new = dual(at(intent("checkout", &[443]), &["127.0.0.10", "::10"]));
    for first in ["lease/IPv4", "lease/IPv6"] {
        let mut stage = Stage::with(old.clone());
        let want = stage.want(new.clone());
        stage.approve(&want);
        let approval = stage.approval.clone();
        stage.does(&want, is(Action::Replace, first));
        // The other one cannot be had for a while: what is begun goes as far as it can without changing what was approved.
        let other = if first == "lease/IPv4" {
            "lease/IPv6"
        } else {
            "lease/IPv4"
        };
        stage.fails(&want, is(Action::Replace, other));
        stage.settle(&want);
        assert_eq!(
            stage.seen.leases.len(),
            3,
            "the old lease stays until both successors are there"
        );
        stage.failures = Failures::default();
        stage.approval = None;
        assert_eq!(
            stage.refusal(&want).approval,
            approval,
            "{first} came first"
        );
        stage.approval = approval;
        stage.settle(&want);
        assert_eq!(stage.ids().len(), 6, "{:?}", stage.ids());
        let mut direct = Stage::with(new.clone());
        direct.approval.clone_from(&stage.approval);
        assert_eq!(stage.ids(), direct.ids());
    }
}

#[test]
fn a_change_of_mind_needs_no_approval_while_the_old_address_serves() {
    let old = at(intent("checkout", &[443]), &["127.0.0.9"]);
    let mut stage = Stage::with(old.clone());
    let (there, back) = (
        stage.want(at(intent("checkout", &[443]), &["127.0.0.10"])),
        stage.want(old),
    );
    stage.approve(&there);
    stage.does(&there, is(Action::Replace, "lease/IPv4"));
    stage.approval = None;
    assert_eq!(stage.settle(&back), [["- lease/IPv4"]]);
    // Asking for no address in particular keeps the one that clients use.
    stage.approve(&there);
    stage.does(&there, is(Action::Replace, "lease/IPv4"));
    stage.approval = None;
    let any = stage.want(intent("checkout", &[443]));
    stage.settle(&any);
    let addresses: Vec<_> = stage
        .seen
        .leases
        .values()
        .map(|lease| lease.held())
        .collect();
    assert_eq!(addresses, [Some(IpAddr::from([127, 0, 0, 9]))]);
}

#[test]
fn a_port_that_is_closed_on_the_new_address_stays_on_the_old_one() {
    let mut stage = Stage::with(at(intent("checkout", &[80, 443]), &["127.0.0.9"]));
    let want = stage.want(at(intent("checkout", &[80, 443]), &["127.0.0.10"]));
    stage.approve(&want);
    stage.does(&want, is(Action::Replace, "lease/IPv4"));
    stage.does(&want, is(Action::Create, "ls/TCP/80/IPv4"));
    stage.does(&want, is(Action::Create, "ls/TCP/443/IPv4"));
    let new = stage
        .seen
        .leases
        .iter()
        .find(|(_, lease)| model::turn(lease) == 1)
        .map(|(name, _)| name.clone())
        .expect("made");
    let failed = ListenerPhase::Failed {
        code: "PortInUse".into(),
        message: "taken".into(),
    };
    for listener in stage
        .seen
        .listeners
        .values_mut()
        .filter(|listener| listener.spec.lease == new && listener.spec.port == 80)
    {
        listener.status = Some(failed.clone());
    }
    assert_eq!(stage.settle(&want), [["- ls/TCP/443/IPv4"]]);
    let open: Vec<_> = stage
        .seen
        .listeners
        .values()
        .filter(|l| model::is_open(l))
        .map(|l| l.spec.port)
        .collect();
    assert_eq!(
        open.len(),
        2,
        "both ports are open, each on one of the addresses: {open:?}"
    );
}

#[test]
fn a_port_that_cannot_be_opened_is_told_and_looked_at_again() {
    let mut stage = Stage::with(intent("checkout", &[80, 443]));
    stage.close(80);
    let want = stage.want(intent("checkout", &[80, 443]));
    for want in [want, Want::Frozen] {
        let plan = stage.plan(&want);
        assert!(plan.steps.is_empty());
        assert_eq!(plan.refusals.len(), 1);
        let problem = &plan.refusals[0].problem;
        assert_eq!(
            (problem.field.as_str(), problem.reason),
            ("spec.ports[80/TCP]", reason::PORT_NOT_OPENED)
        );
        assert!(problem.message.contains("set the sysctl"), "{problem}");
        assert_eq!(plan.waits[0].until, Until::After(Duration::from_secs(5)));
    }
    let ports: Vec<_> = stage
        .seen
        .published(&stage.key)
        .ports
        .iter()
        .map(|port| port.port.port)
        .collect();
    assert_eq!(ports, [443]);
}

#[test]
fn while_frozen_only_targets_change() {
    let mut stage = Stage::with(intent("checkout", &[80, 443]));
    let before = stage.ids();
    assert!(stage.steps(&Want::Frozen).is_empty());
    stage.nodes = nodes(&["a", "c"]);
    assert_eq!(
        stage.settle(&Want::Frozen),
        [["~ bs/TCP/443/IPv4", "~ bs/TCP/80/IPv4"]]
    );
    assert_eq!(stage.targets(), [["a", "c"], ["a", "c"]]);
    assert_eq!(stage.ids(), before);
    stage.nodes = NodeSet::empty();
    assert!(
        stage.steps(&Want::Frozen).is_empty(),
        "the last targets stay"
    );
}

#[test]
fn a_set_without_targets_remembers_its_port() {
    let mut stage = Stage::new();
    stage.nodes = NodeSet::empty();
    let want = stage.want(intent("checkout", &[443]));
    stage.settle(&want);
    assert_eq!(stage.targets(), [[""; 0]]);
    stage.nodes = nodes(&["a"]);
    let plan = stage.plan(&Want::Frozen);
    let [planned] = &plan.steps[..] else {
        panic!("{plan:#?}")
    };
    let Step::PutBackendSet(write) = &planned.step else {
        panic!("{planned:#?}")
    };
    assert_eq!(write.put.spec.node_port, Some(30_443));
    assert_eq!(write.put.spec.members.len(), 1);
}

#[test]
fn what_serves_an_unknown_member_stays_and_its_targets_follow() {
    let mut stage = Stage::new();
    stage.key = GroupKey::Shared {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    let both = stage.want_group(
        vec![intent("checkout", &[443]), intent("search", &[80])],
        vec![],
    );
    stage.settle(&both);
    let before = stage.ids();

    let one = stage.want_group(
        vec![intent("search", &[80, 8080])],
        vec![reference("checkout")],
    );
    stage.nodes = nodes(&["a", "c"]);
    stage.settle(&one);
    assert_eq!(stage.targets(), vec![vec!["a", "c"]; 3]);
    assert!(
        before.iter().all(|id| stage.ids().contains(id)),
        "{before:?} {:?}",
        stage.ids()
    );

    // Its port is taken, whoever asks.
    let greedy = stage.want_group(
        vec![intent("search", &[80, 443])],
        vec![reference("checkout")],
    );
    stage.settle(&greedy);
    assert_eq!(stage.refusal(&greedy).problem.reason, reason::PORT_CONFLICT);
    let holder = |stage: &Stage| {
        let mut listeners = stage.seen.listeners.values();
        listeners
            .find(|listener| listener.spec.port == 443)
            .map(|listener| listener.marks.member.clone())
    };
    assert_eq!(holder(&stage).as_deref(), Some("uid-checkout"));

    // Once it is known to be gone, the port passes on without being closed.
    let left = stage.want_group(vec![intent("search", &[80, 443])], vec![]);
    let waves = stage.settle(&left);
    assert!(
        waves.concat().contains(&"~ ls/TCP/443/IPv4".to_owned()),
        "{waves:?}"
    );
    assert!(
        !waves.concat().iter().any(|step| step.starts_with('-')),
        "{waves:?}"
    );
    assert_eq!(holder(&stage).as_deref(), Some("uid-search"));
}

#[test]
fn who_leaves_a_group_that_is_rejected_leaves_nothing_of_its_own() {
    let mut stage = Stage::new();
    stage.key = GroupKey::Shared {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    let both = stage.want_group(
        vec![intent("checkout", &[443]), intent("search", &[80])],
        vec![],
    );
    stage.settle(&both);
    stage.nodes = nodes(&["a", "c"]);
    stage.fresh = false;
    let without = Want::FrozenWithout([reference("checkout").uid].into());
    let plan = stage.plan(&without);
    assert_eq!(plan.waits[0].until, Until::FreshRead, "{plan:#?}");
    stage.fresh = true;
    assert_eq!(
        stage.settle(&without),
        [
            vec!["~ bs/TCP/80/IPv4", "- ls/TCP/443/IPv4"],
            vec!["- bs/TCP/443/IPv4"]
        ]
    );
    assert_eq!(stage.targets(), [["a", "c"]]);
    assert_eq!(stage.seen.leases.len(), 1, "the address stays");
    assert!(stage.steps(&without).is_empty());
}

#[test]
fn what_somebody_changed_by_hand_is_put_right() {
    let mut stage = Stage::with(intent("checkout", &[443]));
    let want = stage.want(intent("checkout", &[443]));
    let right = stage.seen.clone();
    for set in stage.seen.backend_sets.values_mut() {
        set.spec.node_port = None;
        set.spec.health_check = None;
    }
    for listener in stage.seen.listeners.values_mut() {
        listener.spec.proxy_protocol = true;
    }
    let set = stage
        .seen
        .backend_sets
        .values()
        .next()
        .expect("a set")
        .clone();
    let strange = Seen {
        marks: Marks {
            labels: BTreeMap::new(),
            ..set.marks.clone()
        },
        ..set
    };
    stage.seen.backend_sets.insert("by-hand".into(), strange);
    assert_eq!(
        stage.settle(&want),
        [
            vec!["~ bs/TCP/443/IPv4", "~ ls/TCP/443/IPv4"],
            vec!["- backend-set/by-hand"]
        ]
    );
    assert_eq!(stage.seen, right);
}

#[test]
fn everything_goes_what_is_used_last() {
    let mut stage = Stage::with(dual(intent("checkout", &[443])));
    // A lease that nothing uses need not wait.
    let lease = stage.seen.leases.values().next().expect("a lease").clone();
    stage.seen.leases.insert(
        "orphan".into(),
        Seen {
            marks: Marks {
                labels: BTreeMap::new(),
                ..lease.marks.clone()
            },
            ..lease
        },
    );
    let waves = stage.settle(&Want::Nothing);
    assert_eq!(
        waves[0],
        [
            "- ls/TCP/443/IPv4",
            "- ls/TCP/443/IPv6",
            "- address-lease/orphan"
        ]
    );
    assert_eq!(
        waves[1],
        [
            "- bs/TCP/443/IPv4",
            "- bs/TCP/443/IPv6",
            "- lease/IPv4",
            "- lease/IPv6"
        ]
    );
    assert_eq!(waves.len(), 2);
    assert!(stage.seen.is_empty());
}

#[test]
fn a_family_that_is_dropped_takes_its_address_along() {
    let mut stage = Stage::with(dual(intent("checkout", &[443])));
    let want = stage.want(intent("checkout", &[443]));
    assert_eq!(
        stage.settle(&want),
        [
            vec!["- ls/TCP/443/IPv6"],
            vec!["- bs/TCP/443/IPv6", "- lease/IPv6"]
        ]
    );
}

#[test]
fn what_is_released_is_left_as_it_is() {
    let mut retained = intent("checkout", &[443]);
    retained.options.reclaim_policy = ReclaimPolicy::Retain;
    let mut stage = Stage::with(retained);
    assert!(stage.seen.retained());
    stage.nodes = NodeSet::new(vec![Node {
        placement: Placement::Remove(NodeReason::BeingDeleted),
        ..nodes(&["a"]).nodes()[0].clone()
    }]);
    assert_eq!(stage.plan(&Want::Released), Plan::empty());
}

#[test]
fn where_kube_proxy_is_silent_a_connection_must_do() {
    let silent = |names: &[&str]| nodes(names).with_proxy_health(ProxyHealth::Silent);
    let mut stage = Stage::new();
    let want = stage.want(intent("checkout", &[443]));

    // Without targets nothing is decided for long.
    stage.nodes = silent(&[]);
    stage.settle(&want);
    assert_eq!(stage.probes(), ["TCP :node-port"]);
    stage.nodes = nodes(&["a"]);
    stage.settle(&want);
    assert_eq!(stage.probes(), ["HTTP :10256/healthz"]);
    assert_eq!(stage.plan(&want).warnings, []);

    // Whatever it answers later is what the probe is there to see.
    stage.nodes = silent(&["a", "b"]);
    stage.settle(&want);
    assert_eq!(stage.probes(), ["HTTP :10256/healthz"]);
    assert_eq!(stage.plan(&want).warnings, []);

    let mut other = Stage::new();
    other.nodes = silent(&["a"]);
    let steps = other.settle(&want);
    assert_eq!(other.probes(), ["TCP :node-port"], "{steps:?}");
    other.nodes = nodes(&["a", "b"]);
    other.settle(&want);
    assert_eq!(
        other.probes(),
        ["TCP :node-port"],
        "no load balancer changes by itself"
    );
    let warnings = other.plan(&want).warnings;
    assert!(warnings[0].message.contains("10256"), "{warnings:?}");

    let mut chosen = intent("checkout", &[443]);
    chosen.options.health_check.port = Some(HealthCheckPort::Number(10256));
    let want = other.want(chosen);
    other.settle(&want);
    assert_eq!(
        other.probes(),
        ["HTTP :10256/healthz"],
        "whoever chooses has it"
    );
    assert_eq!(other.plan(&want).warnings, []);

    other.nodes = silent(&["a", "b"]);
    let mut peers = intent("checkout", &[443]);
    peers.profile = Profile::Ccm;
    let want = other.want(peers);
    other.settle(&want);
    assert_eq!(other.probes(), ["TCP :node-port"], "as where it comes from");
    assert_eq!(other.plan(&want).warnings, []);
}

/// The ports that are refused, each with why.
fn refused_ports(plan: &Plan<Step>) -> Vec<(String, &'static str, String)> {
    let told = |refusal: &Refusal| {
        let (_, port) = refusal.port.clone()?;
        let Problem {
            reason, message, ..
        } = &refusal.problem;
        Some((port.to_string(), *reason, message.to_string()))
    };
    plan.refusals.iter().filter_map(told).collect()
}

#[test]
fn a_port_that_another_has_is_refused_and_the_others_are_served() {
    let taken = CloudError::new(ErrorClass::Rejected, "PUT", "shop/web has it")
        .with_code(crate::api::code::PORT_TAKEN);
    for (name, fails, ports, stays) in [
        (
            "one port",
            "ls/TCP/80/IPv4",
            &["80/TCP"][..],
            &["+ ls/TCP/443/IPv4"][..],
        ),
        ("all of them", "lease/IPv4", &["80/TCP", "443/TCP"], &[]),
    ] {
        let mut stage = Stage::new();
        let want = stage.want(intent("checkout", &[80, 443]));
        if fails != "lease/IPv4" {
            for id in ["lease/IPv4", "bs/TCP/80/IPv4", "bs/TCP/443/IPv4"] {
                stage.does(&want, |change| change.id.as_str() == id);
            }
        }
        stage.fails_as(&want, is(Action::Create, fails), &taken);
        let plan = stage.plan(&want);
        let mut told = refused_ports(&plan);
        told.sort_by_key(|(port, ..)| port.len());
        assert_eq!(
            told.iter()
                .map(|(port, ..)| port.as_str())
                .collect::<Vec<_>>(),
            ports,
            "{name}"
        );
        for (_, reason, message) in &told {
            assert_eq!(*reason, reason::PORT_CONFLICT, "{name}");
            assert!(message.contains("shop/web has it"), "{name}: {message}");
        }
        let listeners: Vec<String> = stage
            .steps(&want)
            .into_iter()
            .filter(|step| step.contains("ls/") || step.contains("lease"))
            .collect();
        assert_eq!(listeners, stays, "{name}");
    }
}

#[test]
fn another_pool_moves_no_address() {
    let of_pool = |pool: &str| {
        let mut intent = intent("checkout", &[80]);
        let key = crate::annotations::ADDRESS_POOL;
        intent.annotations.insert(key.into(), pool.into());
        intent
    };
    let mut stage = Stage::with(of_pool("office"));
    let spec = |stage: &Stage| {
        stage
            .seen
            .leases
            .values()
            .next()
            .expect("a lease")
            .spec
            .clone()
    };
    assert_eq!(spec(&stage).pool.as_deref(), Some("office"));
    let lease = stage.seen.leases.values_mut().next().expect("a lease");
    lease.status = Some(LeaseStatus {
        address: IpAddr::from([127, 77, 0, 7]),
        pool: None,
    });
    let want = stage.want(of_pool("lab"));
    let plan = stage.plan(&want);
    assert!(plan.steps.is_empty(), "{plan:#?}");
    let [warning] = &plan.warnings[..] else {
        panic!("{plan:#?}");
    };
    assert!(
        warning.message.contains("lab has no effect on 127.77.0.7"),
        "{}",
        warning.message
    );
}
