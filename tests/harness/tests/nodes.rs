//! The data path of Services over the pool's nodes and pods, in both of its forms: real kube-proxies in network
//! namespaces, and the stand-in on loopback. The same tests run on both; where a form differs on purpose the test says how.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_harness::control_plane::{ControlPlane, Options, TestNamespace};
use evenkeel_harness::nodes::{
    Nodes, NodesKind, NodesOptions, Origin, PodAnswer, READY_ANNOTATION, SHUTDOWN_DELAY_ANNOTATION,
    http_get, namespaces_or_skip,
};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::OnceCell;

/// How long a rule may take to reach the data path on a machine that builds beside it.
const SOON: Duration = Duration::from_secs(60);

/// A control plane and its pool of two nodes, shared by the tests of one form.
struct Scene {
    control_plane: ControlPlane,
    nodes: Nodes,
}

/// One test's corner of a scene.
struct Corner {
    scene: &'static Scene,
    namespace: TestNamespace,
}

static NAMESPACES: OnceCell<Scene> = OnceCell::const_new();
static LOOPBACK: OnceCell<Scene> = OnceCell::const_new();

impl Scene {
    async fn start(kind: NodesKind) -> Result<Self> {
        let control_plane = ControlPlane::start(Options::default()).await?;
        let options = NodesOptions {
            kind,
            ..NodesOptions::default()
        };
        let nodes = Nodes::start(control_plane.kubeconfig(), options).await?;
        Ok(Self {
            control_plane,
            nodes,
        })
    }
}

impl Corner {
    /// `None` when the form is impossible here.
    async fn new(kind: NodesKind, test: &str) -> Option<Self> {
        let scene = match kind {
            NodesKind::Namespaces if !namespaces_or_skip(test) => return None,
            NodesKind::Namespaces => &NAMESPACES,
            NodesKind::Loopback | NodesKind::Auto => &LOOPBACK,
        };
        let scene = scene.get_or_try_init(|| Scene::start(kind)).await.unwrap();
        let namespace = scene.control_plane.namespace("nodes").await.unwrap();
        Some(Self { scene, namespace })
    }

    fn nodes(&self) -> &'static Nodes {
        &self.scene.nodes
    }

    fn client(&self) -> kube::Client {
        self.scene.control_plane.client()
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), self.namespace.name())
    }

    /// Creates a pod on a node; every pod here is behind the Service [`Corner::service`].
    async fn pod(&self, name: &str, node: &str, annotations: Value) {
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}, "annotations": annotations},
            "spec": pod_spec(&json!({"kubernetes.io/hostname": node})),
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.api::<Pod>()
            .create(&PostParams::default(), &pod)
            .await
            .unwrap();
    }

    /// Creates the Service `web` of type LoadBalancer and returns it as the API server completed it.
    async fn service(&self, change: Value) -> Service {
        let mut service = json!({
            "metadata": {"name": "web"},
            "spec": {
                "type": "LoadBalancer", "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "targetPort": "http"}, {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}],
            },
        });
        for (key, value) in change.as_object().unwrap() {
            service["spec"][key] = value.clone();
        }
        let service: Service = serde_json::from_value(service).unwrap();
        self.api::<Service>()
            .create(&PostParams::default(), &service)
            .await
            .unwrap()
    }

    fn node_port(&self, node: &str, service: &Service) -> SocketAddr {
        self.node_port_at(node, service, 0)
    }

    fn node_port_at(&self, node: &str, service: &Service, index: usize) -> SocketAddr {
        let ports = service.spec.as_ref().unwrap().ports.as_ref().unwrap();
        let port = u16::try_from(ports[index].node_port.unwrap()).unwrap();
        SocketAddr::new(self.nodes().node_address(node).unwrap(), port)
    }

    fn health_check(&self, node: &str, service: &Service) -> SocketAddr {
        let port = service
            .spec
            .as_ref()
            .unwrap()
            .health_check_node_port
            .unwrap();
        SocketAddr::new(
            self.nodes().node_address(node).unwrap(),
            u16::try_from(port).unwrap(),
        )
    }

    /// Asks until a pod of this name answers.
    async fn answers(&self, to: SocketAddr, pod: &str) -> PodAnswer {
        eventually(format!("{pod} to answer at {to}"), SOON, || async {
            let answer = self.nodes().ask(&Origin::Here, to).await?;
            ensure!(answer.pod == pod, "{answer:?} answered");
            Ok(answer)
        })
        .await
        .unwrap()
    }
}

