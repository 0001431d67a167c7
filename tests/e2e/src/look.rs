//! Looking at a world: Services, conditions, events, the data plane's objects, answers of pods. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_harness::nodes::{Nodes, Origin, PodAnswer, http_get};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{LoadBalancerIngress, Pod, Service};
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use crate::World;

/// How long anything may take before it counts as failed: generous, because machines are busy.
pub const LIMIT: Duration = Duration::from_secs(60);

impl World {
    /// The Services of a namespace.
    pub fn services(&self, namespace: &str) -> Api<Service> {
        Api::namespaced(self.client(), namespace)
    }

    /// Waits for a Service's address; the port is the caller's.
    ///
    /// # Errors
    /// When there is none in time: with the end of the controller's log.
    pub async fn address(&self, namespace: &str, service: &str, port: u16) -> Result<SocketAddr> {
        eventually("an address in the Service's status", LIMIT, || async {
            let service = self.services(namespace).get(service).await?;
            let ip = ingress(&service).into_iter().find_map(|entry| entry.ip);
            let ip: IpAddr = ip
                .context("status.loadBalancer.ingress is empty")?
                .parse()?;
            Ok(SocketAddr::new(ip, port))
        })
        .await
        .with_context(|| {
            format!(
                "the end of the controller's log:\n{}",
                self.controller_log()
            )
        })
    }

    /// Waits until a condition has a status, and returns it.
    ///
    /// # Errors
    /// When it has not in time: with what it has instead.
    pub async fn condition(
        &self,
        namespace: &str,
        service: &str,
        kind: &str,
        status: &str,
    ) -> Result<Condition> {
        eventually(format!("condition {kind}={status}"), LIMIT, || async {
            let service = self.services(namespace).get(service).await?;
            let conditions = service
                .status
                .and_then(|s| s.conditions)
                .unwrap_or_default();
            match conditions.into_iter().find(|c| c.type_ == kind) {
                Some(found) if found.status == status => Ok(Condition {
                    reason: found.reason,
                    message: found.message,
                }),
                Some(found) => bail!("it is {} ({})", found.status, found.message),
                None => bail!("it is not there"),
            }
        })
        .await
        .with_context(|| {
            format!(
                "the end of the controller's log:\n{}",
                self.controller_log()
            )
        })
    }

