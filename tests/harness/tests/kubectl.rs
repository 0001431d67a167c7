//! kubectl against a real control plane: it does what is typed, an edit is a real edit, and what it prints is there to be shown.

use anyhow::Result;
use evenkeel_harness::control_plane::ControlPlane;
use evenkeel_harness::kubectl::Kubectl;
use evenkeel_harness::progress::Progress;
use k8s_openapi::api::core::v1::Service;
use kube::Api;

#[tokio::test]
async fn commands_reach_the_control_plane() -> Result<()> {
    let plane = ControlPlane::shared().await?;
    let namespace = plane.namespace("kubectl").await?;
    let kubectl = Kubectl::new(plane, namespace.name(), Progress::new()).await?;
    let services: Api<Service> = Api::namespaced(plane.client(), namespace.name());
    let port = async || -> Result<Option<i32>> {
        let spec = services.get("web").await?.spec.unwrap_or_default();
        Ok(spec.ports.unwrap_or_default().first().map(|port| port.port))
    };

    let create = ["create", "service", "clusterip", "web", "--tcp=8080:8080"];
    let ran = kubectl.run(&create).await?.ok()?;
    let shown = format!(
        "kubectl -n {} create service clusterip web --tcp=8080:8080",
        namespace.name()
    );
    assert_eq!(
        (ran.command, ran.output.as_str()),
        (shown, "service/web created")
    );
    assert_eq!(port().await?, Some(8080));

    let editor = r#"sed -i "s/ port: 8080/ port: 8081/""#;
    let ran = kubectl
        .run_with_editor(editor, &["edit", "service", "web"])
        .await?
        .ok()?;
    assert_eq!(ran.output, "service/web edited");
    assert_eq!(port().await?, Some(8081));

    let again = kubectl.run(&create).await?;
    assert!(!again.status.success());
    let error = format!("{:#}", again.ok().unwrap_err());
    assert!(error.contains("already exists"), "{error}");
    Ok(())
}
