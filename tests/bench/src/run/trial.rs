//! One trial: a load through one balancer, and the figures it gives. Reads and Writes: loopback.

use anyhow::{Result, anyhow};

use crate::{
    balancer::Balancer,
    figure::{Figure, Peer},
    load::{self, Idle, Window},
    target::{ECHO_PORTS, SINK_PORT, SOURCE_PORT, SPLICED_SINK_PORT, SPLICED_SOURCE_PORT},
};

/// Connections of the trials with many.
const MANY: usize = 64;

/// UDP flows.
const FLOWS: usize = 1_000;

/// A load, and how many connections it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Idle connections.
    Memory,
    /// Bytes to clients.
    Download(usize),
    /// Bytes to targets.
    Upload(usize),
    /// Bytes to clients, beside a peer that splices.
    SplicedDownload(usize),
    /// Bytes to targets, beside a peer that splices.
    SplicedUpload(usize),
    /// Small messages.
    RoundTrips(usize),
    /// New connections.
    Connections,
    /// UDP requests.
    Datagrams,
}

/// What a trial measured of one balancer.
#[derive(Clone, Debug)]
pub struct Measured {
    /// A value per figure of the trial, in its order.
    pub values: Vec<f64>,
    /// Processor time of the balancer for a unit of what the first figure counts; None where it counts nothing.
    pub cpu_per_unit: Option<f64>,
}

impl Trial {
    /// Every trial; memory first, of balancers that have done nothing yet.
    pub const ALL: [Self; 13] = [
        Self::Memory,
        Self::Download(1),
        Self::Download(MANY),
        Self::Upload(1),
        Self::Upload(MANY),
        Self::SplicedDownload(1),
        Self::SplicedDownload(MANY),
        Self::SplicedUpload(1),
        Self::SplicedUpload(MANY),
        Self::RoundTrips(1),
        Self::RoundTrips(MANY),
        Self::Connections,
        Self::Datagrams,
    ];

    /// The figures it gives.
    #[must_use]
    pub fn figures(self) -> &'static [Figure] {
        match self {
            Self::Memory => &[Figure::Memory],
            Self::Download(1) => &[Figure::DownloadOne],
            Self::Download(_) => &[Figure::DownloadMany],
            Self::Upload(1) => &[Figure::UploadOne],
            Self::Upload(_) => &[Figure::UploadMany],
            Self::SplicedDownload(1) => &[Figure::SplicedDownloadOne],
            Self::SplicedDownload(_) => &[Figure::SplicedDownloadMany],
            Self::SplicedUpload(1) => &[Figure::SplicedUploadOne],
            Self::SplicedUpload(_) => &[Figure::SplicedUploadMany],
            Self::RoundTrips(1) => &[Figure::RoundTripsOne, Figure::MedianOne, Figure::TailOne],
            Self::RoundTrips(_) => &[Figure::RoundTripsMany, Figure::MedianMany, Figure::TailMany],
            Self::Connections => &[Figure::Connections],
            Self::Datagrams => &[Figure::Datagrams],
        }
    }

    /// Whom it compares with.
    #[must_use]
    pub fn peer(self) -> Peer {
        self.figures()[0].peer()
    }

    /// Whether a text is part of its name or of its figures' titles.
    #[must_use]
    pub fn is_named(self, text: &str) -> bool {
        let text = text.to_lowercase();
        let name = format!("{self:?}").to_lowercase();
        name.contains(&text)
            || self
                .figures()
                .iter()
                .any(|figure| figure.title().to_lowercase().contains(&text))
    }

    /// Why the data plane cannot do it, if it cannot.
    #[must_use]
    pub fn refused_by(self, ours: &Balancer) -> Option<String> {
        match self {
            Self::Datagrams => ours.datagram().err().map(ToOwned::to_owned),
            _ => None,
        }
    }

    /// Measures it through a balancer, with this many connections where they idle.
    ///
    /// # Errors
    /// When a connection fails or the balancer has ended.
    pub fn measure(self, balancer: &Balancer, window: Window, idle: usize) -> Result<Measured> {
        if self == Self::Memory {
            return memory(balancer, idle);
        }
        let megabytes = |bytes: f64| vec![bytes / 1e6];
        let download = |port, n| load::download(balancer.at(port), n, window).map(megabytes);
        let upload = |port, n| load::upload(balancer.at(port), n, window).map(megabytes);
        let before = balancer.usage()?.cpu;
        let begin = std::time::Instant::now();
        let values = match self {
            Self::Download(n) => download(SOURCE_PORT, n)?,
            Self::SplicedDownload(n) => download(SPLICED_SOURCE_PORT, n)?,
            Self::Upload(n) => upload(SINK_PORT, n)?,
            Self::SplicedUpload(n) => upload(SPLICED_SINK_PORT, n)?,
            Self::RoundTrips(n) => {
                let measured = load::round_trips(balancer.at(ECHO_PORTS[0]), n, window)?;
                vec![measured.per_second, measured.p50, measured.p99]
            }
            Self::Connections => vec![load::connections(&balancer.echo(), window)?],
            Self::Datagrams | Self::Memory => {
                let address = balancer.datagram().map_err(|why| anyhow!("{why}"));
                vec![load::datagrams(address?, FLOWS, window)?.per_second]
            }
        };
        // Of the whole time, warm-up included, as if the rate had been the same in it: it is alike on both sides.
        let units = values[0] * begin.elapsed().as_secs_f64();
        let cpu = balancer.usage()?.cpu - before;
        Ok(Measured {
            cpu_per_unit: Some(cpu.as_secs_f64() / units),
            values,
        })
    }
}

/// What the balancer grows by.
fn memory(balancer: &Balancer, count: usize) -> Result<Measured> {
    let before = balancer.usage()?.memory;
    let idle = Idle::open(&balancer.echo(), count)?;
    let after = balancer.usage()?.memory;
    idle.check()?;
    let growth = after.saturating_sub(before) as f64;
    Ok(Measured {
        values: vec![growth * 1_000.0 / count as f64],
        cpu_per_unit: None,
    })
}
