//! Every field of the file, and what is wrong with it.

use evenkeel_core::problem::Problems;

use super::*;
use crate::client::Credential;

fn read(text: &str) -> Result<AzureJson, Problems> {
    AzureJson::read(text, "azure.json")
}

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

fn problems(text: &str) -> String {
    let problems = read(text).expect_err("something is wrong");
    problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect()
}

#[test]
fn every_field() {
    let file = read(
        r#"{
        "cloud": "azurechinacloud",
        "resourceManagerEndpoint": "https://arm.example.org/",
        "tenantId": "t1",
        "networkResourceTenantID": "t2",
        "subscriptionId": "s1",
        "networkResourceSubscriptionID": "s2",
        "resourceGroup": "MC_Rg1",
        "location": "westeurope",
        "vnetName": "vnet1",
        "vnetResourceGroup": "rg-net",
        "subnetName": "nodes",
        "securityGroupName": "nsg1",
        "securityGroupResourceGroup": "rg-nsg",
        "loadBalancerSku": "Standard",
        "loadBalancerName": "shared-lb",
        "loadBalancerResourceGroup": "rg-lb",
        "loadBalancerBackendPoolConfigurationType": "nodeIP",
        "disableOutboundSNAT": true,
        "excludeMasterFromStandardLB": false,
        "clusterServiceLoadBalancerHealthProbeMode": "shared",
        "clusterServiceSharedLoadBalancerHealthProbePort": 10257,
        "clusterServiceSharedLoadBalancerHealthProbePath": "/live",
        "tags": "team=pay, cost=42",
        "tagsMap": {"cost": "43", "a=b": "c,d"},
        "systemTags": "team, cost",
        "preConfiguredBackendPoolLoadBalancerTypes": "all",
        "multipleStandardLoadBalancerConfigurations": [],
        "maximumLoadBalancerRuleCount": 300,
        "enableIPTagMutationForExistingPublicIP": true,
        "aadClientId": "c1",
        "aadClientSecret": "hunter2",
        "aadClientCertPath": "/cert.pem",
        "useManagedIdentityExtension": true,
        "userAssignedIdentityID": "u1",
        "useFederatedWorkloadIdentityExtension": true,
        "aadFederatedTokenFile": "/token",
        "extendedLocationName": "",
        "vmType": "vmss",
        "cloudProviderBackoff": true,
        "vmCacheTTLInSeconds": 60
    }"#,
    )
    .expect("a good file");
    let expected = AzureJson {
        cloud: Cloud::China,
        endpoint: Some("https://arm.example.org".into()),
        tenant: Some("t1".into()),
        network_tenant: Some("t2".into()),
        subscription: Some("s1".into()),
        network_subscription: Some("s2".into()),
        resource_group: Some("mc_rg1".into()),
        location: Some("westeurope".into()),
        network: Some("vnet1".into()),
        network_group: Some("rg-net".into()),
        subnet: Some("nodes".into()),
        security_group: Some("nsg1".into()),
        security_group_group: Some("rg-nsg".into()),
        load_balancer: Some("shared-lb".into()),
        load_balancer_group: Some("rg-lb".into()),
        pools: Pools::Addresses,
        disable_outbound_snat: true,
        exclude_control_plane: false,
        shared_probe: true,
        shared_probe_port: 10_257,
        shared_probe_path: "/live".into(),
        tags: pairs(&[("team", "pay"), ("cost", "43"), ("a=b", "c,d")]),
        system_tags: Some(vec!["team".into(), "cost".into()]),
        configured_pools: ConfiguredPools::All,
        most_rules: 300,
        ip_tags_change: true,
        who: Who {
            client: Some("c1".into()),
            secret: Some("hunter2".into()),
            certificate: Some("/cert.pem".into()),
            managed: true,
            user_assigned: Some("u1".into()),
            workload: true,
            token_file: Some("/token".into()),
        },
        ignored: ["cloudProviderBackoff", "vmCacheTTLInSeconds", "vmType"]
            .map(str::to_owned)
            .into(),
    };
    assert_eq!(file, expected);
    assert!(!format!("{file:?}").contains("hunter2"));
    let network =
        "/subscriptions/s1/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/vnet1";
    assert_eq!(file.network_id().as_deref(), Some(network));
    assert_eq!(file.subnet_id(), Some(format!("{network}/subnets/nodes")));
    assert_eq!(
        file.security_group_id().as_deref(),
        Some(
            "/subscriptions/s2/resourceGroups/rg-nsg/providers/Microsoft.Network/networkSecurityGroups/nsg1"
        )
    );
    assert_eq!(file.subscription_of_network().map(|id| &**id), Some("s2"));
    assert_eq!(
        file.group_of_load_balancers().map(|name| &**name),
        Some("rg-lb")
    );
}

