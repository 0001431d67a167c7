//! Who asks, where, and with whose keys: for the log and for people (Reads).

use std::sync::{Arc, Mutex, PoisonError};

use aws_credential_types::{
    Credentials,
    credential_feature::AwsCredentialFeature as Feature,
    provider::{ProvideCredentials, SharedCredentialsProvider, future},
};
use evenkeel_core::error::CloudError;

use super::Client;
use crate::call;

impl Client {
    /// Where AWS is asked and as whom, without secrets.
    ///
    /// # Errors
    /// When AWS does not answer.
    pub async fn identity(&self) -> Result<String, CloudError> {
        let (region, vpc) = (self.region().await?, self.vpc().await?);
        let asked = self.apis().await?.sts.get_caller_identity().send();
        let who = self.read(&call::GET_CALLER_IDENTITY, asked).await?;
        Ok(format!(
            "account {}, region {region}, VPC {vpc}, as {}, with keys of {}",
            who.account().unwrap_or("unknown"),
            who.arn().unwrap_or("somebody"),
            self.noted.source(),
        ))
    }
}

/// Where the last keys came from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted(Arc<Mutex<Option<&'static str>>>);

impl Noted {
    /// The same keys, with where they come from taken down on their way.
    pub(crate) fn on_the_way_of(&self, chain: SharedCredentialsProvider) -> Noting {
        Noting {
            chain,
            noted: self.clone(),
        }
    }

    fn source(&self) -> &'static str {
        let noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.unwrap_or(CONFIGURATION)
    }
}

/// Keys that nobody had to find.
const CONFIGURATION: &str = "the configuration";

/// A source of keys that says where they come from.
#[derive(Debug)]
pub(crate) struct Noting {
    chain: SharedCredentialsProvider,
    noted: Noted,
}

impl ProvideCredentials for Noting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let keys = self.chain.provide_credentials().await?;
            let source = keys.get_property::<Vec<Feature>>();
            let source = source.map_or(CONFIGURATION, |features| source_of(features));
            *self.noted.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
            Ok(keys)
        })
    }

    fn fallback_on_interrupt(&self) -> Option<Credentials> {
        self.chain.fallback_on_interrupt()
    }
}

/// The place that the operator would look at. Of a profile that names another source, that source.
fn source_of(features: &[Feature]) -> &'static str {
    let places = [
        (
            Feature::CredentialsHttp,
            "an HTTP endpoint (EKS Pod Identity, ECS)",
        ),
        (Feature::CredentialsImds, "the instance's role"),
        (Feature::CredentialsSso, "IAM Identity Center"),
        (Feature::CredentialsProcess, "a process"),
        (Feature::CredentialsEnvVars, "the environment"),
        (
            Feature::CredentialsProfileStsWebIdToken,
            "a web identity (IAM roles for service accounts)",
        ),
        (Feature::CredentialsProfile, "a profile"),
    ];
    places
        .into_iter()
        .find(|(feature, _)| features.contains(feature))
        .map_or(CONFIGURATION, |(_, place)| place)
}
