//! Worlds for the laws: a data plane, the line to it, and what the laws want to know of both.

mod line;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use evenkeel_core::{
    ids::{Cluster, GroupKey, NodeName, ServiceUid},
    intent::{Affinity, HealthCheckProtocol, Intent, PortIntent},
    net::IpFamily,
    nodes::Node,
    ports::{PortKey, Protocol},
};
use evenkeel_laws::{
    rig::{Frontend, Object, Picture, Rig, World},
    samples,
    tap::{Fault, Tap},
};
use evenkeel_local::{
    Local, LocalConfig,
    api::{ListenerPhase, Marks, Objects},
    dataplane::{self, Pool},
    model::{Kind, Observed, id},
    names,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use line::{Line, send};

/// The addresses of every world, as its provider knows them. The line translates: worlds live side by side, and each needs
/// addresses of its own to listen on. Both ways of writing them are equally long.
const ADDRESSES: &str = "127.100.100.";

/// The UID of a cluster that is not ours.
const OTHER_CLUSTER: &str = "2d9f6c1e-0000-4000-8000-00000000beef";

/// The rig.
pub(crate) struct LocalRig;

#[async_trait]
impl Rig for LocalRig {
    type Provider = Local;
    type World = LocalWorld;

    async fn world(&self) -> LocalWorld {
        LocalWorld::start().await
    }

    /// Generations, addresses and health are the data plane's to choose.
    fn normalise(&self, mut seen: Observed) -> Observed {
        for lease in seen.leases.values_mut() {
            (lease.generation, lease.status) = (None, None);
        }
        for set in seen.backend_sets.values_mut() {
            (set.generation, set.status) = (None, None);
        }
        for listener in seen.listeners.values_mut() {
            listener.generation = None;
            // Foretold as open: one that is not would differ.
            listener.status = listener
                .status
                .take()
                .filter(|phase| *phase != ListenerPhase::Ready);
        }
        seen
    }

    fn service(&self, name: &str) -> Intent {
        let mut intent = samples::service(name);
        // One with an address of its choice, so that there is something to replace; the others take what comes.
        if name == "checkout" {
            intent.options.addresses = vec![address(200)];
        }
        intent
    }

    fn node(&self, number: u8) -> Node {
        // Probes go where nobody listens, and not further than this machine.
        Node {
            addresses: vec![std::net::IpAddr::from([127, 0, 2, number])],
            ..samples::node(number)
        }
    }

    fn change(&self, intent: &mut Intent) {
        intent.options.idle_timeout_seconds = Some(120);
        intent.options.drain_seconds = Some(7);
        intent.affinity = Affinity::ClientIp {
            timeout_seconds: 600,
        };
    }

    fn break_annotation(&self, intent: &mut Intent) {
        intent.options.health_check.protocol = Some(HealthCheckProtocol::Https);
    }

    fn replace(&self, intent: &mut Intent) -> bool {
        intent.options.addresses = vec![address(201)];
        true
    }

    fn add_unservable_port(&self, intent: &mut Intent) -> bool {
        let port = samples::port(5353, Protocol::Udp);
        intent.ports.push(PortIntent {
            node_port: None,
            ..port
        });
        intent.ports.sort();
        true
    }

    fn faults(&self) -> Vec<Fault> {
        [&Fault::ALL[..], &[Fault::Late]].concat()
    }

    /// A world is threads, sockets and files, and the machine may be busy.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    fn ask_the_refused(&self, intent: &mut Intent) -> bool {
        // In none of the pools.
        intent.options.addresses = vec![std::net::IpAddr::from([127, 0, 3, 1])];
        true
    }
}

fn address(last: u8) -> std::net::IpAddr {
    format!("{ADDRESSES}{last}").parse().expect("an address")
}

/// One data plane, and the line to it.
pub(crate) struct LocalWorld {
    dir: TempDir,
    tap: Tap,
    line: Line,
    dataplane: JoinHandle<()>,
}

impl Drop for LocalWorld {
    fn drop(&mut self) {
        self.dataplane.abort();
    }
}

