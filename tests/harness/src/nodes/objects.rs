//! Decides what the pool writes into Node and Pod objects, and reads what it needs from them. Pure.
//!
//! A kubelet's answers, cut down to what Services and load balancers look at: addresses, conditions, container states.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

/// Set to `"false"` on a pod, it makes the pod not Ready; absent or anything else leaves it Ready.
pub const READY_ANNOTATION: &str = "test.evenkeel.dev/ready";
/// How long a deleted pod goes on serving before it stops, in milliseconds: what a `preStop` hook that sleeps does.
/// It is cut short by the pod's grace period, as a kubelet would.
pub const SHUTDOWN_DELAY_ANNOTATION: &str = "test.evenkeel.dev/shutdown-delay-ms";

/// TCP or UDP; SCTP ports of a pod are not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// Reads a Kubernetes `protocol` field; absent means TCP, and `None` a protocol that is not served here.
    pub(crate) fn parse(text: Option<&str>) -> Option<Self> {
        match text {
            None | Some("TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some(_) => None,
        }
    }
}

/// A Node object as its kubelet and its cloud would have made it, Ready from the start.
pub(crate) fn node(name: &str, addresses: &[IpAddr], pod_ranges: &[String], now: &str) -> Value {
    let ips = addresses
        .iter()
        .map(|ip| json!({"type": "InternalIP", "address": ip}));
    let hostname = std::iter::once(json!({"type": "Hostname", "address": name}));
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}},
        "spec": {
            "providerID": format!("evenkeel://{name}"),
            "podCIDR": pod_ranges.first(),
            "podCIDRs": pod_ranges,
        },
        "status": {
            "addresses": ips.chain(hostname).collect::<Vec<_>>(),
            "conditions": [node_ready(true, now)],
            "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
            "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        },
    })
}

/// The Ready condition of a node.
pub(crate) fn node_ready(ready: bool, now: &str) -> Value {
    let (status, reason) = if ready {
        ("True", "KubeletReady")
    } else {
        ("False", "KubeletNotReady")
    };
    json!({
        "type": "Ready", "status": status, "reason": reason, "message": "set by the test",
        "lastHeartbeatTime": now, "lastTransitionTime": now,
    })
}

/// A merge patch for the status of a pod that runs; `uid` makes the server refuse it for a namesake.
pub(crate) fn running(
    pod: &Pod,
    pod_ips: &[IpAddr],
    host_ips: &[IpAddr],
    ready: bool,
    now: &str,
) -> Value {
    let started = start_time(pod).unwrap_or_else(|| now.to_owned());
    let truth = |value: bool| if value { "True" } else { "False" };
    let condition = |kind: &str, value: bool| {
        let mut condition =
            json!({"type": kind, "status": truth(value), "lastTransitionTime": now});
        if !value {
            condition["reason"] = "ContainersNotReady".into();
        }
        condition
    };
    let list = |ips: &[IpAddr]| ips.iter().map(|ip| json!({"ip": ip})).collect::<Vec<_>>();
    let containers = pod.spec.iter().flat_map(|s| &s.containers).map(|container| {
        let image = container.image.as_deref().unwrap_or_default();
        json!({
            "name": container.name, "image": image, "imageID": format!("evenkeel://{image}"),
            "containerID": format!("evenkeel://{}/{}", pod.metadata.uid.as_deref().unwrap_or_default(), container.name),
            "ready": ready, "started": true, "restartCount": 0, "state": {"running": {"startedAt": started}},
        })
    });
    json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {
            "phase": "Running",
            "podIP": pod_ips.first(), "podIPs": list(pod_ips),
            "hostIP": host_ips.first(), "hostIPs": list(host_ips),
            "startTime": started,
            "conditions": [
                condition("PodScheduled", true),
                condition("Initialized", true),
                condition("ContainersReady", ready),
                condition("Ready", ready),
            ],
            "containerStatuses": containers.collect::<Vec<_>>(),
        },
    })
}

fn start_time(pod: &Pod) -> Option<String> {
    Some(pod.status.as_ref()?.start_time.as_ref()?.0.to_string())
}

/// The Ready condition of a pod; `None` while nobody has set one.
pub(crate) fn pod_ready(pod: &Pod) -> Option<bool> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|c| c.type_ == "Ready")
        .map(|c| c.status == "True")
}

/// Whether the pod's own annotation says that it is not Ready.
pub(crate) fn annotated_unready(pod: &Pod) -> bool {
    annotation(pod, READY_ANNOTATION) == Some("false")
}

/// How long a deleted pod still serves, in milliseconds.
pub(crate) fn shutdown_delay_ms(pod: &Pod) -> u64 {
    let asked = annotation(pod, SHUTDOWN_DELAY_ANNOTATION)
        .and_then(|v| v.parse::<u64>().ok())
        .unwrap_or(0);
    let grace = pod
        .metadata
        .deletion_grace_period_seconds
        .unwrap_or(30)
        .max(0)
        .unsigned_abs();
    asked.min(grace * 1000)
}