#[test]
fn yaml_and_names_in_another_case_are_the_same() {
    let yaml = "TenantID: t1\nsubscriptionid: s1\nresourceGroup: rg1\nvnetName: vnet1\ntags: ''\n";
    let file = read(yaml).expect("a good file");
    let json = r#"{"tenantId": "t1", "subscriptionId": "s1", "resourceGroup": "rg1", "vnetName": "vnet1"}"#;
    assert_eq!(file, read(json).expect("a good file"));
    let network =
        "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.Network/virtualNetworks/vnet1";
    assert_eq!(file.network_id().as_deref(), Some(network));
    assert_eq!(file.security_group_id(), None);
    assert_eq!(read("").expect("nothing"), AzureJson::default());
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let said = problems(
        r#"{
        "cloud": "AzureGermanCloud",
        "loadBalancerSku": "basic",
        "multipleStandardLoadBalancerConfigurations": [{"name": "a"}],
        "extendedLocationName": "edge",
        "loadBalancerBackendPoolConfigurationType": "podIP",
        "disableOutboundSNAT": "true",
        "clusterServiceSharedLoadBalancerHealthProbePort": 70000,
        "maximumLoadBalancerRuleCount": -1,
        "tags": "a=b,broken,c=d=e",
        "tagsMap": {"a": 1},
        "aadClientSecret": 42424242
    }"#,
    );
    for part in [
        "azure.json: cloud: \"AzureGermanCloud\" must be one of AzurePublicCloud, AzureChinaCloud, AzureUSGovernmentCloud",
        "azure.json: loadBalancerSku: \"basic\" must be one of standard",
        "several load balancers for a cluster, which is not built",
        "extendedLocationName: \"edge\" asks for an edge zone",
        "\"podIP\" must be one of nodeIPConfiguration, nodeIP",
        "disableOutboundSNAT: \"true\" must be true or false",
        "HealthProbePort: \"70000\" must be a number",
        "maximumLoadBalancerRuleCount: \"-1\"",
        "tags: \"broken\"",
        "tags: \"c=d=e\"",
        "tagsMap.a: \"1\" must be a text",
        "aadClientSecret: \"\" must be a text",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(said.lines().count(), 12, "{said}");
}

