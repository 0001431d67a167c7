//! Who may do what: one missing action, one refusal that names it.

use anyhow::Result;
use evenkeel_harness::fake_azure::{Role, Settings};
use serde_json::Value;

use crate::Ask;
use crate::scene::Scene;

const ACTIONS: [&str; 10] = [
    "Microsoft.Network/loadBalancers/read",
    "Microsoft.Network/loadBalancers/write",
    "Microsoft.Network/loadBalancers/delete",
    "Microsoft.Network/publicIPAddresses/read",
    "Microsoft.Network/publicIPAddresses/write",
    "Microsoft.Network/publicIPAddresses/delete",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/networkSecurityGroups/write",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/virtualNetworks/joinLoadBalancer/action",
];

#[tokio::test]
async fn a_missing_action_is_named() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let scope = format!("/subscriptions/{}", scene.azure.subscription());
    let role = Role::none().with(&scope, &ACTIONS);
    let lb = scene.load_balancer();
    let put = |path: &str, body: &Value| Ask::new("PUT", &scene.id(path)).json(body);
    let linked = "LinkedAuthorizationFailed";
    for (missing, ask, code) in [
        (
            ACTIONS[0],
            Ask::new("GET", &scene.id("loadBalancers/lb")),
            "AuthorizationFailed",
        ),
        (
            ACTIONS[1],
            put("loadBalancers/lb", &lb),
            "AuthorizationFailed",
        ),
        (
            ACTIONS[2],
            Ask::new("DELETE", &scene.id("loadBalancers/lb")),
            "AuthorizationFailed",
        ),
        (
            ACTIONS[4],
            put("publicIPAddresses/c", &scene.public_ip()),
            "AuthorizationFailed",
        ),
        (
            ACTIONS[5],
            Ask::new("DELETE", &scene.id("publicIPAddresses/b")),
            "AuthorizationFailed",
        ),
        (ACTIONS[6], put("loadBalancers/lb", &lb), linked),
        (
            ACTIONS[7],
            put("networkSecurityGroups/nsg1", &scene.security_group()),
            "AuthorizationFailed",
        ),
        (
            ACTIONS[8],
            put("loadBalancers/ilb", &scene.internal()),
            linked,
        ),
        (ACTIONS[9], put("loadBalancers/lb", &lb), linked),
    ] {
        scene
            .azure
            .set(|settings| settings.role = Some(role.clone().without(missing)));
        let answer = ask.send(&scene.azure).await?;
        assert_eq!(
            (answer.status, answer.code()),
            (403, code),
            "{missing}: {}",
            answer.body
        );
        let message = answer.body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(&format!("'{missing}'")), "{message}");
    }
    scene
        .azure
        .set(|settings| settings.role = Some(role.clone()));
    assert_eq!(
        put("loadBalancers/lb", &lb)
            .send(&scene.azure)
            .await?
            .status,
        200
    );
    let made = put("publicIPAddresses/c", &scene.public_ip())
        .send(&scene.azure)
        .await?;
    assert_eq!(scene.poll(&made).await?.status, 200);
    scene.azure.set(|settings| settings.polls_need_role = true);
    let denied = scene.poll(&made).await?;
    let message = denied.body["error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("'Microsoft.Network/locations/operations/read'"),
        "{message}"
    );
    // A list shows what may be read.
    scene
        .azure
        .set(|settings| settings.role = Some(role.clone().without(ACTIONS[3])));
    let list = scene.get("publicIPAddresses").await?;
    assert_eq!(
        (list.status, list.body["value"].as_array().map(Vec::len)),
        (200, Some(0))
    );
    // A locked node resource group: reads go on.
    let group = format!("{scope}/resourceGroups/rg1");
    scene
        .azure
        .set(|settings| settings.role = Some(role.clone().denied_by(&group, "aks-lockdown")));
    assert_eq!(scene.get("loadBalancers/lb").await?.status, 200);
    let denied = put("loadBalancers/lb", &lb).send(&scene.azure).await?;
    assert_eq!(
        (denied.status, denied.code()),
        (403, "DenyAssignmentAuthorizationFailed")
    );
    Ok(())
}
