//! Whatever happens on the way, the wished-for rules are there in the end and nobody else's are touched.
//!
//! The writers' state machines run over load balancers and a network security group in memory: claims come in any order, writes conflict with a
//! foreign hand's, are refused, lose their answers; the process is killed and a new one knows nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use evenkeel_azure::{
    Context, Limits,
    errors::{self, Access as Kind, Answer},
    model::{
        Access, Fragment, Frontend, Members, Part, Place, Probe, ProbeProtocol, Rule, SecurityRule,
        Transport,
    },
    names,
    shared::{Balancer, SecurityGroup, json::Document},
};
use evenkeel_core::{
    error::CloudError,
    ids::{Cluster, GroupKey, NodeName, ServiceKey, ServiceRef},
    intent::Scheme,
    net::IpFamily,
    ports::{PortKey, Protocol},
    shared::{Claim, Desk, SharedObject, Standing, Turn},
};
use proptest::{collection::vec, prelude::*};
use serde_json::json;

/// A port that Azure refuses.
const BAD: u16 = 666;
/// How many groups there are.
const GROUPS: u8 = 5;

fn context() -> Arc<Context> {
    Arc::new(Context {
        cluster: Cluster::new("1c3cf4a0-7a52-4f0e-9a2b-6a1f0c9d0001", "prod-eu"),
        subscription: "s".into(),
        resource_group: "rg1".into(),
        location: "westeurope".into(),
        virtual_network: "/vnet1".into(),
        subnet: "nodes".into(),
        node_prefixes: Vec::new(),
        load_balancer: None,
        security_group: Some("/nsg1".into()),
        tags: BTreeMap::new(),
        disable_outbound_snat: false,
        shared_probe: false,
        priorities: 1500..=1520,
        limits: Limits::default(),
    })
}

fn key(group: u8) -> GroupKey {
    GroupKey::Service(ServiceRef {
        key: ServiceKey::new("shop", format!("web{group}")),
        uid: format!("0000000{group}-7a0e-4c55-9a7b-2d8f5b1d9e01")
            .as_str()
            .into(),
    })
}

fn members(count: u8) -> Members {
    let nodes = (1..=count).map(|number| {
        let ip = format!("10.20.0.{number}").parse().expect("an address");
        (NodeName::from(format!("n{number}").as_str()), ip)
    });
    Members([(IpFamily::V4, nodes.collect())].into())
}

/// The part of a group with these ports; some use the cluster's probe.
fn part(context: &Context, group: u8, ports: &BTreeSet<u16>) -> Part {
    let base = names::group(&context.cluster, &key(group));
    let frontend = names::frontend(&base, None, IpFamily::V4);
    let shared = names::proxy_probe(&context.cluster);
    let mut part = Part {
        seed: members(2),
        ..Part::default()
    };
    part.frontends.insert(
        Arc::clone(&frontend),
        Frontend {
            family: IpFamily::V4,
            place: Place::PublicIp(context.public_ip_id("rg1", &format!("{base}-v4"))),
            given: None,
        },
    );
    for port in ports {
        let port_key = PortKey {
            port: *port,
            protocol: Protocol::Tcp,
        };
        let (probe, to) = match port % 2 {
            0 => (Arc::clone(&shared), 10_256),
            _ => (names::probe(&base, port_key), *port),
        };
        part.probes.insert(
            Arc::clone(&probe),
            Probe {
                protocol: ProbeProtocol::Tcp,
                port: to,
                path: None,
                interval: 5,
                threshold: 2,
            },
        );
        part.rules.insert(
            names::rule(&base, port_key, IpFamily::V4),
            Rule {
                frontend: Arc::clone(&frontend),
                family: IpFamily::V4,
                transport: Transport::Tcp,
                port: *port,
                backend_port: *port,
                floating: true,
                probe: Some(probe),
                sticky: false,
                idle_minutes: 4,
                tcp_reset: Some(true),
                no_outbound: false,
            },
        );
    }
    part
}

fn access(context: &Context, group: u8, ports: &BTreeSet<u16>) -> Access {
    let base = names::group(&context.cluster, &key(group));
    let rule = |allow: bool| SecurityRule {
        allow,
        transport: Some(Transport::Tcp),
        sources: vec!["Internet".into()],
        destinations: vec![format!("20.50.1.{group}").into()],
        ports: ports.iter().copied().collect(),
    };
    let named =
        |allow| names::security_rule(&base, allow, Some(Transport::Tcp), IpFamily::V4, "Internet");
    // Also one that keeps out, for a change.
    let actions = if ports.len() > 1 {
        vec![true, false]
    } else {
        vec![true]
    };
    Access {
        rules: actions
            .into_iter()
            .map(|allow| (named(allow), rule(allow)))
            .collect(),
    }
}

