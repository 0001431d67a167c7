//! What survives: restarts, bad files, two data planes in one place.

use std::fs;

use evenkeel_local::{
    api::{Family, Lease, LeaseSpec, ListenerPhase, Objects},
    dataplane::{Error, serve},
};

use crate::support::*;

fn ask(address: Option<&str>) -> LeaseSpec {
    LeaseSpec {
        address: address.map(|text| text.parse().expect("an address")),
        ..LeaseSpec::of(Family::V4)
    }
}

#[tokio::test]
async fn a_restart_keeps_leases_and_listeners() {
    let directory = tempfile::tempdir().expect("a directory");
    let (first, second) = (address(), address());
    let pools = [first.to_string(), second.to_string()];
    let config = || config(directory.path(), &[&pools[0], &pools[1]]);
    let plane = Plane::start(config()).await;
    let server = Server::start("a").await;
    // The higher address, so that the lowest free one would be another.
    plane
        .client
        .create("/v1/leases/lease", &body(ask(Some(&pools[1]))))
        .await
        .done();
    plane
        .client
        .create("/v1/backendsets/set", &body(backend_set(&[&server])))
        .await
        .done();
    let port = free_port(second);
    plane
        .client
        .create("/v1/listeners/listener", &body(listener(port)))
        .await
        .done();
    let before: Objects = plane
        .client
        .get("/v1/objects?cluster=cluster-1")
        .await
        .object();
    let socket = plane.client.socket.clone();
    plane.stop().await;
    assert!(!socket.exists(), "the socket goes with its process");

    let plane = Plane::start(config()).await;
    // No word from anybody, and it serves.
    assert!(Talk::open((second, port).into()).await.works().await);
    let mut after: Objects = plane.client.get("/v1/objects").await.object();
    after.listeners[0].status = before.listeners[0].status.clone();
    assert_eq!(after, before);
    let lease: Lease = plane
        .client
        .create("/v1/leases/other", &body(ask(None)))
        .await
        .object();
    assert_eq!(lease.status.address, first);
    plane.stop().await;
}

#[tokio::test]
async fn a_client_that_comes_and_goes_leaves_everything_running() {
    let (_directory, plane, address) = plane().await;
    let server = Server::start("a").await;
    let front = plane
        .client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;
    let mut talk = Talk::open(front).await;
    // A controller that ends in the middle of a request, and its successor.
    let mut half = tokio::net::UnixStream::connect(&plane.client.socket)
        .await
        .expect("the socket");
    tokio::io::AsyncWriteExt::write_all(
        &mut half,
        b"PUT /v1/listeners/listener HTTP/1.1\r\ncontent-length: 99\r\n\r\n{",
    )
    .await
    .expect("written");
    drop(half);
    let again = plane
        .client
        .create("/v1/backendsets/set", &body(backend_set(&[&server])))
        .await;
    assert_eq!(again.status, 200);
    assert!(talk.works().await);
    assert_eq!(
        plane.client.listener("listener").await.status.phase,
        ListenerPhase::Ready
    );
    plane.stop().await;
}

#[tokio::test]
async fn a_torn_state_file_is_put_aside_and_the_backup_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let pool = address().to_string();
    let state = directory.path().join("state.json");
    let plane = Plane::start(config(directory.path(), &[&pool])).await;
    plane
        .client
        .create("/v1/leases/first", &body(ask(None)))
        .await
        .done();
    plane.client.delete("/v1/leases/unknown").await.done();
    plane
        .client
        .create("/v1/backendsets/set", &body(backend_set(&[])))
        .await
        .done();
    plane.stop().await;
    let whole = fs::read(&state).expect("the state");
    fs::write(&state, &whole[..whole.len() - 9]).expect("torn");

    let plane = Plane::start(config(directory.path(), &[&pool])).await;
    let objects: Objects = plane.client.get("/v1/objects").await.object();
    assert_eq!(objects.leases[0].status.address.to_string(), pool);
    assert_eq!(
        objects.backend_sets,
        [],
        "the latest change was only in the torn file"
    );
    assert!(directory.path().join("state.json.refused").exists());
    plane.stop().await;

    for file in ["state.json", "state.json.bak"] {
        fs::write(directory.path().join(file), "{\"version\": 7}").expect("written");
    }
    let config = config(directory.path(), &[&pool]);
    let error = serve(config, std::future::pending())
        .await
        .expect_err("nothing can be used");
    assert!(matches!(error, Error::State(_)), "{error}");
    assert!(error.to_string().contains("version 7"), "{error}");
}

#[tokio::test]
async fn nothing_is_done_that_the_disk_does_not_have() {
    let (directory, _config, plane, _server, front) = exposed(|_| {}).await;
    let client = &plane.client;
    // A directory in the place of the file to be written makes every save fail, also for root.
    let obstacle = directory.path().join("state.json.new");
    fs::create_dir(&obstacle).expect("a directory");
    for answer in [
        client.delete("/v1/listeners/listener").await,
        client
            .create(
                "/v1/listeners/other",
                &body(listener(free_port(front.ip()))),
            )
            .await,
        client
            .put("/v1/backendsets/set", &body(backend_set(&[])))
            .await,
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (500, "Storage"));
    }
    assert_eq!(
        client.put("/v1/leases/A", &body(ask(None))).await.code(),
        "Invalid"
    );
    assert!(Talk::open(front).await.works().await);
    assert_eq!(client.get("/v1/listeners/other").await.status, 404);

    fs::remove_dir(obstacle).expect("removed");
    client.delete("/v1/listeners/listener").await.done();
    assert!(Talk::try_open(front).await.is_none());
    plane.stop().await;
}

#[tokio::test]
async fn a_socket_and_a_state_file_have_one_data_plane() {
    let (directory, plane, address) = plane().await;
    let pool = address.to_string();
    let same = config(directory.path(), &[&pool]);
    let mut same_state = same.clone();
    same_state.socket = directory.path().join("other.sock");
    for (config, path) in [(same, "dataplane.sock"), (same_state, "state.json")] {
        let error = serve(config, std::future::pending())
            .await
            .expect_err("it is taken")
            .to_string();
        let owner = format!("another data plane (pid {})", std::process::id());
        assert!(error.contains(&owner) && error.contains(path), "{error}");
    }
    plane
        .client
        .create("/v1/leases/lease", &body(ask(None)))
        .await
        .done();
    plane.stop().await;
}
