//! The data plane, configured through its API as the provider does. Writes: its process and its objects.

use std::{net::IpAddr, path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use evenkeel_core::ticket::Ticket;
use evenkeel_local::{
    api::{
        BackendSet, BackendSetSpec, Family, HealthCheck, HealthCheckKind, Lease, LeaseSpec, Marks,
        Put, Target,
    },
    client::{CALL_TIMEOUT, Client, Expect},
    model::Kind,
};
use serde_json::{Value, json};

use super::{
    Balancer, CHECK_FALL, CHECK_INTERVAL, CHECK_RISE, CHECK_TIMEOUT, Plan, address,
    answers_datagrams, await_ready, forwards,
};
use crate::target::{DATAGRAM_PORT, tcp_ports};

const CLUSTER: &str = "bench";

impl Balancer {
    /// Starts the data plane of this program and waits until it forwards. A UDP listener that it refuses is no error: the
    /// balancer then tells why it has none.
    ///
    /// # Errors
    /// When it does not start, refuses a TCP listener, or does not forward: with the end of its log.
    pub fn ours(plan: &Plan, program: &Path) -> Result<Self> {
        let address = address(plan.third, 1);
        let directory = plan.directory.join("ours");
        // A state file that is left from before would be read.
        if directory.exists() {
            std::fs::remove_dir_all(&directory)?;
        }
        std::fs::create_dir(&directory)?;
        let socket = directory.join("api.sock");
        let mut process = plan
            .process(program)
            .arg("dataplane")
            .arg("--socket")
            .arg(&socket)
            .arg("--state-dir")
            .arg(directory.join("state"))
            .args(["--pool", &address.to_string(), "--log", "warn"])
            .log_file(plan.log("evenkeel"))
            .spawn()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = Client::new(&socket, Arc::from(CLUSTER), CALL_TIMEOUT);
        await_ready(&mut process, || {
            runtime
                .block_on(client.info())
                .map(drop)
                .map_err(Into::into)
        })?;
        let refusal = runtime
            .block_on(configure(&client, address, &plan.targets))
            .with_context(|| process.log_tail(20))?;
        await_ready(&mut process, || {
            forwards(address)?;
            match refusal {
                Some(_) => Ok(()),
                None => answers_datagrams(address),
            }
        })?;
        Ok(Self {
            process,
            address,
            refusal,
        })
    }
}

/// Makes the objects; returns why UDP was refused, if it was.
async fn configure(client: &Client, address: IpAddr, targets: &[IpAddr]) -> Result<Option<String>> {
    let ticket = Ticket::unlimited();
    let lease = Put {
        marks: marks(),
        spec: LeaseSpec::of(Family::of(address)),
    };
    let _: Lease = client
        .put(Kind::Lease, "lease", &lease, Expect::Absent, &ticket)
        .await?;
    for port in tcp_ports() {
        let check = HealthCheck {
            kind: HealthCheckKind::Tcp,
            port: None,
            interval_ms: CHECK_INTERVAL.as_millis() as u32,
            timeout_ms: CHECK_TIMEOUT.as_millis() as u32,
            rise: CHECK_RISE,
            fall: CHECK_FALL,
        };
        listen(client, "tcp", port, targets, Some(check)).await?;
    }
    // nginx has no health checks of its own that it makes while nobody asks.
    let listened = listen(client, "udp", DATAGRAM_PORT, targets, None).await;
    Ok(listened.err().map(|error| format!("{error:#}")))
}

/// A backend set and its listener.
async fn listen(
    client: &Client,
    protocol: &str,
    port: u16,
    targets: &[IpAddr],
    health_check: Option<HealthCheck>,
) -> Result<()> {
    let ticket = Ticket::unlimited();
    let name = format!("{protocol}-{port}");
    let targets = targets.iter().enumerate().map(|(n, target)| Target {
        node: format!("target-{n}"),
        address: *target,
        port,
    });
    let set = Put {
        marks: marks(),
        spec: BackendSetSpec {
            targets: targets.collect(),
            health_check,
            ..BackendSetSpec::default()
        },
    };
    let _: BackendSet = client
        .put(Kind::BackendSet, &name, &set, Expect::Absent, &ticket)
        .await?;
    // As JSON, so that a protocol can be asked for that the types do not know yet.
    let listener = Put {
        marks: marks(),
        spec: json!({
            "lease": "lease",
            "port": port,
            "protocol": protocol.to_uppercase(),
            "backend_set": name,
        }),
    };
    let _: evenkeel_local::api::Object<Value, Value> = client
        .put(Kind::Listener, &name, &listener, Expect::Absent, &ticket)
        .await?;
    Ok(())
}

fn marks() -> Marks {
    Marks {
        cluster: CLUSTER.to_owned(),
        group: CLUSTER.to_owned(),
        service: "bench/bench".to_owned(),
        member: CLUSTER.to_owned(),
        retain: false,
        labels: std::collections::BTreeMap::new(),
    }
}