/// Foreign children as nobody but their owner would write them.
fn foreign(number: u32, priority: u32) -> String {
    format!(
        r#"{{ "properties" :{{"zeta":1.50e2, "frontendPort":{number},"note":"\u00e4\/","priority":{priority},"direction":"Inbound"}},
           "name":"theirs{number}","alpha":[ ] }}"#
    )
}

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// A group wants these ports, or to be gone.
    Claim(u8, Option<BTreeSet<u16>>),
    /// A group is not compiled, or rejected.
    Unknown(u8),
    /// The nodes are so many.
    Nodes(u8),
    /// The call on its way ends: well, unanswered, as a failure, later.
    Ends(u8),
    /// Somebody else adds something of theirs.
    Foreign,
    /// The process is killed; what a new one claims comes anew.
    Killed,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let port = prop_oneof![8 => 80_u16..86, 1 => Just(BAD)];
    let ports = proptest::collection::btree_set(port, 1..4);
    let event = prop_oneof![
        5 => (0..GROUPS, proptest::option::weighted(0.7, ports)).prop_map(|(group, ports)| Event::Claim(group, ports)),
        1 => (0..GROUPS).prop_map(Event::Unknown),
        1 => (1_u8..4).prop_map(Event::Nodes),
        5 => (0_u8..4).prop_map(Event::Ends),
        1 => Just(Event::Foreign),
        1 => Just(Event::Killed),
    ];
    vec(event, 0..40)
}

/// An object that is written whole, in memory.
trait Kept: SharedObject<Live: Clone> {
    fn etag(live: &Self::Live) -> Option<String>;
    fn is_bad(body: &Self::Live) -> Option<String>;
    fn versioned(body: &Self::Live, version: usize) -> Self::Live;
}

fn text(body: &Document, version: usize) -> String {
    // As Azure keeps what it was sent, with an entity tag.
    body.put()
        .replacen('{', &format!("{{\"etag\":\"W/{version}\","), 1)
}

impl Kept for Balancer {
    fn etag(live: &Option<Document>) -> Option<String> {
        live.as_ref().and_then(Document::etag)
    }
    fn is_bad(body: &Option<Document>) -> Option<String> {
        let rules = body.as_ref()?.list("loadBalancingRules");
        let bad = rules
            .iter()
            .find(|rule| rule.get("frontendPort") == &json!(BAD) && rule.name.starts_with("ek-"))?;
        Some(bad.name.to_string())
    }
    fn versioned(body: &Option<Document>, version: usize) -> Option<Document> {
        let body = body.as_ref()?;
        Some(Balancer::read(&text(body, version)).expect("it was read so"))
    }
}

impl Kept for SecurityGroup {
    fn etag(live: &Document) -> Option<String> {
        live.etag()
    }
    fn is_bad(body: &Document) -> Option<String> {
        let mut rules = body.list("securityRules").iter();
        let bad = json!(BAD.to_string());
        let bad = rules.find(|rule| {
            rule.get("destinationPortRanges")
                .as_array()
                .is_some_and(|ports| ports.contains(&bad))
        })?;
        Some(bad.name.to_string())
    }
    fn versioned(body: &Document, version: usize) -> Document {
        SecurityGroup::read(&text(body, version)).expect("it was read so")
    }
}

/// One object with its writer.
struct Site<O: Kept> {
    make: Box<dyn Fn() -> O>,
    desk: Desk<O>,
    live: O::Live,
    call: Option<Turn<O::Live>>,
    version: usize,
    calls: usize,
    /// Whether a refusal names who is refused.
    names: bool,
}

impl<O: Kept> Site<O> {
    fn new(make: impl Fn() -> O + 'static, live: O::Live, names: bool) -> Self {
        Self {
            desk: Desk::new(make()),
            make: Box::new(make),
            live,
            call: None,
            version: 0,
            calls: 0,
            names,
        }
    }

    fn killed(&mut self) {
        self.desk = Desk::new((self.make)());
        self.call = None;
    }

