//! What is counted: the rows of the table, with what the peer asks there and what we allow ourselves. Decides.

use std::{fmt, time::Duration};

use crate::page::thousands;

/// How many Services and nodes the rows about many have, and how patiently they are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Services of one port each.
    pub services: usize,
    /// Nodes, in one security group; the rows about one Service end with as many.
    pub nodes: usize,
    /// Services that are there at the restart of still more.
    pub more: usize,
    /// An event is over when AWS is asked nothing for so long.
    pub silence: Duration,
    /// How often each Service is looked at where looks are counted.
    pub resync: Duration,
}

impl Scale {
    /// What the peer was measured with.
    pub const FULL: Self = Self {
        services: 200,
        nodes: 200,
        more: 500,
        // Longer than until a first failure is tried again.
        silence: Duration::from_secs(6),
        resync: Duration::from_secs(60),
    };
    /// For a quick look.
    pub const SHORT: Self = Self {
        services: 10,
        nodes: 5,
        more: 25,
        silence: Duration::from_secs(2),
        resync: Duration::from_secs(15),
    };
}

/// An amount of something: what was measured, or what is allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    /// Calls to the cloud.
    Calls {
        /// Those that change something.
        writes: usize,
        /// Those that change nothing.
        reads: usize,
    },
    /// The greatest resident set, in KiB.
    Memory(u64),
    /// Time, of processors or of people.
    Time(Duration),
    /// A file, in bytes.
    Size(u64),
}

impl Amount {
    /// Whether it is no more than this.
    #[must_use]
    pub fn is_within(&self, most: &Self) -> bool {
        match (self, most) {
            (
                Self::Calls { writes, reads },
                Self::Calls {
                    writes: most_writes,
                    reads: most_reads,
                },
            ) => writes <= most_writes && reads <= most_reads,
            (Self::Memory(kib), Self::Memory(most)) => kib <= most,
            (Self::Time(time), Self::Time(most)) => time <= most,
            (Self::Size(bytes), Self::Size(most)) => bytes <= most,
            _ => false,
        }
    }

    /// All calls; None where it is no calls.
    #[must_use]
    pub fn calls(&self) -> Option<usize> {
        match self {
            Self::Calls { writes, reads } => Some(writes + reads),
            _ => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = |count: &usize, what: &str| match count {
            1 => format!("1 {what}"),
            _ => format!("{} {what}s", thousands(&count.to_string())),
        };
        match self {
            Self::Calls { writes, reads } => write!(
                f,
                "{}, {}",
                counted(writes, "write"),
                counted(reads, "read")
            ),
            Self::Memory(kib) => write!(f, "{:.1} MiB", *kib as f64 / 1024.0),
            Self::Time(time) => write!(f, "{:.2} s", time.as_secs_f64()),
            Self::Size(bytes) => write!(f, "{:.1} MB", *bytes as f64 / 1e6),
        }
    }
}

/// One row of the table. Those about one Service tell its number of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// A Service is created in a cluster that has others.
    Create(usize),
    /// An event that changes nothing.
    Nothing(usize),
    /// A look whether all is as it was left.
    Look(usize),
    /// A node is added.
    Join(usize),
    /// The Service is deleted.
    Delete(usize),
    /// Many Services are created in a cluster that has none.
    CreateAll,
    /// The controller ends and starts again.
    Restart,
    /// Each is looked at, whether all is as it was left.
    LookAll,
    /// A node is added to all.
    JoinAll,
    /// All are deleted.
    DeleteAll,
    /// The controller starts again where there are still more.
    RestartMore,
    /// The most memory that the controller had at any time.
    Memory,
    /// What it took of the processors from its start until all were created.
    Cpu,
    /// From the start of the program until it is ready.
    Ready,
    /// The program.
    Size,
}

impl Row {
    /// Every row, in the table's order.
    pub const ALL: [Self; 20] = [
        Self::Create(1),
        Self::Create(3),
        Self::Nothing(1),
        Self::Nothing(3),
        Self::Look(1),
        Self::Look(3),
        Self::Join(1),
        Self::Join(3),
        Self::Delete(1),
        Self::Delete(3),
        Self::CreateAll,
        Self::Restart,
        Self::LookAll,
        Self::JoinAll,
        Self::DeleteAll,
        Self::RestartMore,
        Self::Memory,
        Self::Cpu,
        Self::Ready,
        Self::Size,
    ];

    /// What the row is called.
    #[must_use]
    pub fn title(self, scale: Scale) -> String {
        let ports = |what: &str, ports: usize| match ports {
            1 => format!("{what}, 1 port"),
            _ => format!("{what}, {ports} ports"),
        };
        let Scale {
            services,
            nodes,
            more,
            ..
        } = scale;
        let all = |what: &str| format!("{services} Services on {nodes} nodes: {what}");
        match self {
            Self::Create(p) => ports("create, warm", p),
            Self::Nothing(p) => ports("an annotation that changes nothing", p),
            Self::Look(p) => ports("periodic look, per Service", p),
            Self::Join(p) => ports("a node added", p),
            Self::Delete(p) => ports("delete", p),
            Self::CreateAll => all("create all"),
            Self::Restart => all("restart"),
            Self::LookAll => all("periodic look at each"),
            Self::RestartMore => format!("{more} Services on {nodes} nodes: restart"),
            Self::JoinAll => all("one node added"),
            Self::DeleteAll => all("delete all"),
            Self::Memory => all("memory, peak"),
            Self::Cpu => all("processor time to create all"),
            Self::Ready => all("from start to ready"),
            Self::Size => "size of the program".to_owned(),
        }
    }

