//! The page of `evenkeel status`: a row per Service, what is wrong with whom, and the controller itself (Decides).

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    ink::{Ink, Tone},
    samples::{Sample, samples, whole},
    services::{FOREIGN, Row, age},
    table::{Cell, Table},
};
use crate::{
    controller_object::ControllerCondition,
    standing::{ANSWERS, condition::PROVIDER_READY},
};

#[cfg(test)]
mod tests;

/// The version of the documents that the commands print.
pub const API_VERSION: &str = "cli.evenkeel.dev/v1";

/// All that `evenkeel status` found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// [`API_VERSION`].
    pub api_version: String,
    /// `Status`.
    pub kind: String,
    /// The controller.
    pub controller: Controller,
    /// What its metrics say; None where it cannot be reached.
    pub figures: Option<Figures>,
    /// The Services that were asked for, by namespace and name.
    pub services: Vec<Row>,
    /// What was taken for granted, in sentences.
    pub assumed: Vec<String>,
}

/// The controller that serves this cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Controller {
    /// `namespace/name` of its ConfigMap; None where none was found.
    pub object: Option<String>,
    /// Its version.
    pub version: String,
    /// Who leads.
    pub identity: String,
    /// The pod of who leads.
    pub pod: Option<String>,
    /// What holds of the controller as a whole.
    pub conditions: Vec<ControllerCondition>,
    /// Where it was asked what it knows.
    pub asked: Option<String>,
    /// Why that is not known, with what to do.
    pub unknown: Option<String>,
}

/// Figures from the controller's metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Figures {
    /// Groups that wait to be worked on.
    pub queue_depth: u64,
    /// How long the Service that waits longest has waited, in seconds.
    pub oldest_pending_seconds: u64,
    /// Writes to clouds, since the controller began.
    pub cloud_writes: u64,
    /// Looks at clouds, since the controller began.
    pub cloud_reads: u64,
    /// Writes to the status of Services, since the controller began.
    pub status_writes: u64,
    /// Load balancers whose Services are gone.
    pub orphans: u64,
}

impl Figures {
    /// Reads them from the text that Prometheus reads. What is not there is nothing.
    pub fn read(text: &str) -> Self {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for Sample { name, value, .. } in samples(text) {
            let sum = sums.entry(name).or_default();
            // Of several providers the one whose Service waits longest counts.
            *sum = if name.ends_with("_seconds") {
                sum.max(value)
            } else {
                *sum + value
            };
        }
        let get = |name| whole(sums.get(name).copied().unwrap_or_default());
        Self {
            queue_depth: get("evenkeel_queue_depth"),
            oldest_pending_seconds: get("evenkeel_service_oldest_pending_seconds"),
            cloud_writes: get("evenkeel_writes_total"),
            cloud_reads: get("evenkeel_reads_total"),
            status_writes: get("evenkeel_status_write_total"),
            orphans: get("evenkeel_orphans"),
        }
    }
}

/// How a page is printed.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Colour.
    pub ink: Ink,
    /// More columns.
    pub wide: bool,
    /// The time, for ages.
    pub now: Timestamp,
    /// The namespace that was looked at; None for all.
    pub namespace: Option<&'a str>,
}

impl Status {
    /// The same without what changes by itself: two that are equal need not be shown twice.
    #[must_use]
    pub fn without_figures(&self) -> Self {
        let still = |row: &Row| Row {
            traffic: None,
            ..row.clone()
        };
        Self {
            figures: None,
            services: self.services.iter().map(still).collect(),
            ..self.clone()
        }
    }

    /// The page.
    pub fn render(&self, page: Page<'_>) -> String {
        let mut text = self.table(page);
        for row in self.services.iter().filter(|row| has_more(row)) {
            text.push('\n');
            detail(&mut text, row, page);
        }
        let traffic = |row: &Row| page.wide.then(|| row.traffic.clone()).flatten();
        for (row, traffic) in self
            .services
            .iter()
            .filter_map(|row| Some((row, traffic(row)?)))
        {
            let _ = writeln!(text, "\n{}", page.ink.paint(Tone::Strong, row.key()));
            text.push_str(&traffic.render(page.ink));
        }
        text.push('\n');
        self.footer(&mut text, page.ink);
        text
    }

