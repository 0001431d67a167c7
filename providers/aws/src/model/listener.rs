//! Listeners, one per port number of a load balancer (Decides).

use std::{fmt, sync::Arc};

use evenkeel_core::{ids::ResourceId, ports::PortKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CloudId, Marks, Pairs};

/// A listener that shall be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listener {
    /// Its logical id: `ls/443`.
    pub id: ResourceId,
    /// The port number, which names it.
    pub port: u16,
    /// What is spoken by clients.
    pub protocol: ListenerProtocol,
    /// The Service ports that it serves: one, or TCP and UDP of one number.
    pub serves: Vec<PortKey>,
    /// The logical id of its target group.
    pub target_group: ResourceId,
    /// Of a TLS listener.
    pub tls: Option<Tls>,
    /// The attributes that were asked for.
    pub attributes: Pairs,
    /// Whose it is.
    pub marks: Marks,
}

/// `Protocol` of a listener.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ListenerProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Both.
    TcpUdp,
    /// TLS, ended at the load balancer.
    Tls,
}

impl ListenerProtocol {
    /// As AWS writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::TcpUdp => "TCP_UDP",
            Self::Tls => "TLS",
        }
    }

    /// Whether clients send datagrams.
    pub fn has_udp(self) -> bool {
        matches!(self, Self::Udp | Self::TcpUdp)
    }
}

impl fmt::Display for ListenerProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a TLS listener needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tls {
    /// ARN of the certificate for clients that name no host, or none that another has.
    pub certificate: Arc<str>,
    /// ARNs of further certificates, chosen by the host that the client names. Sorted, without the default one.
    pub further: Vec<Arc<str>>,
    /// The security policy.
    pub policy: Arc<str>,
    /// The ALPN policy; None: none.
    pub alpn: Option<Arc<str>>,
}

/// A listener that is there, or is foretold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenListener {
    /// Its ARN.
    pub arn: CloudId,
    /// What is spoken by clients.
    pub protocol: ListenerProtocol,
    /// The name of the target group that it forwards to; None where it forwards to something that is not this group's.
    pub target_group: Option<Arc<str>>,
    /// Of a TLS listener. Further certificates are known where its tag says that there are any.
    pub tls: Option<Tls>,
    /// Its attributes that were read or written; None: they were not read, and no tag says that any was set.
    pub attributes: Option<Pairs>,
    /// Whose it is. None: it carries no mark of ours; somebody made it by hand.
    pub marks: Option<Marks>,
    /// All of its tags.
    pub tags: Pairs,
}
