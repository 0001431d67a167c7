//! Tokens: Microsoft Entra's endpoint for clients and for workloads, and the instance metadata service's for managed identities. Decides.
//!
//! "Microsoft identity platform and the OAuth 2.0 client credentials flow"; "How to use managed identities on an Azure VM to acquire an
//! access token": the fields and the errors that these pages show.

use std::collections::BTreeMap;

use http::Method;
use serde_json::json;

use super::ids::Ids;
use super::refusal::{Answer, Refusal, refuse_with};
use super::requests::{Reply, Request};

/// The only scope that tokens are given for.
const AUDIENCES: [&str; 3] = [
    "https://management.azure.com",
    "https://management.chinacloudapi.cn",
    "https://management.usgovcloudapi.net",
];

/// Who there is, and how they show it.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The tenant.
    pub tenant: String,
    /// The client, of an application or of a user-assigned identity.
    pub client: String,
    /// The application's secret.
    pub secret: String,
    /// The tokens of the cluster's service accounts that are taken now.
    pub assertions: Vec<String>,
    /// Whether the instance has an identity of its own.
    pub system_assigned: bool,
    /// How long tokens hold, in seconds, as told to whoever gets one. They hold until [`super::FakeAzure::expire_tokens`].
    pub lifetime: u64,
    /// After how many seconds a machine shall ask for the next one; none: it is not told.
    pub refresh: Option<u64>,
}

impl Default for Identities {
    fn default() -> Self {
        Self {
            tenant: "22222222-2222-2222-2222-222222222222".to_owned(),
            client: "11111111-1111-1111-1111-111111111111".to_owned(),
            secret: "a secret of the harness".to_owned(),
            assertions: vec!["a token of a service account".to_owned()],
            system_assigned: true,
            lifetime: 3599,
            refresh: None,
        }
    }
}

/// What became of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Valid,
    Expired,
}

/// The state of both services.
#[derive(Debug, Default)]
pub(super) struct Login {
    pub(super) identities: Identities,
    tokens: BTreeMap<String, Token>,
}

impl Login {
    /// A token that holds.
    pub(super) fn issue(&mut self, ids: &mut Ids) -> String {
        let token = format!("token-{}", ids.guid());
        self.tokens.insert(token.clone(), Token::Valid);
        token
    }

    pub(super) fn expire(&mut self) {
        self.tokens
            .values_mut()
            .for_each(|token| *token = Token::Expired);
    }

    /// The codes are those of Azure Resource Manager.
    pub(super) fn check_token(&self, header: Option<&str>) -> Answer<()> {
        let Some(header) = header else {
            return Err(refuse_with(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            ));
        };
        let token = header.strip_prefix("Bearer ").unwrap_or_default();
        match self.tokens.get(token) {
            Some(Token::Valid) => Ok(()),
            Some(Token::Expired) => Err(refuse_with(
                401,
                "ExpiredAuthenticationToken",
                "The access token expiry is over. Please retry the call with a new access token.",
            )),
            None => Err(refuse_with(
                401,
                "InvalidAuthenticationToken",
                "The access token is invalid.",
            )),
        }
    }

    pub(super) fn answer(&mut self, request: &Request, ids: &mut Ids) -> Reply {
        let given = match request.path.starts_with("/metadata/") {
            true => self.of_instance(request),
            false => self.of_tenant(request),
        };
        match given {
            Ok(resource) => {
                let token = self.issue(ids);
                let lifetime = self.identities.lifetime;
                let mut body =
                    json!({"token_type": "Bearer", "access_token": token, "resource": resource});
                // Numbers from the one, texts from the other.
                body["expires_in"] = match request.path.starts_with("/metadata/") {
                    true => json!(lifetime.to_string()),
                    false => json!(lifetime),
                };
                if request.path.starts_with("/metadata/") {
                    let now = super::wall().as_second();
                    let ends = now + i64::try_from(lifetime).unwrap_or(0);
                    body["expires_on"] = json!(ends.to_string());
                    body["not_before"] = json!(now.to_string());
                    if let Some(refresh) = self.identities.refresh {
                        body["refresh_in"] = json!(refresh.to_string());
                    }
                }
                Reply::ok(body)
            }
            Err((status, error, text)) => Reply {
                status,
                headers: Vec::new(),
                body: Some(json!({"error": error, "error_description": text})),
            },
        }
    }

