//! Tokens: who gets one, and who is turned away.

use anyhow::Result;
use evenkeel_harness::fake_azure::Settings;
use form_urlencoded::Serializer;

use crate::Ask;
use crate::scene::Scene;

const SCOPE: &str = "https://management.azure.com/.default";
const FORM: &str = "application/x-www-form-urlencoded";
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn form(pairs: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(pairs).finish()
}

#[tokio::test]
async fn tokens_are_given_to_who_may_have_them() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let who = scene.azure.identities();
    let (secret, assertion) = (who.secret.as_str(), who.assertions[0].as_str());
    let tenant = format!("/{}/oauth2/v2.0/token?x", who.tenant);
    let base = [
        ("grant_type", "client_credentials"),
        ("client_id", who.client.as_str()),
    ];
    let ask = |path: &str, more: &[(&str, &str)]| {
        let pairs: Vec<_> = base.iter().chain(more).copied().collect();
        Ask::new("POST", path).text(FORM, &form(&pairs))
    };
    let imds = |query: &str| Ask::new("GET", &format!("/metadata/identity/oauth2/token?{query}"));
    let instance = "api-version=2019-08-01&resource=https%3A%2F%2Fmanagement.azure.com%2F";
    let of_client = format!("{instance}&client_id={}", who.client);
    let of_other = format!("{instance}&client_id=other");
    let said = |ask: Ask| ask.header("Metadata", "true");
    let by = |assertion| {
        [
            ("scope", SCOPE),
            ("client_assertion_type", ASSERTION),
            ("client_assertion", assertion),
        ]
    };
    for (ask, status, expected) in [
        (
            ask(&tenant, &[("scope", SCOPE), ("client_secret", secret)]),
            200,
            "",
        ),
        (ask(&tenant, &by(assertion)), 200, ""),
        (said(imds(instance)), 200, ""),
        (said(imds(&of_client)), 200, ""),
        (
            ask(&tenant, &[("scope", SCOPE), ("client_secret", "x")]),
            401,
            "invalid_client",
        ),
        (ask(&tenant, &by("old")), 401, "invalid_client"),
        (
            ask(
                &tenant,
                &[("scope", SCOPE), ("client_assertion", assertion)],
            ),
            400,
            "invalid_request",
        ),
        (
            ask(
                &tenant,
                &[
                    ("scope", "https://graph.microsoft.com/.default"),
                    ("client_secret", secret),
                ],
            ),
            400,
            "invalid_scope",
        ),
        (
            ask(
                "/t/oauth2/v2.0/token?x",
                &[("scope", SCOPE), ("client_secret", secret)],
            ),
            400,
            "invalid_request",
        ),
        (
            Ask::new("POST", &tenant).text(FORM, "grant_type=password"),
            400,
            "unsupported_grant_type",
        ),
        (
            Ask::new("POST", &tenant).text(FORM, "grant_type=client_credentials&client_id=x"),
            400,
            "unauthorized_client",
        ),
        (imds(instance), 400, "invalid_request"),
        (
            said(imds("api-version=2019-08-01")),
            400,
            "invalid_resource",
        ),
        (
            said(imds("resource=https%3A%2F%2Fmanagement.azure.com")),
            400,
            "invalid_request",
        ),
        (said(imds(&of_other)), 400, "invalid_request"),
    ] {
        let answer = ask.clone().send_bare(&scene.azure).await?;
        assert_eq!(
            (answer.status, answer.code()),
            (status, expected),
            "{ask:?}: {}",
            answer.body
        );
        if status == 200 {
            let token = answer.body["access_token"].as_str().unwrap_or_default();
            let read = Ask::new("GET", &scene.id("loadBalancers/lb"));
            let bearer = format!("Bearer {token}");
            let read = read
                .header("Authorization", &bearer)
                .send_bare(&scene.azure)
                .await?;
            assert_eq!(read.status, 200);
        }
    }
    assert_eq!(scene.azure.calls().all()[0].kind, "TOKEN");
    Ok(())
}

#[tokio::test]
async fn without_a_token_that_holds_nothing_is_answered() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let read = || Ask::new("GET", &scene.id("loadBalancers/lb"));
    let token = format!("Bearer {}", scene.azure.token());
    scene.azure.expire_tokens();
    for (ask, expected) in [
        (read(), "AuthenticationFailed"),
        (
            read().header("Authorization", "Bearer x"),
            "InvalidAuthenticationToken",
        ),
        (
            read().header("Authorization", &token),
            "ExpiredAuthenticationToken",
        ),
    ] {
        let answer = ask.send_bare(&scene.azure).await?;
        assert_eq!((answer.status, answer.code()), (401, expected));
    }
    Ok(())
}
