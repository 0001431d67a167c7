//! nginx's stream module, for UDP. Writes: its configuration, its process.

use anyhow::Result;

use super::{Balancer, Plan, address, answers_datagrams, await_ready};
use crate::{packages::Nginx, target::DATAGRAM_PORT};

impl Balancer {
    /// Starts nginx with a UDP listener and waits until it forwards.
    ///
    /// # Errors
    /// When it does not: with the end of its log.
    pub fn nginx(plan: &Plan, nginx: &Nginx) -> Result<Self> {
        let configuration = plan.write("nginx.conf", &configuration(plan, nginx))?;
        let mut process = plan
            .process(&nginx.program)
            .arg("-p")
            .arg(&plan.directory)
            .arg("-c")
            .arg(configuration)
            .args(["-e", "stderr"])
            .log_file(plan.log("nginx"))
            .spawn()?;
        let address = address(plan.third, 10);
        await_ready(&mut process, || answers_datagrams(address))?;
        Ok(Self {
            process,
            address,
            refusal: None,
        })
    }
}

/// With `reuseport` each worker has a socket of its own, without which a client's packets would reach workers that do not know it.
fn configuration(plan: &Plan, nginx: &Nginx) -> String {
    let address = address(plan.third, 10);
    let module = nginx.module.display();
    let user = match rustix::process::geteuid().is_root() {
        true => "user root;\n",
        false => "",
    };
    let servers: String = plan
        .targets
        .iter()
        .map(|target| format!("    server {target}:{DATAGRAM_PORT};\n"))
        .collect();
    format!(
        "load_module {module};\ndaemon off;\npid nginx.pid;\n{user}worker_processes {};\n\
         events {{\n  worker_connections {};\n}}\n\
         stream {{\n  upstream targets {{\n    least_conn;\n{servers}  }}\n  server {{\n    \
         listen {address}:{DATAGRAM_PORT} udp reuseport;\n    proxy_pass targets;\n    proxy_timeout 60s;\n  }}\n}}\n",
        plan.cpus.number(),
        plan.connections(),
    )
}
