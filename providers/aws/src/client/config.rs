//! What a client of AWS is made with (Decides).

use std::{fmt, path::Path, sync::Arc, time::Duration};

use crate::limiter::Rates;

/// The longest a call may take. AWS answers within a second as a rule; a large registration takes longer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What a client is made with. What is None is found out (see [`crate::client::Client`]).
#[derive(Clone, Debug)]
pub struct Config {
    /// The region.
    pub region: Option<Arc<str>>,
    /// The VPC of the cluster's nodes.
    pub vpc: Option<Arc<str>>,
    /// `spec.providerID` of one of the cluster's nodes: tells region and VPC where they are not configured.
    pub node: Option<Arc<str>>,
    /// One URL for all APIs, of an emulator or a proxy.
    pub endpoint: Option<Arc<str>>,
    /// URLs for single APIs.
    pub endpoints: Endpoints,
    /// A role to take on, maybe of another account.
    pub role: Option<Role>,
    /// Keys; None: the SDK's chain (environment, profile, web identity, Pod Identity, the instance's role).
    pub keys: Option<Keys>,
    /// Endpoints validated under FIPS 140. None: as the environment says.
    pub fips: Option<bool>,
    /// A file with certificates, in PEM, of authorities that are trusted beside the system's. Read when the first call is made.
    pub authorities: Option<Arc<Path>>,
    /// Whether the metadata service of the instance may be asked for what nothing else tells.
    pub instance_metadata: bool,
    /// The longest a call may take.
    pub call_timeout: Duration,
    /// How many calls a second.
    pub rates: Rates,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: None,
            vpc: None,
            node: None,
            endpoint: None,
            endpoints: Endpoints::default(),
            role: None,
            keys: None,
            fips: None,
            authorities: None,
            instance_metadata: true,
            call_timeout: CALL_TIMEOUT,
            rates: Rates::default(),
        }
    }
}

/// URLs of single APIs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Elastic Load Balancing.
    pub elb: Option<Arc<str>>,
    /// EC2.
    pub ec2: Option<Arc<str>>,
    /// The token service.
    pub sts: Option<Arc<str>>,
}

/// A role to take on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its ARN.
    pub arn: Arc<str>,
    /// What its trust policy asks for.
    pub external_id: Option<Arc<str>>,
}

/// An access key.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The key's id.
    pub id: Arc<str>,
    /// The secret.
    pub secret: Arc<str>,
    /// Of temporary keys.
    pub token: Option<Arc<str>>,
}

impl fmt::Debug for Keys {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Keys};
    use crate::client::Client;

    #[test]
    fn secrets_are_in_no_text() {
        let keys = Keys {
            id: "AKIAEXAMPLE".into(),
            secret: "hunter2".into(),
            token: Some("hunter3".into()),
        };
        let config = Config {
            keys: Some(keys),
            ..Config::default()
        };
        let text = format!("{config:?} {:?}", Client::new(config.clone()));
        assert!(text.contains("AKIAEXAMPLE"));
        assert!(!text.contains("hunter"), "{text}");
    }
}