fn pod_spec(selector: &Value) -> Value {
    json!({
        "nodeSelector": selector,
        "containers": [{
            "name": "web", "image": "any",
            "ports": [{"name": "http", "containerPort": 80}, {"containerPort": 5353, "protocol": "UDP"}],
        }],
    })
}

/// Makes a test of each form out of one function.
macro_rules! on_both_forms {
    ($($test:ident),+ $(,)?) => {
        mod namespaces {
            $(#[tokio::test]
            async fn $test() {
                if let Some(corner) = super::Corner::new(super::NodesKind::Namespaces, stringify!($test)).await {
                    super::$test(&corner).await;
                }
            })+
        }
        mod loopback {
            $(#[tokio::test]
            async fn $test() {
                let corner = super::Corner::new(super::NodesKind::Loopback, stringify!($test)).await.unwrap();
                super::$test(&corner).await;
            })+
        }
    };
}

on_both_forms!(
    policy_cluster_answers_on_every_node,
    policy_local_answers_only_where_a_pod_is_and_keeps_the_client,
    the_health_check_port_follows_the_pods,
    port_10256_turns_away_a_node_that_the_autoscaler_marked,
    a_cluster_ip_answers_from_the_node,
    udp_comes_back,
    an_unready_pod_leaves_the_slices,
    a_deleted_pod_is_replaced,
    a_leaving_pod_serves_for_its_shutdown_delay,
    a_node_without_pods_takes_new_ones,
    a_pod_goes_with_its_node,
    a_connection_lives_as_long_as_its_pod,
    readiness_of_a_node_is_a_condition_only,
);

async fn policy_cluster_answers_on_every_node(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    let service = corner.service(json!({})).await;
    for node in ["node-1", "node-2"] {
        let answer = corner.answers(corner.node_port(node, &service), "a").await;
        assert_eq!(answer.node, "node-1");
        // The other node puts its own address in place of the client's.
        if node == "node-2" {
            assert_eq!(
                answer.client.ip(),
                corner.nodes().node_address(node).unwrap()
            );
        }
    }
}

