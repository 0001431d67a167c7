//! Kinds of Services: what is asked for is there, is read back as it was asked for, and goes again.

use anyhow::Result;
use evenkeel_core::intent::{Affinity, Intent, SourceRanges, TrafficPolicy};
use evenkeel_core::ports::Protocol;
use serde_json::Value;

use super::stage::{Stage, service, settled};

const PREFIX: &str = "service.beta.kubernetes.io/aws-load-balancer-";

type Kind = (&'static str, fn(&Stage, &mut Intent));

fn annotate(intent: &mut Intent, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        let key = format!("{PREFIX}{key}");
        intent.annotations.insert(key.into(), (*value).into());
    }
}

/// Everything that is not plain, each by itself.
const KINDS: &[Kind] = &[
    ("internal", |_, intent| {
        annotate(intent, &[("scheme", "internal")])
    }),
    ("attributes", |_, intent| {
        annotate(
            intent,
            &[
                ("attributes", "load_balancing.cross_zone.enabled=true"),
                (
                    "target-group-attributes",
                    "deregistration_delay.timeout_seconds=60",
                ),
                ("listener-attributes.TCP-80", "tcp.idle_timeout.seconds=600"),
            ],
        );
    }),
    ("tls", |stage, intent| {
        annotate(
            intent,
            &[
                ("ssl-cert", &stage.world.certificate_arn),
                ("ssl-ports", "443"),
            ],
        );
    }),
    ("tags", |_, intent| {
        annotate(
            intent,
            &[("additional-resource-tags", "team=shop,cost center=7")],
        );
    }),
    ("given groups", |stage, intent| {
        annotate(
            intent,
            &[("security-groups", &stage.world.node_security_group)],
        );
    }),
    ("listed subnets", |stage, intent| {
        let subnets = stage.world.private_subnets[..2].join(",");
        annotate(intent, &[("subnets", &subnets), ("scheme", "internal")]);
    }),
    ("source ranges", |_, intent| {
        let ranges = ["10.0.0.0/8", "192.168.7.0/24"].map(|range| range.parse().expect("a prefix"));
        intent.source_ranges = SourceRanges::Only(ranges.to_vec());
    }),
    ("local policy", |_, intent| {
        intent.traffic_policy = TrafficPolicy::Local {
            health_check_node_port: Some(32_222),
        };
    }),
    ("affinity", |_, intent| {
        intent.affinity = Affinity::ClientIp {
            timeout_seconds: 10_800,
        };
    }),
    ("udp", |_, intent| {
        intent.ports[0].key.protocol = Protocol::Udp
    }),
    ("proxy protocol", |_, intent| {
        annotate(intent, &[("proxy-protocol", "*")])
    }),
    ("health check", |_, intent| {
        annotate(
            intent,
            &[
                ("healthcheck-protocol", "http"),
                ("healthcheck-path", "/ready"),
                ("healthcheck-interval", "15"),
            ],
        );
    }),
];

/// Made, read back, found after a restart, changed into a plain one, and gone: nothing is written that is not needed.
#[tokio::test]
async fn what_was_asked_for_is_read_back() -> Result<()> {
    let mut stage = Stage::with_nodes(2).await?;
    for (number, (name, change)) in KINDS.iter().enumerate() {
        let plain = service(&format!("s{number}"), &[80, 443]);
        let mut wanted = plain.clone();
        change(&stage, &mut wanted);
        let (report, _) = stage.serve(&wanted).await;
        assert!(
            report.settled() && report.problems.is_none(),
            "{name}: {report:#?}"
        );
        let quiet = async |stage: &Stage, intent: &Intent, when: &str| {
            let (report, asked) = stage.look(intent).await;
            assert!(report.settled(), "{name}, {when}: {report:#?}");
            assert_eq!(
                asked.writes, 0,
                "{name}, {when}: {asked} {:#?}",
                report.applied
            );
        };
        quiet(&stage, &wanted, "once made").await;
        stage.restart().await?;
        let (report, asked) = stage.serve(&wanted).await;
        assert_eq!(
            asked.writes, 0,
            "{name}, after a restart: {asked} {:#?}",
            report.applied
        );
        quiet(&stage, &wanted, "after a restart").await;

        // What would need another load balancer is not for this test.
        if wanted
            .annotations
            .keys()
            .all(|key| !key.ends_with("scheme") && !key.ends_with("subnets"))
        {
            let (report, _) = stage.serve(&plain).await;
            settled(&report);
            quiet(&stage, &plain, "made plain").await;
        }
        let (report, _) = stage.release(&wanted).await;
        assert!(report.gone, "{name}: {report:#?}");
    }
    let state = stage.state().await?;
    assert!(
        state.load_balancers().is_empty() && state.target_groups().is_empty(),
        "{state}"
    );
    stage.aws.check()
}

/// What another client sees of a Service with TLS.
#[tokio::test]
async fn a_tls_listener_as_others_see_it() -> Result<()> {
    let stage = Stage::with_nodes(1).await?;
    let mut intent = service("shop", &[443]);
    annotate(
        &mut intent,
        &[
            ("ssl-cert", &stage.world.certificate_arn),
            ("alpn-policy", "HTTP2Preferred"),
        ],
    );
    settled(&stage.serve(&intent).await.0);
    let state = stage.state().await?;
    let lb = &state.load_balancers()[0];
    let text = state.to_string();
    assert_eq!(lb["Type"], "network", "{text}");
    for part in [
        "\"Protocol\": \"TLS\"",
        &stage.world.certificate_arn,
        "HTTP2Preferred",
        "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "evenkeel.dev/cluster",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let groups = lb["SecurityGroups"].as_array().map(Vec::len);
    assert_eq!(groups, Some(2), "{}", Value::to_string(lb));
    stage.aws.check()
}
