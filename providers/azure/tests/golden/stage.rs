//! Groups on an Azure in memory: its load balancers and its network security group are written by the same state machines that write the
//! real ones, each call is counted, and tests say which of them fail and how.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use async_trait::async_trait;
use evenkeel_azure::{
    Context, desired,
    errors::{self, Access, Answer},
    model::{
        Desired, Effect, Facts, Fragment, NewPublicIp, Observed, Phase, SeenBalancer, SeenPublicIp,
        SeenSecurity, Step, Subnet, Told,
    },
    names, plan, predict,
    shared::{Balancer, SecurityGroup, json::Document},
};
use evenkeel_core::{
    Timestamp,
    digest::Digest,
    endpoints::EndpointSet,
    error::CloudError,
    failure::{Failure, Failures},
    group::Group,
    ids::{GroupKey, NodeName, ServiceRef},
    intent::Scheme,
    net::IpFamily,
    nodes::{Node, NodeReason, NodeSet, Placement},
    plan::Plan,
    provider::{PlanInput, Provider, Snapshot, Verdict, Want},
    published::{Ingress, Published},
    shared::{Claim, Desk, Turn},
    ticket::Ticket,
};
use serde_json::{Value, json};

use super::rig::{Asking, OnAzure as _, context, got, network};

/// The two load balancers.
pub(crate) const SCHEMES: [Scheme; 2] = [Scheme::InternetFacing, Scheme::Internal];
/// More rounds than anything needs.
const MANY: usize = 60;

/// The decisions as a provider: what the type of a plan's input asks for. Nobody reads or writes by it.
pub(crate) struct Pure;

#[async_trait]
impl Provider for Pure {
    type Desired = Desired;
    type Observed = Observed;
    type Step = Step;
    type Effect = Effect;

    fn name(&self) -> &'static str {
        evenkeel_azure::NAME
    }
    fn desired(&self, group: &Group) -> Verdict<Desired> {
        desired::desired(&context(), group)
    }
    fn plan(&self, input: PlanInput<'_, Self>) -> Plan<Step> {
        plan::plan(&context(), input)
    }
    fn predict(&self, step: &Step, seen: &Observed) -> Effect {
        predict::predict(step, seen)
    }
    fn absorb(&self, seen: &mut Observed, effect: Effect) {
        predict::absorb(seen, effect);
    }
    fn published(&self, key: &GroupKey, seen: &Observed) -> Published {
        seen.published(&context().cluster, key, &members(key))
    }
    async fn observe(&self, _: &GroupKey, _: &Want<Desired>) -> Result<Observed, CloudError> {
        unreachable!("nobody reads by it")
    }
    async fn snapshot(&self) -> Result<Snapshot<Observed>, CloudError> {
        unreachable!("nobody reads by it")
    }
    async fn apply(
        &self,
        _: &GroupKey,
        _: &Step,
        _: &Observed,
        _: &Ticket,
    ) -> Result<Effect, CloudError> {
        unreachable!("nobody writes by it")
    }
}

/// A group as it was asked for.
pub(crate) struct Ordered {
    pub(crate) want: Want<Desired>,
    pub(crate) failures: Failures,
    pub(crate) approval: Option<String>,
    pub(crate) plan: Plan<Step>,
}

/// The one member of a group of its own.
fn members(key: &GroupKey) -> Vec<ServiceRef> {
    match key {
        GroupKey::Service(service) => vec![service.clone()],
        GroupKey::Shared { .. } => Vec::new(),
    }
}

/// What a call ends with that does not end well.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Azure's answer.
    Answer(u16, Value),
    /// It is done, and the answer is lost.
    Lost,
}

/// Somebody else, who writes the load balancers' live bodies.
type ForeignHand = Box<dyn FnOnce(&mut BTreeMap<Scheme, Option<String>>)>;

