//! The tables, and the part of docs/performance.md around them. Decides.

use std::{collections::BTreeMap, fmt::Write as _};

use evenkeel_harness::aws::Counts;

use super::{
    row::{Amount, Row, Scale},
    stage::Counted,
};
use crate::{page::thousands, system::Machine};

/// What was measured.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// By row.
    pub amounts: BTreeMap<Row, Amount>,
    /// The calls of those rows that count calls.
    pub calls: BTreeMap<Row, Counted>,
}

/// The table, a row per figure that was measured.
#[must_use]
pub fn table(results: &Results, scale: Scale) -> String {
    let mut text = "\
| event | aws-load-balancer-controller | evenkeel | goal: at most |
| --- | --- | --- | --- |
"
    .to_owned();
    for row in Row::ALL {
        if let Some(amount) = results.amounts.get(&row) {
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

/// Which calls those are that the table counts.
#[must_use]
pub fn detail(results: &Results, scale: Scale) -> String {
    let mut text = "\
| event |  | evenkeel calls |
| --- | --- | --- |
"
    .to_owned();
    for row in Row::ALL {
        let none = Counted::default();
        let counted = results.calls.get(&row).unwrap_or(&none);
        if row.goal(scale).calls().is_none() {
            continue;
        }
        for (what, counts) in [("writes", &counted.writes), ("reads", &counted.reads)] {
            let _ = writeln!(
                text,
                "| {} | {what} | {} |",
                row.title(scale),
                names(counts)
            );
        }
    }
    text
}

fn names(counts: &Counts) -> String {
    let one = |(name, count): (&String, &usize)| {
        let name = name.split_once(':').map_or(&**name, |(_, name)| name);
        format!("{} {name}", thousands(&count.to_string()))
    };
    let all: Vec<_> = counts.by_operation.iter().map(one).collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

/// A line for each figure that is beyond the goal.
#[must_use]
pub fn shortfalls(results: &Results, scale: Scale) -> String {
    let mut text = String::new();
    for row in Row::ALL {
        let goal = row.goal(scale);
        if let Some(amount) = results
            .amounts
            .get(&row)
            .filter(|amount| !amount.is_within(&goal))
        {
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
## Which calls

{detail}
## How it is counted
- machine: {processors} processors, {memory} GiB of memory, Linux {kernel}
- versions: evenkeel {evenkeel} (release build), aws-load-balancer-controller 3.5.0
- nodes: up to {nodes}, also where one Service is counted; all in one security group

`evenkeel run --provider aws` with its defaults, on a real API server and etcd, beside moto, an emulator of AWS. Each row is what passed between
the two through a proxy that checks each request against AWS's own model of it; repeated calls count again. An event is over when every Service
is as asked and nothing was asked of moto for {silence} seconds. Services are plain ones: TCP ports, no annotation, targets by instance, a security
group of their own. `--aws-rate` is set so high that nothing waits: by default 200 new Services take some two minutes, with the same calls.

- aws-load-balancer-controller: measured once, with its default settings and security groups on, on a real API server beside moto, counted
  at the wire too; calls are reads and writes together
- create, warm: another Service is served already
- an annotation that changes nothing: one that is not about load balancers
- periodic look: where all is as it was left; by default each Service has one every ten minutes, of which the first after a start also reads the tags
  of its listeners. Beside them the pages that a restart reads serve all
  Services together, every ten minutes, and tags, 20 objects to a read, every hour
- a node added: its targets are registered, one call per target group
- restart: the program ends and starts again, and finds everything as it should be; the pages of its first look serve all Services
- memory: the greatest resident set that the process ever had, in any of the rows about {services} Services
- processor time: user and system time of the process, from its start; neither moto's nor the API server's is in it
- from start to ready: from the start of the process until `/readyz` says so; the longer one of a first start and of the restart
- size of the program: one file, without symbols
",
        table = table(results, scale),
        detail = detail(results, scale),
        nodes = scale.nodes,
        services = scale.services,
        silence = scale.silence.as_secs(),
    )
}
