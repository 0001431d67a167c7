//! What Azure takes, and what stays as it is: foreign parts, pools of interfaces, machines that are only read.

use std::time::Duration;

use anyhow::{Context as _, Result};
use evenkeel_harness::fake_azure::{
    Buckets, FakeAzure, Pace, Quotas, Settings, World, WorldOptions,
};
use http::Method;
use serde_json::{Value, json};

use crate::scene::Scene;
use crate::{Ask, SOON};

/// A part without what only Azure writes.
fn bare(part: &Value) -> Value {
    let mut part = part.clone();
    if let Some(fields) = part.as_object_mut() {
        for name in ["etag", "type"] {
            fields.remove(name);
        }
    }
    if let Some(fields) = part["properties"].as_object_mut() {
        for name in [
            "provisioningState",
            "loadBalancingRules",
            "inboundNatRules",
            "inboundNatPools",
            "outboundRules",
            "backendIPConfigurations",
        ] {
            fields.remove(name);
        }
    }
    part
}

/// The whole without what only Azure writes, as a PUT has it.
fn body(read: &Value) -> Value {
    let mut body = json!({"location": read["location"], "sku": read["sku"], "properties": {}});
    for (name, parts) in read["properties"].as_object().into_iter().flatten() {
        if let Some(parts) = parts.as_array() {
            body["properties"][name] = parts.iter().map(bare).collect();
        }
    }
    body
}

/// Fields that the description lacks are carried over by whoever reads raw JSON, and lost by whoever does not.
#[tokio::test]
async fn what_the_description_lacks_stays_when_it_is_sent_back() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let id = scene.id("loadBalancers/lb");
    let read = scene.get("loadBalancers/lb").await?.body;
    let mut foreign = read.clone();
    if let Some(fields) = foreign.as_object_mut() {
        for name in ["id", "name", "type", "etag"] {
            fields.remove(name);
        }
    }
    let at = "/properties/loadBalancingRules/0/properties";
    foreign.pointer_mut(at).context("a rule")?["allowBackendPortConflict"] = json!(true);
    foreign.pointer_mut(at).context("a rule")?["ofTomorrow"] = json!({"a": [1]});
    scene.azure.seed(&id, foreign);

    let read = scene.get("loadBalancers/lb").await?.body;
    let carried = body(&read);
    let rule = carried.pointer(at).context("a rule")?;
    assert_eq!(rule["ofTomorrow"], json!({"a": [1]}));
    let put = scene.put("loadBalancers/lb", &carried).await?;
    assert_eq!(put.status, 200, "{}", put.body);
    let after = scene.get("loadBalancers/lb").await?.body;
    assert_eq!(body(&after), carried, "as it was");

    let put = scene
        .put("loadBalancers/lb", &scene.load_balancer())
        .await?;
    let rule = put.body.pointer(at).context("a rule")?;
    assert_eq!(rule["allowBackendPortConflict"], json!(false));
    assert_eq!(rule["ofTomorrow"], Value::Null);
    Ok(())
}

