//! What becomes of a call when the other end behaves badly.

use std::path::Path;

use evenkeel_core::error::{ErrorClass, chain};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixListener,
    task::JoinHandle,
};

use super::*;
use crate::api::{Family, LeaseSpec, LeaseStatus, Marks};

fn client(socket: &Path, timeout: Duration) -> Client {
    Client::new(socket, "cluster".into(), timeout)
}

fn put() -> Put<LeaseSpec> {
    Put {
        marks: Marks {
            cluster: "cluster".into(),
            group: "group".into(),
            service: "shop/checkout".into(),
            member: "group".into(),
            retain: false,
            labels: Default::default(),
        },
        spec: LeaseSpec::of(Family::V4),
    }
}

async fn put_lease(client: &Client, ticket: &Ticket) -> Result<(), CloudError> {
    client
        .put::<LeaseSpec, LeaseStatus>(Kind::Lease, "lease", &put(), Expect::Absent, ticket)
        .await
        .map(drop)
}

/// A data plane that reads each request, and then does nothing but say this and hang up, or, told nothing, hang.
struct Rude {
    dir: TempDir,
    task: JoinHandle<()>,
}

impl Drop for Rude {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rude {
    fn new(says: Option<&'static str>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(dir.path().join("rude.sock")).expect("a socket");
        let task = tokio::spawn(async move {
            let mut hanging = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                    let read = stream.read(&mut buffer).await.expect("a request");
                    assert_ne!(read, 0, "the request ended too early");
                    request.extend_from_slice(&buffer[..read]);
                }
                match says {
                    Some(text) => stream
                        .write_all(text.as_bytes())
                        .await
                        .expect("the client listens"),
                    None => hanging.push(stream),
                }
            }
        });
        Self { dir, task }
    }

    fn client(&self, timeout: Duration) -> Client {
        client(&self.dir.path().join("rude.sock"), timeout)
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn without_a_data_plane_nothing_has_happened() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = client(&dir.path().join("missing.sock"), LONG);
    let refusing = dir.path().join("refusing.sock");
    drop(UnixListener::bind(&refusing).expect("a socket"));
    for client in [missing, client(&refusing, LONG)] {
        for error in [
            client.objects(None).await.expect_err("nobody answers"),
            put_lease(&client, &Ticket::unlimited())
                .await
                .expect_err("nobody answers"),
        ] {
            assert_eq!(error.class, ErrorClass::Transient, "{}", chain(&error));
            assert!(
                error.message.contains("start it with `evenkeel dataplane`"),
                "{}",
                chain(&error)
            );
        }
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_a_write_in_doubt() {
    for says in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"name\":",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nnothing",
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
    ] {
        let rude = Rude::new(Some(says));
        let client = rude.client(LONG);
        let read = client.objects(None).await.expect_err(says);
        assert_eq!(
            read.class,
            ErrorClass::Transient,
            "{says:?}: {}",
            chain(&read)
        );
        let write = put_lease(&client, &Ticket::unlimited())
            .await
            .expect_err(says);
        assert_eq!(
            write.class,
            ErrorClass::Conflict,
            "{says:?}: {}",
            chain(&write)
        );
        let delete = client
            .delete(Kind::Lease, "lease", 1, &Ticket::unlimited())
            .await;
        // An answer to a deletion has no body that could be wrong.
        match says.starts_with("HTTP/1.1 200") && !says.contains("100") {
            true => assert!(delete.is_ok(), "{says:?}: {delete:?}"),
            false => assert_eq!(
                delete.expect_err(says).class,
                ErrorClass::Conflict,
                "{says:?}"
            ),
        }
    }
}

#[tokio::test]
async fn no_call_takes_longer_than_it_may() {
    let rude = Rude::new(None);
    let slow = rude.client(Duration::from_millis(20));
    assert_eq!(
        slow.objects(None).await.expect_err("it hangs").class,
        ErrorClass::Transient
    );
    let error = put_lease(&slow, &Ticket::unlimited())
        .await
        .expect_err("it hangs");
    assert_eq!(error.class, ErrorClass::Conflict);
    assert_eq!(error.message, "the data plane did not answer within 20ms");

    // The right to write ends before the timeout.
    let patient = rude.client(LONG);
    let deadline = std::time::Instant::now() + Duration::from_millis(20);
    let error = put_lease(&patient, &Ticket::until(deadline, Arc::default()))
        .await
        .expect_err("it hangs");
    assert_eq!(error.class, ErrorClass::Conflict);
    assert!(error.message.contains("did not answer"), "{error}");
}

#[tokio::test]
async fn without_the_right_nothing_is_sent() {
    let dir = tempfile::tempdir().expect("a directory");
    let client = client(&dir.path().join("missing.sock"), LONG);
    let ended = Ticket::until(std::time::Instant::now(), Arc::default());
    // A call would have failed otherwise.
    for error in [
        put_lease(&client, &ended).await.expect_err("no right"),
        client
            .delete(Kind::Lease, "lease", 1, &ended)
            .await
            .expect_err("no right"),
    ] {
        assert!(
            error.message.contains("the right to write has ended"),
            "{error}"
        );
    }
}

#[test]
fn a_query_carries_any_identity() {
    assert_eq!(encoded("0d3b6f7e-1111"), "0d3b6f7e-1111");
    assert_eq!(encoded("shop/edge"), "shop%2Fedge");
    assert_eq!(encoded("a&b=c d%é"), "a%26b%3Dc%20d%25%C3%A9");
}

#[tokio::test]
async fn asked_about_one_group_the_data_plane_is_told_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let listener = UnixListener::bind(dir.path().join("dataplane.sock")).expect("a socket");
    let client = client(&dir.path().join("dataplane.sock"), LONG);
    let edge = GroupKey::Shared {
        namespace: "shop".into(),
        name: "edge".into(),
    };
    let request = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = vec![0; 4096];
        let read = stream.read(&mut request).await.expect("a request");
        request.truncate(read);
        String::from_utf8(request).expect("text")
    };
    let (request, answer) = tokio::join!(request, client.objects(Some(&edge)));
    assert!(answer.is_err(), "nobody answered");
    assert!(
        request.starts_with("GET /v1/objects?cluster=cluster&group=shop/edge HTTP/1.1\r\n"),
        "{request}"
    );
}