    /// Ends the call on its way, or begins one. Whether there was any.
    fn ends(&mut self, how: u8) -> bool {
        let call = self.call.take().unwrap_or_else(|| self.desk.turn());
        self.desk.take_done();
        self.calls += 1;
        let error = |code: &str, text: &str| -> CloudError {
            let body = json!({ "error": { "code": code, "message": text } });
            errors::from_answer("PUT", Kind::Write, Answer::read(400, &body.to_string()))
        };
        match (call, how) {
            (Turn::Idle, _) => return false,
            (call, 3) => self.call = Some(call),
            (Turn::Read, 2) => drop(self.desk.read_ended(Err(error("Unheard", "No.")))),
            (Turn::Read, _) => drop(self.desk.read_ended(Ok(self.live.clone()))),
            (Turn::Write { .. }, 2) => drop(self.desk.write_ended(Err(error("Unheard", "No.")))),
            (Turn::Write { base, body }, how) => {
                let result = if O::etag(&base) != O::etag(&self.live) {
                    Err(error("PreconditionFailed", "It changed."))
                } else if let Some(bad) = O::is_bad(&body) {
                    let name = if self.names { bad } else { String::new() };
                    Err(error("InvalidRequestFormat", &format!("No: /x/{name}")))
                } else {
                    self.version += 1;
                    self.live = O::versioned(&body, self.version);
                    match how {
                        1 => Err(errors::from_silence("PUT", Kind::Write)),
                        _ => Ok(self.live.clone()),
                    }
                };
                self.desk.write_ended(result);
            }
        }
        true
    }

    /// Everyone whose claim is not done hands it in until it is, while all calls end well.
    fn settle(
        &mut self,
        claims: &BTreeMap<GroupKey, Claim<O::Fragment>>,
    ) -> Result<(), TestCaseError> {
        for _ in 0..8 {
            for (key, claim) in claims {
                let standing = self.desk.standing(key);
                if !matches!(
                    standing,
                    Some(Standing::Done | Standing::Queued | Standing::Refused { .. })
                ) {
                    let _ = self.desk.claim(key.clone(), claim.clone());
                }
            }
            self.calls = 0;
            while self.ends(0) {
                prop_assert!(self.calls < 200, "the calls do not end");
            }
        }
        Ok(())
    }
}

fn raws(document: &Document, list: &str, theirs: bool) -> Vec<String> {
    let children = document
        .list(list)
        .iter()
        .filter(|child| child.name.starts_with("ek-") != theirs);
    children.map(|child| child.raw().to_owned()).collect()
}

