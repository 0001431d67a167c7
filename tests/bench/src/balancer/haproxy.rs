//! HAProxy in TCP mode. Writes: its configuration, its process.

use std::fmt::Write as _;

use anyhow::Result;

use super::{
    Balancer, CHECK_FALL, CHECK_INTERVAL, CHECK_RISE, CHECK_TIMEOUT, Plan, address, await_ready,
    forwards,
};
use crate::{
    packages::HaProxy,
    target::{SPLICED_SINK_PORT, SPLICED_SOURCE_PORT, tcp_ports},
};

impl Balancer {
    /// Starts HAProxy and waits until it forwards.
    ///
    /// # Errors
    /// When it does not: with the end of its log.
    pub fn haproxy(plan: &Plan, haproxy: &HaProxy) -> Result<Self> {
        let configuration = plan.write("haproxy.cfg", &configuration(plan))?;
        let mut process = plan
            .process(&haproxy.program)
            .args(["-db", "-f"])
            .arg(configuration)
            .log_file(plan.log("haproxy"))
            .spawn()?;
        let address = address(plan.third, 9);
        await_ready(&mut process, || forwards(address))?;
        Ok(Self {
            process,
            address,
            refusal: None,
        })
    }
}

/// More than the connections that are spliced at one time. HAProxy would keep files for a quarter of all connections.
const PIPES: u32 = 256;

/// `leastconn` because the data plane does the same.
fn configuration(plan: &Plan) -> String {
    let address = address(plan.third, 9);
    let mut text = format!(
        "global\n  nbthread {}\n  maxconn {}\n  maxpipes {PIPES}\n\
         defaults\n  mode tcp\n  balance leastconn\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  \
         timeout check {}ms\n  default-server check inter {}ms rise {CHECK_RISE} fall {CHECK_FALL}\n",
        plan.cpus.number(),
        plan.connections(),
        CHECK_TIMEOUT.as_millis(),
        CHECK_INTERVAL.as_millis(),
    );
    for port in tcp_ports() {
        let _ = writeln!(text, "listen port-{port}\n  bind {address}:{port}");
        if [SPLICED_SOURCE_PORT, SPLICED_SINK_PORT].contains(&port) {
            text.push_str("  option splice-auto\n");
        }
        for (n, target) in plan.targets.iter().enumerate() {
            let _ = writeln!(text, "  server target-{n} {target}:{port}");
        }
    }
    text
}
