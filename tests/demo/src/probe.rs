//! Looking at the world: Services, endpoints, the data plane's objects, answers of pods. Reads only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel_harness::nodes::{Origin, PodAnswer, http_get};
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde_json::Value;
use tokio::net::UnixStream;

use crate::scene::Scene;

/// How long anything may take before it counts as failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

impl Scene {
    pub(crate) fn services(&self) -> Api<Service> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The front end's published address.
    pub(crate) async fn address(&self) -> Result<SocketAddr> {
        eventually("an address in the Service's status", LIMIT, || async {
            let service = self.services().get("frontend").await?;
            let ip = ingress(&service).into_iter().find_map(|entry| entry.ip);
            let ip: IpAddr = ip
                .context("status.loadBalancer.ingress is empty")?
                .parse()?;
            Ok(SocketAddr::new(ip, self.front_port))
        })
        .await
        .with_context(|| {
            format!(
                "the end of the controller's log:\n{}",
                self.controller_log()
            )
        })
    }

    /// One request through an address.
    pub(crate) async fn ask(&self, to: SocketAddr) -> Result<PodAnswer> {
        Ok(self.nodes.ask(&Origin::Here, to).await?)
    }

    /// Many requests, one after another: how often each pod answered.
    ///
    /// # Errors
    /// When a single one fails.
    pub(crate) async fn ask_often(
        &self,
        to: SocketAddr,
        times: usize,
    ) -> Result<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        for n in 1..=times {
            let answer = self
                .ask(to)
                .await
                .with_context(|| format!("request {n} of {times}"))?;
            *answers.entry(answer.pod).or_default() += 1;
        }
        Ok(answers)
    }

    /// The Ready pods of the front end.
    pub(crate) async fn ready_pods(&self) -> Result<BTreeSet<String>> {
        let pods = self
            .pods()
            .list(&ListParams::default().labels("tier=frontend"))
            .await?;
        Ok(pods
            .items
            .iter()
            .filter(|pod| is_ready(pod))
            .map(|pod| pod.name_any())
            .collect())
    }

    /// Waits until exactly these pods answer through an address, each at least once in a row of requests without a failure.
    pub(crate) async fn answered_by(
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

    /// The data plane's objects, as its API tells them.
    pub(crate) async fn objects(&self) -> Result<Value> {
        let stream = UnixStream::connect(&self.socket).await?;
        let answer = http_get(stream, "dataplane", "/v1/objects").await?;
        ensure!(
            answer.status == 200,
            "the data plane says {}",
            answer.status
        );
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Names of the nodes that are targets of the front end.
    pub(crate) async fn target_nodes(&self) -> Result<BTreeSet<String>> {
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

    /// Waits until a Service's condition has a status.
    pub(crate) async fn condition(
        &self,
        service: &str,
        kind: &str,
        status: &str,
    ) -> Result<String> {
        eventually(format!("condition {kind}={status}"), LIMIT, || async {
            let service = self.services().get(service).await?;
            let conditions = service
                .status
                .and_then(|s| s.conditions)
                .unwrap_or_default();
            match conditions.into_iter().find(|c| c.type_ == kind) {
                Some(found) if found.status == status => Ok(found.message),
                Some(found) => bail!("it is {} ({})", found.status, found.message),
                None => bail!("it is not there"),
            }
        })
        .await
    }
}

/// `status.loadBalancer.ingress`.
pub(crate) fn ingress(service: &Service) -> Vec<k8s_openapi::api::core::v1::LoadBalancerIngress> {
    let status = service
        .status
        .clone()
        .and_then(|status| status.load_balancer);
    status
        .and_then(|balancer| balancer.ingress)
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

/// How often each pod answered, in words.
pub(crate) fn in_words(answers: &BTreeMap<String, usize>) -> String {
    answers
        .iter()
        .map(|(pod, times)| format!("{pod} {times}x"))
        .collect::<Vec<_>>()
        .join(", ")
}
