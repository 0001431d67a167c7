//! EC2's query protocol, on the SDK's own runtime (Reads, Writes).
//!
//! The SDK's crate for EC2 has 830 operations and takes longer to build than all the rest; we make fourteen. So they are
//! written here, on what that crate stands on itself: the same signer, credentials, connections and orchestration.

use std::{borrow::Cow, fmt};

use aws_config::SdkConfig;
use aws_runtime::auth::{
    SigV4OperationSigningConfig,
    sigv4::{SCHEME_ID, SigV4AuthScheme},
};
use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime_api::client::{
    auth::{
        AuthSchemeOptionResolverParams, SharedAuthScheme, SharedAuthSchemeOptionResolver,
        static_resolver::StaticAuthSchemeOptionResolver,
    },
    orchestrator::{HttpRequest, HttpResponse, OrchestratorError},
    result::SdkError,
    runtime_components::RuntimeComponentsBuilder,
    runtime_plugin::StaticRuntimePlugin,
};
use aws_smithy_types::{
    body::SdkBody,
    config_bag::Layer,
    error::metadata::{ErrorMetadata, ProvideErrorMetadata},
    timeout::TimeoutConfig,
};
use aws_types::{SigningName, region::SigningRegion, service_config::ServiceConfigKey};
use evenkeel_core::error::CloudError;
use serde::{Deserialize, de::DeserializeOwned};

use crate::errors;

/// The version of the API.
const VERSION: &str = "2016-11-15";

/// The parameters of a call, in the query protocol's spelling.
#[derive(Clone)]
pub(crate) struct Params(String);

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Params {
    /// A call without parameters.
    pub(crate) fn new(action: &str) -> Self {
        Self(String::new())
            .with("Action", action)
            .with("Version", VERSION)
    }

    /// With one more.
    pub(crate) fn with(mut self, key: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.put(key.as_ref(), value.as_ref());
        self
    }

    /// One more.
    pub(crate) fn put(&mut self, key: &str, value: &str) {
        let so_far = std::mem::take(&mut self.0);
        self.0 = form_urlencoded::Serializer::new(so_far)
            .append_pair(key, value)
            .finish();
    }

    /// With a list: `Key.1`, `Key.2`.
    pub(crate) fn list<T: AsRef<str>>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        for (n, value) in (1..).zip(values) {
            self.put(&format!("{key}.{n}"), value.as_ref());
        }
        self
    }

    /// With filters, each with the values of which one must match.
    pub(crate) fn filters<'a>(
        mut self,
        filters: impl IntoIterator<Item = (&'a str, Vec<Cow<'a, str>>)>,
    ) -> Self {
        for (n, (name, values)) in (1..).zip(filters) {
            self.put(&format!("Filter.{n}.Name"), name);
            self = self.list(&format!("Filter.{n}.Value"), values);
        }
        self
    }
}

/// An error that EC2 answered.
#[derive(Debug)]
pub(crate) struct Ec2Error(ErrorMetadata);

impl fmt::Display for Ec2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Ec2Error {}

impl ProvideErrorMetadata for Ec2Error {
    fn meta(&self) -> &ErrorMetadata {
        &self.0
    }
}

/// The API of EC2 in one region.
#[derive(Clone, Debug)]
pub(crate) struct Ec2(Operation<Params, String, Ec2Error>);

