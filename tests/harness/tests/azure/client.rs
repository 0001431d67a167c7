//! The client that is not ours walks through a life: what it sends the fake takes, and what the fake answers it understands.

use anyhow::{Context as _, Result};
use evenkeel_harness::fake_azure::{AzureError, Client, Settings, Times};
use serde_json::{Value, json};

use crate::scene::Scene;

const MAKE: &str = "begin_create_or_update";

#[tokio::test]
async fn the_whole_life_of_a_load_balancer() -> Result<()> {
    let scene = Scene::empty(Settings::default()).await?;
    let client = scene.azure.client_in_front().await?;
    let call = async |group: &str, method: &str, arguments: Value| {
        client.call(group, method, arguments, json!({})).await
    };
    let ip = call(
        "public_ip_addresses",
        MAKE,
        json!(["rg1", "a", scene.public_ip()]),
    )
    .await?;
    assert_eq!(ip["properties"]["ipAddress"], "20.50.1.10");
    let lb = call(
        "load_balancers",
        MAKE,
        json!(["rg1", "lb", scene.load_balancer()]),
    )
    .await?;
    assert_eq!(lb["properties"]["provisioningState"], "Succeeded");
    let rule = &lb["properties"]["loadBalancingRules"][0];
    assert_eq!(rule["properties"]["backendPort"], 31_080);
    assert_eq!(rule["etag"], lb["etag"]);
    let group = call(
        "network_security_groups",
        MAKE,
        json!(["rg1", "nsg1", scene.security_group()]),
    )
    .await?;
    assert_eq!(
        group["properties"]["securityRules"][0]["properties"]["priority"],
        500
    );
    assert_eq!(
        group["properties"]["defaultSecurityRules"]
            .as_array()
            .map(Vec::len),
        Some(6)
    );

    // What it read it may write back, with the ETag that it read and only with that.
    let etag = lb["etag"].as_str().context("an ETag")?;
    let mut tagged = lb.clone();
    tagged["tags"] = json!({"team": "pay"});
    let headers = json!({"If-Match": etag});
    let again = client
        .call(
            "load_balancers",
            MAKE,
            json!(["rg1", "lb", tagged]),
            headers.clone(),
        )
        .await?;
    assert_ne!(again["etag"], lb["etag"]);
    assert_eq!(
        again["properties"]["loadBalancingRules"][0]["properties"],
        rule["properties"]
    );
    let stale = client
        .call(
            "load_balancers",
            MAKE,
            json!(["rg1", "lb", tagged]),
            headers,
        )
        .await;
    assert_eq!(refusal(stale)?, (412, "PreconditionFailed".to_owned()));

    let pools = "load_balancer_backend_address_pools";
    let pool = call(pools, "get", json!(["rg1", "lb", "nodes"])).await?;
    let addresses = &pool["properties"]["loadBalancerBackendAddresses"];
    assert_eq!(addresses[1]["properties"]["ipAddress"], "10.20.0.5");
    let more = json!({"properties": {
        "virtualNetwork": {"id": scene.world.network},
        "loadBalancerBackendAddresses": [{"name": "n1", "properties": {"ipAddress": "10.20.0.4"}}],
    }});
    let made = call(pools, MAKE, json!(["rg1", "lb", "more", more])).await?;
    assert_eq!(made["name"], "more");
    call(pools, "begin_delete", json!(["rg1", "lb", "more"])).await?;
    for (group, method, arguments, count) in [
        (pools, "list", json!(["rg1", "lb"]), 1),
        (
            "load_balancer_load_balancing_rules",
            "list",
            json!(["rg1", "lb"]),
            1,
        ),
        ("load_balancer_probes", "list", json!(["rg1", "lb"]), 1),
        ("load_balancers", "list_all", json!([]), 1),
        ("public_ip_addresses", "list", json!(["rg1"]), 1),
        ("security_rules", "list", json!(["rg1", "nsg1"]), 1),
        ("subnets", "list", json!(["rg-net", "vnet1"]), 2),
        ("network_interfaces", "list", json!(["rg1"]), 2),
    ] {
        let found = call(group, method, arguments).await?;
        assert_eq!(
            found.as_array().map(Vec::len),
            Some(count),
            "{group}.{method}: {found}"
        );
    }
    let tags = json!(["rg1", "a", {"tags": {"cluster": "prod"}}]);
    let ip = call("public_ip_addresses", "update_tags", tags).await?;
    assert_eq!(ip["tags"]["cluster"], "prod");
    let user = &ip["properties"]["ipConfiguration"]["id"];
    assert_eq!(
        *user,
        scene.id("loadBalancers/lb/frontendIPConfigurations/web")
    );

    let early = call("public_ip_addresses", "begin_delete", json!(["rg1", "a"])).await;
    assert_eq!(
        refusal(early)?,
        (400, "PublicIPAddressCannotBeDeleted".to_owned())
    );
    let gone = call("load_balancers", "begin_delete", json!(["rg1", "lb"])).await?;
    assert_eq!(gone, Value::Null);
    call("public_ip_addresses", "begin_delete", json!(["rg1", "a"])).await?;
    let none = call("public_ip_addresses", "get", json!(["rg1", "a"])).await;
    assert_eq!(refusal(none)?, (404, "ResourceNotFound".to_owned()));
    assert!(scene.azure.violations().is_empty());
    Ok(())
}

fn refusal(answer: Result<Value>) -> Result<(u64, String)> {
    let error = answer.err().context("it is not refused")?;
    let refused = error.downcast_ref::<AzureError>().context("not Azure's")?;
    Ok((refused.status, refused.code.clone()))
}

/// It waits for operations as Azure's answers tell it to, and fails with what they fail with.
#[tokio::test]
async fn it_waits_for_operations() -> Result<()> {
    let scene = Scene::empty(Settings::default()).await?;
    scene.azure.set(|settings| {
        settings.times = Times {
            public_ip: evenkeel_harness::fake_azure::Pace::Operation(
                evenkeel_harness::fake_azure::Settle::calls(2),
            ),
            ..Times::recorded()
        };
    });
    let client: Client = scene.azure.client_in_front().await?;
    let mark = scene.azure.calls().mark();
    let arguments = json!(["rg1", "a", scene.public_ip()]);
    let ip = client
        .call("public_ip_addresses", MAKE, arguments, json!({}))
        .await?;
    assert_eq!(ip["properties"]["provisioningState"], "Succeeded");
    let counts = scene.azure.calls().count_since(mark);
    assert_eq!(
        (
            counts.of_operation("POLL"),
            counts.of_operation("GET publicIPAddresses")
        ),
        (3, 1),
        "{counts}"
    );
    let fault = evenkeel_harness::fake_azure::Fault::FailsLate {
        code: "PublicIPCountLimitReached".to_owned(),
        message: "no more".to_owned(),
    };
    let at = evenkeel_harness::fake_azure::At::first("PUT publicIPAddresses");
    let injected = scene.azure.inject(&at, fault);
    let arguments = json!(["rg1", "b", scene.public_ip()]);
    let failed = client
        .call("public_ip_addresses", MAKE, arguments, json!({}))
        .await;
    assert_eq!(refusal(failed)?.1, "PublicIPCountLimitReached");
    injected.check(1)
}
