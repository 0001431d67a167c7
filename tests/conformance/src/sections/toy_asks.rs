//! What a Service asks, where clouds differ in what they can do.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use evenkeel_e2e::look::ingress;
use evenkeel_laws::tap::Fault;
use evenkeel_laws::toys::own::cloud::Spec;
use evenkeel_laws::toys::own::ways::Ways;
use k8s_openapi::api::core::v1::Service;
use kube::ResourceExt as _;
use serde_json::{Value, json};

use crate::row::{Row, row};
use crate::stage::{PORT, conditions, has_condition, ips, node_port};
use crate::toy_stage::{ToyStage, ways, writes_of};

pub(crate) const ROWS: &[Row] = &[
    row!(43, "mixed protocols where the cloud cannot: no cloud object, LoadBalancerPortsError, one Warning", toy: mixed),
    row!(44, "then the offending port removed: condition cleared, load balancer created", toy: unmixed),
    row!(60, "provider cannot enforce ranges: rejected, SourceRangesNotEnforced, no load balancer", toy: ranges),
    row!(71, "allocation off with a pass-through provider: works, nodePort 0, ipMode VIP", toy: pass_through),
    row!(92, "both families on a provider with one: the primary works, Warning, told in a condition", toy: one_family),
    row!(119, "50 ports where the provider allows 10: rejected with the limit", toy: too_many_ports),
];

fn ports(all: &[(&str, u16, Option<i32>)]) -> Value {
    let port = |(protocol, number, node_port): &(&str, u16, Option<i32>)| {
        let mut port = json!({
            "name": format!("{}-{number}", protocol.to_lowercase()), "port": number, "protocol": protocol,
        });
        if let Some(node_port) = node_port {
            port["nodePort"] = json!(node_port);
        }
        port
    };
    json!({"spec": {"ports": all.iter().map(port).collect::<Vec<_>>()}})
}

/// The published ports, with their protocols and errors.
fn told(service: &Service) -> BTreeSet<(i32, String, Option<String>)> {
    let ports = ingress(service).into_iter().flat_map(|entry| entry.ports);
    ports
        .flatten()
        .map(|port| (port.port, port.protocol, port.error))
        .collect()
}

/// The listeners with the node port each sends to.
fn listeners(stage: &ToyStage, service: &Service) -> BTreeSet<(String, u16)> {
    let objects = stage.objects(service);
    let node_port = |set: &str| {
        let found = objects.iter().find(|object| object.name == set);
        found.and_then(|object| match object.spec {
            Spec::TargetSet { node_port, .. } => Some(node_port),
            Spec::Address { .. } | Spec::Listener { .. } => None,
        })
    };
    let one = |spec: &Spec| match spec {
        Spec::Listener { port, set, .. } => Some((port.to_string(), node_port(set)?)),
        Spec::Address { .. } | Spec::TargetSet { .. } => None,
    };
    objects
        .iter()
        .filter_map(|object| one(&object.spec))
        .collect()
}

fn only(port: u16, protocol: &str) -> BTreeSet<(i32, String, Option<String>)> {
    [(i32::from(port), protocol.to_owned(), None)].into()
}

/// A Service whose protocols cannot share a load balancer, rejected.
async fn rejected_mix(stage: &mut ToyStage) -> Result<Service> {
    stage.run_with(Ways {
        mixed_protocols: false,
        ..ways()
    });
    let both = ports(&[("TCP", 53, None), ("UDP", 53, None)]);
    let service = stage.create("dns", both).await?;
    let message = stage
        .condition("dns", "LoadBalancerPortsError", "True")
        .await?;
    ensure!(
        message.contains("53/TCP") && message.contains("53/UDP"),
        "{message}"
    );
    Ok(service)
}

async fn mixed(stage: &mut ToyStage) -> Result<()> {
    const REASON: &str = "LoadBalancerMixedProtocolNotSupported";
    let service = rejected_mix(stage).await?;
    let now = stage.get("dns").await?;
    let reasons: Vec<_> = conditions(&now)
        .into_iter()
        .filter(|condition| condition.type_ == "LoadBalancerPortsError")
        .map(|condition| condition.reason)
        .collect();
    ensure!(reasons == [REASON], "{reasons:?}");
    stage.settle().await?;
    ensure!(
        stage.objects(&service).is_empty() && stage.writes(&service).is_empty(),
        "{:?}",
        stage.writes(&service)
    );
    let mut warnings = stage.warnings("dns").await?;
    warnings.retain(|event| event.reason == REASON);
    // Its two ports are told of in one breath or one by one, each once.
    let notes: BTreeSet<_> = warnings.iter().map(|event| &event.note).collect();
    ensure!(
        !warnings.is_empty()
            && notes.len() == warnings.len()
            && warnings.len() <= 2
            && warnings.iter().all(|event| event.count == 1),
        "{warnings:?}"
    );
    Ok(())
}

async fn unmixed(stage: &mut ToyStage) -> Result<()> {
    let service = rejected_mix(stage).await?;
    stage.patch("dns", ports(&[("TCP", 53, None)])).await?;
    let now = stage.served("dns").await?;
    ensure!(
        has_condition(&now, "LoadBalancerPortsError", "False"),
        "{:?}",
        conditions(&now)
    );
    ensure!(told(&now) == only(53, "TCP"), "{:?}", told(&now));
    ensure!(listeners(stage, &service).len() == 1);
    Ok(())
}

