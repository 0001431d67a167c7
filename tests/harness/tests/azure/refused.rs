//! What Azure refuses, row by row.

use anyhow::Result;
use evenkeel_harness::fake_azure::{Quotas, Settings};
use serde_json::{Value, json};

use crate::Ask;
use crate::scene::Scene;

/// What is asked, with which status and code it is refused.
type Row = (Ask, u16, &'static str);

const FRONTEND: &str = "/properties/frontendIPConfigurations/0";
const POOL: &str = "/properties/backendAddressPools/0";
const RULE: &str = "/properties/loadBalancingRules/0";
const PROBE: &str = "/properties/probes/0";
const SECURITY: &str = "/properties/securityRules/0";

/// A body with one property written over, or with `../` what stands beside the properties; null takes it away.
fn with(mut body: Value, place: &str, part: &str, value: Value) -> Value {
    let whole = match part.strip_prefix("../") {
        Some(part) => format!("{place}/{part}"),
        None => format!("{place}/properties/{part}"),
    };
    let (at, last) = whole.rsplit_once('/').unwrap_or_default();
    let object = body.pointer_mut(at).and_then(Value::as_object_mut);
    let object = object.unwrap_or_else(|| panic!("{at} is not there"));
    match value {
        Value::Null => object.remove(last),
        value => object.insert(last.to_owned(), value),
    };
    body
}

/// A body with one more in a list.
fn more(mut body: Value, list: &str, one: Value) -> Value {
    let list = &mut body["properties"][list];
    match list.as_array_mut() {
        Some(list) => list.push(one),
        None => *list = json!([one]),
    }
    body
}

/// Has the scene refuse all rows, and then be as it was.
async fn check(scene: &Scene, rows: Vec<Row>) -> Result<usize> {
    let before = states(scene);
    let count = rows.len();
    for (index, (ask, status, code)) in rows.into_iter().enumerate() {
        let answer = ask.clone().send(&scene.azure).await?;
        assert_eq!(
            (answer.status, answer.code()),
            (status, code),
            "row {index}: {ask:?}: {}",
            answer.body
        );
        let violates = code == "InvalidJson";
        assert_eq!(!scene.azure.violations().is_empty(), violates, "{ask:?}");
    }
    assert_eq!(states(scene), before, "refused calls change nothing");
    Ok(count)
}

fn states(scene: &Scene) -> Vec<(String, String)> {
    let state = scene.azure.state();
    let all = state.resources.values();
    all.map(|one| (one.etag.clone(), one.goal.to_string()))
        .collect()
}

/// Rows that write one field over.
fn fields(
    scene: &Scene,
    path: &str,
    body: &Value,
    place: &str,
    rows: Vec<(&str, Value, &'static str)>,
) -> Vec<Row> {
    let ask = |part: &str, value| {
        Ask::new("PUT", &scene.id(path)).json(&with(body.clone(), place, part, value))
    };
    rows.into_iter()
        .map(|(part, value, code)| (ask(part, value), 400, code))
        .collect()
}

#[tokio::test]
async fn what_the_description_forbids() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let lb = scene.load_balancer();
    let mut rows = Vec::new();
    let bad = |part: &'static str, value: Value| (part, value, "InvalidJson");
    rows.extend(fields(
        &scene,
        "loadBalancers/lb",
        &lb,
        RULE,
        vec![
            bad("protocol", json!("TCP")),
            bad("protocol", Value::Null),
            bad("frontendPort", json!("80")),
            bad("frontendPort", Value::Null),
            bad("backendport", json!(31080)),
            bad("enableTCPReset", json!(true)),
            bad("floatingIP", json!(true)),
            bad("enableFloatingIP", json!("true")),
            bad("loadDistribution", json!("ClientIP")),
            bad("idleTimeoutInMinutes", json!(4.5)),
            bad("provisioningState", json!("Succeeded")),
            bad("backendAddressPools", json!({})),
        ],
    ));
    rows.extend(fields(
        &scene,
        "loadBalancers/lb",
        &lb,
        PROBE,
        vec![
            bad("port", Value::Null),
            bad("protocol", json!("tcp")),
            bad("thresold", json!(2)),
            bad("loadBalancingRules", json!([])),
            bad("noHealthyBackendsBehavior", json!("AllUp")),
        ],
    ));
    rows.extend(fields(
        &scene,
        "loadBalancers/lb",
        &lb,
        FRONTEND,
        vec![
            bad("privateIPAllocationMethod", json!("Statik")),
            bad("privateIpAddress", json!("10.20.0.9")),
            bad("privateIPAddressVersion", json!("ipv4")),
            bad("loadBalancingRules", json!([])),
        ],
    ));
    rows.extend(fields(
        &scene,
        "loadBalancers/lb",
        &lb,
        POOL,
        vec![
            bad("syncMode", json!("automatic")),
            bad("backendIPConfigurations", json!([])),
            bad(
                "loadBalancerBackendAddresses",
                json!([{"name": "n", "ipAddress": "10.20.0.4"}]),
            ),
        ],
    ));
    let path = scene.id("loadBalancers/lb");
    let whole = |name: &str, value: Value| {
        let mut body = lb.clone();
        body[name] = value;
        (Ask::new("PUT", &path).json(&body), 400, "InvalidJson")
    };
    rows.extend([
        whole("etag", json!("W/\"1\"")),
        whole("type", json!("Microsoft.Network/loadBalancers")),
        whole("propertes", json!({})),
        whole("sku", json!({"name": "standard"})),
        whole("sku", json!({"name": "Premium"})),
        whole("tags", json!({"a": 1})),
        whole("tags", json!(["a"])),
        whole("properties", json!([])),
        whole("properties", json!({"frontendIpConfigurations": []})),
        (Ask::new("PUT", &path).json(&json!([])), 400, "InvalidJson"),
    ]);
    let ip = scene.public_ip();
    rows.extend(fields(
        &scene,
        "publicIPAddresses/a",
        &ip,
        "",
        vec![
            bad("publicIPAllocationMethod", json!("static")),
            bad("ipConfiguration", json!({"id": "x"})),
            bad("publicIpAddressVersion", json!("IPv4")),
            bad("dnsSettings", json!({"label": "x"})),
        ],
    ));
    rows.extend(fields(
        &scene,
        "networkSecurityGroups/nsg1",
        &scene.security_group(),
        SECURITY,
        vec![
            bad("access", Value::Null),
            bad("priority", Value::Null),
            bad("protocol", json!("TCP")),
            bad("direction", json!("inbound")),
            bad("destinationPortRange", json!(80)),
        ],
    ));
    rows.extend(fields(
        &scene,
        "networkSecurityGroups/nsg1",
        &scene.security_group(),
        "",
        vec![bad("defaultSecurityRules", json!([]))],
    ));
    assert_eq!(check(&scene, rows).await?, 44);
    Ok(())
}

#[tokio::test]
async fn what_a_load_balancer_may_not_be() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let lb = scene.load_balancer();
    let path = "loadBalancers/lb";
    let part = |part: &str| json!({"id": scene.id(&format!("loadBalancers/lb/{part}"))});
    let mut rows = fields(
        &scene,
        path,
        &lb,
        RULE,
        vec![
            ("frontendPort", json!(65_535), "ValueOutOfRange"),
            ("frontendPort", json!(-1), "ValueOutOfRange"),
            ("backendPort", json!(65_536), "ValueOutOfRange"),
            ("idleTimeoutInMinutes", json!(3), "ValueOutOfRange"),
            ("idleTimeoutInMinutes", json!(101), "ValueOutOfRange"),
            (
                "frontendPort",
                json!(0),
                "LoadBalancingRuleAnyPortNeedsProtocolAll",
            ),
            (
                "protocol",
                json!("All"),
                "LoadBalancingRuleAnyPortNeedsProtocolAll",
            ),
            (
                "enableFloatingIP",
                json!(true),
                "LoadBalancingRuleFloatingIPPortsDiffer",
            ),
            (
                "frontendIPConfiguration",
                Value::Null,
                "MissingJsonReferenceId",
            ),
            (
                "frontendIPConfiguration",
                part("frontendIPConfigurations/gone"),
                "InvalidResourceReference",
            ),
            (
                "frontendIPConfiguration",
                json!({"id": scene.id("loadBalancers/ilb/frontendIPConfigurations/db")}),
                "InvalidResourceReference",
            ),
            (
                "backendAddressPool",
                part("backendAddressPools/gone"),
                "InvalidResourceReference",
            ),
            ("probe", part("probes/gone"), "InvalidResourceReference"),
            ("probe", json!({}), "MissingJsonReferenceId"),
        ],
    );
    rows.extend(fields(
        &scene,
        path,
        &lb,
        PROBE,
        vec![
            ("port", json!(0), "ValueOutOfRange"),
            ("port", json!(65_536), "ValueOutOfRange"),
            ("intervalInSeconds", json!(4), "ValueOutOfRange"),
            ("probeThreshold", json!(0), "ValueOutOfRange"),
            ("requestPath", json!("/"), "ProbeRequestPathNotAllowed"),
            ("protocol", json!("Http"), "ProbeRequestPathMissing"),
        ],
    ));
    rows.extend(fields(
        &scene,
        path,
        &lb,
        FRONTEND,
        vec![
            (
                "publicIPAddress",
                json!({"id": scene.id("publicIPAddresses/gone")}),
                "InvalidResourceReference",
            ),
            ("publicIPAddress", json!({}), "MissingJsonReferenceId"),
            (
                "publicIPAddress",
                Value::Null,
                "FrontendIPConfigHasNeitherSubnetNorPublicIP",
            ),
            (
                "subnet",
                json!({"id": scene.world.subnet}),
                "FrontendIPConfigHasBothSubnetAndPublicIP",
            ),
            (
                "privateIPAddress",
                json!("10.20.0.9"),
                "FrontendIPConfigPrivateAddressNeedsSubnet",
            ),
        ],
    ));
    let address =
        |name: &str, address: &str| json!({"name": name, "properties": {"ipAddress": address}});
    rows.extend(fields(
        &scene,
        path,
        &lb,
        POOL,
        vec![
            (
                "virtualNetwork",
                json!({"id": scene.id("virtualNetworks/gone")}),
                "InvalidResourceReference",
            ),
            ("virtualNetwork", Value::Null, "MissingJsonReferenceId"),
            (
                "loadBalancerBackendAddresses",
                json!([address("n", "10.20.0.4"), address("N", "10.20.0.5")]),
                "DuplicateResourceName",
            ),
            (
                "loadBalancerBackendAddresses",
                json!([address("n", "10.20.0.4"), address("m", "10.20.0.4")]),
                "BackendAddressPoolHasAddressTwice",
            ),
            (
                "loadBalancerBackendAddresses",
                json!([address("n", "10.20.0")]),
                "InvalidIPAddressInRequest",
            ),
            (
                "loadBalancerBackendAddresses",
                json!([address("n", "10.99.0.4")]),
                "BackendAddressNotInVirtualNetwork",
            ),
            (
                "loadBalancerBackendAddresses",
                json!([address("", "10.20.0.4")]),
                "MissingJsonReferenceId",
            ),
        ],
    ));
    let put = |body: Value, code| (Ask::new("PUT", &scene.id(path)).json(&body), 400, code);
    let rule = |name: &str, protocol: &str, front: i64, back: i64| {
        let mut rule = lb.pointer(RULE).cloned().unwrap_or_default();
        rule["name"] = json!(name);
        rule["properties"]["protocol"] = json!(protocol);
        rule["properties"]["frontendPort"] = json!(front);
        rule["properties"]["backendPort"] = json!(back);
        rule
    };
    let frontend = |name: &str, properties: Value| json!({"name": name, "properties": properties});
    let b = json!({"publicIPAddress": {"id": scene.id("publicIPAddresses/b")}});
    let outbound = |properties: Value| {
        more(
            lb.clone(),
            "outboundRules",
            json!({"name": "out", "properties": properties}),
        )
    };
    let rules = "loadBalancingRules";
    let frontends = "frontendIPConfigurations";
    let mut udp = rule("udp", "Udp", 53, 31_053);
    udp["properties"]["enableTcpReset"] = json!(true);
    let mut zoned = lb.clone();
    zoned["properties"][frontends][0]["zones"] = json!(["1"]);
    let mut bare = lb.clone();
    bare["properties"] = json!({});
    let mut nameless = lb.clone();
    nameless["properties"]["probes"][0]["name"] = json!("");
    rows.extend([
        put(
            more(lb.clone(), rules, rule("WEB", "Tcp", 81, 31_081)),
            "DuplicateResourceName",
        ),
        put(
            more(lb.clone(), rules, rule("a b", "Tcp", 81, 31_081)),
            "InvalidResourceName",
        ),
        put(
            more(lb.clone(), rules, rule(&"a".repeat(81), "Tcp", 81, 31_081)),
            "InvalidResourceName",
        ),
        put(
            more(lb.clone(), rules, rule("two", "Tcp", 80, 31_081)),
            "RulesUseSameFrontendPortProtocolAndIPConfig",
        ),
        put(
            more(lb.clone(), rules, rule("two", "Tcp", 81, 31_080)),
            "RulesUseSameBackendPortProtocolAndPool",
        ),
        put(
            more(lb.clone(), rules, udp),
            "LoadBalancingRuleTcpResetNeedsTcp",
        ),
        put(
            more(lb.clone(), rules, rule("all", "All", 0, 0)),
            "HAPortsNeedInternalFrontend",
        ),
        put(zoned, "FrontendIPConfigZonesAreOfInternalFrontends"),
        put(bare, "LoadBalancerHasNoFrontend"),
        put(nameless, "MissingJsonReferenceId"),
        put(
            more(
                lb.clone(),
                frontends,
                frontend(
                    "two",
                    json!({"publicIPAddress": {"id": scene.id("publicIPAddresses/A")}}),
                ),
            ),
            "PublicIPReferencedByMultipleIPConfigs",
        ),
        put(
            more(
                lb.clone(),
                frontends,
                frontend("two", json!({"subnet": {"id": scene.world.subnet}})),
            ),
            "LoadBalancerMixesPublicAndInternalFrontends",
        ),
        put(
            outbound(json!({"protocol": "All", "backendAddressPool": part("backendAddressPools/nodes")})),
            "MissingJsonReferenceId",
        ),
        put(
            outbound(json!({
                "protocol": "All", "backendAddressPool": part("backendAddressPools/nodes"),
                "frontendIPConfigurations": [part("frontendIPConfigurations/gone")],
            })),
            "InvalidResourceReference",
        ),
        put(
            outbound(json!({
                "protocol": "All", "backendAddressPool": part("backendAddressPools/nodes"),
                "frontendIPConfigurations": [part("frontendIPConfigurations/web")],
            })),
            "LoadBalancingRuleMustDisableSNATSinceSameFrontendIPConfigurationIsReferencedByOutboundRule",
        ),
        put(
            more(
                more(lb.clone(), frontends, frontend("two", b)),
                "outboundRules",
                json!({"name": "out", "properties": {
                    "protocol": "All", "allocatedOutboundPorts": 100, "backendAddressPool": part("backendAddressPools/nodes"),
                    "frontendIPConfigurations": [part("frontendIPConfigurations/two")],
                }}),
            ),
            "OutboundRulePortsInvalid",
        ),
        put(
            with(lb.clone(), "", "../sku", Value::Null),
            "LoadBalancerSkuCannotChange",
        ),
    ]);
    let elsewhere = {
        let mut body = lb.clone();
        body["location"] = json!("northeurope");
        body
    };
    let nowhere = {
        let mut body = lb.clone();
        body["location"] = Value::Null;
        body
    };
    let renamed = {
        let mut body = lb.clone();
        body["id"] = json!(scene.id("loadBalancers/other"));
        body
    };
    rows.extend([
        (
            Ask::new("PUT", &scene.id(path)).json(&elsewhere),
            409,
            "InvalidResourceLocation",
        ),
        put(nowhere, "LocationRequired"),
        put(renamed, "InvalidRequestContent"),
    ]);
    // Another load balancer may have neither the address nor the nodes.
    let text = |body: &Value| -> Result<Value> {
        let text = body.to_string();
        Ok(serde_json::from_str(
            &text.replace("loadBalancers/lb/", "loadBalancers/two/"),
        )?)
    };
    let other = text(&lb)?;
    let on_b: Value = serde_json::from_str(
        &other
            .to_string()
            .replace("publicIPAddresses/a", "publicIPAddresses/b"),
    )?;
    let two = |body: &Value, code| {
        let ask = Ask::new("PUT", &scene.id("loadBalancers/two")).json(body);
        (ask, 400, code)
    };
    rows.extend([
        two(&other, "PublicIPAddressInUse"),
        two(&on_b, "BackendInMoreThanOneLoadBalancerOfAKind"),
    ]);
    let count = check(&scene, rows).await?;
    assert!(count >= 50, "{count}");
    Ok(())
}