async fn policy_local_answers_only_where_a_pod_is_and_keeps_the_client(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    let service = corner
        .service(json!({"externalTrafficPolicy": "Local"}))
        .await;
    let with = corner.node_port("node-1", &service);
    corner.answers(with, "a").await;
    for origin in [Origin::Here, Origin::Client] {
        let stream = corner.nodes().connect(&origin, with).await.unwrap();
        let client: IpAddr = stream.local_addr().unwrap().ip();
        let answer = http_get(stream, "web", "/").await.unwrap();
        assert_eq!(
            PodAnswer::parse(&answer.body).unwrap().client.ip(),
            client,
            "{origin:?}"
        );
    }
    let without = corner.node_port("node-2", &service);
    let want = match corner.nodes().kind() {
        NodesKind::Namespaces => ErrorKind::TimedOut,
        // Nothing on loopback can drop a packet.
        NodesKind::Loopback | NodesKind::Auto => ErrorKind::ConnectionRefused,
    };
    // Each node's rules come in their own time, and until then its kernel refuses.
    eventually(format!("{without} to fail with {want:?}"), SOON, || async {
        let error = match corner.nodes().ask(&Origin::Here, without).await {
            Ok(answer) => panic!("{answer:?} from the node without a pod"),
            Err(error) => error,
        };
        ensure!(error.kind() == want, "{error}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn the_health_check_port_follows_the_pods(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    let service = corner
        .service(json!({"externalTrafficPolicy": "Local"}))
        .await;
    let check = async |node: &str, status: u16, endpoints: u64| {
        let to = corner.health_check(node, &service);
        eventually(
            format!("{status} from the health check port of {node}"),
            SOON,
            || async {
                let answer = corner.nodes().get(&Origin::Here, to, "/healthz").await?;
                let body: Value =
                    serde_json::from_str(&answer.body).context(answer.body.clone())?;
                ensure!(
                    answer.status == status && body["localEndpoints"] == endpoints,
                    "{answer:?}"
                );
                ensure!(
                    answer.headers["x-load-balancing-endpoint-weight"] == endpoints.to_string(),
                    "{answer:?}"
                );
                ensure!(
                    body["serviceProxyHealthy"] == true && body["service"]["name"] == "web",
                    "{answer:?}"
                );
                Ok(())
            },
        )
        .await
        .unwrap();
    };
    check("node-1", 200, 1).await;
    check("node-2", 503, 0).await;
    corner.pod("b", "node-2", json!({})).await;
    check("node-2", 200, 1).await;
    corner
        .nodes()
        .set_ready(corner.namespace.name(), "a", false)
        .await
        .unwrap();
    check("node-1", 503, 0).await;
}

async fn port_10256_turns_away_a_node_that_the_autoscaler_marked(corner: &Corner) {
    // A node of its own: a marked one is of no use to the tests beside this one.
    let name = "marked";
    corner.nodes().add_node(name).await.unwrap();
    let to = SocketAddr::new(corner.nodes().node_address(name).unwrap(), 10256);
    let api: Api<Node> = Api::all(corner.client());
    let taint = json!([{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]);
    for (taints, status, eligible) in [
        (Value::Null, 200, true),
        (taint, 503, false),
        (Value::Null, 200, true),
    ] {
        let patch = Patch::Merge(json!({"spec": {"taints": taints}}));
        api.patch(name, &PatchParams::default(), &patch)
            .await
            .unwrap();
        eventually(
            format!("{status} from 10256 with taints {taints}"),
            SOON,
            || async {
                let answer = corner.nodes().get(&Origin::Here, to, "/healthz").await?;
                let body: Value =
                    serde_json::from_str(&answer.body).context(answer.body.clone())?;
                ensure!(
                    answer.status == status && body["nodeEligible"] == eligible,
                    "{answer:?}"
                );
                Ok(())
            },
        )
        .await
        .unwrap();
    }
    corner.nodes().remove_node(name).await.unwrap();
}

async fn a_cluster_ip_answers_from_the_node(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    let service = corner.service(json!({"type": "ClusterIP"})).await;
    let ip: IpAddr = service.spec.unwrap().cluster_ip.unwrap().parse().unwrap();
    for node in ["node-1", "node-2"] {
        let origin = Origin::Node(node.to_owned());
        let answer = eventually("the ClusterIP to answer", SOON, || async {
            Ok(corner.nodes().ask(&origin, SocketAddr::new(ip, 80)).await?)
        });
        assert_eq!(answer.await.unwrap().pod, "a", "from {node}");
    }
    let forward = corner
        .nodes()
        .forward_cluster_ip(corner.namespace.name(), "web", 80)
        .await
        .unwrap();
    corner.answers(forward.address(), "a").await;
    let error = corner
        .nodes()
        .forward_cluster_ip(corner.namespace.name(), "web", 81)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no port 81"), "{error:#}");
    let address = forward.address();
    drop(forward);
    eventually("the forwarder to end", SOON, || async {
        match corner.nodes().ask(&Origin::Here, address).await {
            Ok(answer) => bail!("{answer:?}"),
            Err(_) => Ok(()),
        }
    })
    .await
    .unwrap();
}

async fn udp_comes_back(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    let service = corner.service(json!({})).await;
    for node in ["node-1", "node-2"] {
        let to = corner.node_port_at(node, &service, 1);
        let text = eventually(format!("a datagram from {to}"), SOON, || async {
            let socket = corner.nodes().connect_udp(&Origin::Client, to).await?;
            socket.send(b"hello").await?;
            let mut buffer = [0; 512];
            let length =
                tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await??;
            Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
        .await
        .unwrap();
        assert_eq!(PodAnswer::parse(&text).unwrap().pod, "a", "{text}");
        assert!(text.ends_with("\nhello"), "{text}");
    }
}

/// Waits until the slices of `web` hold exactly these pods, each with its readiness.
async fn slices_hold(corner: &Corner, want: &[(&str, bool)]) {
    let of_web = ListParams::default().labels("kubernetes.io/service-name=web");
    eventually(format!("the slices to hold {want:?}"), SOON, || async {
        let slices = corner.api::<EndpointSlice>().list(&of_web).await?.items;
        let endpoints = slices.iter().flat_map(|s| s.endpoints.iter().flatten());
        let mut seen: Vec<_> = endpoints
            .map(|e| {
                let pod = e
                    .target_ref
                    .as_ref()
                    .and_then(|t| t.name.as_deref())
                    .unwrap_or_default();
                (
                    pod,
                    e.conditions
                        .as_ref()
                        .and_then(|c| c.ready)
                        .unwrap_or_default(),
                )
            })
            .collect();
        seen.sort_unstable();
        ensure!(seen == want, "they hold {seen:?}");
        Ok(())
    })
    .await
    .unwrap();
}

async fn an_unready_pod_leaves_the_slices(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    corner
        .pod("b", "node-1", json!({READY_ANNOTATION: "false"}))
        .await;
    let service = corner.service(json!({})).await;
    let to = corner.node_port("node-2", &service);
    slices_hold(corner, &[("a", true), ("b", false)]).await;
    corner.answers(to, "a").await;
    corner
        .nodes()
        .set_ready(corner.namespace.name(), "a", false)
        .await
        .unwrap();
    slices_hold(corner, &[("a", false), ("b", false)]).await;
    let patch = Patch::Merge(json!({"metadata": {"annotations": {READY_ANNOTATION: null}}}));
    corner
        .api::<Pod>()
        .patch("b", &PatchParams::default(), &patch)
        .await
        .unwrap();
    slices_hold(corner, &[("a", false), ("b", true)]).await;
    corner.answers(to, "b").await;
    corner
        .nodes()
        .set_ready(corner.namespace.name(), "a", true)
        .await
        .unwrap();
    slices_hold(corner, &[("a", true), ("b", true)]).await;
    let error = corner
        .nodes()
        .set_ready(corner.namespace.name(), "nobody", true)
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("nobody"), "{error:#}");
}

async fn deploy(corner: &Corner, replicas: i32, selector: Value) {
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(&selector)},
        },
    }))
    .unwrap();
    corner
        .api()
        .create(&PostParams::default(), &deployment)
        .await
        .unwrap();
}

async fn deployed(corner: &Corner, replicas: i32) -> Vec<Pod> {
    let of_web = ListParams::default().labels("app=web");
    eventually(format!("{replicas} ready replicas"), SOON, || async {
        let status = corner
            .api::<Deployment>()
            .get("web")
            .await?
            .status
            .unwrap_or_default();
        let pods = corner.api::<Pod>().list(&of_web).await?.items;
        ensure!(status.ready_replicas.unwrap_or(0) == replicas, "{status:?}");
        ensure!(
            pods.len() == usize::try_from(replicas)?,
            "{} pods",
            pods.len()
        );
        Ok(pods)
    })
    .await
    .unwrap()
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().unwrap().node_name.as_deref().unwrap()
}

async fn a_deleted_pod_is_replaced(corner: &Corner) {
    deploy(corner, 1, json!({"kubernetes.io/hostname": "node-1"})).await;
    let service = corner.service(json!({})).await;
    let to = corner.node_port("node-2", &service);
    let first = deployed(corner, 1).await.remove(0).metadata.name.unwrap();
    corner.answers(to, &first).await;
    corner
        .api::<Pod>()
        .delete(&first, &DeleteParams::default())
        .await
        .unwrap();
    let second = eventually("another pod", SOON, || async {
        let name = deployed(corner, 1)
            .await
            .remove(0)
            .metadata
            .name
            .unwrap_or_default();
        ensure!(name != first, "{name} is still there");
        Ok(name)
    })
    .await
    .unwrap();
    corner.answers(to, &second).await;
}

async fn a_leaving_pod_serves_for_its_shutdown_delay(corner: &Corner) {
    corner
        .pod("a", "node-1", json!({SHUTDOWN_DELAY_ANNOTATION: "3000"}))
        .await;
    let service = corner
        .service(json!({"externalTrafficPolicy": "Local"}))
        .await;
    let to = corner.node_port("node-1", &service);
    corner.answers(to, "a").await;
    let health = corner.health_check("node-1", &service);
    let started = tokio::time::Instant::now();
    corner
        .api::<Pod>()
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    // The drain window: the health check fails at once, while the pod still answers.
    eventually("the health check to fail", SOON, || async {
        let answer = corner
            .nodes()
            .get(&Origin::Here, health, "/healthz")
            .await?;
        ensure!(answer.status == 503, "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    if started.elapsed() < Duration::from_millis(2000) {
        assert_eq!(
            corner.nodes().ask(&Origin::Here, to).await.unwrap().pod,
            "a"
        );
    }
    eventually("the pod to go", SOON, || async {
        ensure!(
            corner.api::<Pod>().get_opt("a").await?.is_none(),
            "it is still there"
        );
        Ok(())
    })
    .await
    .unwrap();
    assert!(
        started.elapsed() >= Duration::from_millis(3000),
        "gone after {:?}",
        started.elapsed()
    );
    assert!(
        corner.nodes().ask(&Origin::Here, to).await.is_err(),
        "it still answers"
    );
}

async fn a_node_without_pods_takes_new_ones(corner: &Corner) {
    // A node of its own: no other test's pods keep its network awake.
    let name = format!("idle-{}", corner.nodes().nodes().len());
    corner.nodes().add_node(&name).await.unwrap();
    corner.pod("first", &name, json!({})).await;
    let service = corner.service(json!({})).await;
    let to = corner.node_port(&name, &service);
    corner.answers(to, "first").await;
    let pods = corner.api::<Pod>();
    pods.delete("first", &DeleteParams::default())
        .await
        .unwrap();
    eventually("the pod to go", SOON, || async {
        ensure!(pods.get_opt("first").await?.is_none(), "it is still there");
        Ok(())
    })
    .await
    .unwrap();
    corner.pod("second", &name, json!({})).await;
    corner.answers(to, "second").await;
    corner.nodes().remove_node(&name).await.unwrap();
}

async fn a_pod_goes_with_its_node(corner: &Corner) {
    let name = format!("short-lived-{}", corner.nodes().nodes().len());
    corner.nodes().add_node(&name).await.unwrap();
    // Both nodes carry a label of this test, so that no other test's pods are here, and ours are nowhere else.
    let api: Api<Node> = Api::all(corner.client());
    let label = Patch::Merge(json!({"metadata": {"labels": {"for": corner.namespace.name()}}}));
    api.patch(&name, &PatchParams::default(), &label)
        .await
        .unwrap();
    deploy(corner, 2, json!({"for": corner.namespace.name()})).await;
    let service = corner.service(json!({})).await;
    let pods = deployed(corner, 2).await;
    assert!(pods.iter().all(|p| node_of(p) == name), "{pods:?}");
    let to = corner.node_port(&name, &service);
    eventually("the new node to answer", SOON, || async {
        Ok(corner.nodes().ask(&Origin::Here, to).await?)
    })
    .await
    .unwrap();

    api.patch("node-2", &PatchParams::default(), &label)
        .await
        .unwrap();
    corner.nodes().remove_node(&name).await.unwrap();
    assert!(
        api.get_opt(&name).await.unwrap().is_none(),
        "the Node object is still there"
    );
    assert!(!corner.nodes().nodes().contains(&name));
    assert!(
        corner.nodes().ask(&Origin::Here, to).await.is_err(),
        "the node still answers"
    );
    let pods = deployed(corner, 2).await;
    assert!(pods.iter().all(|p| node_of(p) == "node-2"), "{pods:?}");
    let to = corner.node_port("node-1", &service);
    eventually("the pods on the other node to answer", SOON, || async {
        let answer = corner.nodes().ask(&Origin::Here, to).await?;
        ensure!(answer.node == "node-2", "{answer:?}");
        Ok(())
    })
    .await
    .unwrap();
    let error = corner.nodes().remove_node(&name).await.unwrap_err();
    assert!(format!("{error:#}").contains(&name), "{error:#}");
}

async fn a_connection_lives_as_long_as_its_pod(corner: &Corner) {
    corner.pod("a", "node-1", json!({})).await;
    let service = corner.service(json!({})).await;
    let to = corner.node_port("node-2", &service);
    corner.answers(to, "a").await;
    let mut stream = BufReader::new(corner.nodes().connect(&Origin::Here, to).await.unwrap());
    stream
        .write_all(b"GET /stream HTTP/1.1\r\nHost: web\r\n\r\n")
        .await
        .unwrap();
    let mut line = String::new();
    while line.trim_end() != "line: 5" {
        line.clear();
        let read = tokio::time::timeout(SOON, stream.read_line(&mut line))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(read, 0, "the stream ended by itself");
    }
    corner
        .api::<Pod>()
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    let mut rest = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut rest))
        .await
        .unwrap()
        .unwrap();
}

async fn readiness_of_a_node_is_a_condition_only(corner: &Corner) {
    let name = "moody";
    corner.nodes().add_node(name).await.unwrap();
    let api: Api<Node> = Api::all(corner.client());
    for ready in [false, true] {
        corner.nodes().set_node_ready(name, ready).await.unwrap();
        let node = api.get(name).await.unwrap();
        let conditions = node.status.as_ref().unwrap().conditions.as_ref().unwrap();
        let status = if ready { "True" } else { "False" };
        assert_eq!(
            conditions
                .iter()
                .filter(|c| c.type_ == "Ready")
                .map(|c| c.status.as_str())
                .collect::<Vec<_>>(),
            [status]
        );
        let spec = node.spec.unwrap();
        assert_eq!(spec.taints, None);
        assert_eq!(spec.provider_id.as_deref(), Some("evenkeel://moody"));
        assert!(spec.pod_cidr.is_some());
    }
    let address = corner.nodes().node_address(name).unwrap().to_string();
    let addresses = api
        .get(name)
        .await
        .unwrap()
        .status
        .unwrap()
        .addresses
        .unwrap();
    assert!(
        addresses
            .iter()
            .any(|a| a.type_ == "InternalIP" && a.address == address),
        "{addresses:?}"
    );
    // A second one of this name is refused, and harms neither the first nor its object.
    let error = corner.nodes().add_node(name).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("already has a node moody"),
        "{error:#}"
    );
    let health = SocketAddr::new(corner.nodes().node_address(name).unwrap(), 10256);
    assert_eq!(
        corner
            .nodes()
            .get(&Origin::Here, health, "/healthz")
            .await
            .unwrap()
            .status,
        200
    );
    corner.nodes().remove_node(name).await.unwrap();
    assert!(api.get_opt(name).await.unwrap().is_none());
    // Nor does a Node object that somebody else made go with a failure.
    let foreign = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&PostParams::default(), &foreign).await.unwrap();
    let error = corner.nodes().add_node(name).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("create the Node object"),
        "{error:#}"
    );
    assert!(api.get_opt(name).await.unwrap().is_some());
    api.delete(name, &DeleteParams::default()).await.unwrap();
}

