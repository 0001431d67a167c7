//! Addresses that several Services share, and addresses whose pool went away.

use evenkeel_local::api::{
    ApiError, Family, Lease, LeaseSpec, Listener, ListenerPhase, Marks, Port, Protocol, Put,
};

use crate::support::*;

fn of<Spec>(service: &str, spec: Spec) -> Put<Spec> {
    Put {
        marks: Marks {
            group: service.into(),
            service: service.into(),
            member: service.into(),
            ..marks("cluster-1")
        },
        spec,
    }
}

fn wish(port: u16) -> LeaseSpec {
    LeaseSpec {
        ports: vec![Port {
            protocol: Protocol::Tcp,
            port,
        }],
        ..LeaseSpec::of(Family::V4)
    }
}

#[tokio::test]
async fn services_share_an_address_and_never_a_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let shared = address();
    let pool = format!("{shared},name=home,shared=true");
    let plane = Plane::start(config(directory.path(), &[&pool])).await;
    let client = &plane.client;
    let servers = [Server::start("a").await, Server::start("b").await];
    let first = free_port(shared);
    let mut fronts = Vec::new();
    for (name, server) in ["a", "b"].into_iter().zip(&servers) {
        let service = format!("shop/{name}");
        let port = if name == "a" {
            first
        } else {
            free_port(shared)
        };
        let lease: Lease = client
            .create(&format!("/v1/leases/{name}"), &of(&service, wish(port)))
            .await
            .object();
        assert_eq!(lease.status.address, shared);
        assert_eq!(lease.status.pool.as_deref(), Some("home"));
        client
            .create(
                &format!("/v1/backendsets/{name}"),
                &of(&service, backend_set(&[server])),
            )
            .await
            .done();
        let mut spec = listener(port);
        (spec.lease, spec.backend_set) = (name.into(), name.into());
        let made: Listener = client
            .create(&format!("/v1/listeners/{name}"), &of(&service, spec))
            .await
            .object();
        assert_eq!(made.status.phase, ListenerPhase::Ready);
        fronts.push((shared, port));
    }
    for front in &fronts {
        assert!(Talk::open((*front).into()).await.works().await);
    }

    // A third that wants the first one's port gets no address, and is told who has it.
    let refused = client
        .create("/v1/leases/c", &of("blog/c", wish(first)))
        .await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "PortTaken")
    );
    let error: ApiError = serde_json::from_slice(&refused.bytes).expect("an error");
    assert!(error.message.contains("is taken by shop/a"), "{error}");
    // One that wants it later keeps its address, and only that port is refused.
    let mut spec = listener(first);
    (spec.lease, spec.backend_set) = ("b".into(), "b".into());
    let refused = client
        .create("/v1/listeners/more", &of("shop/b", spec))
        .await;
    assert_eq!(refused.code(), "PortTaken");
    let error: ApiError = serde_json::from_slice(&refused.bytes).expect("an error");
    assert!(error.message.contains("listener `a` of shop/a"), "{error}");

    // Who shares is known after a restart, also when the pool has changed its mind.
    plane.stop().await;
    let plane = Plane::start(config(directory.path(), &[&shared.to_string()])).await;
    for front in &fronts {
        assert!(Talk::open((*front).into()).await.works().await);
    }
    plane.stop().await;
}

#[tokio::test]
async fn a_port_that_a_process_or_a_node_has_is_avoided() {
    let directory = tempfile::tempdir().expect("a directory");
    let addresses = [address(), address(), address()];
    let [busy, node, free] = addresses;
    let pool = format!("{busy}+{node}+{free},shared=true");
    let plane = Plane::start(config(directory.path(), &[&pool])).await;
    let client = &plane.client;
    let other = std::net::TcpListener::bind((busy, 0)).expect("a port");
    let port = other.local_addr().expect("bound").port();
    let server = Server::start("a").await;
    let mut set = backend_set(&[&server]);
    (set.targets[0].address, set.targets[0].port) = (node.into(), port);
    client
        .create("/v1/backendsets/web", &of("shop/web", set))
        .await
        .done();
    let lease: Lease = client
        .create("/v1/leases/a", &of("shop/a", wish(port)))
        .await
        .object();
    assert_eq!(lease.status.address, free);
    let particular = LeaseSpec {
        address: Some(node.into()),
        ..wish(port)
    };
    let refused = client
        .create("/v1/leases/b", &of("shop/b", particular))
        .await;
    assert_eq!(refused.code(), "PortTaken");
    let error: ApiError = serde_json::from_slice(&refused.bytes).expect("an error");
    assert!(
        error.message.contains("shop/web as its NodePort"),
        "{error}"
    );
    // A listener tells the protocol of the NodePort; that number is free for the other one.
    let mut spec = listener(port);
    (spec.lease, spec.backend_set) = ("a".into(), "web".into());
    client
        .create("/v1/listeners/web", &of("shop/web", spec.clone()))
        .await
        .done();
    let mut beside = LeaseSpec {
        address: Some(node.into()),
        ..wish(port)
    };
    let refused = client
        .create("/v1/leases/b", &of("shop/b", beside.clone()))
        .await;
    assert_eq!(refused.code(), "PortTaken");
    beside.ports[0].protocol = Protocol::Udp;
    client
        .create("/v1/leases/b", &of("shop/b", beside))
        .await
        .done();
    (spec.lease, spec.protocol) = ("b".into(), Protocol::Udp);
    client
        .create("/v1/listeners/b", &of("shop/b", spec))
        .await
        .done();
    plane.stop().await;
}

#[tokio::test]
async fn an_address_outlives_its_pool() {
    let directory = tempfile::tempdir().expect("a directory");
    let (before, after) = (address(), address());
    let plane = Plane::start(config(directory.path(), &[&before.to_string()])).await;
    let made: Lease = plane
        .client
        .create("/v1/leases/a", &body(LeaseSpec::of(Family::V4)))
        .await
        .object();
    assert_eq!(made.status.pool, Some(before.to_string()));
    plane.stop().await;
    let plane = Plane::start(config(directory.path(), &[&after.to_string()])).await;
    let kept: Lease = plane.client.get("/v1/leases/a").await.object();
    assert_eq!(
        (kept.status.address, kept.status.pool),
        (before.into(), None)
    );
    let next: Lease = plane
        .client
        .create("/v1/leases/b", &body(LeaseSpec::of(Family::V4)))
        .await
        .object();
    assert_eq!(next.status.address, after);
    plane.stop().await;
}