const LISTS: [&str; 4] = [
    "frontendIPConfigurations",
    "loadBalancingRules",
    "probes",
    "outboundRules",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_wished_for_rules_are_there_in_the_end_and_everybody_elses_as_they_were(
        events in events(), is_theirs in any::<bool>(), names in any::<bool>(),
    ) {
        let context = context();
        let child = foreign(1, 1501);
        let lists = LISTS.map(|list| format!(r#""{list}":[{child}]"#)).join(",");
        let theirs = format!(r#"{{"location":"westeurope","etag":"W/0","extra" : {{"b":1,"a":2.0}},"properties":{{"note" : [1, 2],{lists}}}}}"#);
        let group = format!(r#"{{"location":"westeurope","etag":"W/0","properties":{{"note" : 1.0,"securityRules":[{child}]}}}}"#);
        let live = is_theirs.then(|| Balancer::read(&theirs).expect("it is JSON"));
        let mut balancer = {
            let context = Arc::clone(&context);
            Site::new(move || Balancer::new(Arc::clone(&context), Scheme::InternetFacing), live, names)
        };
        let mut security = {
            let context = Arc::clone(&context);
            let live = SecurityGroup::read(&group).expect("it is JSON");
            Site::new(move || SecurityGroup::new(Arc::clone(&context)), live, names)
        };
        let mut parts: BTreeMap<GroupKey, Claim<Fragment>> = BTreeMap::new();
        let mut accesses: BTreeMap<GroupKey, Claim<Access>> = BTreeMap::new();
        let mut wanted: BTreeMap<u8, Option<BTreeSet<u16>>> = BTreeMap::new();
        let mut added = 1;
        for event in events {
            match event {
                Event::Claim(number, ports) => {
                    let (one, other) = match &ports {
                        Some(ports) => (
                            Claim::Want(Fragment::Part(part(&context, number, ports))),
                            Claim::Want(access(&context, number, ports)),
                        ),
                        None => (Claim::Gone, Claim::Gone),
                    };
                    let _ = balancer.desk.claim(key(number), one.clone());
                    let _ = security.desk.claim(key(number), other.clone());
                    parts.insert(key(number), one);
                    accesses.insert(key(number), other);
                    wanted.insert(number, ports);
                }
                Event::Unknown(number) => {
                    let _ = balancer.desk.claim(key(number), Claim::Unknown);
                    let _ = security.desk.claim(key(number), Claim::Unknown);
                    parts.remove(&key(number));
                    accesses.remove(&key(number));
                    wanted.remove(&number);
                }
                Event::Nodes(count) => {
                    let claim = Claim::Want(Fragment::Members(members(count)));
                    let _ = balancer.desk.claim(names::nodes_key(), claim.clone());
                    parts.insert(names::nodes_key(), claim);
                }
                Event::Ends(how) => {
                    balancer.ends(how);
                    security.ends(how);
                }
                Event::Foreign => {
                    added += 1;
                    let body = security.live.put().replacen(
                        r#""securityRules":["#, &format!(r#""securityRules":[{},"#, foreign(added, 3000 + added)), 1);
                    let body = body.replacen('{', &format!("{{\"etag\":\"W/their{added}\","), 1);
                    security.live = SecurityGroup::read(&body.replace(",]", "]")).expect("it is JSON");
                    if let Some(live) = &balancer.live {
                        let body = live.put().replacen('{', &format!("{{\"etag\":\"W/their{added}\","), 1);
                        balancer.live = Some(Balancer::read(&body).expect("it is JSON"));
                    }
                }
                Event::Killed => {
                    balancer.killed();
                    security.killed();
                }
            }
        }
        balancer.settle(&parts)?;
        security.settle(&accesses)?;

        // Everybody else's.
        if is_theirs {
            let before = Balancer::read(&theirs).expect("it is JSON");
            let live = balancer.live.clone().expect("it is not ours to delete");
            for list in LISTS {
                prop_assert_eq!(raws(&live, list, true), raws(&before, list, true), "{}", list);
            }
            prop_assert_eq!(live.property("note"), Some("[1, 2]"));
            let extra = live.put().contains(r#""extra":{"b":1,"a":2.0}"#);
            prop_assert!(extra, "a field of the load balancer");
        }
        let theirs_now = raws(&security.live, "securityRules", true);
        prop_assert_eq!(theirs_now.len(), added as usize);
        prop_assert!(theirs_now.contains(&child));

        // Ours.
        let object = Balancer::new(Arc::clone(&context), Scheme::InternetFacing);
        let rules = SecurityGroup::new(Arc::clone(&context));
        for (number, ports) in &wanted {
            let part_now = balancer.live.as_ref().map(|live| object.part(live, &key(*number))).unwrap_or_default();
            let access_now = rules.access(&security.live, &key(*number));
            match ports {
                Some(ports) if ports.contains(&BAD) => {
                    prop_assert!(part_now.rules.values().all(|rule| rule.port != BAD));
                    prop_assert!(access_now.rules.values().all(|rule| !rule.ports.contains(&BAD)));
                }
                Some(ports) => {
                    prop_assert!(part_now.is(&part(&context, *number, ports)), "{}", part_now);
                    prop_assert_eq!(access_now, access(&context, *number, ports));
                }
                None => {
                    prop_assert!(part_now.is_empty(), "{}", part_now);
                    prop_assert!(access_now.rules.is_empty());
                }
            }
        }
        // Nothing that no rule refers to, and no priority twice.
        if let Some(live) = &balancer.live {
            let text = live.put();
            for probe in live.list("probes").iter().filter(|probe| probe.name.starts_with("ek-")) {
                prop_assert!(text.contains(&format!("/probes/{}\"", probe.name)), "{}", probe.name);
            }
            if let Some(Claim::Want(Fragment::Members(members))) = parts.get(&names::nodes_key()) {
                let there = object.members(live);
                prop_assert!(there.0.values().all(|nodes| Some(nodes) == members.0.get(&IpFamily::V4)));
            }
        }
        let priorities: Vec<_> = security.live.list("securityRules").iter().map(|rule| rule.get("priority").to_string()).collect();
        prop_assert_eq!(priorities.iter().collect::<BTreeSet<_>>().len(), priorities.len());
    }
}