    fn table(&self, page: Page<'_>) -> String {
        if self.services.is_empty() {
            return match page.namespace {
                Some(namespace) => format!(
                    "evenkeel has no Services in the namespace {namespace}; -A looks at all namespaces.\n"
                ),
                None => "evenkeel has no Services in this cluster.\n".to_owned(),
            };
        }
        let mut header = vec![
            "NAMESPACE",
            "NAME",
            "PROVIDER",
            "STATE",
            "ADDRESS",
            "PORTS",
            "TARGETS",
            "AGE",
            "REASON",
        ];
        if page.wide {
            header.extend([
                "CLASS",
                "GROUP",
                "POOL",
                "NODE-PORTS",
                "OPEN-PORTS",
                "WAITING-FOR",
            ]);
        }
        let mut table = Table::new(header);
        for row in &self.services {
            let mut cells = vec![
                Cell::plain(&row.namespace),
                Cell::plain(&row.name),
                Cell::plain(&row.provider),
                Cell::new(tone(&row.state), capital(&row.state)),
                Cell::plain(row.addresses.join(",")),
                Cell::plain(row.ports.join(",")),
                targets(row),
                Cell::plain(age(row.created, page.now)),
                Cell::plain(&row.reason),
            ];
            if page.wide {
                let node_ports: Vec<_> = row.node_ports.iter().map(ToString::to_string).collect();
                cells.extend([
                    Cell::plain(row.class.clone().unwrap_or_default()),
                    Cell::plain(row.group.clone().unwrap_or_default()),
                    Cell::plain(row.pools.join(",")),
                    Cell::plain(node_ports.join(",")),
                    Cell::plain(row.open_ports.join(",")),
                    Cell::plain(row.trouble.waits.join("; ")),
                ]);
            }
            table.row(cells);
        }
        table.render(page.ink)
    }

    fn footer(&self, text: &mut String, ink: Ink) {
        let controller = &self.controller;
        match &controller.object {
            Some(object) => {
                let leader = match controller.identity.as_str() {
                    "" => "leader unknown".to_owned(),
                    identity => format!("leader {identity}"),
                };
                let _ = writeln!(
                    text,
                    "{} {} {}, {}",
                    ink.paint(Tone::Strong, "Controller"),
                    ink.paint(Tone::Plain, object),
                    ink.paint(Tone::Plain, version(&controller.version)),
                    ink.paint(Tone::Plain, leader)
                );
            }
            None => {
                let _ = writeln!(
                    text,
                    "{} none was found",
                    ink.paint(Tone::Strong, "Controller")
                );
            }
        }
        if let Some(figures) = &self.figures {
            let _ = writeln!(text, "  {}", ink.paint(Tone::Plain, said(figures)));
        }
        for condition in &controller.conditions {
            let bad = condition.status != "True";
            let tone = if bad { Tone::Bad } else { Tone::Good };
            let line = format!(
                "{}={} ({}) {}",
                condition.type_, condition.status, condition.provider, condition.reason
            );
            let _ = write!(text, "  {}", ink.paint(tone, line));
            let tells = condition.type_ == PROVIDER_READY && condition.message != ANSWERS;
            if bad || tells {
                let _ = write!(text, ": {}", ink.paint(Tone::Plain, &condition.message));
            }
            text.push('\n');
        }
        if let Some(unknown) = &controller.unknown {
            let line = format!("Targets are unknown: {unknown}");
            let _ = writeln!(text, "{}", ink.paint(Tone::Warn, line));
        }
        for assumed in &self.assumed {
            let line = format!("Assumed: {assumed}");
            let _ = writeln!(text, "{}", ink.paint(Tone::Warn, line));
        }
    }
}

fn version(version: &str) -> String {
    if version.is_empty() {
        "of an unknown version".to_owned()
    } else {
        format!("version {version}")
    }
}

