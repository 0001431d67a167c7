//! Makes things happen to all Services and tells what that took. Reads and Writes: through the stage.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use evenkeel_harness::{aws::Counts, fake_aws::Taken, progress::Progress};
use jiff::Timestamp;

use super::{
    args::Size,
    share::shares,
    stage::{Stage, is_other},
};

/// For how long a controller that was started again is watched.
const AFTER_RESTART: Duration = Duration::from_secs(60);

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// All are created.
    Create,
    /// One of twenty nodes is replaced, all at once.
    Replace,
    /// The controller starts again.
    Restart,
    /// As many nodes are replaced before it has read what the targets are.
    ReplaceUnread,
    /// All get an annotation that changes their health checks.
    Annotate,
    /// All are deleted.
    Delete,
}

impl Event {
    /// All, in their order.
    pub const ALL: [Self; 6] = [
        Self::Create,
        Self::Replace,
        Self::Restart,
        Self::ReplaceUnread,
        Self::Annotate,
        Self::Delete,
    ];

    /// What it is called.
    #[must_use]
    pub fn title(self, size: Size) -> String {
        match self {
            Self::Create => "create all".to_owned(),
            Self::Replace => format!("{} nodes replaced", size.replaced()),
            Self::Restart => "restart, and a minute".to_owned(),
            Self::ReplaceUnread => format!("{} nodes replaced then", size.replaced()),
            Self::Annotate => "an annotation changed on all".to_owned(),
            Self::Delete => "delete all".to_owned(),
        }
    }
}

/// What an event took.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// What we asked.
    pub counts: Counts,
    /// How often we were refused for want of tokens.
    pub throttled: usize,
    /// How often somebody else asked, and was refused.
    pub tenant: (usize, usize),
    /// Time on the cloud's clock.
    pub took: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// The greatest resident set of the process so far, in KiB.
    pub peak: u64,
    /// What we took of each bucket, at most.
    pub shares: BTreeMap<String, f64>,
    /// The same, were each call on its way for up to half a second on the wall.
    pub shares_sent: BTreeMap<String, f64>,
}

impl Cost {
    /// The bucket of which most was taken.
    #[must_use]
    pub fn greatest(&self) -> Option<(&str, f64)> {
        let shares = self.shares.iter().map(|(name, share)| (&**name, *share));
        shares.max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

/// The order in which targets follow the nodes: times since the nodes stopped, on the cloud's clock.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// When probes had taken the nodes that stopped out of every target group.
    pub probes: Duration,
    /// When the first and the last removal was asked for.
    pub removals: (Duration, Duration),
    /// When the first and the last of the new nodes was registered.
    pub additions: (Duration, Duration),
    /// How many removals came after the first addition.
    pub late: usize,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            probes,
            removals,
            additions,
            late,
        } = self;
        let span =
            |(from, to): &(Duration, Duration)| format!("{} to {} s", from.as_secs(), to.as_secs());
        write!(
            f,
            "probes fail until {} s, removals {}, additions {}, {late} removals after the first addition",
            probes.as_secs(),
            span(removals),
            span(additions)
        )
    }
}

/// Everything of one size.
#[derive(Clone, Debug)]
pub struct Measured {
    /// How many there were.
    pub size: Size,
    /// By event.
    pub costs: BTreeMap<Event, Cost>,
    /// Where nodes were replaced.
    pub orders: BTreeMap<Event, Order>,
}

