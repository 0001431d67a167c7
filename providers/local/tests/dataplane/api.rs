//! The API: who may change what, and what becomes of nonsense.

use std::time::Duration;

use evenkeel_local::{
    api::{
        ApiError, BackendSet, BackendSetSpec, Family, Info, Lease, LeaseSpec, MAX_BODY_BYTES,
        Objects, Put, Snapshot, Target,
    },
    dataplane::Config,
};
use proptest::prelude::*;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::support::*;

fn lease() -> Put<LeaseSpec> {
    body(LeaseSpec::of(Family::V4))
}

#[tokio::test]
async fn one_is_told_of_the_cluster_and_the_group_one_asks_about() {
    let (_directory, plane, _) = plane().await;
    for (name, cluster, group) in [
        ("a", "here", "u-1"),
        ("b", "here", "shop/edge"),
        ("c", "there", "u-1"),
    ] {
        let mut set = body(BackendSetSpec::default());
        set.marks.cluster = cluster.into();
        set.marks.group = group.into();
        plane
            .client
            .create(&format!("/v1/backendsets/{name}"), &set)
            .await
            .done();
    }
    for (query, want) in [
        ("", "a b c"),
        ("?cluster=here", "a b"),
        ("?cluster=here&group=shop/edge", "b"),
        ("?group=u-1", "a c"),
        ("?cluster=nowhere", ""),
    ] {
        let objects: Objects = plane
            .client
            .get(&format!("/v1/objects{query}"))
            .await
            .object();
        let names: Vec<_> = objects
            .backend_sets
            .iter()
            .map(|set| set.name.as_str())
            .collect();
        assert_eq!(names.join(" "), want, "{query}");
    }
    for query in ["?cluster=", "?clustr=x", "?group=a&group=b", "?cluster"] {
        assert_eq!(
            plane
                .client
                .get(&format!("/v1/objects{query}"))
                .await
                .code(),
            "Invalid",
            "{query}"
        );
    }
}

#[tokio::test]
async fn a_snapshot_tells_equal_targets_once() {
    let (_directory, plane, address) = plane().await;
    let target = |node: &str, port| Target {
        node: node.into(),
        address: if node == "n-1" {
            address.into()
        } else {
            [127, 0, 0, 1].into()
        },
        port,
    };
    let made = [
        ("a", vec![target("n-1", 1001), target("n-2", 1001)]),
        ("b", vec![target("n-1", 1002), target("n-2", 1002)]),
        ("c", vec![target("n-1", 1003), target("n-1", 1004)]),
        ("d", vec![]),
    ];
    for (name, targets) in &made {
        let set = body(BackendSetSpec {
            targets: targets.clone(),
            ..Default::default()
        });
        plane
            .client
            .create(&format!("/v1/backendsets/{name}"), &set)
            .await
            .done();
    }
    let snapshot: Snapshot = plane.client.get("/v1/snapshot").await.object();
    let sets: Vec<_> = snapshot
        .backend_sets
        .iter()
        .map(|s| (s.name.as_str(), s.list, s.port))
        .collect();
    assert_eq!(
        sets,
        [
            ("a", 0, Some(1001)),
            ("b", 0, Some(1002)),
            ("c", 1, None),
            ("d", 2, None)
        ]
    );
    for ((name, targets), set) in made.iter().zip(&snapshot.backend_sets) {
        let nodes: Vec<_> = snapshot.lists[set.list]
            .iter()
            .map(|t| (t.node.as_str(), t.address))
            .collect();
        let want: Vec<_> = targets
            .iter()
            .map(|t| (t.node.as_str(), t.address))
            .collect();
        assert_eq!(nodes, want, "{name}");
    }
    let objects: Objects = plane.client.get("/v1/objects").await.object();
    for (set, whole) in snapshot.backend_sets.iter().zip(&objects.backend_sets) {
        assert_eq!(
            (&set.name, &set.marks, set.generation),
            (&whole.name, &whole.marks, whole.generation)
        );
        // Without a health check every target counts as healthy.
        assert_eq!(set.healthy as usize, whole.spec.targets.len());
    }
}