fn annotation<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata
        .annotations
        .as_ref()?
        .get(key)
        .map(String::as_str)
}

/// Every port that a container of the pod declares and that can be served here, once.
pub(crate) fn container_ports(pod: &Pod) -> Vec<(Protocol, u16)> {
    let containers = pod.spec.iter().flat_map(|s| &s.containers);
    let mut ports: Vec<_> = containers
        .flat_map(|c| c.ports.as_deref().unwrap_or_default())
        .filter_map(|p| {
            Some((
                Protocol::parse(p.protocol.as_deref())?,
                u16::try_from(p.container_port).ok()?,
            ))
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Whether the pod has ended for good, so that nothing of it runs.
pub(crate) fn finished(pod: &Pod) -> bool {
    matches!(
        pod.status.as_ref().and_then(|s| s.phase.as_deref()),
        Some("Succeeded" | "Failed")
    )
}

/// The node the pod is bound to.
pub(crate) fn node_name(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Whether kube-proxy calls the node eligible: neither leaving nor marked by the cluster autoscaler
/// (`nodeEligible` of port 10256; kubernetes/kubernetes pkg/proxy/healthcheck/proxy_health.go).
pub(crate) fn node_eligible(node: &Node) -> bool {
    let taints = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    node.metadata.deletion_timestamp.is_none()
        && !taints
            .iter()
            .any(|t| t.key == "ToBeDeletedByClusterAutoscaler")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_node_is_ready_and_has_its_addresses_first() {
        let ips = [
            "10.123.7.10".parse().unwrap(),
            "fd00:10:123:7::a".parse().unwrap(),
        ];
        let value = node(
            "n1",
            &ips,
            &["10.244.1.0/24".into()],
            "2026-01-01T00:00:00Z",
        );
        let node: Node = serde_json::from_value(value).unwrap();
        assert!(super::super::schedule::is_ready(&node) && node_eligible(&node));
        let spec = node.spec.unwrap();
        assert_eq!(
            (spec.provider_id.as_deref(), spec.pod_cidr.as_deref()),
            (Some("evenkeel://n1"), Some("10.244.1.0/24"))
        );
        let addresses: Vec<_> = node
            .status
            .unwrap()
            .addresses
            .unwrap()
            .into_iter()
            .map(|a| (a.type_, a.address))
            .collect();
        assert_eq!(
            addresses[1],
            ("InternalIP".to_owned(), "fd00:10:123:7::a".to_owned())
        );
    }

    #[test]
    fn the_autoscaler_and_deletion_make_a_node_ineligible() {
        for (case, value, want) in [
            ("plain", json!({}), true),
            (
                "other taint",
                json!({"spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]}}),
                true,
            ),
            (
                "autoscaler",
                json!({"spec": {"taints": [{"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}]}}),
                false,
            ),
            (
                "leaving",
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
                false,
            ),
        ] {
            assert_eq!(
                node_eligible(&serde_json::from_value(value).unwrap()),
                want,
                "{case}"
            );
        }
    }

    #[test]
    fn a_running_pod_keeps_its_start_and_shows_its_readiness() {
        let before = pod(json!({
            "metadata": {"uid": "u-1"},
            "spec": {"containers": [{"name": "web", "image": "any:1"}]},
            "status": {"startTime": "2026-01-01T00:00:00Z"},
        }));
        for ready in [true, false] {
            let patch = running(
                &before,
                &["10.244.1.2".parse().unwrap()],
                &["10.123.7.10".parse().unwrap()],
                ready,
                "2026-02-02T00:00:00Z",
            );
            let after = pod(patch.clone());
            assert_eq!(pod_ready(&after), Some(ready));
            assert_eq!(start_time(&after).as_deref(), Some("2026-01-01T00:00:00Z"));
            assert_eq!(patch["status"]["containerStatuses"][0]["ready"], ready);
            assert_eq!(after.metadata.uid.as_deref(), Some("u-1"));
        }
    }

    #[test]
    fn ports_are_those_that_can_be_served() {
        let pod = pod(json!({"spec": {"containers": [
            {"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 9, "protocol": "SCTP"}]},
            {"name": "b", "ports": [{"containerPort": 80, "protocol": "TCP"}]},
            {"name": "c"},
        ]}}));
        assert_eq!(
            container_ports(&pod),
            [(Protocol::Tcp, 80), (Protocol::Udp, 53)]
        );
    }

    #[test]
    fn a_shutdown_delay_ends_with_the_grace_period() {
        for (delay, grace, want) in [
            (None, Some(30), 0),
            (Some("500"), Some(30), 500),
            (Some("9000"), Some(2), 2000),
            (Some("x"), None, 0),
        ] {
            let mut value =
                json!({"metadata": {"deletionGracePeriodSeconds": grace, "annotations": {}}});
            if let Some(delay) = delay {
                value["metadata"]["annotations"][SHUTDOWN_DELAY_ANNOTATION] = delay.into();
            }
            assert_eq!(shutdown_delay_ms(&pod(value)), want, "{delay:?} {grace:?}");
        }
    }
}