#[tokio::test]
async fn what_an_internal_frontend_may_not_be() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let subnet = json!({"id": scene.world.subnet});
    let placed = |address: &str| json!({"subnet": subnet, "privateIPAllocationMethod": "Static", "privateIPAddress": address});
    let put = |properties: Value, code| {
        let mut body = scene.internal();
        body["properties"]["frontendIPConfigurations"][0]["properties"] = properties;
        let ask = Ask::new("PUT", &scene.id("loadBalancers/ilb")).json(&body);
        (ask, 400, code)
    };
    let rows = vec![
        put(placed("10.99.0.1"), "PrivateIPAddressNotInSubnet"),
        put(placed("10.20.0.1"), "PrivateIPAddressInReservedRange"),
        put(placed("10.20.15.255"), "PrivateIPAddressInReservedRange"),
        put(placed("10.20.0.4"), "PrivateIPAddressIsAllocated"),
        put(placed("ten"), "InvalidIPAddressInRequest"),
        put(placed("fd00::5"), "PrivateIPAddressNotInSubnet"),
        put(
            json!({"subnet": subnet, "privateIPAllocationMethod": "Static"}),
            "PrivateIPAddressMissing",
        ),
        put(
            json!({"subnet": {"id": format!("{}x", scene.world.subnet)}}),
            "InvalidResourceReference",
        ),
        put(
            json!({"subnet": subnet, "privateIPAddressVersion": "IPv6"}),
            "SubnetIsFull",
        ),
    ];
    check(&scene, rows).await?;
    Ok(())
}

