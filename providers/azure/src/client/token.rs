//! Tokens: asked for with what we are given, kept, and asked for anew before they end (Reads).
//!
//! While a token still holds, whoever comes first asks for the next one and all others go on with the old one, also when asking
//! fails. When it has ended they wait for one asking, and share its failure.
//!
//! "Microsoft identity platform and the OAuth 2.0 client credentials flow"; "How to use managed identities on an Azure VM to
//! acquire an access token".

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::error::{CloudError, ErrorClass, ProviderFault, chain};
use form_urlencoded::Serializer;
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use hyper::body::Bytes;
use serde_json::Value;

use super::{
    config::{ClientConfig, Credential},
    http::{Failure, Http, Reply, Request},
    path::segment,
    place::Place,
};
use crate::call::TOKEN;

/// Where the instance metadata service is on every machine of Azure's.
const METADATA: &str = "http://169.254.169.254";

/// The longest that asking for a token may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long before its end a token is asked for anew; at the latest when a quarter of its time is left.
const EARLY: Duration = Duration::from_secs(300);

/// After a failure the old token is used for so long before another is asked for.
const PAUSE: Duration = Duration::from_secs(30);

/// A token.
#[derive(Clone, Debug)]
struct Token {
    /// Marked as sensitive: nothing prints it.
    bearer: HeaderValue,
    /// When the next one is asked for.
    stale: Instant,
    ends: Instant,
}

/// Why there is no token.
#[derive(Clone, Debug)]
struct Refusal {
    class: ErrorClass,
    fault: ProviderFault,
    what: String,
}

impl From<Refusal> for CloudError {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.class, TOKEN.operation, refusal.what).of_provider(refusal.fault)
    }
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<Token>,
    /// The last failure, and how many times was asked.
    failed: Option<Refusal>,
    asked: u64,
}

impl Kept {
    fn held(&self, now: Instant) -> Held {
        match &self.token {
            Some(token) if now < token.stale => Held::Fresh(token.bearer.clone()),
            Some(token) if now < token.ends => Held::Stale(token.bearer.clone()),
            _ => Held::None { asked: self.asked },
        }
    }

    /// The next one was not to be had.
    fn failed(&mut self, now: Instant) {
        match &mut self.token {
            Some(token) if now < token.ends => token.stale = token.ends.min(now + PAUSE),
            token => *token = None,
        }
    }
}

/// The tokens of one identity.
#[derive(Debug)]
pub(super) struct Tokens {
    credential: Credential,
    /// Whom they are for.
    audience: &'static str,
    authority: Place,
    metadata: String,
    kept: Mutex<Kept>,
    asking: tokio::sync::Mutex<()>,
}