/// A pool that interfaces are in: it takes no addresses, and neither it nor its load balancer goes.
#[tokio::test]
async fn a_pool_of_interfaces_is_the_interfaces() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let mut lb = scene.load_balancer();
    let pools = lb["properties"]["backendAddressPools"].as_array_mut();
    pools.context("pools")?.push(json!({"name": "vmss"}));
    assert_eq!(scene.put("loadBalancers/lb", &lb).await?.status, 200);
    let pool = scene.id("loadBalancers/lb/backendAddressPools/vmss");
    let set = scene
        .id("virtualMachineScaleSets/pool1")
        .replace("Microsoft.Network", "Microsoft.Compute");
    scene.azure.seed(
        &set,
        json!({"location": "westeurope", "properties": {"orchestrationMode": "Uniform"}}),
    );
    let interface = format!("{set}/virtualMachines/0/networkInterfaces/nic0");
    let configuration = json!({
        "name": "ipconfig1",
        "properties": {
            "subnet": {"id": scene.world.subnet}, "privateIPAddress": "10.20.0.40",
            "loadBalancerBackendAddressPools": [{"id": pool}],
        },
    });
    scene.azure.seed(
        &interface,
        json!({"properties": {"ipConfigurations": [configuration]}}),
    );

    let read = Ask::new("GET", &pool).send(&scene.azure).await?.body;
    let member = &read["properties"]["backendIPConfigurations"][0]["id"];
    assert_eq!(
        *member,
        json!(format!("{interface}/ipConfigurations/ipconfig1"))
    );
    let mut addressed = lb.clone();
    addressed["properties"]["backendAddressPools"][1]["properties"] = json!({
        "virtualNetwork": {"id": scene.world.network},
        "loadBalancerBackendAddresses": [{"name": "n", "properties": {"ipAddress": "10.20.0.9"}}],
    });
    for (answer, code) in [
        (
            scene.put("loadBalancers/lb", &addressed).await?,
            "BackendAddressPoolMixesAddressesAndInterfaces",
        ),
        (
            scene
                .put("loadBalancers/lb", &scene.load_balancer())
                .await?,
            "InUseBackendAddressPoolCannotBeDeleted",
        ),
        (
            Ask::new("DELETE", &pool).send(&scene.azure).await?,
            "InUseBackendAddressPoolCannotBeDeleted",
        ),
        (
            scene.delete("loadBalancers/lb").await?,
            "LoadBalancerInUseByVirtualMachineScaleSet",
        ),
    ] {
        assert_eq!(
            (answer.status, answer.code()),
            (400, code),
            "{}",
            answer.body
        );
    }
    // Its members stay when it is written without them.
    assert_eq!(scene.put("loadBalancers/lb", &lb).await?.status, 200);

    // Its machine cannot be behind a second public load balancer.
    let second = lb
        .to_string()
        .replace("loadBalancers/lb/", "loadBalancers/two/");
    let second = second
        .replace("publicIPAddresses/a", "publicIPAddresses/b")
        .replace("10.20.0.4", "10.20.0.40")
        .replace("10.20.0.5", "10.20.0.41");
    let second = serde_json::from_str(&second)?;
    let put = scene.put("loadBalancers/two", &second).await?;
    assert_eq!(
        (put.status, put.code()),
        (400, "BackendInMoreThanOneLoadBalancerOfAKind")
    );

    let list = |of: &str, version: &str| Ask::new("GET", &format!("{of}?api-version={version}"));
    let all = set.rsplit_once('/').map_or("", |(all, _)| all);
    for (of, version) in [
        (all.to_owned(), "2024-07-01"),
        (
            format!("{set}/virtualMachines/0/networkInterfaces"),
            "2018-10-01",
        ),
    ] {
        let found = list(&of, version).send(&scene.azure).await?;
        assert_eq!(
            found.body["value"].as_array().map(Vec::len),
            Some(1),
            "{of}: {}",
            found.body
        );
    }
    Ok(())
}

/// High availability ports, both families, an address of a prefix: what the refusals leave.
#[tokio::test]
async fn what_fits_is_taken() -> Result<()> {
    let azure = FakeAzure::start(Settings::default()).await?;
    let options = WorldOptions {
        dual_stack: true,
        ..WorldOptions::default()
    };
    let scene = Scene {
        world: World::build(&azure, &options),
        azure,
    };
    let mut v6 = scene.public_ip();
    v6["properties"]["publicIPAddressVersion"] = json!("IPv6");
    let mut of_prefix = scene.public_ip();
    of_prefix["properties"]["publicIPPrefix"] = json!({"id": scene.world.prefix});
    let labelled = |label: &str| {
        let mut ip = scene.public_ip();
        ip["properties"]["dnsSettings"] = json!({"domainNameLabel": label});
        ip
    };
    for (name, body, pointer, expected) in [
        (
            "a",
            scene.public_ip(),
            "/properties/ipAddress",
            "20.50.1.10",
        ),
        ("v6", v6, "/properties/ipAddress", "2603:1020::10"),
        ("p", of_prefix, "/properties/ipAddress", "20.60.0.0"),
        (
            "d",
            labelled("web"),
            "/properties/dnsSettings/fqdn",
            "web.westeurope.cloudapp.azure.com",
        ),
    ] {
        let path = format!("publicIPAddresses/{name}");
        let put = scene.put(&path, &body).await?;
        assert_eq!(put.status, 201, "{}", put.body);
        let found = scene.get(&path).await?.body;
        assert_eq!(found.pointer(pointer), Some(&json!(expected)), "{name}");
    }
    let taken = scene.put("publicIPAddresses/e", &labelled("web")).await?;
    assert_eq!((taken.status, taken.code()), (400, "DnsRecordInUse"));

    let mut lb = scene.internal();
    let part = |part: &str| json!({"id": scene.id(&format!("loadBalancers/ilb/{part}"))});
    let subnet = json!({"id": scene.world.subnet});
    lb["properties"]["frontendIPConfigurations"] = json!([
        {"name": "v4", "zones": ["1", "2"], "properties": {"subnet": subnet}},
        {"name": "v6", "properties": {"subnet": subnet, "privateIPAddressVersion": "IPv6"}},
    ]);
    let pool = |name: &str, address: &str| {
        json!({"name": name, "properties": {
            "virtualNetwork": {"id": scene.world.network},
            "loadBalancerBackendAddresses": [{"name": "n1", "properties": {"ipAddress": address}}],
        }})
    };
    lb["properties"]["backendAddressPools"] =
        json!([pool("v4", "10.20.0.4"), pool("v6", "fd00:20:0:1::4")]);
    let rule = |name: &str, pool: &str| {
        json!({"name": name, "properties": {
            "protocol": "All", "frontendPort": 0, "backendPort": 0, "enableFloatingIP": true, "enableTcpReset": true,
            "frontendIPConfiguration": part(&format!("frontendIPConfigurations/{name}")),
            "backendAddressPool": part(&format!("backendAddressPools/{pool}")),
        }})
    };
    lb["properties"]["loadBalancingRules"] = json!([rule("v4", "v4"), rule("v6", "v6")]);
    let put = scene.put("loadBalancers/ilb", &lb).await?;
    assert_eq!(put.status, 201, "{}", put.body);
    let frontends = &put.body["properties"]["frontendIPConfigurations"];
    // Four are reserved, two are the nodes'.
    assert_eq!(frontends[0]["properties"]["privateIPAddress"], "10.20.0.6");
    assert_eq!(
        frontends[1]["properties"]["privateIPAddress"],
        "fd00:20:0:1::4"
    );
    lb["properties"]["loadBalancingRules"] = json!([rule("v4", "v6")]);
    let mixed = scene.put("loadBalancers/ilb", &lb).await?;
    assert_eq!(mixed.code(), "LoadBalancingRuleMixesAddressVersions");
    Ok(())
}