impl Ec2 {
    /// With the SDK's configuration, and maybe a URL of its own.
    pub(crate) fn new(sdk: &SdkConfig, url: Option<&str>) -> Result<Self, CloudError> {
        let missing = |what: &str| {
            errors::not_configured(
                "connect",
                format!("{what}; configure the region and a role"),
            )
        };
        let region = sdk.region().ok_or_else(|| missing("no region is known"))?;
        let credentials = sdk
            .credentials_provider()
            .ok_or_else(|| missing("there are no credentials"))?;
        let http = sdk
            .http_client()
            .ok_or_else(|| missing("there is no HTTP client"))?;
        let url = match url {
            Some(url) => url.to_owned(),
            None => endpoint(sdk, region.as_ref()),
        };
        let mut layer = Layer::new("ec2");
        layer.store_put(AuthSchemeOptionResolverParams::new(()));
        layer.store_put(SigV4OperationSigningConfig {
            region: Some(SigningRegion::from(region.clone())),
            name: Some(SigningName::from_static("ec2")),
            ..SigV4OperationSigningConfig::default()
        });
        let components = RuntimeComponentsBuilder::new("ec2")
            .with_auth_scheme_option_resolver(Some(SharedAuthSchemeOptionResolver::new(
                StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID]),
            )))
            .with_auth_scheme(SharedAuthScheme::new(SigV4AuthScheme::new()))
            .with_identity_resolver(SCHEME_ID, credentials)
            .with_identity_cache(sdk.identity_cache());
        let operation = Operation::builder()
            .service_name("EC2")
            .operation_name("Query")
            .http_client(http)
            .endpoint_url(&url)
            .no_retry()
            .timeout_config(TimeoutConfig::disabled())
            .sleep_impl(TokioSleep::new())
            .time_source(SystemTimeSource::new())
            .runtime_plugin(
                StaticRuntimePlugin::new()
                    .with_config(layer.freeze())
                    .with_runtime_components(components),
            )
            .serializer(|params: Params| Ok(request(params)))
            .deserializer(|response: &HttpResponse| answer(response))
            .build();
        Ok(Self(operation))
    }

    /// Makes a call, and returns the document that was answered.
    pub(crate) async fn send(
        &self,
        params: Params,
    ) -> Result<String, SdkError<Ec2Error, HttpResponse>> {
        self.0.invoke(params).await
    }
}

/// Reads an answer.
pub(crate) fn parse<T: DeserializeOwned>(document: &str) -> Result<T, quick_xml::DeError> {
    quick_xml::de::from_str(document)
}

fn request(params: Params) -> HttpRequest {
    let mut request = HttpRequest::new(SdkBody::from(params.0));
    request
        .set_method("POST")
        .expect("a method of HTTP is valid");
    request.set_uri("/").expect("a path is a valid URI");
    let headers = request.headers_mut();
    headers.insert("content-type", "application/x-www-form-urlencoded");
    headers.insert(
        "user-agent",
        concat!("evenkeel/", env!("CARGO_PKG_VERSION")),
    );
    request
}

fn answer(response: &HttpResponse) -> Result<String, OrchestratorError<Ec2Error>> {
    let body = response.body().bytes().unwrap_or_default();
    if response.status().is_success() {
        return String::from_utf8(body.to_vec()).map_err(OrchestratorError::other);
    }
    Err(OrchestratorError::operation(Ec2Error(error(body))))
}