/// The namespaces and interfaces of all pools of this machine.
fn traces() -> Vec<String> {
    let list = |arguments: &[&str]| {
        let output = Command::new("ip").args(arguments).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let namespaces = list(&["netns", "list"]);
    let links = list(&["-o", "link", "show", "type", "veth"]);
    let names = namespaces
        .lines()
        .map(|l| l.split(' ').next().unwrap_or_default());
    let interfaces = links
        .lines()
        .filter_map(|l| l.split(": ").nth(1)?.split('@').next());
    names
        .chain(interfaces)
        .filter(|n| n.starts_with("ek"))
        .map(str::to_owned)
        .collect()
}

fn tag(nodes: &Nodes) -> String {
    nodes
        .client_netns()
        .unwrap()
        .split('-')
        .next()
        .unwrap()
        .to_owned()
}

async fn no_traces_of(tag: &str) {
    eventually(format!("{tag} to leave nothing behind"), SOON, || async {
        let left: Vec<_> = traces()
            .into_iter()
            .filter(|n| n.starts_with(tag))
            .collect();
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
    .await
    .unwrap();
}

fn api_only() -> Options {
    Options {
        controller_manager: false,
        ..Options::default()
    }
}

fn one_node(kind: NodesKind) -> NodesOptions {
    NodesOptions {
        kind,
        count: 1,
        ..NodesOptions::default()
    }
}

#[tokio::test]
async fn a_pool_leaves_nothing_behind() {
    let control_plane = ControlPlane::start(api_only()).await.unwrap();
    let start = async |kind| {
        Nodes::start(control_plane.kubeconfig(), one_node(kind))
            .await
            .unwrap()
    };
    let pool = start(NodesKind::Loopback).await;
    let address = SocketAddr::new(pool.node_address("node-1").unwrap(), 10256);
    eventually("10256 to answer", SOON, || async {
        Ok(pool.get(&Origin::Here, address, "/healthz").await?)
    })
    .await
    .unwrap();
    pool.stop().await.unwrap();
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "a forwarder lives on"
    );
    let api: Api<Node> = Api::all(control_plane.client());
    assert_eq!(
        api.list(&ListParams::default()).await.unwrap().items.len(),
        0
    );

    if !namespaces_or_skip("a_pool_leaves_nothing_behind") {
        return;
    }
    let pool = start(NodesKind::Namespaces).await;
    let tag = tag(&pool);
    let there = traces().into_iter().filter(|n| n.starts_with(&tag)).count();
    assert_eq!(
        there,
        5,
        "bridge, client, node, pods and an interface here: {:?}",
        traces()
    );
    drop(pool);
    let left: Vec<_> = traces()
        .into_iter()
        .filter(|n| n.starts_with(&tag))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    api.delete("node-1", &DeleteParams::default())
        .await
        .unwrap();

    // The same when the process is killed: a child that runs the test below.
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pool_of_a_process_that_will_be_killed",
            "--ignored",
            "--nocapture",
        ])
        .env("EVENKEEL_TEST_KUBECONFIG", control_plane.kubeconfig())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let tag = loop {
        let line = tokio::time::timeout(Duration::from_secs(90), lines.next_line())
            .await
            .unwrap()
            .unwrap();
        // The test runner writes its own words before ours on the same line.
        if let Some((_, tag)) = line.expect("the child ended early").split_once("TAG ") {
            break tag.to_owned();
        }
    };
    assert!(
        traces().iter().any(|n| n.starts_with(&tag)),
        "{tag} is not there: {:?}",
        traces()
    );
    child.kill().await.unwrap();
    no_traces_of(&tag).await;
}