/// Runs all events.
///
/// # Errors
/// When a part of the stage cannot be had, or the program does not do what it is for.
pub async fn run(program: &Path, size: Size, pace: u32, progress: &Progress) -> Result<Measured> {
    let mut stage = Stage::new(program, size, pace).await?;
    let mut measured = Measured {
        size,
        costs: BTreeMap::new(),
        orders: BTreeMap::new(),
    };
    for event in Event::ALL {
        let title = format!(
            "{} Services on {} nodes: {}",
            size.services,
            size.nodes,
            event.title(size)
        );
        let replaces = matches!(event, Event::Replace | Event::ReplaceUnread);
        if replaces {
            stage.healthy().await.with_context(|| title.clone())?;
        }
        let before = Before::now(&mut stage, event)?;
        let mut probes = Timestamp::UNIX_EPOCH;
        match event {
            Event::Create => stage.create().await,
            Event::Restart => {
                stage = stage.restart(AFTER_RESTART).await?;
                Ok(())
            }
            Event::Replace | Event::ReplaceUnread => {
                stage.replace_nodes().await?;
                stage.probes_have_seen().await?;
                probes = stage.now();
                stage.targets_are_nodes().await
            }
            Event::Annotate => stage.annotate().await,
            Event::Delete => stage.delete().await,
        }
        .with_context(|| title.clone())?;
        let (cost, ours) = before.cost(&mut stage, pace)?;
        progress.note(&format!(
            "{title}: {}; {} s, {} refused; {:.2} s of processor time, {:.1} MiB; {:.3?}; others {:?}",
            cost.counts,
            cost.took.as_secs(),
            cost.throttled,
            cost.cpu.as_secs_f64(),
            cost.peak as f64 / 1024.0,
            cost.shares,
            cost.tenant,
        ));
        if replaces {
            let order = order(before.at, probes, &ours);
            progress.note(&format!("{title}: {order}"));
            measured.orders.insert(event, order);
        }
        measured.costs.insert(event, cost);
    }
    stage.stop().await?;
    Ok(measured)
}

/// How things stood before an event.
struct Before {
    at: Timestamp,
    asked: usize,
    tenant: (usize, usize),
    cpu: Duration,
}

impl Before {
    fn now(stage: &mut Stage, event: Event) -> Result<Self> {
        Ok(Self {
            at: stage.now(),
            asked: stage.asked().len(),
            tenant: stage.tenant.asked(),
            // One that starts again is another process.
            cpu: match event {
                Event::Restart => Duration::ZERO,
                _ => stage.cost()?.cpu,
            },
        })
    }

    /// What has been since, and what we asked.
    fn cost(&self, stage: &mut Stage, pace: u32) -> Result<(Cost, Vec<Taken>)> {
        let now = stage.now();
        let asked = stage.asked();
        let ours: Vec<_> = asked[self.asked..]
            .iter()
            .filter(|one| !is_other(one))
            .cloned()
            .collect();
        let tenant = stage.tenant.asked();
        let process = stage.cost()?;
        // A bucket may not be full when an event begins.
        let all: Vec<_> = asked.into_iter().filter(|one| !is_other(one)).collect();
        let window: Vec<_> = all
            .into_iter()
            .filter(|one| one.at >= self.at && !one.throttled)
            .collect();
        let cost = Cost {
            counts: counts(&ours),
            throttled: ours.iter().filter(|one| one.throttled).count(),
            tenant: (tenant.0 - self.tenant.0, tenant.1 - self.tenant.1),
            took: since(self.at, now),
            cpu: process.cpu - self.cpu,
            peak: process.peak,
            shares: shares(&window, Duration::ZERO),
            shares_sent: shares(&window, Duration::from_millis(500) * pace),
        };
        Ok((cost, ours))
    }
}

fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

fn counts(taken: &[Taken]) -> Counts {
    let mut counts = Counts::default();
    for one in taken {
        let (service, operation) = one.call.split_once(':').unwrap_or_default();
        match service == "sts" || operation.starts_with("Describe") {
            true => counts.reads += 1,
            false => counts.writes += 1,
        }
        *counts.by_operation.entry(one.call.clone()).or_default() += 1;
    }
    counts
}

fn order(began: Timestamp, probes: Timestamp, taken: &[Taken]) -> Order {
    let of = |operation: &str| -> Vec<Timestamp> {
        let calls = taken.iter().filter(|one| one.call == operation);
        calls.map(|one| one.at).collect()
    };
    let span = |times: &[Timestamp]| {
        let time = |at: Option<&Timestamp>| at.map_or(Duration::ZERO, |at| since(began, *at));
        (time(times.first()), time(times.last()))
    };
    let (removals, additions) = (of("elbv2:DeregisterTargets"), of("elbv2:RegisterTargets"));
    let first = additions.first();
    let late = removals
        .iter()
        .filter(|at| first.is_some_and(|first| *at > first));
    Order {
        probes: since(began, probes),
        removals: span(&removals),
        additions: span(&additions),
        late: late.count(),
    }
}