async fn ranges(stage: &mut ToyStage) -> Result<()> {
    stage.run_with(Ways {
        source_ranges: false,
        ..ways()
    });
    let asked = json!({"spec": {"loadBalancerSourceRanges": ["203.0.113.0/24"]}});
    let service = stage.create("web", asked).await?;
    let note = stage.event("web", "SourceRangesNotEnforced").await?;
    ensure!(note.contains("203.0.113.0/24"), "{note}");
    let now = stage
        .until("web", "the rejection", |service| {
            has_condition(service, "evenkeel.dev/Serving", "False")
                && conditions(service).iter().any(|condition| {
                    condition.type_ == "evenkeel.dev/Degraded"
                        && condition.reason == "SourceRangesNotEnforced"
                })
        })
        .await?;
    stage.settle().await?;
    ensure!(
        stage.objects(&service).is_empty() && ingress(&now).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    // A live one keeps what it has, and is told.
    let live = stage.serve("live", json!({})).await?;
    let before = stage.objects(&live);
    let asked = json!({"spec": {"loadBalancerSourceRanges": ["203.0.113.0/24"]}});
    stage.patch("live", asked).await?;
    stage
        .condition("live", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(
        stage.objects(&live) == before && ips(&stage.get("live").await?) == ips(&live),
        "{:?}",
        stage.objects(&live)
    );
    Ok(())
}

/// Without node ports, at a provider that needs none.
async fn passes_through(stage: &mut ToyStage) -> Result<Service> {
    stage.run_with(Ways {
        node_ports: false,
        ..ways()
    });
    let off = json!({"spec": {"allocateLoadBalancerNodePorts": false}});
    stage.serve("web", off).await
}

async fn pass_through(stage: &mut ToyStage) -> Result<()> {
    let service = passes_through(stage).await?;
    ensure!(
        node_port(&service, PORT).unwrap_or_default() == 0,
        "{:?}",
        service.spec
    );
    let modes: Vec<_> = ingress(&service)
        .into_iter()
        .map(|entry| entry.ip_mode)
        .collect();
    ensure!(modes == [Some("VIP".to_owned())], "{modes:?}");
    let want = [(format!("{PORT}/TCP"), PORT)].into();
    let open = listeners(stage, &service);
    ensure!(open == want, "{open:?}");
    Ok(())
}

/// The part of row 72 that a provider shows that needs no node ports.
pub(super) async fn pass_through_allocated(stage: &mut ToyStage) -> Result<()> {
    let service = passes_through(stage).await?;
    let before = stage.objects(&service);
    let on = json!({"spec": {"allocateLoadBalancerNodePorts": true}});
    let now = stage.patch("web", on).await?;
    ensure!(
        node_port(&now, PORT).is_some_and(|port| port > 0),
        "{:?}",
        now.spec
    );
    stage.settle().await?;
    let now = stage.served("web").await?;
    ensure!(
        ingress(&now) == ingress(&service) && stage.objects(&service) == before,
        "{:?}",
        now.status
    );
    Ok(())
}

async fn one_family(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let both =
        json!({"spec": {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}});
    let service = stage.serve("web", both).await?;
    ensure!(
        ips(&service).len() == 1 && ips(&service)[0].parse::<std::net::Ipv4Addr>().is_ok(),
        "{:?}",
        ips(&service)
    );
    let note = stage.event("web", "UnsupportedFeature").await?;
    ensure!(note.contains("IPv6"), "{note}");
    stage
        .until("web", "the condition to tell", |service| {
            conditions(service).iter().any(|condition| {
                condition.type_ == "evenkeel.dev/Degraded" && condition.message.contains("IPv6")
            })
        })
        .await?;
    Ok(())
}

async fn too_many_ports(stage: &mut ToyStage) -> Result<()> {
    stage.run_with(Ways {
        most_ports: Some(10),
        ..ways()
    });
    let many: Vec<_> = (0..50).map(|n| ("TCP", 8000 + n, None)).collect();
    let service = stage.create("web", ports(&many)).await?;
    let message = stage
        .condition("web", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(
        message.contains("at most 10") && message.contains("50 ports"),
        "{message}"
    );
    stage.settle().await?;
    ensure!(
        stage.objects(&service).is_empty(),
        "{:?}",
        stage.objects(&service)
    );
    stage.patch("web", ports(&many[..10])).await?;
    let now = stage.served("web").await?;
    ensure!(told(&now).len() == 10, "{:?}", told(&now));
    Ok(())
}

/// The part of row 50 that needs single calls to fail: the old configuration stays to the letter, and recovery comes by itself.
pub(super) async fn update_fails(stage: &mut ToyStage) -> Result<()> {
    stage.run();
    let service = stage.serve("web", ports(&[("TCP", 80, None)])).await?;
    let before = stage.objects(&service);
    let fails = writes_of("web");
    stage
        .tap
        .fail_where(move |call| fails(call).then_some(Fault::Unreachable));
    stage
        .patch("web", ports(&[("TCP", 81, node_port(&service, 80))]))
        .await?;
    let message = stage
        .condition("web", "evenkeel.dev/Degraded", "True")
        .await?;
    ensure!(message.contains("Unreachable"), "{message}");
    let now = stage.get("web").await?;
    ensure!(
        stage.objects(&service) == before && ips(&now) == ips(&service),
        "{:?}",
        stage.objects(&service)
    );
    ensure!(
        has_condition(&now, "evenkeel.dev/Serving", "True"),
        "{:?}",
        conditions(&now)
    );
    stage.tap.fail_none();
    stage.clock.put_forward(std::time::Duration::from_secs(400));
    let now = stage
        .until("web", "the update", |service| {
            told(service) == only(81, "TCP")
                && has_condition(service, "evenkeel.dev/Degraded", "False")
        })
        .await?;
    ensure!(
        ips(&now) == ips(&service) && now.uid() == service.uid(),
        "{:?}",
        ips(&now)
    );
    Ok(())
}
