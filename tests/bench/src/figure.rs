//! What is measured: the rows of the table, in its order. Decides.

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Bytes from targets to one client.
    DownloadOne,
    /// Bytes from targets to 64 clients.
    DownloadMany,
    /// Bytes from one client to targets.
    UploadOne,
    /// Bytes from 64 clients to targets.
    UploadMany,
    /// [`Self::DownloadOne`], beside a peer that splices.
    SplicedDownloadOne,
    /// [`Self::DownloadMany`], beside a peer that splices.
    SplicedDownloadMany,
    /// [`Self::UploadOne`], beside a peer that splices.
    SplicedUploadOne,
    /// [`Self::UploadMany`], beside a peer that splices.
    SplicedUploadMany,
    /// Small messages there and back on one connection.
    RoundTripsOne,
    /// Their median time.
    MedianOne,
    /// The time within which 99 of 100 were back.
    TailOne,
    /// Small messages there and back on 64 connections at once.
    RoundTripsMany,
    /// Their median time.
    MedianMany,
    /// The time within which 99 of 100 were back.
    TailMany,
    /// Connections opened, used once and closed.
    Connections,
    /// Memory that idle connections take.
    Memory,
    /// UDP requests answered.
    Datagrams,
}

/// Whom the data plane is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// HAProxy in TCP mode.
    HaProxy,
    /// The same with `option splice-auto`.
    SplicingHaProxy,
    /// nginx's stream module.
    Nginx,
}

impl Peer {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HaProxy => "HAProxy",
            Self::SplicingHaProxy => "HAProxy with splice-auto",
            Self::Nginx => "nginx",
        }
    }
}

/// Which of two values is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The greater: a rate.
    More,
    /// The smaller: a time, memory.
    Less,
}

impl Figure {
    /// Every row, in the table's order.
    pub const ALL: [Self; 17] = [
        Self::DownloadOne,
        Self::DownloadMany,
        Self::UploadOne,
        Self::UploadMany,
        Self::SplicedDownloadOne,
        Self::SplicedDownloadMany,
        Self::SplicedUploadOne,
        Self::SplicedUploadMany,
        Self::RoundTripsOne,
        Self::MedianOne,
        Self::TailOne,
        Self::RoundTripsMany,
        Self::MedianMany,
        Self::TailMany,
        Self::Connections,
        Self::Memory,
        Self::Datagrams,
    ];

    /// What the row is called.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::DownloadOne | Self::SplicedDownloadOne => "bulk, target to client, 1 connection",
            Self::DownloadMany | Self::SplicedDownloadMany => {
                "bulk, target to client, 64 connections"
            }
            Self::UploadOne | Self::SplicedUploadOne => "bulk, client to target, 1 connection",
            Self::UploadMany | Self::SplicedUploadMany => "bulk, client to target, 64 connections",
            Self::RoundTripsOne => "64 B round trips, 1 connection",
            Self::MedianOne => "64 B round trips, 1 connection, p50",
            Self::TailOne => "64 B round trips, 1 connection, p99",
            Self::RoundTripsMany => "64 B round trips, 64 connections",
            Self::MedianMany => "64 B round trips, 64 connections, p50",
            Self::TailMany => "64 B round trips, 64 connections, p99",
            Self::Connections => "new connections (open, 64 B there and back, close)",
            Self::Memory => "memory per 1,000 idle connections",
            Self::Datagrams => "UDP requests answered, 1,000 flows",
        }
    }

    /// The unit of its values.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::DownloadOne
            | Self::DownloadMany
            | Self::UploadOne
            | Self::UploadMany
            | Self::SplicedDownloadOne
            | Self::SplicedDownloadMany
            | Self::SplicedUploadOne
            | Self::SplicedUploadMany => "MB/s",
            Self::RoundTripsOne | Self::RoundTripsMany | Self::Connections | Self::Datagrams => {
                "/s"
            }
            Self::MedianOne | Self::TailOne | Self::MedianMany | Self::TailMany => "µs",
            Self::Memory => "KiB",
        }
    }

    /// Which value is the better one.
    #[must_use]
    pub fn better(self) -> Better {
        match self.unit() {
            "µs" | "KiB" => Better::Less,
            _ => Better::More,
        }
    }

    /// Whom it is compared with.
    #[must_use]
    pub fn peer(self) -> Peer {
        match self {
            Self::Datagrams => Peer::Nginx,
            Self::SplicedDownloadOne
            | Self::SplicedDownloadMany
            | Self::SplicedUploadOne
            | Self::SplicedUploadMany => Peer::SplicingHaProxy,
            _ => Peer::HaProxy,
        }
    }
}
