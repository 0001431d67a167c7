//! What one Service gets, and what is left when it goes.

use evenkeel_core::{intent::Scheme, published::Ingress};

use crate::stage::{Stage, internal, public, release, serve};

#[tokio::test]
async fn an_internal_service_comes_and_goes() {
    let stage = Stage::new().await;
    let process = stage.process();
    let web = internal(1);
    let reports = process.settled(&stage, [serve(&web)]).await;
    let published = reports.into_values().next().and_then(|one| one.published);
    let published = published.expect("it is published");
    assert!(
        matches!(&published.ingress[..], [Ingress::Ip { ip, .. }] if ip.to_string().starts_with("10.20.")),
        "{published:?}"
    );
    assert_eq!(published.ports.len(), 1);
    assert_eq!(stage.rules_of(Scheme::Internal, &web).len(), 1);

    let mark = stage.azure.calls().mark();
    let again = process.run(&stage, &serve(&web)).await;
    assert!(again.settled() && again.reads == 0, "{again:#?}");
    assert!(stage.azure.calls().since(mark).is_empty());

    let gone = process.settled(&stage, [release(&web)]).await;
    assert!(gone.values().all(|report| report.gone), "{gone:#?}");
    assert_eq!(stage.balancer(Scheme::Internal), None);
}

#[tokio::test]
async fn a_public_service_comes_and_goes() {
    let stage = Stage::new().await;
    let process = stage.process();
    let web = public(1);
    let reports = process.settled(&stage, [serve(&web)]).await;
    let published = reports.into_values().next().and_then(|one| one.published);
    assert!(
        published.is_some_and(|published| published.ingress.len() == 1),
        "{}",
        stage.azure.calls()
    );
    assert_eq!(stage.rules_of(Scheme::InternetFacing, &web).len(), 1);
    assert_eq!(stage.addresses(), 1);
    let nsg = stage.azure.state();
    let nsg = nsg.security_group("nsg1").expect("it is there");
    assert_eq!(nsg.names("securityRules").len(), 1);

    let gone = process.settled(&stage, [release(&web)]).await;
    assert!(gone.values().all(|report| report.gone), "{gone:#?}");
    assert_eq!(stage.balancer(Scheme::InternetFacing), None);
    assert_eq!(stage.addresses(), 0);
    let nsg = stage.azure.state();
    let nsg = nsg.security_group("nsg1").expect("it is there");
    assert!(nsg.names("securityRules").is_empty());
}
