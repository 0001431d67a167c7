//! What a client of Azure is made with (Decides).

use std::{fmt, path::Path, sync::Arc, time::Duration};

use evenkeel_core::limiter::Rate;

/// The longest a call may take. Azure writes a load balancer of some hundred rules in seconds; an answer comes before the write is over.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest a write may take until it is over.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(600);

/// What a client is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// Which of Microsoft's clouds.
    pub cloud: Cloud,
    /// The URL of Azure Resource Manager where it is not the cloud's own: of a private link, or of an emulator. `http` only to this host.
    pub endpoint: Option<Arc<str>>,
    /// The URL of Microsoft Entra where it is not the cloud's own.
    pub authority: Option<Arc<str>>,
    /// The URL of the instance metadata service where it is not the well-known one: of an emulator.
    pub metadata: Option<Arc<str>>,
    /// Who we are.
    pub credential: Credential,
    /// A file with certificates, in PEM, of authorities that are trusted beside the system's. Read when the first call is made.
    pub authorities: Option<Arc<Path>>,
    /// The longest a call may take.
    pub call_timeout: Duration,
    /// The longest a write may take until it is over.
    pub write_timeout: Duration,
    /// How long it is waited between looks at a write that goes on, in order; the last for ever. `Retry-After` counts where it is longer.
    pub poll_pauses: Arc<[Duration]>,
    /// How many calls a second.
    pub rates: Rates,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            cloud: Cloud::Public,
            endpoint: None,
            authority: None,
            metadata: None,
            credential: Credential::ManagedIdentity { client: None },
            authorities: None,
            call_timeout: CALL_TIMEOUT,
            write_timeout: WRITE_TIMEOUT,
            poll_pauses: [1, 2, 5].map(Duration::from_secs).into(),
            rates: Rates::default(),
        }
    }
}

/// One of Microsoft's clouds, each with its own endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cloud {
    /// The worldwide one.
    #[default]
    Public,
    /// Operated by 21Vianet.
    China,
    /// Of the government of the USA.
    UsGovernment,
}

impl Cloud {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Public, Self::China, Self::UsGovernment];

    /// As `cloud` in azure.json names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "AzurePublicCloud",
            Self::China => "AzureChinaCloud",
            Self::UsGovernment => "AzureUSGovernmentCloud",
        }
    }

    /// By its name, in any case. No name is the worldwide one.
    pub fn named(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::Public);
        }
        let mut all = Self::ALL.into_iter();
        all.find(|cloud| cloud.name().eq_ignore_ascii_case(name))
    }

    /// Where Azure Resource Manager is, which also is whom tokens are for.
    pub fn endpoint(self) -> &'static str {
        match self {
            Self::Public => "https://management.azure.com",
            Self::China => "https://management.chinacloudapi.cn",
            Self::UsGovernment => "https://management.usgovcloudapi.net",
        }
    }

    /// Where Microsoft Entra is.
    pub fn authority(self) -> &'static str {
        match self {
            Self::Public => "https://login.microsoftonline.com",
            Self::China => "https://login.chinacloudapi.cn",
            Self::UsGovernment => "https://login.microsoftonline.us",
        }
    }
}

/// Who we are, and how we show it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A token of the cluster's, for which Microsoft Entra gives one of its own.
    WorkloadIdentity {
        /// The tenant.
        tenant: Arc<str>,
        /// The client: of an application, or of a user-assigned identity.
        client: Arc<str>,
        /// The file with the cluster's token, which the kubelet writes anew before it expires.
        token_file: Arc<Path>,
    },
    /// The identity of the machine that we run on.
    ManagedIdentity {
        /// Which one, where it has several: the client id, or the resource id. None: the system-assigned one.
        client: Option<Arc<str>>,
    },
    /// A service principal with a secret.
    Secret {
        /// The tenant.
        tenant: Arc<str>,
        /// The client.
        client: Arc<str>,
        /// The secret.
        secret: Arc<str>,
    },
}

impl Credential {
    /// For people, without what is secret: `client C of tenant T by workload identity`.
    pub fn told(&self) -> String {
        let kind = self.kind();
        match self {
            Self::WorkloadIdentity { tenant, client, .. } | Self::Secret { tenant, client, .. } => {
                format!("client {client} of tenant {tenant} by {kind}")
            }
            Self::ManagedIdentity {
                client: Some(client),
            } => format!("{client} by {kind}"),
            Self::ManagedIdentity { client: None } => format!("the machine by {kind}"),
        }
    }

    /// For people.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::WorkloadIdentity { .. } => "workload identity",
            Self::ManagedIdentity { .. } => "managed identity",
            Self::Secret { .. } => "a service principal's secret",
        }
    }
}

impl fmt::Debug for Credential {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Credential");
        text.field("kind", &self.kind());
        match self {
            Self::WorkloadIdentity { tenant, client, .. } | Self::Secret { tenant, client, .. } => {
                text.field("tenant", tenant).field("client", client);
            }
            Self::ManagedIdentity { client } => {
                text.field("client", client);
            }
        }
        text.finish_non_exhaustive()
    }
}

/// The rates that buckets begin with. Polls are reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of reads.
    pub reads: Rate,
    /// Of writes.
    pub writes: Rate,
    /// Of deletes.
    pub deletes: Rate,
    /// Of writes and deletes together, as the network's provider counts them.
    pub network_writes: Rate,
}

impl Default for Rates {
    /// Below what Azure enforces per subscription, region and principal ("Understand how Azure Resource Manager throttles requests"): 200
    /// writes at once and 10 a second, as many deletes, 250 reads and 25; and the network's provider 1,000 writes in five minutes.
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            reads: rate(20.0, 200.0),
            writes: rate(8.0, 150.0),
            deletes: rate(8.0, 150.0),
            network_writes: rate(2.5, 750.0),
        }
    }
}

impl Rates {
    /// The names of all.
    pub const NAMES: [&str; 4] = ["reads", "writes", "deletes", "network-writes"];

    /// One by its name.
    pub fn named(&mut self, name: &str) -> Option<&mut Rate> {
        match name {
            "reads" => Some(&mut self.reads),
            "writes" => Some(&mut self.writes),
            "deletes" => Some(&mut self.deletes),
            "network-writes" => Some(&mut self.network_writes),
            _ => None,
        }
    }

    /// As good as no limit, for an emulator.
    pub fn unlimited() -> Self {
        Self {
            reads: Rate::UNLIMITED,
            writes: Rate::UNLIMITED,
            deletes: Rate::UNLIMITED,
            network_writes: Rate::UNLIMITED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientConfig, Cloud, Credential, Rates};

    #[test]
    fn secrets_are_in_no_text() {
        let config = ClientConfig {
            credential: Credential::Secret {
                tenant: "tenant1".into(),
                client: "client1".into(),
                secret: "hunter2".into(),
            },
            ..ClientConfig::default()
        };
        let text = format!("{config:?}");
        assert!(text.contains("client1"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn names() {
        for cloud in Cloud::ALL {
            assert_eq!(Cloud::named(&cloud.name().to_uppercase()), Some(cloud));
        }
        assert_eq!(Cloud::named(""), Some(Cloud::Public));
        assert_eq!(Cloud::named("AzureGermanCloud"), None);
        let mut rates = Rates::default();
        assert!(Rates::NAMES.iter().all(|name| rates.named(name).is_some()));
    }
}