#[tokio::test]
async fn an_object_is_made_read_changed_and_deleted() {
    let (_directory, plane, _) = plane().await;
    let client = &plane.client;
    let path = "/v1/backendsets/set";
    assert_eq!(client.get(path).await.code(), "NotFound");
    let made = client.create(path, &body(BackendSetSpec::default())).await;
    assert_eq!(made.status, 201);
    let made: BackendSet = made.object();
    let again = client.create(path, &body(BackendSetSpec::default())).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.object::<BackendSet>(), made);

    let change = body(BackendSetSpec {
        drain_seconds: 5,
        ..Default::default()
    });
    let bytes = serde_json::to_vec(&change).expect("JSON");
    assert_eq!(client.create(path, &change).await.code(), "Exists");
    let stale = client
        .ask("PUT", path, &[("if-match", "99")], bytes.clone())
        .await;
    assert_eq!((stale.status, stale.code().as_str()), (412, "Changed"));
    let generation = made.generation.to_string();
    let changed: BackendSet = client
        .ask("PUT", path, &[("if-match", &generation)], bytes)
        .await
        .object();
    assert!(changed.generation > made.generation);
    assert_eq!(client.backend_set("set").await.spec.drain_seconds, 5);

    assert_eq!(
        client.ask("DELETE", path, &[], vec![]).await.code(),
        "Invalid"
    );
    let foreign = client
        .ask(
            "DELETE",
            path,
            &[("x-evenkeel-cluster", "cluster-2")],
            vec![],
        )
        .await;
    assert_eq!((foreign.status, foreign.code().as_str()), (403, "Foreign"));
    let foreign = Put {
        marks: marks("cluster-2"),
        ..body(BackendSetSpec::default())
    };
    assert_eq!(client.put(path, &foreign).await.code(), "Foreign");
    for _ in 0..2 {
        assert_eq!(client.delete(path).await.status, 204);
    }

    let info: Info = client.get("/v1/health").await.object();
    assert_eq!(info.pid, std::process::id());
    plane.stop().await;
}

#[tokio::test]
async fn what_is_in_use_stays() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    client
        .expose(BackendSetSpec::default(), listener(free_port(address)))
        .await;
    for path in ["/v1/leases/lease", "/v1/backendsets/set"] {
        let answer = client.delete(path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (409, "InUse"),
            "{path}"
        );
    }
    for path in [
        "/v1/listeners/listener",
        "/v1/leases/lease",
        "/v1/backendsets/set",
    ] {
        client.delete(path).await.done();
    }
    plane.stop().await;
}

#[tokio::test]
async fn an_exhausted_pool_is_told_until_an_address_is_given_back() {
    let (_directory, plane, address) = plane().await;
    let client = &plane.client;
    client.create("/v1/leases/first", &lease()).await.done();
    let full = client.create("/v1/leases/second", &lease()).await;
    assert_eq!((full.status, full.code().as_str()), (507, "PoolExhausted"));
    let taken = body(LeaseSpec {
        address: Some(address.into()),
        ..LeaseSpec::of(Family::V4)
    });
    assert_eq!(
        client.create("/v1/leases/second", &taken).await.code(),
        "AddressTaken"
    );
    let outside = body(LeaseSpec {
        address: Some("192.0.2.1".parse().expect("an address")),
        ..LeaseSpec::of(Family::V4)
    });
    let outside = client.create("/v1/leases/second", &outside).await;
    assert_eq!(
        (outside.status, outside.code().as_str()),
        (422, "AddressNotInPool")
    );
    client.delete("/v1/leases/first").await.done();
    let second: Lease = client.create("/v1/leases/second", &lease()).await.object();
    assert_eq!(second.status.address, address);
    plane.stop().await;
}

#[tokio::test]
async fn of_many_that_create_one_name_one_creates_it() {
    let (directory, plane, _) = plane().await;
    let client = &plane.client;
    let put = lease();
    let same =
        futures::future::join_all((0..20).map(|_| client.create("/v1/leases/lease", &put))).await;
    let mut statuses: Vec<u16> = same.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses[..19], [200; 19]);
    assert_eq!(statuses[19], 201);

    let different = (0..20).map(|drain_seconds| {
        let put = body(BackendSetSpec {
            drain_seconds,
            ..Default::default()
        });
        async move { client.create("/v1/backendsets/set", &put).await }
    });
    let different = futures::future::join_all(different).await;
    assert_eq!(
        different
            .iter()
            .filter(|answer| answer.status == 201)
            .count(),
        1
    );
    for answer in different.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.code(), "Exists");
    }
    plane.stop().await;
    drop(directory);
}