#[tokio::test]
#[ignore = "run by a_pool_leaves_nothing_behind in a process of its own"]
#[expect(
    clippy::print_stdout,
    reason = "tells the process that will kill this one what to look for"
)]
async fn pool_of_a_process_that_will_be_killed() {
    let Some(kubeconfig) = std::env::var_os("EVENKEEL_TEST_KUBECONFIG") else {
        return;
    };
    let pool = Nodes::start(kubeconfig.as_ref(), one_node(NodesKind::Namespaces))
        .await
        .unwrap();
    println!("TAG {}", tag(&pool));
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn dual_stack_nodes_answer_on_both_families() {
    if !namespaces_or_skip("dual_stack_nodes_answer_on_both_families") {
        return;
    }
    let control_plane = ControlPlane::start(Options {
        dual_stack: true,
        ..Options::default()
    })
    .await
    .unwrap();
    let options = NodesOptions {
        dual_stack: true,
        kind: NodesKind::Namespaces,
        ..NodesOptions::default()
    };
    let nodes = Nodes::start(control_plane.kubeconfig(), options)
        .await
        .unwrap();
    let namespace = control_plane.namespace("dual").await.unwrap();
    let pods: Api<Pod> = Api::namespaced(control_plane.client(), namespace.name());
    let pod = json!({"metadata": {"name": "a", "labels": {"app": "web"}}, "spec": pod_spec(&json!({"kubernetes.io/hostname": "node-1"}))});
    pods.create(
        &PostParams::default(),
        &serde_json::from_value(pod).unwrap(),
    )
    .await
    .unwrap();
    let services: Api<Service> = Api::namespaced(control_plane.client(), namespace.name());
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "ipFamilyPolicy": "RequireDualStack", "selector": {"app": "web"}, "ports": [{"port": 80}],
    }});
    let service = services
        .create(
            &PostParams::default(),
            &serde_json::from_value(service).unwrap(),
        )
        .await
        .unwrap();
    let port = u16::try_from(service.spec.unwrap().ports.unwrap()[0].node_port.unwrap()).unwrap();
    for node in ["node-1", "node-2"] {
        let addresses = nodes.node_addresses(node).unwrap();
        assert!(
            addresses[0].is_ipv4() && addresses[1].is_ipv6(),
            "{addresses:?}"
        );
        for address in addresses {
            for origin in [Origin::Here, Origin::Client] {
                let to = SocketAddr::new(address, port);
                let answer =
                    eventually(format!("{to} to answer from {origin:?}"), SOON, || async {
                        Ok(nodes.ask(&origin, to).await?)
                    });
                assert_eq!(answer.await.unwrap().pod, "a");
            }
        }
    }
}

