//! `evenkeel run` by itself: the data plane that it starts, the permissions that it needs, servers without streaming lists.

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::alone::{DataPlane, Home};
use evenkeel_e2e::look::{LIMIT, ingress};
use evenkeel_harness::control_plane::{ControlPlane, Options};
use evenkeel_harness::evenkeel::Evenkeel;
use evenkeel_harness::supervise::Janitor;
use evenkeel_harness::wait::eventually;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

/// A data plane that nobody else has started belongs to nobody: it outlives who started it, and is started again.
#[tokio::test(flavor = "multi_thread")]
async fn a_data_plane_is_started_outlives_the_controller_and_is_started_again() -> Result<()> {
    let plane = ControlPlane::start(Options {
        controller_manager: false,
        ..Options::default()
    })
    .await?;
    let Home {
        socket,
        admin,
        args,
        ..
    } = Home::new(&plane)?;
    let janitor = Janitor::start()?;
    let mut controller = Evenkeel::run(&plane, &args, Some(admin)).await?;
    let first = DataPlane::find(&socket, &janitor).await?;

    controller.kill()?;
    ensure!(
        DataPlane::find(&socket, &janitor).await?.pid == first.pid,
        "it outlives a controller that is killed"
    );
    let controller = Evenkeel::run(&plane, &args, Some(admin)).await?;
    ensure!(
        DataPlane::find(&socket, &janitor).await?.pid == first.pid,
        "one that answers is not started anew"
    );

    first.kill()?;
    let second = eventually("another data plane", LIMIT, || async {
        let found = DataPlane::find(&socket, &janitor).await?;
        ensure!(found.pid != first.pid, "it is the old one");
        Ok(found)
    })
    .await
    .with_context(|| controller.log_tail(20))?;
    let status = controller.stop()?;
    ensure!(status.success(), "{status}");
    ensure!(
        DataPlane::find(&socket, &janitor).await?.pid == second.pid,
        "it outlives a controller that ends"
    );
    second.kill()
}

/// With the permissions of the book and no others, on a server whose lists come in pages.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_permissions_are_enough_and_lists_may_come_in_pages() -> Result<()> {
    let plane = ControlPlane::start(Options {
        controller_manager: false,
        extra_apiserver_args: vec!["--feature-gates=WatchList=false".to_owned()],
        ..Options::default()
    })
    .await?;
    let home = Home::new(&plane)?;
    let kubeconfig = plane.directory().join("least");
    plane.write_kubeconfig_for(&least_token(&plane).await?, &kubeconfig)?;
    let janitor = Janitor::start()?;
    let controller =
        Evenkeel::run_as(&kubeconfig, plane.log_dir(), &home.args, Some(home.admin)).await?;
    let data_plane = DataPlane::find(&home.socket, &janitor).await?;
    ensure!(
        controller.log_tail(50).contains("listing in pages"),
        "{}",
        controller.log_tail(50)
    );

    let services: Api<Service> = Api::namespaced(plane.client(), "default");
    let service = json!({
        "metadata": {"name": "shop"},
        "spec": {"type": "LoadBalancer", "loadBalancerClass": "evenkeel.dev/local", "ports": [{"port": 8080}]},
    });
    services
        .create(&PostParams::default(), &serde_json::from_value(service)?)
        .await?;
    eventually("an address", LIMIT, || async {
        ensure!(
            !ingress(&services.get("shop").await?).is_empty(),
            "there is none"
        );
        Ok(())
    })
    .await
    .with_context(|| controller.log_tail(20))?;
    services.delete("shop", &DeleteParams::default()).await?;
    eventually("the Service to go", LIMIT, || async {
        ensure!(services.get_opt("shop").await?.is_none(), "it is there");
        Ok(())
    })
    .await
    .with_context(|| controller.log_tail(20))?;
    let events: Api<Event> = Api::namespaced(plane.client(), "default");
    eventually("the last event", LIMIT, || async {
        let all = events.list(&ListParams::default()).await?;
        let reasons: Vec<_> = all.into_iter().filter_map(|event| event.reason).collect();
        ensure!(
            reasons.iter().any(|reason| reason == "DeletedLoadBalancer"),
            "{reasons:?}"
        );
        Ok(())
    })
    .await
    .with_context(|| controller.log_tail(20))?;
    controller.stop()?;
    data_plane.kill()
}

/// The token of somebody who may do what the book says, and nothing else.
async fn least_token(plane: &ControlPlane) -> Result<String> {
    let name = "evenkeel";
    let rules = json!([
        {"apiGroups": [""], "resources": ["services", "nodes"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["patch"]},
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system"], "verbs": ["get"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
    ]);
    let role = json!({"metadata": {"name": name}, "rules": rules});
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    });
    let new = PostParams::default();
    Api::<ClusterRole>::all(plane.client())
        .create(&new, &serde_json::from_value(role)?)
        .await?;
    Api::<ClusterRoleBinding>::all(plane.client())
        .create(&new, &serde_json::from_value(binding)?)
        .await?;
    // Its own objects: the Lease, and the ConfigMap that says how it runs. A name cannot be asked for in a create.
    let own = json!([
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": [name], "verbs": ["get", "watch", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [name], "verbs": ["get", "patch"]},
    ]);
    let role = json!({"metadata": {"name": name}, "rules": own});
    let binding = json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    });
    Api::<Role>::namespaced(plane.client(), "kube-system")
        .create(&new, &serde_json::from_value(role)?)
        .await?;
    Api::<RoleBinding>::namespaced(plane.client(), "kube-system")
        .create(&new, &serde_json::from_value(binding)?)
        .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(plane.client(), "default");
    accounts
        .create(
            &new,
            &serde_json::from_value(json!({"metadata": {"name": name}}))?,
        )
        .await?;
    let request: TokenRequest =
        serde_json::from_value(json!({"metadata": {}, "spec": {"audiences": []}}))?;
    let granted = accounts.create_token_request(name, &new, &request).await?;
    granted
        .status
        .and_then(|status| status.token)
        .context("no token")
}
