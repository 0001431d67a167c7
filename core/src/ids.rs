//! Identities: clusters, Services, groups, nodes, and the logical ids of cloud objects (Decides).
//!
//! Each is a type of its own, so that a name can never stand where a UID belongs.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }
    };
}

text_id! {
    /// UID of a Service: new for every object, also for one that is created again under the same name.
    ServiceUid
}
text_id! {
    /// Name of a Node.
    NodeName
}
text_id! {
    /// Logical id of a cloud object within its group, the same before and after it exists: `tg/TCP/443`.
    ///
    /// Steps name objects by it; cloud ids are read from what was observed.
    ResourceId
}

text_id! {
    /// Name of a provider: `aws`, `local`. It ends class names and finalizers.
    ProviderName
}

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
}

impl ServiceKey {
    /// The key of `namespace/name`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One Service object: its name, and the UID that tells it from a namesake of earlier or later times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceRef {
    /// Namespace and name.
    pub key: ServiceKey,
    /// Its UID.
    pub uid: ServiceUid,
}

impl fmt::Display for ServiceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)
    }
}

/// Which cluster we serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cluster {
    /// The identity: UID of the namespace `kube-system`. Two clusters of one name cannot collide.
    pub uid: Arc<str>,
    /// The name, beside the identity, for people.
    pub name: Arc<str>,
}

impl Cluster {
    /// A cluster by the UID of its `kube-system` namespace and a name for people.
    pub fn new(uid: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            uid: uid.into(),
            name: name.into(),
        }
    }
}

/// The unit of work: the Services that share one load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupKey {
    /// One Service with a load balancer of its own: nearly always.
    Service(ServiceRef),
    /// Services of one namespace that asked to share one, by the group's name.
    Shared {
        /// The namespace of all members.
        namespace: Arc<str>,
        /// The name they agreed on.
        name: Arc<str>,
    },
}

impl GroupKey {
    /// The text that names and marks carry: the Service's UID, or `namespace/name` of a shared group.
    pub fn identity(&self) -> String {
        match self {
            Self::Service(service) => service.uid.to_string(),
            Self::Shared { namespace, name } => format!("{namespace}/{name}"),
        }
    }

    /// The shared group of this identity; None for that of one Service.
    pub fn shared(identity: &str) -> Option<Self> {
        let (namespace, name) = identity.split_once('/')?;
        Some(Self::Shared {
            namespace: namespace.into(),
            name: name.into(),
        })
    }

    /// The namespace of its Services.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Service(service) => &service.key.namespace,
            Self::Shared { namespace, .. } => namespace,
        }
    }

    /// A name for people: the Service's, or the group's.
    pub fn name(&self) -> &str {
        match self {
            Self::Service(service) => &service.key.name,
            Self::Shared { name, .. } => name,
        }
    }
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(service) => service.fmt(f),
            Self::Shared { namespace, name } => write!(f, "{namespace}/{name} (shared)"),
        }
    }
}
