//! The tables, and the part of docs/performance.md around them. Decides.

use std::fmt::Write as _;

use super::{
    args::{CURVE, Size},
    run::{Event, Measured},
};
use crate::{page::thousands, system::Machine};

/// The most memory that we allow ourselves, in KiB.
const MEMORY: u64 = 64 * 1024;

/// The most that we allow ourselves of a bucket.
pub const SHARE: f64 = 0.6;

/// What is measured, of every size.
#[must_use]
pub fn tables(all: &[Measured]) -> String {
    format!("{}\n{}\n{}", table(all), order(all), calls(all))
}

fn name(size: Size) -> String {
    format!(
        "{} × {}",
        thousands(&size.services.to_string()),
        thousands(&size.nodes.to_string())
    )
}

fn table(all: &[Measured]) -> String {
    let mut text = "\
| Services × nodes | event | writes | reads | time on AWS's clock | processor time | memory, peak | most of a bucket | refused: us, the other tenant |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |
"
    .to_owned();
    for measured in all {
        for (event, cost) in &measured.costs {
            let (bucket, share) = cost.greatest().unwrap_or(("none", 0.0));
            let number = |count: usize| thousands(&count.to_string());
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} s | {:.2} s | {:.1} MiB | {:.0} % of {bucket} | {}, {} of {} |",
                name(measured.size),
                event.title(measured.size),
                number(cost.counts.writes),
                number(cost.counts.reads),
                thousands(&cost.took.as_secs().to_string()),
                cost.cpu.as_secs_f64(),
                cost.peak as f64 / 1024.0,
                share * 100.0,
                cost.throttled,
                cost.tenant.1,
                number(cost.tenant.0),
            );
        }
    }
    text
}

/// In which order targets followed the nodes.
fn order(all: &[Measured]) -> String {
    let mut text = "\
| target groups × nodes | event | probes had failed | removals | additions | removals after the first addition |
| --- | --- | ---: | ---: | ---: | ---: |
"
    .to_owned();
    let span = |(from, to): (std::time::Duration, std::time::Duration)| {
        format!(
            "{} to {} s",
            thousands(&from.as_secs().to_string()),
            thousands(&to.as_secs().to_string())
        )
    };
    for measured in all {
        for (event, order) in &measured.orders {
            let _ = writeln!(
                text,
                "| {} | {} | {} s | {} | {} | {} |",
                name(measured.size),
                event.title(measured.size),
                order.probes.as_secs(),
                span(order.removals),
                span(order.additions),
                thousands(&order.late.to_string()),
            );
        }
    }
    text
}

/// Which calls the largest size took.
fn calls(all: &[Measured]) -> String {
    let mut text = "\
| event |  | calls |
| --- | --- | --- |
"
    .to_owned();
    let Some(measured) = all.iter().max_by_key(|one| one.size.services) else {
        return text;
    };
    for (event, cost) in &measured.costs {
        let reads = |name: &str| name.contains(":Describe") || name.starts_with("sts:");
        for (what, read) in [("writes", false), ("reads", true)] {
            let of = cost.counts.by_operation.iter();
            let of: Vec<_> = of
                .filter(|(name, _)| reads(name) == read)
                .map(|(name, count)| {
                    let name = name.split_once(':').map_or(&**name, |(_, name)| name);
                    format!("{} {name}", thousands(&count.to_string()))
                })
                .collect();
            let of = match of.is_empty() {
                true => "none".to_owned(),
                false => of.join(", "),
            };
            let _ = writeln!(text, "| {} | {what} | {of} |", event.title(measured.size));
        }
    }
    text
}

/// A line for each figure that is beyond the goal.
#[must_use]
pub fn shortfalls(all: &[Measured]) -> String {
    let mut text = String::new();
    for measured in all {
        for (event, cost) in &measured.costs {
            let what = format!("{}: {}", name(measured.size), event.title(measured.size));
            if cost.peak > MEMORY {
                let _ = writeln!(
                    text,
                    "- {what}: {:.1} MiB, where 64 MiB would do",
                    cost.peak as f64 / 1024.0
                );
            }
            for (bucket, share) in cost.shares.iter().filter(|(_, share)| **share > SHARE) {
                let _ = writeln!(
                    text,
                    "- {what}: {:.1} % of {bucket}, where {:.0} % would do",
                    share * 100.0,
                    SHARE * 100.0
                );
            }
            let refused = cost.throttled + cost.tenant.1;
            if refused > 0 {
                let _ = writeln!(text, "- {what}: {refused} calls were refused");
            }
        }
    }
    text
}