fn said(figures: &Figures) -> String {
    let mut parts = vec![format!("{} waiting to be worked on", figures.queue_depth)];
    if figures.oldest_pending_seconds > 0 {
        parts.push(format!(
            "the longest not as asked for {} s",
            figures.oldest_pending_seconds
        ));
    }
    parts.push(format!(
        "{} writes to and {} looks at clouds",
        figures.cloud_writes, figures.cloud_reads
    ));
    parts.push(format!("{} writes of status", figures.status_writes));
    if figures.orphans > 0 {
        parts.push(format!(
            "{} load balancers without a Service: see the log, and `evenkeel plan --all`",
            figures.orphans
        ));
    }
    parts.join(", ")
}

fn tone(state: &str) -> Tone {
    match state {
        "active" => Tone::Good,
        "degraded" | "rejected" => Tone::Bad,
        _ => Tone::Warn,
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
        .unwrap_or_default()
}

fn targets(row: &Row) -> Cell {
    match row.targets {
        None => Cell::new(Tone::Faint, "<unknown>"),
        Some(targets) => {
            let tone = match (targets.healthy, targets.total) {
                (0, _) => Tone::Bad,
                (healthy, total) if healthy < total => Tone::Warn,
                _ => Tone::Plain,
            };
            Cell::new(tone, format!("{}/{}", targets.healthy, targets.total))
        }
    }
}

fn has_more(row: &Row) -> bool {
    let ill = row
        .targets
        .is_some_and(|targets| targets.healthy == 0 && row.state == "active");
    !row.is_fine() || !row.trouble.warnings.is_empty() || ill
}

/// What is wrong with one Service, and what to do.
fn detail(text: &mut String, row: &Row, page: Page<'_>) {
    let ink = page.ink;
    let trouble = &row.trouble;
    let since = row
        .since
        .map(|since| format!(", not as asked for {}", age(Some(since), page.now)));
    let _ = writeln!(
        text,
        "{} {}{}",
        ink.paint(Tone::Strong, row.key()),
        ink.paint(tone(&row.state), format!("is {}", row.state)),
        ink.paint(Tone::Faint, since.unwrap_or_default())
    );
    let mut lines: Vec<(Tone, String)> = Vec::new();
    for fault in trouble.problems.iter().chain(&trouble.refusals) {
        lines.push((Tone::Bad, fault.message.clone()));
        if let Some(digest) = &fault.approval {
            lines.push((
                Tone::Strong,
                approval_command(&row.namespace, &row.name, digest),
            ));
        }
    }
    for fault in &trouble.port_errors {
        lines.push((Tone::Bad, format!("port {}: {}", fault.at, fault.message)));
    }
    if !trouble.failures.is_empty()
        || (lines.is_empty() && !row.is_fine() && trouble.waits.is_empty())
    {
        // The message of a condition says beside what failed what to do next.
        lines.push((tone(&row.state), row.message.clone()));
    }
    if trouble.paused && !trouble.withheld.is_empty() {
        lines.push((
            Tone::Warn,
            format!("held back by the pause: {}", trouble.withheld.join(", ")),
        ));
    }
    for wait in &trouble.waits {
        lines.push((Tone::Warn, format!("waits for {wait}")));
    }
    if row.targets.is_some_and(|targets| targets.healthy == 0) && row.state == "active" {
        let advice = "no target is healthy: see that pods are ready and that the nodes answer on the node ports";
        lines.push((Tone::Bad, advice.to_owned()));
    }
    for warning in &trouble.warnings {
        lines.push((Tone::Warn, format!("to know: {}", warning.message)));
    }
    if row.state == FOREIGN {
        lines.push((Tone::Faint, "evenkeel leaves it alone".to_owned()));
    }
    for (tone, line) in lines {
        let _ = writeln!(text, "  {}", ink.paint(tone, line));
    }
}

/// What to type to approve a plan.
pub fn approval_command(namespace: &str, name: &str, digest: &str) -> String {
    format!(
        "kubectl annotate service -n {namespace} {name} evenkeel.dev/approve={digest} --overwrite"
    )
}