#[tokio::test]
async fn what_an_address_and_a_security_rule_may_not_be() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let prefix = json!({"id": scene.world.prefix});
    let mut rows = fields(
        &scene,
        "publicIPAddresses/b",
        &scene.public_ip(),
        "",
        vec![
            ("../sku", Value::Null, "BasicSkuPublicIpRetired"),
            (
                "publicIPAllocationMethod",
                json!("Dynamic"),
                "StandardSkuPublicIPAddressesMustBeStatic",
            ),
            (
                "idleTimeoutInMinutes",
                json!(31),
                "PublicIPAddressIdleTimeoutOutOfRange",
            ),
            (
                "publicIPAddressVersion",
                json!("IPv6"),
                "PublicIPAddressPropertyCannotChange",
            ),
            (
                "publicIPPrefix",
                prefix,
                "PublicIPAddressPropertyCannotChange",
            ),
            (
                "publicIPPrefix",
                json!({"id": scene.id("publicIPPrefixes/gone")}),
                "InvalidResourceReference",
            ),
            (
                "ipTags",
                json!([{"ipTagType": "RoutingPreference", "tag": "Internet"}]),
                "PublicIPAddressPropertyCannotChange",
            ),
            (
                "ipAddress",
                json!("20.50.9.9"),
                "PublicIPAddressCannotBeChosen",
            ),
            (
                "dnsSettings",
                json!({"domainNameLabel": "Web"}),
                "InvalidDomainNameLabel",
            ),
            (
                "dnsSettings",
                json!({"domainNameLabel": "w-"}),
                "InvalidDomainNameLabel",
            ),
            ("../zones", json!(["4"]), "InvalidAvailabilityZone"),
            ("../tags", json!({"a/b": "c"}), "InvalidTagNameCharacters"),
            (
                "../tags",
                json!({"a": "b".repeat(257)}),
                "InvalidTagValueLength",
            ),
        ],
    );
    rows.extend(fields(
        &scene,
        "publicIPAddresses/a",
        &scene.public_ip(),
        "",
        vec![("../zones", json!(["1"]), "PublicIPAddressInUseCannotUpdate")],
    ));
    let delete = |path: &str, code| (Ask::new("DELETE", &scene.id(path)), 400, code);
    rows.extend([
        delete("publicIPAddresses/a", "PublicIPAddressCannotBeDeleted"),
        delete(
            "loadBalancers/lb/backendAddressPools/nodes",
            "InUseBackendAddressPoolCannotBeDeleted",
        ),
        delete(
            "networkSecurityGroups/nsg1",
            "InUseNetworkSecurityGroupCannotBeDeleted",
        ),
    ]);
    let group = scene.security_group();
    rows.extend(fields(
        &scene,
        "networkSecurityGroups/nsg1",
        &group,
        SECURITY,
        vec![
            ("priority", json!(99), "SecurityRuleInvalidPriority"),
            ("priority", json!(4097), "SecurityRuleInvalidPriority"),
            (
                "description",
                json!("d".repeat(141)),
                "SecurityRuleDescriptionTooLong",
            ),
            (
                "sourceAddressPrefix",
                json!("internet!"),
                "SecurityRuleInvalidAddressPrefix",
            ),
            (
                "sourceAddressPrefix",
                json!(""),
                "SecurityRuleInvalidAddressPrefix",
            ),
            (
                "sourceAddressPrefix",
                json!("10.0.0.0/33"),
                "SecurityRuleInvalidAddressPrefix",
            ),
            ("sourceAddressPrefix", Value::Null, "SecurityRuleIncomplete"),
            (
                "sourceAddressPrefixes",
                json!(["10.0.0.0/8"]),
                "SecurityRuleGivesBothOneAndSeveral",
            ),
            (
                "destinationAddressPrefixes",
                json!(["Internet"]),
                "SecurityRuleParameterContainsUnsupportedValue",
            ),
            (
                "destinationAddressPrefixes",
                json!(["*"]),
                "SecurityRuleParameterContainsUnsupportedValue",
            ),
            (
                "destinationAddressPrefixes",
                json!(["10.0.0.1", "10.0.0.1"]),
                "SecurityRuleAddressPrefixTwice",
            ),
            ("destinationPortRanges", json!([]), "SecurityRuleIncomplete"),
            (
                "destinationPortRanges",
                json!(["80-"]),
                "SecurityRuleInvalidPortRange",
            ),
            (
                "destinationPortRanges",
                json!(["90-80"]),
                "SecurityRuleInvalidPortRange",
            ),
            (
                "destinationPortRanges",
                json!(["65536"]),
                "SecurityRuleInvalidPortRange",
            ),
            (
                "destinationPortRange",
                json!("80"),
                "SecurityRuleGivesBothOneAndSeveral",
            ),
        ],
    ));
    let put = |body: &Value, code| {
        let ask = Ask::new("PUT", &scene.id("networkSecurityGroups/nsg1")).json(body);
        (ask, 400, code)
    };
    let second = |name: &str| {
        let mut rule = group.pointer(SECURITY).cloned().unwrap_or_default();
        rule["name"] = json!(name);
        more(group.clone(), "securityRules", rule)
    };
    rows.extend([
        put(&second("web"), "DuplicateResourceName"),
        put(&second("two"), "SecurityRuleConflict"),
        put(&second(""), "MissingJsonReferenceId"),
    ]);
    let count = check(&scene, rows).await?;
    assert!(count >= 35, "{count}");
    Ok(())
}

