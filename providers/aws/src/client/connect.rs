//! One configuration of the SDK, shared by all APIs (Reads).

use std::{path::Path, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, Region, SdkConfig, environment::region::EnvironmentVariableRegionProvider,
    imds, meta::region::RegionProviderChain, profile::region::ProfileFileRegionProvider,
    provider_config::ProviderConfig, retry::RetryConfig, sts::AssumeRoleProvider,
};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Connector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use evenkeel_core::error::CloudError;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use super::{
    config::{Config, Keys},
    identity::Noted,
};
use crate::errors;

/// The longest a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// For how long an idle connection is kept. AWS closes them later, so that a call rarely meets a dead one.
const IDLE: Duration = Duration::from_secs(15);

/// The metadata service is near, or is not there.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// The certificates of a file; all mistakes in it are the operator's to mend.
async fn authorities(file: &Path) -> Result<Vec<u8>, CloudError> {
    let wrong = |what: String| {
        let what = format!(
            "the certificates of authorities in {} cannot be read: {what}; name a file in PEM with --ca-file",
            file.display()
        );
        errors::not_configured("connect", what)
    };
    let text = tokio::fs::read(file)
        .await
        .map_err(|error| wrong(error.to_string()))?;
    // The SDK's client of HTTP panics over what is no certificate.
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        let added = store.add(certificate);
        added.map_err(|error| wrong(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(wrong("there is none in it".to_owned()));
    }
    Ok(text)
}

/// TLS with rustls and ring, as everywhere in this program; the system's authorities; proxies as the environment says.
async fn http(config: &Config) -> Result<SharedHttpClient, CloudError> {
    let mut trusted = TrustStore::default();
    if let Some(file) = &config.authorities {
        trusted = trusted.with_pem_certificate(authorities(file).await?);
    }
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| {
            let what = format!(
                "the certificates of authorities cannot be read: {error}; name a file in PEM with --ca-file"
            );
            errors::not_configured("connect", what)
        })?;
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .build();
    let connector = Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .proxy_config(ProxyConfig::from_env())
        .pool_idle_timeout(IDLE)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .tls_context(tls)
        .build();
    // One pool of connections for all APIs.
    let connector = SharedHttpConnector::new(connector);
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// The region in which a node's zone lies: `aws:///eu-west-1a/i-0abc`. None for zones that are not named after a region and a
/// letter: those of local and wavelength zones.
pub(crate) fn region_of_node(provider_id: &str) -> Option<&str> {
    let zone = provider_id.strip_prefix("aws:///")?.split('/').next()?;
    let region = zone.strip_suffix(|c: char| c.is_ascii_lowercase())?;
    let mut parts = region.rsplit('-');
    let number = parts.next()?;
    let named = parts.clone().count() >= 2
        && parts.all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase()));
    (named && number.len() == 1 && number.bytes().all(|b| b.is_ascii_digit())).then_some(region)
}

/// The SDK's configuration: region, credentials, timeouts. Its own retries are off: ours know the state and the other groups.
pub(crate) async fn connect(config: &Config, noted: &Noted) -> Result<SdkConfig, CloudError> {
    let http = http(config).await?;
    let metadata = metadata(&http, None);
    let region = match &config.region {
        Some(region) => region.to_string(),
        None => region(config, &metadata).await?,
    };
    let region = Region::new(region);
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        .http_client(http.clone())
        .retry_config(RetryConfig::disabled());
    if let Some(url) = &config.endpoint {
        loader = loader.endpoint_url(&**url);
    }
    if let Some(fips) = config.fips {
        loader = loader.use_fips(fips);
    }
    if let Some(keys) = &config.keys {
        loader = loader.credentials_provider(credentials(keys));
    }
    let mut sdk = loader.load().await;
    if let Some(chain) = sdk.credentials_provider() {
        let noting = SharedCredentialsProvider::new(noted.on_the_way_of(chain));
        sdk = sdk.to_builder().credentials_provider(noting).build();
    }
    let Some(role) = &config.role else {
        return Ok(sdk);
    };
    let mut base = sdk.to_builder();
    if let Some(url) = &config.endpoints.sts {
        base.set_endpoint_url(Some(url.to_string()));
    }
    let mut assumed = AssumeRoleProvider::builder(&*role.arn)
        .session_name("evenkeel")
        .region(region)
        .configure(&base.build());
    if let Some(id) = &role.external_id {
        assumed = assumed.external_id(&**id);
    }
    let provider = SharedCredentialsProvider::new(assumed.build().await);
    Ok(sdk.to_builder().credentials_provider(provider).build())
}

/// What is not configured, by the environment, the profile, a node's zone, the instance.
async fn region(config: &Config, metadata: &imds::Client) -> Result<String, CloudError> {
    let chain = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::new());
    if let Some(region) = chain.region().await {
        return Ok(region.to_string());
    }
    if let Some(region) = config.node.as_deref().and_then(region_of_node) {
        return Ok(region.to_owned());
    }
    if config.instance_metadata
        && let Ok(region) = metadata.get("/latest/meta-data/placement/region").await
    {
        return Ok(region.as_ref().to_owned());
    }
    Err(errors::not_configured(
        "region",
        "the region is not known: neither AWS_REGION, nor the profile, nor a node's providerID tells it; configure it",
    ))
}

/// The VPC of the instance that this runs on.
pub(crate) async fn vpc_of_instance(sdk: &SdkConfig) -> Option<Arc<str>> {
    let http = sdk.http_client()?;
    let metadata = metadata(&http, sdk.region().cloned());
    let macs = metadata
        .get("/latest/meta-data/network/interfaces/macs/")
        .await
        .ok()?;
    let mac = macs.as_ref().lines().next()?.trim_end_matches('/');
    let path = format!("/latest/meta-data/network/interfaces/macs/{mac}/vpc-id");
    let vpc = metadata.get(path).await.ok()?;
    Some(vpc.as_ref().into())
}

fn metadata(http: &SharedHttpClient, region: Option<Region>) -> imds::Client {
    let provider = ProviderConfig::without_region()
        .with_http_client(http.clone())
        .with_region(region);
    imds::Client::builder()
        .configure(&provider)
        .connect_timeout(METADATA_TIMEOUT)
        .read_timeout(METADATA_TIMEOUT)
        .max_attempts(1)
        .build()
}

fn credentials(keys: &Keys) -> Credentials {
    Credentials::new(
        &*keys.id,
        &*keys.secret,
        keys.token.as_deref().map(str::to_owned),
        None,
        "evenkeel",
    )
}

#[cfg(test)]
mod tests {
    use super::region_of_node;

    #[test]
    fn regions_of_zones() {
        for (provider_id, expected) in [
            ("aws:///eu-west-1a/i-0abc", Some("eu-west-1")),
            ("aws:///us-gov-west-1b/i-0abc", Some("us-gov-west-1")),
            ("aws:///cn-north-1a/i-0abc", Some("cn-north-1")),
            ("aws:///ap-southeast-2c/i-0abc", Some("ap-southeast-2")),
            // A local zone, and a wavelength zone.
            ("aws:///us-west-2-lax-1a/i-0abc", None),
            ("aws:///us-east-1-wl1-bos-wlz-1/i-0abc", None),
            ("aws:////i-0abc", None),
            ("i-0abc", None),
            ("gce://project/zone/name", None),
        ] {
            assert_eq!(region_of_node(provider_id), expected, "{provider_id}");
        }
    }
}
