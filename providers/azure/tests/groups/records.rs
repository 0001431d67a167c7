//! Plans for a place that was written down.

use evenkeel_azure::record::{AzureCloud, look, recorded};
use evenkeel_core::{
    engine::{AnyProvider, Engine},
    intent::Scheme,
};

use crate::stage::{Stage, annotated, internal, public, release, serve};

#[tokio::test]
async fn plans_with_facts_are_those_that_azure_would_see() {
    let stage = Stage::new().await;
    let process = stage.process();
    let there = [internal(1), public(2)];
    process.settled(&stage, there.iter().map(serve)).await;

    let cloud = look(process.engine.provider()).await.expect("a look");
    let text = serde_json::to_string(&cloud).expect("a document");
    let again: AzureCloud = serde_json::from_str(&text).expect("the same document");
    assert_eq!(again, cloud);
    let engine = Engine::new(recorded(stage.context.clone(), &again).expect("it has a meaning"));

    let mark = stage.azure.calls().mark();
    let asks = [
        serve(&there[0]),
        serve(&there[1]),
        serve(&annotated(
            there[0].clone(),
            "load-balancer-tcp-idle-timeout",
            "11",
        )),
        release(&there[1]),
        serve(&internal(3)),
        serve(&public(4)),
    ];
    for ask in &asks {
        let request = process.request(&stage, ask);
        let offline = engine.rehearse(&request).await.expect("a rehearsal");
        let online = process
            .engine
            .rehearse(&request)
            .await
            .expect("a rehearsal");
        assert_eq!(offline, online, "{}", ask.0);
    }
    let done = engine.rehearse(&process.request(&stage, &asks[0])).await;
    assert_eq!(done.expect("a rehearsal").waves, Vec::<Vec<_>>::new());
    assert_eq!(stage.azure.calls().since(mark), []);
    let found = engine.inventory().await.expect("an inventory");
    assert_eq!(found.len(), 2, "{found:?}");

    let plan = engine.rehearse(&process.request(&stage, &asks[4])).await;
    let objects = plan.expect("a rehearsal").objects;
    let rule = &objects["loadBalancers"][0]["properties"]["loadBalancingRules"][0];
    assert_eq!(rule["properties"]["frontendPort"], 10_003, "{objects:#}");
    assert_eq!(
        objects["loadBalancers"][0]["name"],
        *stage.context.load_balancer(Scheme::Internal)
    );
}

#[test]
fn what_has_no_meaning_is_told_at_once() {
    let mut cloud = AzureCloud::default();
    cloud.place.node_prefixes = vec!["10.20.0.0/20".to_owned(), "nodes".to_owned()];
    let problems = cloud
        .place(crate::stage::nowhere())
        .expect_err("it has no meaning");
    let text = problems.to_string();
    for at in ["cloud.place.nodePrefixes[1]", "cloud.virtualNetwork.id"] {
        assert!(text.contains(at), "{text}");
    }
}