    /// The events about a Service, as `(reason, note)`.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn events(&self, namespace: &str, service: &str) -> Result<Vec<(String, String)>> {
        let api: Api<Event> = Api::namespaced(self.client(), namespace);
        let all = api.list(&ListParams::default()).await?;
        Ok(all
            .into_iter()
            .filter(|event| {
                event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(service)
            })
            .map(|event| {
                (
                    event.reason.unwrap_or_default(),
                    event.note.unwrap_or_default(),
                )
            })
            .collect())
    }

    /// Waits for an event with a reason, and returns its note.
    ///
    /// # Errors
    /// When there is none in time: with the reasons there are.
    pub async fn event(&self, namespace: &str, service: &str, reason: &str) -> Result<String> {
        eventually(format!("event {reason}"), LIMIT, || async {
            let events = self.events(namespace, service).await?;
            let reasons: Vec<_> = events.iter().map(|(reason, _)| reason.clone()).collect();
            let found = events.into_iter().find(|(r, _)| r == reason);
            found
                .map(|(_, note)| note)
                .with_context(|| format!("there are {reasons:?}"))
        })
        .await
    }

    /// Waits until a Service is gone.
    ///
    /// # Errors
    /// When it is still there in time: with its finalizers.
    pub async fn gone(&self, namespace: &str, service: &str) -> Result<()> {
        eventually(format!("Service {service} to go"), LIMIT, || async {
            match self.services(namespace).get_opt(service).await? {
                None => Ok(()),
                Some(service) => bail!(
                    "it is still there, with finalizers {:?}",
                    service.finalizers()
                ),
            }
        })
        .await
        .with_context(|| {
            format!(
                "the end of the controller's log:\n{}",
                self.controller_log()
            )
        })
    }

    /// A path of the controller's own HTTP server: status and body.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> Result<(u16, String)> {
        let stream = TcpStream::connect(self.admin).await?;
        let answer = http_get(stream, "evenkeel", path).await?;
        Ok((answer.status, answer.body))
    }

    /// The sum of one of the controller's metrics over its labels.
    ///
    /// # Errors
    /// When the controller does not answer.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let (_, body) = self.get("/metrics").await?;
        let lines = body
            .lines()
            .filter(|line| line.starts_with(name) && !line.starts_with('#'));
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }

    /// One request through an address, from this machine.
    ///
    /// # Errors
    /// When it is not answered.
    pub async fn ask(&self, to: SocketAddr) -> Result<PodAnswer> {
        Ok(self.nodes()?.ask(&Origin::Here, to).await?)
    }

    /// Many requests, one after another: how often each pod answered.
    ///
    /// # Errors
    /// When a single one fails.
    pub async fn ask_often(&self, to: SocketAddr, times: usize) -> Result<BTreeMap<String, usize>> {
        ask_often(self.nodes()?, to, times).await
    }

    /// Waits until exactly these pods answer through an address, in a row of requests without a failure.
    ///
    /// # Errors
    /// When others answer, or not all of them.
    pub async fn answered_by(
        &self,
        to: SocketAddr,
        pods: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, usize>> {
        eventually("exactly the ready pods to answer", LIMIT, || async {
            let answers = self.ask_often(to, pods.len() * 8).await?;
            let seen: BTreeSet<String> = answers.keys().cloned().collect();
            ensure!(
                seen == *pods,
                "answers came from {seen:?}, ready are {pods:?}"
            );
            Ok(answers)
        })
        .await
    }

    /// The Ready pods with a label.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub async fn ready_pods(&self, namespace: &str, label: &str) -> Result<BTreeSet<String>> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let pods = api.list(&ListParams::default().labels(label)).await?;
        Ok(pods
            .items
            .iter()
            .filter(|pod| is_ready(pod))
            .map(|pod| pod.name_any())
            .collect())
    }

    /// Waits until this many pods with a label are Ready.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn await_ready_pods(
        &self,
        namespace: &str,
        label: &str,
        count: usize,
    ) -> Result<BTreeSet<String>> {
        eventually(format!("{count} ready pods"), LIMIT, || async {
            let ready = self.ready_pods(namespace, label).await?;
            ensure!(ready.len() == count, "{} are ready", ready.len());
            Ok(ready)
        })
        .await
    }

    /// The data plane's objects, as its API tells them.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn objects(&self) -> Result<Value> {
        let stream = UnixStream::connect(&self.socket).await?;
        let answer = http_get(stream, "dataplane", "/v1/objects").await?;
        ensure!(
            answer.status == 200,
            "the data plane says {}",
            answer.status
        );
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// How many objects the data plane has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn object_count(&self) -> Result<usize> {
        let objects = self.objects().await?;
        Ok(["leases", "backend_sets", "listeners"]
            .iter()
            .map(|kind| objects[kind].as_array().map_or(0, Vec::len))
            .sum())
    }

    /// Names of the nodes that are targets of any backend set.
    ///
    /// # Errors
    /// When the data plane does not answer.
    pub async fn target_nodes(&self) -> Result<BTreeSet<String>> {
        let objects = self.objects().await?;
        let sets = objects["backend_sets"]
            .as_array()
            .context("no backend sets")?;
        Ok(sets
            .iter()
            .flat_map(|set| set["spec"]["targets"].as_array().into_iter().flatten())
            .filter_map(|target| target["node"].as_str().map(str::to_owned))
            .collect())
    }
}

/// Reason and message of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// CamelCase.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// Many requests to an address, one after another: how often each pod answered.
///
/// # Errors
/// When a single one fails.
pub async fn ask_often(
    nodes: &Nodes,
    to: SocketAddr,
    times: usize,
) -> Result<BTreeMap<String, usize>> {
    let mut answers = BTreeMap::new();
    for n in 1..=times {
        let answer = nodes
            .ask(&Origin::Here, to)
            .await
            .with_context(|| format!("request {n} of {times}"))?;
        *answers.entry(answer.pod).or_default() += 1;
    }
    Ok(answers)
}

/// `status.loadBalancer.ingress`.
pub fn ingress(service: &Service) -> Vec<LoadBalancerIngress> {
    let balancer = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    balancer
        .and_then(|balancer| balancer.ingress.clone())
        .unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.reason)
    }
}
