use std::{io, path::Path};

use clap::Parser as _;
use evenkeel_azure::client::{Cloud, Credential};
use evenkeel_core::ids::Cluster;
use serde_json::{Value, json};

use crate::{
    args::{Args, Command},
    config::{AzureConfig, Config, Outside, Surroundings},
};

/// As clusters have it whose controllers run with a service principal.
const PRINCIPAL: &str = r#"{
    "cloud": "AzurePublicCloud", "tenantId": "t1", "subscriptionId": "s1", "aadClientId": "c1", "aadClientSecret": "hunter2",
    "resourceGroup": "rg1", "location": "westeurope", "vnetName": "vnet1", "vnetResourceGroup": "rg-net", "subnetName": "nodes",
    "securityGroupName": "nsg1", "loadBalancerSku": "standard", "vmType": "vmss", "useInstanceMetadata": true
}"#;

/// As AKS writes it for its nodes.
const MANAGED: &str = r#"{
    "cloud": "AzurePublicCloud", "tenantId": "t1", "subscriptionId": "s1", "aadClientId": "msi", "aadClientSecret": "msi",
    "useManagedIdentityExtension": true, "userAssignedIdentityID": "u1", "resourceGroup": "MC_rg1", "location": "westeurope",
    "vnetName": "vnet1", "vnetResourceGroup": "", "subnetName": "nodes", "securityGroupName": "nsg1"
}"#;

fn principal(_: &Path) -> io::Result<String> {
    Ok(PRINCIPAL.to_owned())
}

fn managed(_: &Path) -> io::Result<String> {
    Ok(MANAGED.to_owned())
}

/// The same with much that is wrong.
fn wrong(_: &Path) -> io::Result<String> {
    let mut fields: Value = serde_json::from_str(PRINCIPAL)?;
    for (field, value) in [
        ("preConfiguredBackendPoolLoadBalancerTypes", json!("all")),
        ("clusterServiceLoadBalancerHealthProbeMode", json!("shared")),
        ("clusterServiceSharedLoadBalancerHealthProbePort", json!(1)),
        ("location", Value::Null),
    ] {
        fields[field] = value;
    }
    Ok(fields.to_string())
}

fn around(files: fn(&Path) -> io::Result<String>) -> Surroundings {
    Surroundings {
        root: true,
        outside: Outside::of(files, |_| None),
        ..Surroundings::default()
    }
}

fn read(line: &str, around: &Surroundings) -> Result<AzureConfig, String> {
    let words = ["evenkeel", "run", "--provider", "azure"];
    let words = words.into_iter().chain(line.split_whitespace());
    let Command::Run(args) = Args::try_parse_from(words).expect("parses").command else {
        panic!("another command");
    };
    let config = Config::of_run(&args, None, around);
    let config = config.map_err(|problems| problems.to_string())?;
    Ok(config.azure.expect("it runs"))
}

fn cluster() -> Cluster {
    Cluster::new("uid", "name")
}

#[test]
fn azure_json_says_it_all() {
    let config = read("--azure-config azure.json", &around(principal)).expect("enough");
    let context = config.context(&cluster());
    assert_eq!(context.cluster, cluster());
    assert_eq!(
        (&*context.subscription, &*context.resource_group),
        ("s1", "rg1")
    );
    assert_eq!(
        &*context.virtual_network,
        "/subscriptions/s1/resourceGroups/rg-net/providers/Microsoft.Network/virtualNetworks/vnet1"
    );
    assert_eq!(
        context.security_group.as_deref(),
        Some(
            "/subscriptions/s1/resourceGroups/rg1/providers/Microsoft.Network/networkSecurityGroups/nsg1"
        )
    );
    assert!(!context.disable_outbound_snat && !context.shared_probe);
    assert_eq!(
        config.client.credential,
        Credential::Secret {
            tenant: "t1".into(),
            client: "c1".into(),
            secret: "hunter2".into(),
        }
    );
    assert_eq!(config.client.cloud, Cloud::Public);
    assert!(
        config.said.ignored.iter().any(|name| name == "vmType"),
        "{:?}",
        config.said.ignored
    );
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn what_is_typed_goes_before_the_environment_and_that_before_the_file() {
    fn variable(name: &str) -> Option<String> {
        let text = match name {
            "AZURE_TENANT_ID" => "t2",
            "AZURE_CLIENT_ID" => "c2",
            "AZURE_FEDERATED_TOKEN_FILE" => "/token",
            "AZURE_AUTHORITY_HOST" => "https://login.example.com/",
            _ => return None,
        };
        Some(text.to_owned())
    }
    let mut around = around(principal);
    around.outside = Outside::of(principal, variable);
    let line = "--azure-config azure.json --azure-client-id c3 --azure-vnet other --azure-location northeurope";
    let config = read(line, &around).expect("enough");
    assert_eq!(
        config.client.credential,
        Credential::WorkloadIdentity {
            tenant: "t2".into(),
            client: "c3".into(),
            token_file: Path::new("/token").into(),
        }
    );
    assert_eq!(
        config.client.authority.as_deref(),
        Some("https://login.example.com")
    );
    let context = config.context(&cluster());
    assert_eq!(&*context.location, "northeurope");
    assert!(
        context
            .virtual_network
            .ends_with("rg-net/providers/Microsoft.Network/virtualNetworks/other")
    );
}

#[test]
fn the_machines_identity_is_one_of_several() {
    let config = read("--azure-config azure.json", &around(managed)).expect("enough");
    let client = Some("u1".into());
    assert_eq!(
        config.client.credential,
        Credential::ManagedIdentity { client }
    );
    let context = config.context(&cluster());
    assert!(
        context.virtual_network.contains("/mc_rg1/"),
        "{}",
        context.virtual_network
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let error = read(
        "--azure-config azure.json --azure-rate writes=x --azure-limit rule=1",
        &around(wrong),
    );
    let error = error.expect_err("many mistakes");
    for part in [
        "preConfiguredBackendPoolLoadBalancerTypes",
        "clusterServiceSharedLoadBalancerHealthProbePort",
        "--azure-rate",
        "--azure-limit",
        "--azure-location",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
    let error = read("--azure-config azure.json", &Surroundings::default()).expect_err("no file");
    assert!(error.contains("--azure-config"), "{error}");
    let error = read("", &around(principal)).expect_err("nothing is said");
    for part in [
        "subscription-id",
        "resource-group",
        "location",
        "vnet",
        "subnet",
    ] {
        assert!(
            error.contains(&format!("--azure-{part}")),
            "{part} is not in {error}"
        );
    }
}

#[test]
fn where_it_does_not_run_nothing_is_asked_for() {
    let words = ["evenkeel", "run", "--provider", "local"];
    let Command::Run(args) = Args::try_parse_from(words).expect("parses").command else {
        panic!("another command");
    };
    let config = Config::of_run(&args, None, &around(principal)).expect("enough");
    assert_eq!(config.azure, None);
}