impl LocalWorld {
    async fn start() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("evenkeel-laws-")
            .tempdir_in(scratch())
            .expect("a directory");
        let own = own_addresses();
        let pool = Pool::parse(&format!("{own}0/24")).expect("a pool");
        let socket = dir.path().join("dataplane.sock");
        let config = dataplane::Config::new(&socket, dir.path().join("state.json"), vec![pool]);
        let dataplane = tokio::spawn(async move {
            let ended = dataplane::serve(config, std::future::pending()).await;
            panic!("the data plane ended: {ended:?}");
        });
        let tap = Tap::new();
        let line = Line::start(&dir.path().join("line.sock"), &socket, own, tap.clone());
        let world = Self {
            dir,
            tap,
            line,
            dataplane,
        };
        world.answers().await;
        world
    }

    async fn answers(&self) {
        let answers = async {
            while tokio::net::UnixStream::connect(self.dataplane_socket())
                .await
                .is_err()
            {
                assert!(!self.dataplane.is_finished(), "the data plane ended");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answers)
            .await
            .expect("the data plane answers within 20 s");
    }

    fn dataplane_socket(&self) -> PathBuf {
        self.dir.path().join("dataplane.sock")
    }

    async fn read(&self) -> Objects {
        line::objects(&self.dataplane_socket()).await
    }

    /// Puts an object of another cluster into the data plane, behind the provider's back.
    async fn plant(&self, kind: &str, name: &str, spec: Value) {
        let marks = json!({ "cluster": OTHER_CLUSTER, "group": "uid-other", "service": "other/one", "member": "uid-other" });
        let body = json!({ "marks": marks, "spec": spec }).to_string();
        let (status, answer) = send(
            &self.dataplane_socket(),
            "PUT",
            &format!("/v1/{kind}/{name}"),
            &[],
            body.into(),
        )
        .await
        .expect("an answer");
        assert!(
            status.is_success(),
            "{kind}/{name}: {status} {}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[async_trait]
impl World for LocalWorld {
    type Provider = Local;

    async fn provider(&self) -> Local {
        // What a process that was killed had on its way ends with it.
        self.line.cut();
        let config = LocalConfig::new(self.dir.path().join("line.sock"), samples::cluster());
        Local::new(config)
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    async fn objects(&self) -> Vec<Object> {
        described(&self.line.as_provider(&self.read().await))
    }

    async fn picture(&self) -> Picture {
        picture(&self.read().await, &samples::cluster())
    }

    /// Everything is done when it is answered.
    async fn advance(&self) {}

    async fn plant_neighbours(&self) {
        let target = json!({ "node": "other", "address": "127.0.2.250", "port": 31000 });
        self.plant("leases", "other", json!({ "family": "IPv4" }))
            .await;
        self.plant(
            "backendsets",
            "other",
            json!({ "targets": [target], "drain_seconds": 0 }),
        )
        .await;
        let listener =
            json!({ "lease": "other", "port": 18080, "protocol": "TCP", "backend_set": "other" });
        self.plant("listeners", "other", listener).await;
    }

    async fn plant_in_the_way(&self, key: &GroupKey) -> bool {
        let name = names::name(
            &samples::cluster().uid,
            key,
            &names::lease_id(IpFamily::V4),
            0,
        );
        self.plant("leases", &name, json!({ "family": "IPv4" }))
            .await;
        true
    }
}

/// Where sockets and state files go: memory, where there is such a directory, because each world writes some.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// Addresses that no other world of this machine uses at the moment.
fn own_addresses() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Other test processes begin elsewhere.
    let number = std::process::id()
        .wrapping_mul(97)
        .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))
        % 9_800;
    format!("127.{}.{}.", 101 + number / 100, 100 + number % 100)
}

/// What clients meet of a cluster.
pub(crate) fn picture(objects: &Objects, cluster: &Cluster) -> Picture {
    let mut frontends = BTreeMap::new();
    let ours = |marks: &Marks| marks.cluster == *cluster.uid;
    for listener in objects
        .listeners
        .iter()
        .filter(|listener| ours(&listener.marks) && listener.status.phase == ListenerPhase::Ready)
    {
        let spec = &listener.spec;
        let lease = objects
            .leases
            .iter()
            .find(|lease| lease.name == spec.lease)
            .expect("a listener has a lease");
        let set = objects
            .backend_sets
            .iter()
            .find(|set| set.name == spec.backend_set)
            .expect("a listener has a backend set");
        let targets: BTreeSet<NodeName> = set
            .spec
            .targets
            .iter()
            .map(|target| NodeName::new(target.node.as_str()))
            .collect();
        let frontend = Frontend {
            member: ServiceUid::new(listener.marks.member.as_str()),
            port: PortKey {
                port: spec.port,
                protocol: Protocol::Tcp,
            },
            address: lease.status.address.to_string(),
        };
        frontends.insert(frontend, targets);
    }
    Picture { frontends }
}

/// Every object in words. Names are told by the logical ids of what they name, and not at all where an address that was
/// replaced in between makes them differ.
fn described(objects: &Objects) -> Vec<Object> {
    let mut ids: BTreeMap<(Kind, &str), String> = BTreeMap::new();
    for lease in &objects.leases {
        ids.insert(
            (Kind::Lease, &lease.name),
            id(Kind::Lease, &lease.name, &lease.marks).to_string(),
        );
    }
    for set in &objects.backend_sets {
        ids.insert(
            (Kind::BackendSet, &set.name),
            id(Kind::BackendSet, &set.name, &set.marks).to_string(),
        );
    }
    let object = |kind: Kind, name: &str, marks: &Marks, spec: Value| {
        let mut told = marks.clone();
        told.labels.remove(names::label::TURN);
        Object {
            kind: kind.as_str().to_owned(),
            group: Some(marks.group.clone()),
            member: Some(marks.member.clone()),
            body: json!({ "marks": told, "spec": spec }).to_string(),
            cluster: Some(marks.cluster.clone()),
            name: name.to_owned(),
        }
    };
    let mut all = Vec::new();
    for lease in &objects.leases {
        all.push(object(
            Kind::Lease,
            &lease.name,
            &lease.marks,
            json!(lease.spec),
        ));
    }
    for set in &objects.backend_sets {
        all.push(object(
            Kind::BackendSet,
            &set.name,
            &set.marks,
            json!(set.spec),
        ));
    }
    for listener in &objects.listeners {
        let mut spec = listener.spec.clone();
        spec.lease = ids[&(Kind::Lease, &*spec.lease)].clone();
        spec.backend_set = ids[&(Kind::BackendSet, &*spec.backend_set)].clone();
        all.push(object(
            Kind::Listener,
            &listener.name,
            &listener.marks,
            json!(spec),
        ));
    }
    all
}