    fn of_instance(&self, request: &Request) -> Result<String, (u16, &'static str, String)> {
        let bad = |text: &str| Err((400, "invalid_request", text.to_owned()));
        if request.method != Method::GET || request.header("metadata") != Some("true") {
            return bad("Required metadata header not specified");
        }
        let versions = ["2018-02-01", "2019-08-01", "2021-02-01"];
        let version = request.query.get("api-version");
        if !version.is_some_and(|version| versions.contains(&version.as_str())) {
            return bad("Required query variable 'api-version' is missing or not known");
        }
        let resource = request.query.get("resource").cloned().unwrap_or_default();
        if !AUDIENCES.contains(&resource.trim_end_matches('/')) {
            return Err((
                400,
                "invalid_resource",
                format!(
                    "AADSTS500011: The resource principal named {resource} was not found in the tenant."
                ),
            ));
        }
        let known = match request.query.get("client_id") {
            Some(client) => *client == self.identities.client,
            None => self.identities.system_assigned,
        };
        match known {
            true => Ok(resource),
            false => bad("Identity not found"),
        }
    }

    fn of_tenant(&self, request: &Request) -> Result<String, (u16, &'static str, String)> {
        let form: BTreeMap<String, String> =
            form_urlencoded::parse(&request.body).into_owned().collect();
        let text = |name: &str| form.get(name).map_or("", String::as_str);
        let refuse = |status, error, text: String| Err((status, error, text));
        if request.method != Method::POST || text("grant_type") != "client_credentials" {
            return refuse(
                400,
                "unsupported_grant_type",
                format!(
                    "AADSTS70003: The app requested an unsupported grant type '{}'.",
                    text("grant_type")
                ),
            );
        }
        let tenant = request
            .path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        if tenant != self.identities.tenant {
            return refuse(
                400,
                "invalid_request",
                format!("AADSTS90002: Tenant '{tenant}' not found."),
            );
        }
        let client = text("client_id");
        if client != self.identities.client {
            return refuse(
                400,
                "unauthorized_client",
                format!(
                    "AADSTS700016: Application with identifier '{client}' was not found in the directory."
                ),
            );
        }
        let scope = text("scope").split(' ').next().unwrap_or_default();
        let resource = scope.strip_suffix("/.default").unwrap_or_default();
        if !AUDIENCES.contains(&resource.trim_end_matches('/')) {
            return refuse(
                400,
                "invalid_scope",
                format!(
                    "AADSTS70011: The provided request must include a 'scope' input parameter. The scope {scope} is not valid."
                ),
            );
        }
        match form.get("client_assertion") {
            Some(assertion) => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                if text("client_assertion_type") != kind {
                    return refuse(400, "invalid_request", "AADSTS900144: The request body must contain the following parameter: 'client_assertion_type'.".to_owned());
                }
                if !self.identities.assertions.contains(assertion) {
                    return refuse(
                        401,
                        "invalid_client",
                        "AADSTS700024: Client assertion is not within its valid time range."
                            .to_owned(),
                    );
                }
            }
            None if text("client_secret") != self.identities.secret => {
                return refuse(
                    401,
                    "invalid_client",
                    "AADSTS7000215: Invalid client secret provided.".to_owned(),
                );
            }
            None => {}
        }
        Ok(resource.to_owned())
    }
}

/// What a fault answers where a token is asked for.
pub(super) fn refusal(refusal: &Refusal) -> Reply {
    Reply {
        status: refusal.status,
        headers: Vec::new(),
        body: Some(json!({"error": refusal.code, "error_description": refusal.message})),
    }
}