#[tokio::test]
async fn what_no_call_may_be() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let lb = scene.id("loadBalancers/lb");
    let body = scene.load_balancer();
    let etag = scene.get("loadBalancers/ilb").await?;
    let etag = etag.header("etag").unwrap_or_default().to_owned();
    let put = |path: &str| Ask::new("PUT", path).json(&body);
    let without_group = lb.replace("/rg1/", "/rg9/");
    let rows = vec![
        (
            put(&lb).header("If-Match", &etag),
            412,
            "PreconditionFailedEtagMismatch",
        ),
        (
            put(&lb).header("If-Match", "*"),
            412,
            "PreconditionFailedEtagMismatch",
        ),
        (
            put(&scene.id("loadBalancers/new")).header("If-Match", &etag),
            412,
            "PreconditionFailedEtagMismatch",
        ),
        (put(&without_group), 404, "ResourceGroupNotFound"),
        (
            Ask::new("GET", &without_group),
            404,
            "ResourceGroupNotFound",
        ),
        (
            Ask::new("GET", &without_group.replace("/lb", "")),
            404,
            "ResourceGroupNotFound",
        ),
        (
            Ask::new("GET", &scene.id("loadBalancers/gone")),
            404,
            "ResourceNotFound",
        ),
        (
            Ask::new("GET", &scene.id("loadBalancers/lb/probes/gone")),
            404,
            "NotFound",
        ),
        (
            Ask::new("GET", &scene.id("loadBalancers/gone/probes/gone")),
            404,
            "ResourceNotFound",
        ),
        (
            Ask::new("PUT", &scene.id("loadBalancers/gone/backendAddressPools/p")).json(&json!({})),
            404,
            "ResourceNotFound",
        ),
        (
            Ask::new("PUT", &scene.id("loadBalancers/lb/probes/web")).json(&json!({})),
            405,
            "MethodNotAllowed",
        ),
        (
            Ask::new(
                "DELETE",
                &scene.id("loadBalancers/lb/frontendIPConfigurations/web"),
            ),
            405,
            "MethodNotAllowed",
        ),
        (Ask::new("POST", &lb).json(&body), 405, "MethodNotAllowed"),
        (
            Ask::new("PUT", &scene.id("loadBalancers")).json(&body),
            405,
            "MethodNotAllowed",
        ),
        (
            Ask::new("PUT", &scene.world.network).json(&json!({"location": "westeurope"})),
            405,
            "MethodNotAllowed",
        ),
        (
            Ask::new("GET", &format!("{lb}?x=1")),
            400,
            "MissingApiVersionParameter",
        ),
        (
            Ask::new("GET", &format!("{lb}?api-version=2023-01-01")),
            400,
            "InvalidApiVersionParameter",
        ),
        (
            Ask::new("GET", &lb.replace("00000000-0000", "00000000-0001")),
            404,
            "SubscriptionNotFound",
        ),
        (
            Ask::new("PUT", &lb).text("application/json", "{"),
            400,
            "InvalidRequestContent",
        ),
        (
            Ask::new("PUT", &lb).text("text/plain", "{}"),
            415,
            "UnsupportedMediaType",
        ),
        (
            Ask::new("PUT", &scene.id("loadBalancers/a%20b")).json(&body),
            400,
            "InvalidResourceName",
        ),
        (
            Ask::new("PATCH", &lb).json(&json!({"tags": {"": "b"}})),
            400,
            "InvalidTagNameCharacters",
        ),
        (
            Ask::new(
                "GET",
                &format!(
                    "{}?api-version=2024-03-01&$skipToken=x",
                    scene.id("loadBalancers")
                ),
            ),
            400,
            "InvalidSkipToken",
        ),
    ];
    check(&scene, rows).await?;
    Ok(())
}