#[tokio::test]
async fn loopback_refuses_what_it_cannot_do() {
    let options = NodesOptions {
        dual_stack: true,
        ..one_node(NodesKind::Loopback)
    };
    let error = Nodes::start("/nonexistent".as_ref(), options)
        .await
        .err()
        .unwrap();
    assert!(
        error
            .to_string()
            .contains("IPv6 has a single loopback address"),
        "{error:#}"
    );
    let error = Nodes::start("/nonexistent".as_ref(), one_node(NodesKind::Loopback))
        .await
        .err()
        .unwrap();
    assert!(format!("{error:#}").contains("/nonexistent"), "{error:#}");
}

#[tokio::test]
async fn a_load_balancer_can_listen_on_the_pools_range() {
    let control_plane = ControlPlane::start(api_only()).await.unwrap();
    let kinds = [NodesKind::Loopback, NodesKind::Namespaces];
    let usable = |kind: &NodesKind| {
        *kind == NodesKind::Loopback
            || namespaces_or_skip("a_load_balancer_can_listen_on_the_pools_range")
    };
    for kind in kinds.into_iter().filter(usable) {
        let options = NodesOptions {
            count: 0,
            ..one_node(kind)
        };
        let nodes = Nodes::start(control_plane.kubeconfig(), options)
            .await
            .unwrap();
        let range = nodes.load_balancer_range();
        let (first, _) = range.split_once('/').unwrap();
        let mut address: [u8; 4] = first.parse::<std::net::Ipv4Addr>().unwrap().octets();
        address[3] += 7;
        let listener = tokio::net::TcpListener::bind((IpAddr::from(address), 0))
            .await
            .unwrap();
        let to = listener.local_addr().unwrap();
        let stream = nodes.connect(&Origin::Client, to);
        let (accepted, stream) =
            tokio::time::timeout(SOON, async { tokio::join!(listener.accept(), stream) })
                .await
                .unwrap();
        let seen = accepted.unwrap().1;
        assert_eq!(seen, stream.unwrap().local_addr().unwrap(), "{kind:?}");
        assert_ne!(
            seen.ip(),
            IpAddr::from(address),
            "{kind:?}: the client has an address of its own"
        );
    }
}