/// The cluster's Azure.
pub(crate) struct World {
    pub(crate) context: Arc<Context>,
    pub(crate) groups: BTreeMap<GroupKey, Ordered>,
    pub(crate) nodes: NodeSet,
    pub(crate) facts: Facts,
    pub(crate) ips: BTreeMap<Arc<str>, SeenPublicIp>,
    /// Live bodies by load balancer.
    pub(crate) balancers: BTreeMap<Scheme, Option<String>>,
    pub(crate) security: String,
    pub(crate) desks: BTreeMap<Scheme, Desk<Balancer>>,
    pub(crate) security_desk: Desk<SecurityGroup>,
    /// Every write, `PUT lb/public`.
    pub(crate) log: Vec<String>,
    /// What the next writes end with, by the beginning of their line in the log.
    pub(crate) faults: VecDeque<(&'static str, Fault)>,
    /// What no load balancer may have in it, and nobody is told so.
    pub(crate) poison: Option<String>,
    /// A foreign hand that writes after the read and before the next write.
    pub(crate) meanwhile: Option<ForeignHand>,
    version: usize,
    handed_out: u8,
}

/// So many nodes: n1 10.20.0.4, n2 10.20.0.5, and so on; `cp1` is excluded.
pub(crate) fn nodes(count: u8) -> NodeSet {
    let mut nodes: Vec<Node> = (1..=count)
        .map(|number| {
            node(
                &format!("n{number}"),
                &format!("10.20.0.{}", number + 3),
                Placement::Add,
            )
        })
        .collect();
    nodes.push(node(
        "cp1",
        "10.20.0.200",
        Placement::Remove(NodeReason::ExcludedByLabel),
    ));
    NodeSet::new(nodes)
}

pub(crate) fn node(name: &str, ip: &str, placement: Placement) -> Node {
    let v4: IpAddr = ip.parse().expect("an address");
    let last = ip.rsplit('.').next().expect("four parts");
    Node {
        name: NodeName::from(name),
        provider_id: Some("azure:///subscriptions/x".into()),
        addresses: vec![v4, format!("fd00::{last}").parse().expect("an address")],
        zone: None,
        placement,
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::of(context())
    }

    pub(crate) fn of(context: Context) -> Self {
        let context = Arc::new(context);
        let subnet = |name: &str, prefixes: &[&str]| {
            let id = format!("{}/subnets/{name}", network("vnet1")).into();
            let prefixes = prefixes
                .iter()
                .map(|prefix| prefix.parse().expect("a prefix"))
                .collect();
            let way_out = true;
            (
                Arc::from(name),
                Subnet {
                    id,
                    prefixes,
                    way_out,
                },
            )
        };
        let mut world = Self {
            groups: BTreeMap::new(),
            nodes: nodes(2),
            facts: Facts {
                subnets: [
                    subnet("nodes", &["10.20.0.0/20", "fd00::/64"]),
                    subnet("ilb-apps", &["10.20.32.0/24"]),
                ]
                .into(),
                others: Vec::new(),
            },
            ips: BTreeMap::new(),
            balancers: SCHEMES.map(|scheme| (scheme, None)).into(),
            security: json!({ "location": "westeurope", "etag": "W/\"n0\"", "properties": { "securityRules": [] } }).to_string(),
            desks: BTreeMap::new(),
            security_desk: Desk::new(SecurityGroup::new(Arc::clone(&context))),
            log: Vec::new(),
            faults: VecDeque::new(),
            poison: None,
            meanwhile: None,
            version: 0,
            handed_out: 9,
            context,
        };
        world.restart();
        world
    }

    /// A new process: what the writers know is what they read.
    pub(crate) fn restart(&mut self) {
        for scheme in SCHEMES {
            let mut desk = Desk::new(Balancer::new(Arc::clone(&self.context), scheme));
            desk.read_ended(Ok(self.document(scheme)));
            self.desks.insert(scheme, desk);
        }
        self.security_desk = Desk::new(SecurityGroup::new(Arc::clone(&self.context)));
        let live = SecurityGroup::read(&self.security).expect("a group");
        self.security_desk.read_ended(Ok(live));
    }

    pub(crate) fn document(&self, scheme: Scheme) -> Option<Document> {
        let text = self.balancers[&scheme].as_ref()?;
        Some(Balancer::read(text).expect("a load balancer"))
    }

    /// Somebody else's load balancer, or what somebody did to ours; the writers read it.
    pub(crate) fn put_by_hand(&mut self, scheme: Scheme, body: Value) {
        self.version += 1;
        let mut body = body;
        body["etag"] = format!("W/\"h{}\"", self.version).into();
        self.balancers.insert(scheme, Some(body.to_string()));
        let live = self.document(scheme);
        self.desks
            .get_mut(&scheme)
            .expect("both")
            .read_ended(Ok(live));
    }

    pub(crate) fn value(&self, scheme: Scheme) -> Value {
        let text = self.balancers[&scheme].as_deref().unwrap_or("null");
        serde_json::from_str(text).expect("it was written so")
    }

    /// Asks for this now.
    #[track_caller]
    pub(crate) fn ask(&mut self, asking: &Asking) -> &mut Self {
        self.want(
            asking.group().key,
            Want::Exists(asking.gets_by(&self.context.clone()).desired),
        )
    }

    /// Asks for this group now.
    #[track_caller]
    pub(crate) fn ask_group(&mut self, group: &Group) -> &mut Self {
        let desired = got(&self.context, group).desired;
        self.want(group.key.clone(), Want::Exists(desired))
    }

    pub(crate) fn want(&mut self, key: GroupKey, want: Want<Desired>) -> &mut Self {
        let ordered = self.groups.entry(key).or_insert_with(|| Ordered {
            want: Want::Nothing,
            failures: Failures::default(),
            approval: None,
            plan: Plan::empty(),
        });
        ordered.want = want;
        ordered.failures = Failures::default();
        self
    }

    pub(crate) fn delete(&mut self, asking: &Asking) -> &mut Self {
        self.want(asking.group().key, Want::Nothing)
    }

    /// Approves what its plan refuses for want of an approval.
    #[track_caller]
    pub(crate) fn approve(&mut self, asking: &Asking) -> &mut Self {
        let ordered = self
            .groups
            .get_mut(&asking.group().key)
            .expect("it is asked for");
        let approval = ordered
            .plan
            .refusals
            .iter()
            .find_map(|refusal| refusal.approval.clone());
        ordered.approval = Some(approval.expect("nothing waits for an approval"));
        self
    }

    /// An address that is somebody else's.
    pub(crate) fn foreign_ip(&mut self, name: &str, ip: &str) -> Arc<str> {
        let id = self.context.public_ip_id("rg1", name);
        let address: IpAddr = ip.parse().expect("an address");
        self.ips.insert(
            Arc::clone(&id),
            SeenPublicIp {
                family: IpFamily::of(address),
                address: Some(address),
                standard: true,
                phase: Phase::Ready,
                tags: BTreeMap::new(),
                dns_label: None,
                attached: None,
            },
        );
        id
    }

    pub(crate) fn observe(&mut self, key: &GroupKey) -> Observed {
        let mut balancers = BTreeMap::new();
        for (scheme, desk) in &mut self.desks {
            let balancer = Balancer::new(Arc::clone(&self.context), *scheme);
            let claim = desk.view(key);
            let members_claim = desk.view(&names::nodes_key());
            let live = desk.live().and_then(Option::as_ref);
            if live.is_none() && claim.is_none() {
                continue;
            }
            let none = SeenBalancer::default();
            let seen = live.map_or(none, |live| SeenBalancer {
                part: balancer.part(live, key),
                members: balancer.members(live),
                rules: Balancer::rules(live),
                outbound: Balancer::has_outbound_rules(live),
                basic: Balancer::is_basic(live),
                keeps_last: balancer.keeps_last(live, key),
                ..SeenBalancer::default()
            });
            balancers.insert(
                *scheme,
                SeenBalancer {
                    claim,
                    members_claim,
                    ..seen
                },
            );
        }
        let security = self.context.security_group.is_some().then(|| {
            let object = SecurityGroup::new(Arc::clone(&self.context));
            let claim = self.security_desk.view(key);
            let access = self
                .security_desk
                .live()
                .map(|live| object.access(live, key));
            SeenSecurity {
                access: access.unwrap_or_default(),
                claim,
            }
        });
        Observed {
            facts: Arc::new(self.facts.clone()),
            public_ips: self.ips.clone(),
            balancers,
            security,
        }
    }

    pub(crate) fn plan_of(&mut self, key: &GroupKey) -> (Observed, Plan<Step>) {
        let seen = self.observe(key);
        let plan = self.plan_on(key, &seen);
        (seen, plan)
    }

    /// The plan for what is seen.
    pub(crate) fn plan_on(&self, key: &GroupKey, seen: &Observed) -> Plan<Step> {
        let ordered = &self.groups[key];
        plan::plan(
            &self.context,
            PlanInput::<Pure> {
                key,
                want: &ordered.want,
                seen,
                fresh: true,
                nodes: &self.nodes,
                followed: None,
                endpoints: &EndpointSet::unknown(),
                failures: &ordered.failures,
                approval: ordered.approval.as_deref(),
                now: Timestamp::UNIX_EPOCH,
            },
        )
    }

    /// One run of every group, each until it waits.
    pub(crate) fn run_groups(&mut self) -> bool {
        let mut acted = false;
        for key in self.groups.keys().cloned().collect::<Vec<_>>() {
            for wave in 0.. {
                assert!(
                    wave < MANY,
                    "{key} does not settle: {:#?}",
                    self.plan_of(&key).1
                );
                let (_, mut plan) = self.plan_of(&key);
                self.groups[&key].failures.hold_back(&mut plan);
                let steps = std::mem::take(&mut plan.steps);
                self.groups.get_mut(&key).expect("it is there").plan = plan;
                if steps.is_empty() {
                    break;
                }
                for planned in steps {
                    acted = true;
                    if let Err(error) = self.apply(&key, &planned.step) {
                        let failure = Failure::new(
                            planned.change,
                            &error,
                            Digest::of(""),
                            Timestamp::UNIX_EPOCH,
                        );
                        let ordered = self.groups.get_mut(&key).expect("it is there");
                        ordered.failures.record(&planned.step, failure);
                    }
                }
            }
        }
        acted
    }

    /// Runs everything until nothing happens any more.
    #[track_caller]
    pub(crate) fn settle(&mut self) -> &mut Self {
        for _ in 0..MANY {
            let acted = self.run_groups();
            let wrote = self.write_all();
            if !acted && !wrote {
                return self;
            }
        }
        panic!("it does not settle: {:#?}", self.log);
    }

    /// The same, and whatever failed before may be tried again.
    pub(crate) fn later(&mut self) -> &mut Self {
        for ordered in self.groups.values_mut() {
            ordered.failures = Failures::default();
        }
        self.settle()
    }

    fn apply(&mut self, key: &GroupKey, step: &Step) -> Result<Told, CloudError> {
        match step {
            Step::PutPublicIp(new) => self.put_ip(new),
            Step::DeletePublicIp(id) => {
                let name = id.rsplit('/').next().unwrap_or_default();
                if self.call(format!("DELETE ip/{name}"), "DELETE publicIPAddresses")? {
                    self.ips.remove(id);
                }
                Ok(Told::Nothing)
            }
            Step::Claim { of, claim } => {
                let desk = self.desks.get_mut(of).expect("both");
                desk.claim(key.clone(), claim.clone())
                    .map(|()| Told::Handed)
            }
            Step::SetMembers { of, members } => {
                let desk = self.desks.get_mut(of).expect("both");
                let claim = Claim::Want(Fragment::Members(members.clone()));
                desk.claim(names::nodes_key(), claim).map(|()| Told::Handed)
            }
            Step::ClaimAccess(claim) => self
                .security_desk
                .claim(key.clone(), claim.clone())
                .map(|()| Told::Handed),
        }
    }

    /// Whether a call has its effect; its error where it ends in one.
    fn call(&mut self, line: String, operation: &'static str) -> Result<bool, CloudError> {
        let hit = self
            .faults
            .front()
            .is_some_and(|(start, _)| line.starts_with(start));
        self.log.push(line);
        let fault = if hit { self.faults.pop_front() } else { None };
        match fault {
            None | Some((_, Fault::Lost)) => Ok(true),
            Some((_, Fault::Answer(status, body))) => {
                let answer = Answer::read(status, &body.to_string());
                match answer.is_gone() {
                    true => Ok(true),
                    false => Err(errors::from_answer(operation, Access::Write, answer)),
                }
            }
        }
    }

    fn put_ip(&mut self, new: &NewPublicIp) -> Result<Told, CloudError> {
        let name = new.id.rsplit('/').next().unwrap_or_default();
        let is_there = self.ips.contains_key(&new.id);
        let result = self.call(format!("PUT ip/{name}"), "PUT publicIPAddresses");
        result?;
        let number = self.ips.len() + 10;
        let address: IpAddr = match new.family {
            IpFamily::V4 => format!("20.50.{}.{}", 1 + number / 256, number % 256),
            IpFamily::V6 => "2603:1020::10".to_owned(),
        }
        .parse()
        .expect("an address");
        let mut seen = Observed {
            public_ips: self.ips.clone(),
            ..Observed::default()
        };
        let told = Told::Address((!is_there).then_some(address));
        predict::absorb(
            &mut seen,
            Effect {
                step: Step::PutPublicIp(new.clone()),
                told,
            },
        );
        self.ips = seen.public_ips;
        Ok(Told::Address(Some(address)))
    }

    /// One turn of every writer. Whether any called.
    fn write_all(&mut self) -> bool {
        let mut called = false;
        for scheme in SCHEMES {
            called |= self.write(scheme);
        }
        let turn = self.security_desk.turn();
        self.security_desk.take_done();
        match turn {
            Turn::Idle => {}
            Turn::Read => {
                called = true;
                let live = SecurityGroup::read(&self.security).expect("a group");
                self.security_desk.read_ended(Ok(live));
            }
            Turn::Write { body, .. } => {
                called = true;
                let result = self
                    .call("PUT nsg".into(), "PUT networkSecurityGroups")
                    .map(|_| {
                        self.version += 1;
                        let mut value: Value =
                            serde_json::from_str(&body.put()).expect("it is JSON");
                        value["etag"] = format!("W/\"n{}\"", self.version).into();
                        self.security = value.to_string();
                        SecurityGroup::read(&self.security).expect("a group")
                    });
                self.security_desk.write_ended(result);
            }
        }
        called
    }

    fn write(&mut self, scheme: Scheme) -> bool {
        let desk = self.desks.get_mut(&scheme).expect("both");
        let turn = desk.turn();
        desk.take_done();
        self.finish(scheme, turn)
    }

    /// Makes the call of a turn. Whether there was one.
    pub(crate) fn finish(&mut self, scheme: Scheme, turn: Turn<Option<Document>>) -> bool {
        let kind = if scheme == Scheme::Internal {
            "internal"
        } else {
            "public"
        };
        match turn {
            Turn::Idle => return false,
            Turn::Read => {
                let live = self.document(scheme);
                self.desks
                    .get_mut(&scheme)
                    .expect("both")
                    .read_ended(Ok(live));
            }
            Turn::Write { base, body } => {
                if let Some(meanwhile) = self.meanwhile.take() {
                    meanwhile(&mut self.balancers);
                }
                let result = self.write_body(scheme, kind, base.as_ref(), body.as_ref());
                self.desks
                    .get_mut(&scheme)
                    .expect("both")
                    .write_ended(result);
            }
        }
        true
    }

    fn write_body(
        &mut self,
        scheme: Scheme,
        kind: &str,
        base: Option<&Document>,
        body: Option<&Document>,
    ) -> Result<Option<Document>, CloudError> {
        let verb = if body.is_some() { "PUT" } else { "DELETE" };
        let live = self.document(scheme).and_then(|live| live.etag());
        let lost = matches!(self.faults.front(), Some((start, Fault::Lost)) if format!("{verb} lb/{kind}").starts_with(start));
        self.call(format!("{verb} lb/{kind}"), "PUT loadBalancers")?;
        if base.and_then(Document::etag) != live {
            let body = json!({ "error": { "code": "PreconditionFailed", "message": "It changed.", "details": [
                { "code": "PreconditionFailedEtagMismatch", "message": "It changed." }] } });
            let answer = Answer::read(412, &body.to_string());
            return Err(errors::from_answer(
                "PUT loadBalancers",
                Access::Write,
                answer,
            ));
        }
        let poisoned = |body: &Document| {
            self.poison
                .as_ref()
                .is_some_and(|poison| body.put().contains(poison))
        };
        if body.is_some_and(poisoned) {
            let answer = Answer::read(400, &error("InvalidRequestFormat", "No.").to_string());
            return Err(errors::from_answer(
                "PUT loadBalancers",
                Access::Write,
                answer,
            ));
        }
        let text = body.map(|body| self.live_body(scheme, &body.put()));
        self.balancers.insert(scheme, text);
        self.attach();
        if lost {
            return Err(errors::from_silence("PUT loadBalancers", Access::Write));
        }
        Ok(self.document(scheme))
    }

    /// What Azure makes of a body: addresses, and an entity tag.
    fn live_body(&mut self, scheme: Scheme, put: &str) -> String {
        let mut value: Value = serde_json::from_str(put).expect("it is JSON");
        self.version += 1;
        value["etag"] = format!("W/\"v{}\"", self.version).into();
        let before = self.value(scheme);
        let frontends = value["properties"]["frontendIPConfigurations"].as_array_mut();
        let frontends = frontends.expect("no load balancer is without frontends");
        assert!(
            !frontends.is_empty(),
            "Azure takes no load balancer without a frontend"
        );
        for frontend in frontends {
            let properties = &frontend["properties"];
            if !properties["privateIPAddress"].is_null() || properties["subnet"].is_null() {
                continue;
            }
            let there = before["properties"]["frontendIPConfigurations"].as_array();
            let there = there
                .into_iter()
                .flatten()
                .find(|there| there["name"] == frontend["name"]);
            let given = match there.map(|there| &there["properties"]["privateIPAddress"]) {
                Some(ip) if !ip.is_null() => ip.clone(),
                _ => {
                    self.handed_out += 1;
                    let net = if properties["subnet"]["id"]
                        .as_str()
                        .is_some_and(|id| id.ends_with("ilb-apps"))
                    {
                        32
                    } else {
                        0
                    };
                    format!("10.20.{net}.{}", self.handed_out - 1).into()
                }
            };
            frontend["properties"]["privateIPAddress"] = given;
        }
        value.to_string()
    }

    /// Which frontend has which address.
    fn attach(&mut self) {
        for ip in self.ips.values_mut() {
            ip.attached = None;
        }
        for scheme in SCHEMES {
            let value = self.value(scheme);
            for frontend in value["properties"]["frontendIPConfigurations"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let id = frontend["properties"]["publicIPAddress"]["id"]
                    .as_str()
                    .unwrap_or_default();
                if let Some(ip) = self.ips.get_mut(id) {
                    ip.attached = frontend["name"].as_str().map(Arc::from);
                }
            }
        }
    }

    /// What a Service has, a line for each object, with the beginning of the names left out; and what its status says.
    pub(crate) fn lines(&mut self, asking: &Asking) -> Vec<String> {
        let key = asking.group().key;
        let base = format!("{}-", asking.base());
        let seen = self.observe(&key);
        let mut lines = Vec::new();
        for (scheme, side) in &seen.balancers {
            let kind = if *scheme == Scheme::Internal {
                "internal"
            } else {
                "public"
            };
            lines.extend(
                side.part
                    .frontends
                    .iter()
                    .map(|(name, frontend)| format!("{kind} {name}: {frontend}")),
            );
            let part = evenkeel_azure::model::Part {
                frontends: BTreeMap::new(),
                ..side.part.clone()
            };
            lines.extend(part.to_string().lines().map(str::to_owned));
        }
        if let Some(security) = &seen.security {
            lines.extend(security.access.rules.values().map(ToString::to_string));
        }
        let status: Vec<String> = self.status(asking);
        lines.extend((!status.is_empty()).then(|| format!("status {}", status.join(" "))));
        let cluster = format!("{}-", names::cluster(&self.context.cluster));
        lines.retain(|line| !line.is_empty());
        let in_subnet = |line: String| {
            let hashes = self.facts.subnets.values().map(|subnet| {
                let name = names::frontend("", Some(&subnet.id), IpFamily::V4);
                name[1..].trim_end_matches("v4").to_owned()
            });
            hashes.fold(line, |line, hash| line.replace(&hash, ""))
        };
        let short = |line: &String| in_subnet(line.replace(&base, "").replace(&cluster, ""));
        lines.iter().map(short).collect()
    }

    #[track_caller]
    pub(crate) fn shows(&mut self, asking: &Asking, want: &[&str]) {
        let lines = self.lines(asking);
        assert_eq!(lines, want, "\n{}", lines.join("\n"));
    }

    pub(crate) fn status(&mut self, asking: &Asking) -> Vec<String> {
        let key = asking.group().key;
        let seen = self.observe(&key);
        seen.published(&self.context.cluster, &key, &members(&key))
            .ingress
            .iter()
            .map(Ingress::address)
            .collect()
    }

    /// What is refused of a Service, in the words of the user.
    pub(crate) fn refusals(&self, asking: &Asking) -> Vec<String> {
        let plan = &self.groups[&asking.group().key].plan;
        plan.refusals
            .iter()
            .map(|refusal| refusal.problem.to_string())
            .collect()
    }

    pub(crate) fn failures(&self, asking: &Asking) -> Vec<&Failure> {
        self.groups[&asking.group().key].failures.iter().collect()
    }

    /// How many writes begin so.
    pub(crate) fn count(&self, start: &str) -> usize {
        self.log
            .iter()
            .filter(|line| line.starts_with(start))
            .count()
    }

    /// The nodes of the public pool of IPv4.
    pub(crate) fn pool(&self, scheme: Scheme) -> Vec<String> {
        let Some(live) = self.document(scheme) else {
            return Vec::new();
        };
        let balancer = Balancer::new(Arc::clone(&self.context), scheme);
        let members = balancer.members(&live);
        let pool = members.0.get(&IpFamily::V4).cloned().unwrap_or_default();
        pool.values().map(ToString::to_string).collect()
    }
}

/// A world where a Service has what it asks for.
#[track_caller]
pub(crate) fn made(asking: &Asking) -> World {
    let mut world = World::new();
    world.ask(asking).settle();
    assert_eq!(world.refusals(asking), [] as [String; 0]);
    assert_eq!(
        world.failures(asking).len(),
        0,
        "{:#?}",
        world.failures(asking)
    );
    world
}

/// What a Service gets that is made from nothing.
#[track_caller]
pub(crate) fn shows(asking: &Asking, want: &[&str]) {
    made(asking).shows(asking, want);
}

/// Azure's error that names something.
pub(crate) fn error(code: &str, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}