    /// What aws-load-balancer-controller 3.5.0 needs: measured with its default settings and security groups on, on a real API
    /// server beside moto, all calls counted at the wire; of many, at [`Scale::FULL`] only.
    #[must_use]
    pub fn peer(self, scale: Scale) -> &'static str {
        if self >= Self::CreateAll && scale != Scale::FULL {
            return "";
        }
        match self {
            Self::Create(1) => "26 calls (8 of them writes)",
            Self::Create(_) => "48 calls",
            Self::Nothing(1) => "12 to 15 calls",
            Self::Nothing(_) => "18 calls",
            Self::Look(1) => "13 calls",
            Self::Look(_) => "19.5 calls",
            Self::Join(1) => "3 to 7 calls",
            Self::Join(_) => "8 to 10 calls",
            Self::Delete(1) => "10 calls",
            Self::Delete(_) => "20 calls",
            Self::CreateAll => "4,611 calls",
            Self::Restart => "2,832 calls",
            Self::LookAll | Self::RestartMore => "not measured",
            Self::JoinAll => "432 calls",
            Self::DeleteAll => "2,023 calls",
            Self::Memory => "123 MiB",
            Self::Cpu => "9.3 s",
            Self::Ready => "2.05 s",
            Self::Size => "98 MB",
        }
    }

    /// The most that we allow ourselves.
    #[must_use]
    pub fn goal(self, scale: Scale) -> Amount {
        let calls = |writes, reads| Amount::Calls { writes, reads };
        let n = scale.services;
        match self {
            // A security group with its rules, a load balancer; per port a target group with its targets, a listener.
            Self::Create(p) => calls(3 + 3 * p, 1),
            Self::Nothing(_) => calls(0, 0),
            // The listeners of the load balancer; per port the targets of a target group.
            Self::Look(p) => calls(0, 1 + p),
            Self::Join(p) => calls(p, 1),
            // Listeners go with their load balancer. What is to go is proven ours first, and gone last.
            Self::Delete(p) => calls(2 + p, 2),
            // Beside each Service's own: the backend group and its admission by the one node group.
            Self::CreateAll => calls(6 * n + 2, PAGES),
            Self::Restart => calls(0, restart(n)),
            Self::RestartMore => calls(0, restart(scale.more)),
            Self::LookAll => calls(0, 2 * n),
            Self::JoinAll => calls(n, PAGES),
            Self::DeleteAll => calls(3 * n, 2 * n),
            Self::Memory => Amount::Memory(48 * 1024),
            Self::Cpu => Amount::Time(Duration::from_secs(3)),
            Self::Ready => Amount::Time(Duration::from_secs(1)),
            Self::Size => Amount::Size(20_000_000),
        }
    }
}

/// Reads of a first look at so many Services.
fn restart(services: usize) -> usize {
    // Load balancers, and target groups: 400 on a page, of which the first ones are among `PAGES`; 20 whose tags are told at a time.
    PAGES + 2 * (services.div_ceil(400) - 1) + 2 * services.div_ceil(20)
}

/// What all Services share, in pages: VPC, zones, subnets, instances; load balancers and target groups by 400; security
/// groups, those of nodes apart.
const PAGES: usize = 12;

#[cfg(test)]
mod tests {
    use super::{Amount, Duration, Row, Scale};

    /// The first number of a text.
    fn number(text: &str) -> Option<usize> {
        let digits = text.split([' ', '.']).next()?.replace(',', "");
        digits.parse().ok()
    }

    #[test]
    fn goals_are_at_most_two_thirds_of_what_the_peer_asks() {
        let mut compared = 0;
        for row in Row::ALL {
            let (goal, peer) = (row.goal(Scale::FULL), row.peer(Scale::FULL));
            if let (Some(ours), Some(peer)) = (goal.calls(), number(peer)) {
                assert!(ours * 3 <= peer * 2, "{row:?}: {goal}, {peer}");
                compared += 1;
            }
        }
        assert_eq!(compared, 14);
    }

    #[test]
    fn amounts_are_within_their_likes() {
        let calls = |writes, reads| Amount::Calls { writes, reads };
        for (amount, most, within) in [
            (calls(6, 1), calls(6, 1), true),
            (calls(7, 0), calls(6, 1), false),
            (calls(0, 2), calls(6, 1), false),
            (Amount::Memory(10), Amount::Memory(10), true),
            (Amount::Memory(11), Amount::Memory(10), false),
            (
                Amount::Time(Duration::from_secs(2)),
                Amount::Time(Duration::from_secs(1)),
                false,
            ),
            (Amount::Memory(1), calls(6, 1), false),
        ] {
            assert_eq!(amount.is_within(&most), within, "{amount}, {most}");
        }
    }
}