#[test]
fn what_cannot_be_read_is_not_shown() {
    for text in [
        "{\"aadClientSecret\": \"hunter2\"\n\"a\": 1}",
        "aadClientSecret: hunter2\n  - b: [",
        "hunter2",
        "[\"hunter2\"]",
    ] {
        let said = problems(text);
        assert!(said.contains("neither JSON nor YAML"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

const NOTHING: Environment<'static> = &|_| None;

fn workload(name: &str) -> Option<String> {
    let value = match name {
        "AZURE_TENANT_ID" => "env-tenant",
        "AZURE_CLIENT_ID" => "env-client",
        "AZURE_FEDERATED_TOKEN_FILE" => "/env/token",
        "AZURE_AUTHORITY_HOST" => "https://login.example.org/",
        _ => return None,
    };
    Some(value.to_owned())
}

#[test]
fn who_we_are() {
    let principal = r#""tenantId": "t", "aadClientId": "c", "aadClientSecret": "s""#;
    for (file, environment, expected) in [
        ("", NOTHING, r#"kind: "managed identity", client: None"#),
        (
            r#""useManagedIdentityExtension": true, "userAssignedIdentityID": "u""#,
            NOTHING,
            r#"kind: "managed identity", client: Some("u")"#,
        ),
        // As AKS writes it.
        (
            r#""tenantId": "t", "aadClientId": "msi", "aadClientSecret": "msi", "useManagedIdentityExtension": true, "userAssignedIdentityID": "u""#,
            NOTHING,
            r#"client: Some("u")"#,
        ),
        (
            principal,
            NOTHING,
            r#"kind: "a service principal's secret", tenant: "t", client: "c""#,
        ),
        (
            principal,
            &workload,
            r#"kind: "workload identity", tenant: "env-tenant", client: "env-client""#,
        ),
        (
            r#""tenantId": "t", "aadClientId": "c", "useFederatedWorkloadIdentityExtension": true"#,
            NOTHING,
            r#"kind: "workload identity", tenant: "t", client: "c""#,
        ),
        (
            r#""tenantId": "t", "networkResourceTenantID": "n", "aadClientId": "c", "aadClientSecret": "s""#,
            NOTHING,
            r#"tenant: "n""#,
        ),
        (
            "",
            &|name: &str| (name != "AZURE_FEDERATED_TOKEN_FILE").then(|| name.to_owned()),
            r#"kind: "a service principal's secret", tenant: "AZURE_TENANT_ID""#,
        ),
    ] {
        let file = read(&format!("{{{file}}}")).expect("a good file");
        let found = identity(&file, environment).expect("an identity");
        let text = format!("{found:?}");
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let file = read(
        r#"{"aadFederatedTokenFile": "/file/token", "useFederatedWorkloadIdentityExtension": true, "tenantId": "t", "aadClientId": "c"}"#,
    );
    let Ok(Credential::WorkloadIdentity { token_file, .. }) =
        identity(&file.expect("a good file"), NOTHING)
    else {
        panic!("workload identity");
    };
    assert_eq!(&*token_file, std::path::Path::new("/file/token"));
}

#[test]
fn what_is_missing_of_who_we_are() {
    for (file, expected) in [
        (
            r#""aadClientSecret": "s""#,
            &["tenantId", "aadClientId"][..],
        ),
        (
            r#""useFederatedWorkloadIdentityExtension": true"#,
            &["tenantId", "aadClientId"],
        ),
        (
            r#""aadClientId": "c", "tenantId": "t", "aadClientCertPath": "/c.pem""#,
            &["aadClientCertPath"],
        ),
        (
            r#""useManagedIdentityExtension": true, "tenantId": "t", "networkResourceTenantID": "n""#,
            &["networkResourceTenantID"],
        ),
    ] {
        let file = read(&format!("{{{file}}}")).expect("a good file");
        let problems = identity(&file, NOTHING).expect_err("something is missing");
        let fields: Vec<&str> = problems.iter().map(|problem| &*problem.field).collect();
        assert_eq!(fields, expected);
    }
}

#[test]
fn a_client_as_file_and_environment_say() {
    let file = read(
        r#"{"cloud": "AzureUSGovernmentCloud", "resourceManagerEndpoint": "https://arm.example.org"}"#,
    );
    let client = file
        .expect("a good file")
        .client(&workload)
        .expect("a client");
    assert_eq!(client.cloud, Cloud::UsGovernment);
    assert_eq!(client.endpoint.as_deref(), Some("https://arm.example.org"));
    assert_eq!(
        client.authority.as_deref(),
        Some("https://login.example.org")
    );
}