#[tokio::test]
async fn nonsense_is_refused_with_the_field() {
    let (_directory, plane, _) = plane().await;
    let client = &plane.client;
    let marks = serde_json::to_value(marks("cluster-1")).expect("JSON");
    for (path, body, field) in [
        (
            "/v1/leases/a",
            json!({"marks": marks, "spec": {"famly": "IPv4"}}),
            "spec.famly",
        ),
        (
            "/v1/leases/a",
            json!({"marks": marks, "spec": {"family": "IPv4"}, "status": {}}),
            "status",
        ),
        ("/v1/leases/a", json!({"spec": {"family": "IPv4"}}), "marks"),
        (
            "/v1/leases/A",
            json!({"marks": marks, "spec": {"family": "IPv4"}}),
            "name",
        ),
        (
            "/v1/backendsets/a",
            json!({"marks": marks, "spec": {"targets": [], "drain_seconds": 90_000}}),
            "spec.drain_seconds",
        ),
        (
            "/v1/listeners/a",
            json!({"marks": marks, "spec": {"lease": "x", "port": 0, "protocol": "TCP", "backend_set": "y"}}),
            "spec.port",
        ),
        (
            "/v1/listeners/a",
            json!({"marks": marks, "spec": {"lease": "x", "port": 1, "protocol": "SCTP", "backend_set": "y"}}),
            "spec.protocol",
        ),
    ] {
        let answer = client.put(path, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        let error: ApiError = serde_json::from_slice(&answer.bytes).expect("an error");
        assert_eq!(error.field.as_deref(), Some(field), "{body}: {error}");
    }
    let large = client
        .ask("PUT", "/v1/leases/a", &[], vec![b' '; MAX_BODY_BYTES + 1])
        .await;
    assert_eq!((large.status, large.code().as_str()), (413, "Invalid"));
    assert_eq!(
        client.ask("POST", "/v1/leases/a", &[], vec![]).await.status,
        405
    );
    assert_eq!(client.get("/v1/nothing").await.code(), "NotFound");
    plane.stop().await;
}

#[tokio::test]
async fn a_request_that_does_not_come_to_its_end_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config(directory.path(), &["127.0.0.9"]);
    config.request_timeout = Duration::from_millis(100);
    let plane = Plane::start(config).await;
    let mut stream = UnixStream::connect(&plane.client.socket)
        .await
        .expect("the socket");
    let head = b"PUT /v1/leases/a HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{";
    stream.write_all(head).await.expect("written");
    let mut answer = Vec::new();
    within("an answer", stream.read_to_end(&mut answer))
        .await
        .expect("read");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("\"code\":\"Busy\""), "{answer}");
    plane.stop().await;
}

#[tokio::test]
async fn a_wrong_configuration_touches_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = Config {
        max_connections: Some(0),
        ..config(&directory.path().join("deep"), &["127.0.0.9"])
    };
    let error = evenkeel_local::dataplane::serve(config, std::future::pending())
        .await
        .expect_err("it is wrong");
    assert!(
        matches!(error, evenkeel_local::dataplane::Error::Config(_)),
        "{error}"
    );
    assert!(!directory.path().join("deep").exists());
}

/// Sends raw bytes and returns the status of what comes back; None when the connection is just closed.
async fn raw(client: &Client, bytes: &[u8]) -> Option<u16> {
    let mut stream = UnixStream::connect(&client.socket)
        .await
        .expect("the socket");
    // The server may close before everything is written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let _ = within("an answer or a close", stream.read_to_end(&mut answer)).await;
    let head = String::from_utf8_lossy(&answer).into_owned();
    head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[test]
fn garbage_on_the_socket_is_refused_and_harms_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let (_directory, plane, _) = runtime.block_on(plane());
    let config = ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let text = prop_oneof![
        any::<Vec<u8>>(),
        "[ -~\r\n]{0,200}".prop_map(String::into_bytes),
        ("(GET|PUT|DELETE|POST)", "/v1/(leases|listeners|objects|health)?/?[ -~]{0,20}", "\\{[ -~]{0,60}\\}").prop_map(
            |(method, path, body)| {
                let length = body.len();
                format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
                    .into_bytes()
            }
        ),
    ];
    proptest!(config, |(bytes in text)| {
        if let Some(status) = runtime.block_on(raw(&plane.client, &bytes)) {
            // 200: a good read may come up. Nothing else may succeed, and nothing may fail on our side.
            let reading = bytes.starts_with(b"GET") || bytes.starts_with(b"DELETE");
            prop_assert!((400..500).contains(&status) || (status == 200 && reading), "{}", status);
        }
        let health = runtime.block_on(plane.client.get("/v1/health"));
        prop_assert_eq!(health.status, 200);
    });
    runtime.block_on(plane.stop());
}

#[tokio::test]
async fn a_change_that_comes_after_its_deadline_is_not_begun() {
    let (_directory, plane, _) = plane().await;
    let client = &plane.client;
    let lease = serde_json::to_vec(&body(LeaseSpec::of(Family::V4))).expect("JSON");
    let put = async |deadline: &str| {
        let headers = [("x-evenkeel-deadline", deadline)];
        let path = "/v1/leases/lease";
        client.ask("PUT", path, &headers, lease.clone()).await
    };
    let late = put("0").await;
    assert_eq!((late.status, late.code().as_str()), (503, "Busy"));
    let none: Objects = client.get("/v1/objects").await.object();
    assert!(none.leases.is_empty());
    assert_eq!(put("soon").await.status, 400);
    let far = u64::MAX.to_string();
    assert_eq!(put(&far).await.status, 201);

    let headers = [
        ("x-evenkeel-deadline", "0"),
        ("x-evenkeel-cluster", "cluster-1"),
    ];
    let late = client.ask("DELETE", "/v1/leases/lease", &headers, vec![]);
    assert_eq!(late.await.status, 503);
    assert_eq!(client.get("/v1/leases/lease").await.status, 200);
    plane.stop().await;
}