#[tokio::test]
async fn there_may_be_so_many() -> Result<()> {
    let scene = Scene::new(Settings::default()).await?;
    let lb = scene.load_balancer();
    let mut rule = lb.pointer(RULE).cloned().unwrap_or_default();
    rule["name"] = json!("two");
    rule["properties"]["frontendPort"] = json!(81);
    rule["properties"]["backendPort"] = json!(31_081);
    let two = more(lb.clone(), "loadBalancingRules", rule);
    let b = json!({"name": "two", "properties": {"publicIPAddress": {"id": scene.id("publicIPAddresses/b")}}});
    let frontends = more(lb.clone(), "frontendIPConfigurations", b);
    let tags = with(
        scene.public_ip(),
        "",
        "../tags",
        json!({"a": "1", "b": "2"}),
    );
    let none = Quotas::default();
    for (quotas, path, body, code) in [
        (
            Quotas { rules: 1, ..none },
            "loadBalancers/lb",
            &two,
            "LoadBalancingRuleCountLimitReached",
        ),
        (
            Quotas {
                rules_per_interface: 1,
                ..none
            },
            "loadBalancers/lb",
            &two,
            "NetworkInterfaceRuleCountLimitReached",
        ),
        (
            Quotas {
                frontends: 1,
                ..none
            },
            "loadBalancers/lb",
            &frontends,
            "LoadBalancerFrontendIPConfigurationCountLimitReached",
        ),
        (
            Quotas { pool: 1, ..none },
            "loadBalancers/lb",
            &lb,
            "BackendAddressPoolSizeLimitReached",
        ),
        (
            Quotas {
                load_balancers: 2,
                ..none
            },
            "loadBalancers/c",
            &lb,
            "LoadBalancerCountLimitReached",
        ),
        (
            Quotas {
                public_ips: 2,
                ..none
            },
            "publicIPAddresses/c",
            &scene.public_ip(),
            "PublicIPCountLimitReached",
        ),
        (
            Quotas { tags: 1, ..none },
            "publicIPAddresses/b",
            &tags,
            "InvalidTagCount",
        ),
        (
            Quotas {
                security_rules: 0,
                ..none
            },
            "networkSecurityGroups/nsg1",
            &scene.security_group(),
            "SecurityRuleCountLimitReached",
        ),
        (
            Quotas {
                security_prefixes: 0,
                ..none
            },
            "networkSecurityGroups/nsg1",
            &scene.security_group(),
            "SecurityRuleAddressesOrPortsPerSecurityGroupLimitReached",
        ),
    ] {
        scene.azure.set(|settings| settings.quotas = quotas);
        let answer = scene.put(path, body).await?;
        assert_eq!((answer.status, answer.code()), (400, code), "{path}");
    }
    scene.azure.set(|settings| settings.quotas = none);
    assert_eq!(scene.put("loadBalancers/lb", &two).await?.status, 200);
    Ok(())
}
