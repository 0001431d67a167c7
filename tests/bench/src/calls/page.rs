//! The table, and the part of docs/performance.md around it. Decides.

use std::{collections::BTreeMap, fmt::Write as _};

use super::row::{Amount, Row, Scale};
use crate::system::Machine;

/// What was measured, by row.
pub type Results = BTreeMap<Row, Amount>;

/// The table, a row per figure that was measured.
#[must_use]
pub fn table(results: &Results, scale: Scale) -> String {
    let mut text = "\
| event | aws-load-balancer-controller | evenkeel | goal: at most |
| --- | --- | --- | --- |
"
    .to_owned();
    for row in Row::ALL {
        if let Some(amount) = results.get(&row) {
            let _ = writeln!(
                text,
                "| {} | {} | **{amount}** | {} |",
                row.title(scale),
                row.peer(scale),
                row.goal(scale),
            );
        }
    }
    text
}

/// A line for each figure that is beyond the goal.
#[must_use]
pub fn shortfalls(results: &Results, scale: Scale) -> String {
    let mut text = String::new();
    for row in Row::ALL {
        let goal = row.goal(scale);
        if let Some(amount) = results.get(&row).filter(|amount| !amount.is_within(&goal)) {
            let title = row.title(scale);
            let _ = writeln!(text, "- {title}: {amount}, where {goal} would do");
        }
    }
    text
}

/// The part of docs/performance.md that is about calls to AWS.
#[must_use]
pub fn render(results: &Results, machine: &Machine) -> String {
    let scale = Scale::FULL;
    let Machine {
        processors,
        memory,
        kernel,
    } = machine;
    let evenkeel = env!("CARGO_PKG_VERSION");
    let build = match cfg!(debug_assertions) {
        true => "development build",
        false => "release build",
    };
    let shortfalls = match shortfalls(results, scale) {
        none if none.is_empty() => "Every goal is reached.\n".to_owned(),
        some => some,
    };
    format!(
        "# What `aws` asks of AWS

Written by `cargo bench --bench calls -- aws --write`; not to be edited. Calls to AWS, counted at the wire: AWS limits them for a whole
account, and what a controller does not ask, others can.

{table}
## Below the goal
{shortfalls}
## How it is counted
- machine: {processors} processors, {memory} GiB of memory, Linux {kernel}
- versions: evenkeel {evenkeel} ({build}), aws-load-balancer-controller 3.5.0
- nodes: up to {nodes}, also where one Service is counted; all in one security group

Each row is what passed between the provider and moto, an emulator of AWS, through a proxy that checks each request against AWS's own model
of it; repeated calls count again. Services are plain ones: TCP ports, no annotation, targets by instance, a security group of their own.

- aws-load-balancer-controller: measured once, with its default settings and security groups on, on a real API server beside moto, counted
  at the wire too; calls are reads and writes together
- create, warm: another Service is served already
- an annotation that changes nothing: one that is not about load balancers
- periodic look: where all is as it was left. Beside it, pages of 400 load balancers and target groups serve all Services together
- a node added: its targets are registered, one call per target group
- restart: a new process that finds everything as it should be; the pages of its first look serve all Services
- all: eight Services at a time, as the controller does by default, and no limit of calls a second, which is for AWS
- memory, processor time: of a process with the engine and the provider alone, its peak resident set and its user and system time from its
  start until all are created. The peer's are of its whole process, which also watches the API server: compare the order of magnitude only
",
        table = table(results, scale),
        nodes = scale.nodes,
    )
}
