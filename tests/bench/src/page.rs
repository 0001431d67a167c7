//! The table, and the part of docs/performance.md around it. Decides.

use std::fmt::Write as _;

use crate::{
    figure::{Better, Figure},
    ratio::{GOAL, Pair, Spread},
    run::{Results, Series},
    system::Machine,
};

/// How it was measured.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The machine.
    pub machine: Machine,
    /// HAProxy's version.
    pub haproxy: String,
    /// nginx's version.
    pub nginx: String,
    /// How often the sides took turns.
    pub alternations: u32,
    /// Seconds per measurement.
    pub seconds: f64,
    /// Idle connections.
    pub idle: usize,
    /// Threads of each balancer.
    pub threads: usize,
    /// Whether balancers had processors of their own.
    pub pinned: bool,
}

const HEADER: &str = "\
| what | beside | ratio | min to max | evenkeel | peer | processor time |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
";

/// The table, a row per figure that was measured or refused.
#[must_use]
pub fn table(results: &Results) -> String {
    let mut text = HEADER.to_owned();
    for figure in Figure::ALL {
        let (title, peer) = (figure.title(), figure.peer().name());
        if let Some(series) = results.series.get(&figure) {
            let _ = writeln!(text, "| {title} | {peer} | {} |", cells(figure, series));
        } else if results.refused.contains_key(&figure) {
            let _ = writeln!(text, "| {title} | {peer} | not measured | | | | |");
        }
    }
    text
}

fn cells(figure: Figure, series: &Series) -> String {
    let Some(ratio) = spread(&series.pairs, figure.better()) else {
        return "not measured | | | |".to_owned();
    };
    let side = |value: fn(&Pair) -> f64| {
        Spread::of(series.pairs.iter().map(value)).map_or_else(String::new, |spread| {
            format!("{} {}", number(spread.median), figure.unit())
        })
    };
    let cpu = spread(&series.cpu, Better::Less)
        .map_or_else(String::new, |cpu| format!("{:.2}", cpu.median));
    format!(
        "**{:.2}** | {:.2} to {:.2} | {} | {} | {cpu}",
        ratio.median,
        ratio.min,
        ratio.max,
        side(|pair| pair.ours),
        side(|pair| pair.peer),
    )
}

fn spread(pairs: &[Pair], better: Better) -> Option<Spread> {
    Spread::of(pairs.iter().map(|pair| pair.ratio(better)))
}

/// Three digits that count, and thousands apart.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    thousands(&format!("{value:.0}"))
}

/// Digits, thousands apart.
pub(crate) fn thousands(digits: &str) -> String {
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A line for each figure that does not reach the goal or was not measured.
#[must_use]
pub fn shortfalls(results: &Results) -> String {
    let mut text = String::new();
    for figure in Figure::ALL {
        let title = figure.title();
        let ratio = results
            .series
            .get(&figure)
            .and_then(|series| spread(&series.pairs, figure.better()));
        if let Some(why) = results.refused.get(&figure) {
            let _ = writeln!(text, "- {title}: not measured. The data plane said: {why}");
        } else if let Some(ratio) = ratio.filter(|ratio| !ratio.reaches_goal()) {
            let peer = figure.peer().name();
            let _ = writeln!(
                text,
                "- {title}: {:.2} of {peer}, below {GOAL}",
                ratio.median
            );
        }
    }
    text
}

/// The data plane's part of docs/performance.md.
#[must_use]
pub fn render(results: &Results, setup: &Setup) -> String {
    let Machine {
        processors,
        memory,
        kernel,
    } = &setup.machine;
    let Setup {
        haproxy,
        nginx,
        alternations,
        seconds,
        idle,
        threads,
        ..
    } = setup;
    let evenkeel = env!("CARGO_PKG_VERSION");
    let place = match setup.pinned {
        true => {
            "Balancers run on one half of the processors, clients and targets on the other half."
        }
        false => {
            "Nothing is pinned: balancer, clients and targets share all processors, on both sides alike."
        }
    };
    let shortfalls = match shortfalls(results) {
        none if none.is_empty() => format!("Every ratio is at least {GOAL}.\n"),
        some => some,
    };
    format!(
        "# Performance of the `local` data plane

Written by `cargo bench --bench dataplane -- --write`; not to be edited. The data plane beside HAProxy in TCP mode and, for UDP, nginx's
stream module: in one run, on one machine, taking turns.

{table}
**ratio**: how good evenkeel is beside the peer; 1 is equal, 2 twice as good, also where less is better (times, memory): there it is the peer's
value by ours. The median of one ratio per turn, and the smallest and the greatest of them. **evenkeel**, **peer**: medians of the values
themselves; they are this machine's and say little elsewhere. **processor time**: the peer's by ours for the same work, median; 2 means that
evenkeel needs half of it.

## Below the goal
The goal is {GOAL} or more in every row.

{shortfalls}
## How it is measured
- machine: {processors} processors, {memory} GiB of memory, Linux {kernel}
- versions: evenkeel {evenkeel} (release build), HAProxy {haproxy}, nginx {nginx}; the latter two as Debian packages them
- turns: {alternations}, each of {seconds} s per row and side, after a warm-up; who is first changes each time
- threads: {threads} for each balancer (`nbthread`, `worker_processes`)
- idle connections: {idle}

Balancers are started anew for each turn. All have the same two targets, choose the one with the fewest open connections, may hold the same
number of connections, and log nothing about them. HAProxy and evenkeel check each target's port every 2 s by opening a connection; nginx
has no such checks, so there evenkeel makes none of its UDP targets. Otherwise the peers have their own defaults.
HAProxy copies unless told otherwise; the rows beside *HAProxy with splice-auto* are the same loads through ports where it is told
`option splice-auto`, by which it moves bytes as evenkeel does: splice(2), within the kernel.

Clients and targets are one thread each (a second one for UDP targets), without a runtime, on loopback. {place}
What they cost stands in the rates of both sides and draws the ratios towards 1; the column *processor time* is of the balancer alone.

- bulk: blocks of 256 KiB; towards targets until the last byte was counted there, all of them
- round trips: the next message goes out when the answer to the one before is there, per connection
- new connections: 32 under way at a time
- memory: what the proportional set size (PSS) of a fresh process grows by with connections that were used once; the kernel's socket buffers
  are not in it
- UDP: 1,000 flows of one socket each, 64 B there and back, 64 under way at a time

Any connection that fails, and any byte that is lost on a TCP connection, ends the run with an error.
",
        table = table(results),
    )
}

/// What two pages have in common that were written by the same code, whatever was measured: all but the numbers and the shortfalls.
#[must_use]
pub fn shape(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut below_goal = false;
    for line in page.lines() {
        if line.starts_with('#') {
            below_goal = line == "## Below the goal";
        } else if below_goal {
            continue;
        }
        let kept = match line.strip_prefix("| ") {
            Some(row) => row.split(" | ").take(2).collect::<Vec<_>>().join(" | "),
            None => match line.starts_with("- ") {
                true => line.split_inclusive(": ").next().unwrap_or(line).to_owned(),
                false => line.to_owned(),
            },
        };
        lines.push(kept);
    }
    lines
}