/// The part of docs/performance.md that is about many Services.
#[must_use]
pub fn render(all: &[Measured], pace: u32, machine: &Machine) -> String {
    let Machine {
        processors,
        memory,
        kernel,
    } = machine;
    let evenkeel = env!("CARGO_PKG_VERSION");
    let shortfalls = match shortfalls(all) {
        none if none.is_empty() => "Every goal is reached.\n".to_owned(),
        some => some,
    };
    let sizes: Vec<_> = CURVE.iter().map(|size| size.services.to_string()).collect();
    format!(
        "# What many Services take on AWS

Written by `cargo bench --bench scale -- aws --write`; not to be edited. {sizes} Services of one port on as many nodes, where AWS limits the calls of
the account: the goal is at most 60 % of any of its buckets, so that somebody else who reads once a second is never refused, in at most 64 MiB.

{table}
aws-load-balancer-controller 3.5.0, without limits of calls, on the same machine: 1,000 Services on 1,000 nodes took 29,357 calls, 149 s of processor
time and 265 MiB to create, and 1,253 s until every target was registered; 20,112 calls to restart; one node added 2,040 calls and 774 MiB.

## Below the goal
{shortfalls}
## In which order targets follow the nodes
One node of twenty stops, all at once, and as many join. Until a load balancer is told, its own probes keep traffic away from those that stopped: 3 that fail,
10 s apart. What leaves is told first, to all load balancers, and what comes after it. A controller that was just started has to read first what the targets are,
where some leave.

{order}
## Which calls
{largest} Services on as many nodes.

{calls}
## How it is measured
- machine: {processors} processors, {memory} GiB of memory, Linux {kernel}
- versions: evenkeel {evenkeel} (release build)

`evenkeel run --provider aws` with its defaults, on a real API server and etcd, beside our own fake of AWS, over HTTP. The fake has the documented buckets for
calls; its quotas are raised, its rates are not. A load balancer is provisioned for 150 s there, targets are probed before they count, and drain when they leave. Time passes {pace}
times as fast, there and for evenkeel alike: a library in front of the C library tells it so. What it computes, and waits for at the API server, takes as long as ever, so in
its own time {pace} times as long.

- writes, reads: calls to AWS that came within the event; each Service is looked at every ten minutes besides, which is in the reads
- time on AWS's clock: until all is as asked, Services are served, and nothing is left to do
- memory: the greatest resident set of the process until then; a restart begins anew. glibc is told to keep one heap and great pieces apart, as
  the C library of the image does, which cannot be told that time passes faster
- most of a bucket: the greatest part that we took, within any span of time, of what a bucket holds when full and gets in that time
- the other tenant: asks once a second each `DescribeLoadBalancers`, `DescribeSecurityGroups` and `DescribeInstances`, with the same account's tokens
",
        sizes = sizes.join(", "),
        table = table(all),
        order = order(all),
        calls = calls(all),
        largest = thousands(
            &all.iter()
                .map(|one| one.size.services)
                .max()
                .unwrap_or_default()
                .to_string()
        ),
    )
}

/// What is promised of every size, of what does not depend on the machine: a line for what is not so.
#[must_use]
pub fn broken(measured: &Measured) -> String {
    let mut text = String::new();
    let Size { services, nodes } = measured.size;
    for (event, cost) in &measured.costs {
        let mut expect = |what: &str, so: bool| {
            if !so {
                let _ = writeln!(text, "{event:?}: {what}: {cost:?}");
            }
        };
        let writes = match event {
            // Beside each Service's own: the backend group and its admission by the one node group.
            Event::Create => (5 + nodes.div_ceil(200)) * services + 2,
            Event::Restart => 0,
            // The first write of a process has another before it: the mark by which it is told from that of a restored backup.
            Event::ReplaceUnread => 2 * services + 1,
            Event::Replace => 2 * services,
            Event::Annotate => services,
            // A target group is in use for some seconds more: it is tried twice, or three times where chance has the second come early.
            Event::Delete => 3 * services,
        };
        match event {
            Event::Delete => expect(
                "3 to 5 writes a Service",
                (writes..=5 * services).contains(&cost.counts.writes),
            ),
            _ => expect(&format!("{writes} writes"), cost.counts.writes == writes),
        }
        expect("we are never refused", cost.throttled == 0);
        expect(
            "nobody else is refused",
            cost.tenant.1 == 0 && cost.tenant.0 > 0,
        );
        let most = cost.shares_sent.values().copied().fold(0.0, f64::max);
        expect("at most 60 % of a bucket", most <= SHARE);
    }
    text
}
