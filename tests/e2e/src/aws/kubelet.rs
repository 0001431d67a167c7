//! A kubelet that knows readiness gates: pods of the nodes that it is named get addresses and run at once. Writes: the API server.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// The kubelet of a namespace. It ends when dropped.
pub struct Kubelet {
    _end: DropGuard,
    _task: JoinHandle<()>,
}

impl Kubelet {
    /// Has all pods of a namespace run. The n-th pod has the address `10.0.0.n`, after 20.
    #[must_use]
    pub fn start(client: Client, namespace: &str) -> Self {
        let (end, pods) = (
            CancellationToken::new(),
            Api::<Pod>::namespaced(client, namespace),
        );
        let ended = end.clone();
        let work = async move {
            let mut addresses = BTreeMap::new();
            while !ended.is_cancelled() {
                // Whoever waits for what this does not do finds out.
                let _ = look(&pods, &mut addresses).await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        Self {
            _end: end.drop_guard(),
            _task: tokio::spawn(work),
        }
    }
}

async fn look(pods: &Api<Pod>, addresses: &mut BTreeMap<String, String>) -> Result<()> {
    for pod in pods.list(&ListParams::default()).await? {
        let (Some(name), Some(uid)) = (pod.metadata.name.clone(), pod.metadata.uid.clone()) else {
            continue;
        };
        if pod.metadata.deletion_timestamp.is_some() {
            let now = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                }),
                ..DeleteParams::default().grace_period(0)
            };
            pods.delete(&name, &now).await?;
            continue;
        }
        let next = addresses.len() + 21;
        let address = addresses
            .entry(uid.clone())
            .or_insert_with(|| format!("10.0.0.{next}"));
        if let Some(status) = status(&pod, address) {
            let patch = json!({"metadata": {"uid": uid}, "status": status});
            let patch = Patch::Strategic(patch);
            pods.patch_status(&name, &PatchParams::default(), &patch)
                .await?;
        }
    }
    Ok(())
}

/// What changes of the status of a pod, as the kubelet decides it.
fn status(pod: &Pod, address: &str) -> Option<Value> {
    let conditions = pod.status.as_ref().and_then(|one| one.conditions.as_ref());
    let conditions: &[PodCondition] = conditions.map_or(&[], Vec::as_slice);
    let find = |type_: &str| conditions.iter().find(|one| one.type_ == type_);
    let is = |type_: &str| find(type_).is_some_and(|one| one.status == "True");
    let spec = pod.spec.as_ref()?;
    let gates = spec.readiness_gates.iter().flatten();
    let ready = gates.map(|gate| &gate.condition_type).all(|gate| is(gate));
    if find("Ready").is_some() && is("Ready") == ready {
        return None;
    }
    let now = now().to_string();
    let condition = |type_: &str, value: bool| {
        let mut condition = json!({
            "type": type_, "status": if value { "True" } else { "False" }, "lastTransitionTime": now,
            "reason": if value { "" } else { "ReadinessGatesNotReady" },
        });
        if let Some(was) = find(type_).filter(|was| (was.status == "True") == value) {
            condition["lastTransitionTime"] = json!(was.last_transition_time);
        }
        condition
    };
    Some(json!({
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [condition("ContainersReady", true), condition("Ready", ready)],
    }))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: whoever is tested goes by this clock"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