impl Tokens {
    /// Of whom the configuration names. The error says what is wrong with it.
    pub(super) fn new(config: &ClientConfig) -> Result<Self, Vec<String>> {
        let authority = config.authority.as_deref();
        let authority = Place::parse(authority.unwrap_or(config.cloud.authority()));
        let metadata = match &config.metadata {
            None => Ok(METADATA.to_owned()),
            Some(url) => Place::parse(url).map(|place| place.to_string()),
        };
        let mut wrong = Vec::new();
        let mut note = |of: &str, what: String| wrong.push(format!("the URL of {of} {what}"));
        let authority = authority.map_err(|what| note("Microsoft Entra", what));
        let metadata = metadata.map_err(|what| note("the instance metadata service", what));
        let (Ok(authority), Ok(metadata)) = (authority, metadata) else {
            return Err(wrong);
        };
        Ok(Self {
            credential: config.credential.clone(),
            audience: config.cloud.endpoint(),
            authority,
            metadata,
            kept: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// A token that holds, as a header.
    pub(super) async fn bearer(&self, http: &Http) -> Result<HeaderValue, CloudError> {
        let held = self.kept().held(Instant::now());
        let asked = match held {
            Held::Fresh(bearer) => return Ok(bearer),
            Held::Stale(bearer) => {
                if let Ok(_asking) = self.asking.try_lock() {
                    self.ask(http).await;
                }
                return Ok(self
                    .kept()
                    .token
                    .as_ref()
                    .map_or(bearer, |token| token.bearer.clone()));
            }
            Held::None { asked } => asked,
        };
        let _asking = self.asking.lock().await;
        // Somebody may have asked while we waited.
        if self.kept().asked == asked {
            self.ask(http).await;
        }
        let kept = self.kept();
        match (&kept.token, &kept.failed) {
            (Some(token), _) => Ok(token.bearer.clone()),
            (None, Some(refusal)) => Err(refusal.clone().into()),
            (None, None) => Err(malformed("nothing").into()),
        }
    }

    /// Forgets a token that Azure does not take any more.
    pub(super) fn forget(&self, bearer: &HeaderValue) {
        let mut kept = self.kept();
        if kept
            .token
            .as_ref()
            .is_some_and(|token| token.bearer == *bearer)
        {
            kept.token = None;
        }
    }

    async fn ask(&self, http: &Http) {
        let found = self.found(http).await;
        let mut kept = self.kept();
        kept.asked += 1;
        match found {
            Ok(token) => {
                kept.token = Some(token);
                kept.failed = None;
            }
            Err(refusal) => {
                tracing::warn!(what = refusal.what, "there is no new token for Azure");
                kept.failed(Instant::now());
                kept.failed = Some(refusal);
            }
        }
    }

    async fn found(&self, http: &Http) -> Result<Token, Refusal> {
        let request = self.request().await?;
        let reply = match tokio::time::timeout(TIMEOUT, http.send(request)).await {
            Err(_) => return Err(self.unreachable("it did not answer in time")),
            Ok(Err(Failure::Connect(error) | Failure::Broken(error))) => {
                return Err(self.unreachable(&chain(&*error)));
            }
            Ok(Ok(reply)) => reply,
        };
        match reply.status {
            200 => read(&reply.body, Instant::now()).ok_or_else(|| malformed("no token")),
            _ => Err(self.refused(&reply)),
        }
    }

    async fn request(&self) -> Result<Request, Refusal> {
        let mut headers = HeaderMap::new();
        let scope = format!("{}/.default", self.audience);
        let (tenant, mut form) = match &self.credential {
            Credential::ManagedIdentity { client } => {
                headers.insert("metadata", HeaderValue::from_static("true"));
                let mut query = Serializer::new(String::new());
                query.append_pair("api-version", "2019-08-01");
                query.append_pair("resource", self.audience);
                if let Some(client) = client {
                    let by = if client.starts_with('/') {
                        "msi_res_id"
                    } else {
                        "client_id"
                    };
                    query.append_pair(by, client);
                }
                let query = query.finish();
                let url = format!("{}/metadata/identity/oauth2/token?{query}", self.metadata);
                return Ok(Request {
                    method: Method::GET,
                    url: url.parse().map_err(|_| malformed("no URL"))?,
                    headers,
                    body: Bytes::new(),
                });
            }
            Credential::WorkloadIdentity {
                tenant,
                client,
                token_file,
            } => {
                // Before the form, which is of no two threads.
                let assertion = assertion(token_file).await?;
                let mut form = form(client);
                form.append_pair(
                    "client_assertion_type",
                    "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                );
                form.append_pair("client_assertion", assertion.trim());
                (tenant, form)
            }
            Credential::Secret {
                tenant,
                client,
                secret,
            } => {
                let mut form = form(client);
                form.append_pair("client_secret", secret);
                (tenant, form)
            }
        };
        form.append_pair("grant_type", "client_credentials");
        form.append_pair("scope", &scope);
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, kind);
        let path = format!("/{}/oauth2/v2.0/token", segment(tenant));
        Ok(Request {
            method: Method::POST,
            url: self.authority.url(&path).map_err(|_| malformed("no URL"))?,
            headers,
            body: form.finish().into(),
        })
    }

    fn unreachable(&self, why: &str) -> Refusal {
        let (who, advice) = match self.credential {
            Credential::ManagedIdentity { .. } => (
                format!("the instance metadata service ({})", self.metadata),
                "it is there on machines of Azure's only; elsewhere use workload identity or a service principal",
            ),
            _ => (
                format!("Microsoft Entra ({})", self.authority),
                "see that the controller may reach it, directly or by HTTPS_PROXY",
            ),
        };
        Refusal {
            class: ErrorClass::Transient,
            fault: ProviderFault::Unreachable,
            what: format!("{who} gave no token: {why}; {advice}"),
        }
    }

    fn refused(&self, reply: &Reply) -> Refusal {
        let said = said(reply);
        // "Retry guidance" of managed identities: 404, 410, 429 and 5xx pass; of Microsoft Entra 429 and 5xx do.
        let managed = matches!(self.credential, Credential::ManagedIdentity { .. });
        let passes =
            matches!(reply.status, 429 | 500..=599) || managed && matches!(reply.status, 404 | 410);
        if passes {
            return Refusal {
                class: match reply.status {
                    429 => ErrorClass::Throttled {
                        after: reply.retry_after(),
                    },
                    _ => ErrorClass::Transient,
                },
                fault: ProviderFault::Unreachable,
                what: format!("no token now: {said}; it is asked for again"),
            };
        }
        let advice = match &self.credential {
            Credential::WorkloadIdentity { .. } => {
                "see that the identity has a federated credential for the controller's service account, and that tenant and client id are right"
            }
            Credential::ManagedIdentity { client: None } => {
                "assign an identity to the nodes' machines, or name which one of several by its client id"
            }
            Credential::ManagedIdentity { client: Some(_) } => {
                "assign this identity to the nodes' machines, or name another one"
            }
            Credential::Secret { .. } => {
                "see that tenant, client id and secret are right, and that the secret has not expired"
            }
        };
        Refusal {
            class: ErrorClass::Denied,
            fault: ProviderFault::CredentialsExpired,
            what: format!("no token by {}: {said}; {advice}", self.credential.kind()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Held {
    Fresh(HeaderValue),
    Stale(HeaderValue),
    None { asked: u64 },
}

fn form(client: &str) -> Serializer<'static, String> {
    let mut form = Serializer::new(String::new());
    form.append_pair("client_id", client);
    form
}

/// The cluster's token. It is read each time: the kubelet writes a new one long before the old one ends.
async fn assertion(file: &Arc<Path>) -> Result<String, Refusal> {
    tokio::fs::read_to_string(file).await.map_err(|error| Refusal {
        class: ErrorClass::Denied,
        fault: ProviderFault::CredentialsExpired,
        what: format!(
            "the cluster's token in {} cannot be read: {error}; label the controller's pod azure.workload.identity/use: \"true\", or set AZURE_FEDERATED_TOKEN_FILE",
            file.display()
        ),
    })
}

fn malformed(what: &str) -> Refusal {
    Refusal {
        class: ErrorClass::Transient,
        fault: ProviderFault::Unreachable,
        what: format!(
            "asked for a token, {what} came; look whether a proxy stands between, and whether the tenant is right"
        ),
    }
}

/// What was said, without the numbers of the request that follow it.
fn said(reply: &Reply) -> String {
    let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    let text = body["error_description"].as_str();
    let text = text.or_else(|| body["error"].as_str()).unwrap_or_default();
    let text = text.split(['\r', '\n']).next().unwrap_or_default();
    let text = text.split(" Trace ID:").next().unwrap_or_default();
    match text.trim().trim_end_matches('.') {
        "" => format!("status {} without a reason", reply.status),
        text => text.to_owned(),
    }
}

/// Numbers come as numbers and as texts.
fn seconds(value: &Value) -> Option<Duration> {
    let number = value.as_u64();
    let number = number.or_else(|| value.as_str()?.parse().ok())?;
    Some(Duration::from_secs(number))
}

fn read(body: &str, now: Instant) -> Option<Token> {
    let body: Value = serde_json::from_str(body).ok()?;
    let token = body["access_token"].as_str()?;
    let mut bearer = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    bearer.set_sensitive(true);
    let lasts = seconds(&body["expires_in"])?;
    let early = EARLY.min(lasts / 4);
    let fresh = lasts.saturating_sub(early);
    let fresh = seconds(&body["refresh_in"]).map_or(fresh, |told| told.min(fresh));
    Some(Token {
        bearer,
        stale: now + fresh,
        ends: now + lasts,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use http::HeaderMap;

    use super::{Held, Kept, Reply, read, said};

    #[test]
    fn when_a_token_is_asked_for_anew() {
        let now = Instant::now();
        for (body, stale, ends) in [
            (r#"{"access_token": "t", "expires_in": 3600}"#, 3300, 3600),
            (
                r#"{"access_token": "t", "expires_in": "86399"}"#,
                86099,
                86399,
            ),
            (
                r#"{"access_token": "t", "expires_in": 86400, "refresh_in": "43200"}"#,
                43200,
                86400,
            ),
            (r#"{"access_token": "t", "expires_in": 100}"#, 75, 100),
        ] {
            let token = read(body, now).expect("a token");
            assert_eq!(token.stale - now, Duration::from_secs(stale), "{body}");
            assert_eq!(token.ends - now, Duration::from_secs(ends), "{body}");
            assert!(token.bearer.is_sensitive());
            assert!(!format!("{token:?}").contains("Bearer t"));
        }
        for body in [
            "",
            "{}",
            r#"{"access_token": "t"}"#,
            r#"{"access_token": "a\nb", "expires_in": 1}"#,
        ] {
            assert!(read(body, now).is_none(), "{body}");
        }
    }

    #[test]
    fn how_long_a_token_is_used() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut kept = Kept {
            token: read(r#"{"access_token": "t", "expires_in": 340}"#, now),
            ..Kept::default()
        };
        assert!(matches!(kept.held(after(254)), Held::Fresh(_)));
        assert!(matches!(kept.held(after(255)), Held::Stale(_)));
        kept.failed(after(260));
        assert!(matches!(kept.held(after(289)), Held::Fresh(_)));
        assert!(matches!(kept.held(after(290)), Held::Stale(_)));
        kept.failed(after(320));
        assert!(matches!(kept.held(after(339)), Held::Fresh(_)));
        assert!(matches!(kept.held(after(340)), Held::None { .. }));
        kept.failed(after(340));
        assert!(kept.token.is_none());
    }

    #[test]
    fn reasons_are_short() {
        for (body, expected) in [
            (
                r#"{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided. Trace ID: 1 Correlation ID: 2"}"#,
                "AADSTS7000215: Invalid client secret provided",
            ),
            (
                "{\"error\": \"x\", \"error_description\": \"AADSTS90002: Tenant 'a' not found.\\r\\nTrace ID: 1\"}",
                "AADSTS90002: Tenant 'a' not found",
            ),
            (r#"{"error": "invalid_request"}"#, "invalid_request"),
            ("<html>", "status 400 without a reason"),
        ] {
            let reply = Reply {
                status: 400,
                headers: HeaderMap::new(),
                body: body.to_owned(),
            };
            assert_eq!(said(&reply), expected);
        }
    }
}