/// A load balancer of a thousand rules and nodes is written and read, while a clock goes that is a thousand times as fast.
#[tokio::test]
async fn a_large_load_balancer() -> Result<()> {
    let count = 1000;
    let settings = Settings {
        quotas: Quotas::default().raised(2 * count),
        buckets: Some(Buckets::documented()),
        history: false,
        ..Settings::default()
    };
    let azure = FakeAzure::start(settings).await?;
    let options = WorldOptions {
        nodes: count,
        ..WorldOptions::default()
    };
    let scene = Scene {
        world: World::build(&azure, &options),
        azure,
    };
    scene.azure.set(|settings| {
        settings.times.load_balancer = Pace::Operation(
            evenkeel_harness::fake_azure::Settle::after(Duration::from_secs(60)),
        );
    });
    let clock = scene.azure.keep_time(1000);
    for number in 0..count {
        let id = scene.id(&format!("publicIPAddresses/a{number}"));
        let (status, body) = scene
            .azure
            .ask(Method::PUT, &id, Some(scene.public_ip()))
            .await;
        assert_eq!(status, 201, "{body}");
    }
    let mut lb = scene.load_balancer();
    let part = |part: String| json!({"id": scene.id(&format!("loadBalancers/lb/{part}"))});
    let numbers = || (0..count).map(|number| (number, format!("s{number}")));
    let properties = &mut lb["properties"];
    properties["frontendIPConfigurations"] = numbers()
        .map(|(_, name)| {
            let address = scene.id(&format!("publicIPAddresses/a{}", &name[1..]));
            json!({"name": name, "properties": {"publicIPAddress": {"id": address}}})
        })
        .collect();
    properties["loadBalancingRules"] = numbers()
        .map(|(number, name)| {
            json!({"name": name, "properties": {
                "protocol": "Tcp", "frontendPort": 80, "backendPort": 30_000 + number,
                "frontendIPConfiguration": part(format!("frontendIPConfigurations/{name}")),
                "backendAddressPool": part("backendAddressPools/nodes".to_owned()),
                "probe": part("probes/web".to_owned()),
            }})
        })
        .collect();
    let nodes = scene.world.nodes.iter().enumerate();
    properties["backendAddressPools"][0]["properties"]["loadBalancerBackendAddresses"] = nodes
        .map(|(number, address)| json!({"name": format!("n{number}"), "properties": {"ipAddress": address}}))
        .collect();
    let put = scene.put("loadBalancers/lb", &lb).await?;
    assert_eq!(put.status, 201, "{}", put.body);
    evenkeel_harness::wait::eventually("the operation", SOON, async || {
        let poll = scene.poll(&put).await?;
        anyhow::ensure!(poll.body["status"] == "Succeeded", "{}", poll.body);
        Ok(())
    })
    .await?;
    drop(clock);
    let read = scene.get("loadBalancers/lb").await?;
    let back = &read.body["properties"]["probes"][0]["properties"]["loadBalancingRules"];
    assert_eq!(back.as_array().map(Vec::len), Some(count));
    let large = Ask::new("PUT", &scene.id("loadBalancers/lb"));
    let large = large.text("application/json", &" ".repeat(5 * 1024 * 1024));
    // The rest of what is too large is not read: whoever sends it sees the answer, or the end of the connection.
    if let Ok(answer) = large.send(&scene.azure).await {
        assert_eq!(answer.status, 413);
    }
    Ok(())
}