/// `<Response><Errors><Error><Code>…`; nothing where it is no such document.
fn error(body: &[u8]) -> ErrorMetadata {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Document {
        #[serde(rename = "Errors")]
        errors: Errors,
        #[serde(rename = "RequestID", alias = "RequestId")]
        request_id: Option<String>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Errors {
        #[serde(rename = "Error")]
        error: Vec<One>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct One {
        #[serde(rename = "Code")]
        code: String,
        #[serde(rename = "Message")]
        message: String,
    }
    let document = std::str::from_utf8(body)
        .ok()
        .and_then(|text| parse::<Document>(text).ok())
        .unwrap_or_default();
    let mut meta = ErrorMetadata::builder();
    if let Some(one) = document.errors.error.into_iter().next() {
        meta = meta.code(one.code).message(one.message);
    }
    if let Some(id) = document.request_id {
        meta = meta.custom("aws_request_id", id);
    }
    meta.build()
}

/// What the environment or the profile says, else AWS's endpoint of the region.
fn endpoint(sdk: &SdkConfig, region: &str) -> String {
    let key = ServiceConfigKey::builder()
        .service_id("EC2")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()
        .expect("all of it is set");
    let own = sdk
        .service_config()
        .and_then(|services| services.load_config(key));
    own.or_else(|| sdk.endpoint_url().map(str::to_owned))
        .unwrap_or_else(|| {
            let fips = sdk.use_fips().unwrap_or_default();
            let dual_stack = sdk.use_dual_stack().unwrap_or_default();
            format!("https://{}", host(region, fips, dual_stack))
        })
}

/// The partitions, by what their regions begin with, with their domains for IPv4 and for both families.
const PARTITIONS: [(&str, &str, &str); 7] = [
    ("cn-", "amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    ("us-isob-", "sc2s.sgov.gov", "api.aws.scloud"),
    ("us-isof-", "csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    ("us-iso-", "c2s.ic.gov", "api.aws.ic.gov"),
    ("eu-isoe-", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    ("eusc-", "amazonaws.eu", "api.amazonwebservices.eu"),
    ("", "amazonaws.com", "api.aws"),
];

/// EC2's host in a region.
fn host(region: &str, fips: bool, dual_stack: bool) -> String {
    let (_, domain, dual_stack_domain) = PARTITIONS
        .iter()
        .find(|(prefix, ..)| region.starts_with(prefix))
        .expect("the last prefix is empty");
    let domain = if dual_stack {
        dual_stack_domain
    } else {
        domain
    };
    // In GovCloud the plain endpoints are validated.
    let plain = region.starts_with("us-gov-") && !dual_stack;
    let service = if fips && !plain { "ec2-fips" } else { "ec2" };
    format!("{service}.{region}.{domain}")
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::error::metadata::ProvideErrorMetadata;

    use super::{Ec2Error, Params, error, host};

    #[test]
    fn parameters_as_the_query_protocol_has_them() {
        let params = Params::new("DescribeSubnets")
            .list("SubnetId", ["subnet-1", "subnet-2"])
            .filters([("tag:a/b", vec!["1".into(), "x y&z".into()])]);
        assert_eq!(
            params.0,
            "Action=DescribeSubnets&Version=2016-11-15&SubnetId.1=subnet-1&SubnetId.2=subnet-2\
             &Filter.1.Name=tag%3Aa%2Fb&Filter.1.Value.1=1&Filter.1.Value.2=x+y%26z"
        );
    }

    #[test]
    fn hosts() {
        for (region, fips, dual_stack, expected) in [
            ("eu-west-1", false, false, "ec2.eu-west-1.amazonaws.com"),
            ("us-east-1", true, false, "ec2-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "ec2.us-east-1.api.aws"),
            (
                "us-gov-west-1",
                true,
                false,
                "ec2.us-gov-west-1.amazonaws.com",
            ),
            (
                "cn-north-1",
                false,
                false,
                "ec2.cn-north-1.amazonaws.com.cn",
            ),
            (
                "us-isob-east-1",
                false,
                false,
                "ec2.us-isob-east-1.sc2s.sgov.gov",
            ),
        ] {
            assert_eq!(host(region, fips, dual_stack), expected);
        }
    }

    #[test]
    fn errors() {
        let document = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error>\
            <Code>InvalidGroup.Duplicate</Code><Message>The group &apos;a&apos; exists</Message>\
            </Error></Errors><RequestID>7a62</RequestID></Response>";
        let found = Ec2Error(error(document.as_bytes()));
        assert_eq!(found.code(), Some("InvalidGroup.Duplicate"));
        assert_eq!(found.message(), Some("The group 'a' exists"));
        assert_eq!(found.meta().extra("aws_request_id"), Some("7a62"));
        for other in [
            "",
            "<html><body>no</body>",
            "<Response></Response>",
            "\u{0}",
        ] {
            assert_eq!(Ec2Error(error(other.as_bytes())).code(), None);
        }
    }
}
