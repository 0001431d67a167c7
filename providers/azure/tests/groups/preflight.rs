//! What an operator is told of the nodes' place.

use evenkeel_core::{engine::AnyProvider, intent::Scheme};
use evenkeel_harness::fake_azure::{At, Fault, LOCATION};
use serde_json::json;

use crate::stage::{Stage, internal, public, serve};

async fn warnings(stage: &Stage, scheme: Scheme) -> String {
    let process = stage.process();
    process.engine.inventory().await.expect("an inventory");
    let service = match scheme {
        Scheme::Internal => internal(1),
        Scheme::InternetFacing => public(1),
    };
    // It waits for a write, and is told of what stands in its way until then.
    let refused = Fault::answer(400, "InvalidRequestFormat", "not so");
    let _refused = stage
        .azure
        .inject(&At::first("PUT loadBalancers").times(9), refused);
    let reports = process.settle(stage, [serve(&service)]).await;
    let warnings = reports.into_values().flat_map(|report| report.warnings);
    warnings.map(|warning| warning.to_string()).collect()
}

#[tokio::test]
async fn nodes_without_a_way_out_are_told_of_before_an_internal_load_balancer() {
    let stage = Stage::new().await;
    assert!(
        warnings(&stage, Scheme::Internal)
            .await
            .contains("NAT gateway")
    );
    assert!(
        !warnings(&stage, Scheme::InternetFacing)
            .await
            .contains("NAT gateway")
    );

    let stage = Stage::new().await;
    let gateway = stage
        .place
        .subnet
        .replace("virtualNetworks/vnet1/subnets/nodes", "natGateways/out");
    stage.azure.seed(
        &stage.place.subnet,
        json!({"properties": {"addressPrefix": "10.20.0.0/20", "natGateway": {"id": gateway}}}),
    );
    assert_eq!(warnings(&stage, Scheme::Internal).await, "");
}

#[tokio::test]
async fn machines_behind_another_load_balancer_by_their_interfaces_are_told_of() {
    let stage = Stage::new().await;
    let id = stage.context.load_balancer_id(Scheme::InternetFacing);
    let id = id.replace(
        &stage.context.load_balancer(Scheme::InternetFacing),
        "kubernetes",
    );
    stage.azure.seed(
        &id,
        json!({
            "location": LOCATION, "sku": {"name": "Standard", "tier": "Regional"},
            "properties": {
                "frontendIPConfigurations": [], "backendAddressPools": [{"name": "aks", "properties": {}}], "loadBalancingRules": [],
                "probes": [], "inboundNatRules": [], "inboundNatPools": [], "outboundRules": [],
            },
        }),
    );
    let interface = id.replace("loadBalancers/kubernetes", "networkInterfaces/vm1");
    let pool = json!({"id": format!("{id}/backendAddressPools/aks")});
    stage.azure.seed(
        &interface,
        json!({"location": LOCATION, "properties": {"ipConfigurations": [{"name": "ipconfig1", "properties": {
            "privateIPAddress": "10.20.9.9", "privateIPAllocationMethod": "Dynamic", "subnet": {"id": stage.place.subnet},
            "loadBalancerBackendAddressPools": [pool],
        }}]}}),
    );
    assert!(
        warnings(&stage, Scheme::InternetFacing)
            .await
            .contains("have evenkeel use kubernetes")
    );
}
