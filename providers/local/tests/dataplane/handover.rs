//! One data plane takes over from another, and whatever can end that on the way.

use std::{fs, path::Path, time::Duration};

use evenkeel_local::{
    api::{Handover, Objects},
    dataplane::{Config, Error, HandoverError, serve},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::support::*;

fn ask(version: u32) -> Vec<u8> {
    let ask = Handover {
        version,
        socket: "take-test".into(),
        by: "test".into(),
    };
    serde_json::to_vec(&ask).expect("JSON")
}

/// Reads messages up to one of this type, as far as there is one. The files that come with them are dropped.
async fn hear(line: &mut UnixStream, last: &str) -> Option<()> {
    loop {
        let length = line.read_u32().await.ok()?;
        line.read_u32().await.ok()?;
        let mut text = vec![0; usize::try_from(length).expect("a length")];
        line.read_exact(&mut text).await.ok()?;
        let message: Value = serde_json::from_slice(&text).expect("a message");
        if message["type"] == last {
            return Some(());
        }
    }
}

async fn say(line: &mut UnixStream, message: Value) {
    let text = message.to_string();
    let length = u32::try_from(text.len()).expect("a length").to_be_bytes();
    let bytes = [&length[..], &[0; 4], text.as_bytes()].concat();
    line.write_all(&bytes).await.expect("said");
}

/// Where a data plane that wanted to take over ends.
#[derive(Clone, Copy, Debug)]
enum End {
    BeforeItListens,
    WhenMet,
    AmidTheOffer,
    Offered,
    Refusing,
    Ready,
    AllowedToGo,
    Babbling,
}

async fn come_and_go(directory: &Path, client: &Client, end: End) {
    let path = directory.join("take-test");
    let listener = (!matches!(end, End::BeforeItListens))
        .then(|| UnixListener::bind(&path).expect("a socket"));
    let answer = client.ask("POST", "/v1/handover", &[], ask(1)).await;
    assert_eq!(answer.status, 202, "{end:?}");
    let Some(listener) = listener else { return };
    let (mut line, _) = within("the old one", listener.accept())
        .await
        .expect("a line");
    fs::remove_file(path).expect("removed");
    match end {
        End::BeforeItListens | End::WhenMet => {}
        End::AmidTheOffer => {
            line.read_exact(&mut [0; 11]).await.expect("a part");
        }
        End::Offered => hear(&mut line, "Offered").await.expect("an offer"),
        End::Refusing => {
            hear(&mut line, "Offered").await.expect("an offer");
            say(&mut line, json!({"type": "Refused", "reason": "a test"})).await;
            // The old one closes the line.
            assert_eq!(hear(&mut line, "Yours").await, None);
        }
        End::Ready => {
            hear(&mut line, "Offered").await.expect("an offer");
            say(&mut line, json!({"type": "Ready"})).await;
        }
        End::AllowedToGo | End::Babbling => {
            hear(&mut line, "Offered").await.expect("an offer");
            say(&mut line, json!({"type": "Ready"})).await;
            hear(&mut line, "Yours").await.expect("the right to go");
            if matches!(end, End::Babbling) {
                say(&mut line, json!({"type": "Ready"})).await;
                assert_eq!(hear(&mut line, "Yours").await, None);
            }
        }
    }
}

#[tokio::test]
async fn wherever_the_new_one_ends_the_old_one_goes_on() {
    let (directory, config, plane, _server, front) = exposed(|_| {}).await;
    let client = &plane.client;
    let mut talk = Talk::open(front).await;
    for (number, end) in [
        End::BeforeItListens,
        End::WhenMet,
        End::AmidTheOffer,
        End::Offered,
        End::Refusing,
        End::Ready,
        End::AllowedToGo,
        End::Babbling,
    ]
    .into_iter()
    .enumerate()
    {
        come_and_go(directory.path(), client, end).await;
        let name = format!("/v1/backendsets/after-{number}");
        let made = client.create(&name, &body(backend_set(&[]))).await;
        assert_eq!(made.status, 201, "{end:?}");
        assert!(talk.works().await, "{end:?}");
        assert!(Talk::open(front).await.works().await, "{end:?}");
    }

    // A good one still can, and misses nothing.
    let before: Objects = client.get("/v1/objects").await.object();
    let next = Plane::start(successor(&config)).await;
    assert!(!plane.has_ended());
    assert!(talk.works().await, "it goes on in the old one");
    drop(talk);
    plane.ended().await;
    assert_same(&before, next.client.get("/v1/objects").await.object());
    // The port is the new one's alone.
    next.client.delete("/v1/listeners/listener").await.done();
    assert!(Talk::try_open(front).await.is_none());
    next.stop().await;
    assert!(!directory.path().join("dataplane.sock").exists());
}

#[tokio::test]
async fn an_old_connection_is_closed_when_the_time_is_over() {
    let change = |config: &mut Config| config.handover_grace = Duration::from_millis(100);
    let (_directory, config, plane, _server, front) = exposed(change).await;
    let talk = Talk::open(front).await;
    let next = Plane::start(successor(&config)).await;
    talk.closed().await;
    plane.ended().await;
    next.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_at_the_limit_is_served() {
    let change = |config: &mut Config| config.max_connections = Some(1);
    let (_directory, config, plane, _server, front) = exposed(change).await;
    let talk = Talk::open(front).await;
    // Whether it waits in the old one or in the kernel.
    let late = tokio::spawn(Talk::open(front));
    let next = Plane::start(successor(&config)).await;
    drop(talk);
    let mut late = within("the late one", late).await.expect("served");
    assert!(late.works().await);
    drop(late);
    plane.ended().await;
    next.stop().await;
}

#[tokio::test]
async fn two_that_come_at_once_follow_each_other() {
    let (directory, plane, address) = plane().await;
    let config = successor(&config(directory.path(), &[&address.to_string()]));
    let mut planes = vec![plane];
    for _ in 0..2 {
        planes.push(Plane::spawn(config.clone()));
    }
    until("one is left", async || {
        planes.retain(|plane| !plane.has_ended());
        (planes.len() == 1).then_some(())
    })
    .await;
    let last = planes.pop().expect("one");
    let made = last
        .client
        .create("/v1/backendsets/set", &body(backend_set(&[])))
        .await;
    assert_eq!(made.status, 201);
    last.stop().await;
}

#[tokio::test]
async fn what_cannot_be_taken_over_stays_as_it_is() {
    let (directory, plane, address) = plane().await;
    let pool = address.to_string();
    let state = directory.path().join("state.json");
    let set = body(backend_set(&[]));
    plane
        .client
        .create("/v1/backendsets/set", &set)
        .await
        .done();

    let refused = plane.client.ask("POST", "/v1/handover", &[], ask(2)).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "Invalid"));

    let mut other = successor(&config(directory.path(), &[&pool]));
    other.state = directory.path().join("other.json");
    let error = serve(other, std::future::pending())
        .await
        .expect_err("another state");
    assert!(
        matches!(error, Error::Handover(HandoverError::OtherState { .. })),
        "{error}"
    );

    fs::write(&state, "{\"version\": 7000}").expect("written");
    let same = successor(&config(directory.path(), &[&pool]));
    let error = serve(same.clone(), std::future::pending())
        .await
        .expect_err("a state from the future");
    assert!(error.to_string().contains("version 7000"), "{error}");
    assert_eq!(
        fs::read_to_string(&state).expect("untouched"),
        "{\"version\": 7000}"
    );
    assert!(!directory.path().join("state.json.refused").exists());

    plane
        .client
        .create("/v1/backendsets/more", &set)
        .await
        .done();
    let next = Plane::start(same).await;
    plane.ended().await;
    let objects: Objects = next.client.get("/v1/objects").await.object();
    assert_eq!(objects.backend_sets.len(), 2);
    next.stop().await;
}

#[tokio::test]
async fn a_data_plane_that_cannot_hand_over_is_named() {
    for (answer, says) in [
        (
            "HTTP/1.1 404 Not Found\r\n\r\n{\"code\":\"NotFound\",\"message\":\"none\"}",
            "version that cannot; stop it",
        ),
        (
            "HTTP/1.1 503 Busy\r\n\r\n{\"code\":\"Busy\",\"message\":\"not now\"}",
            "not now",
        ),
        ("", "broke"),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let config = successor(&config(directory.path(), &["127.77.0.1"]));
        let old = UnixListener::bind(&config.socket).expect("a socket");
        let serving = async {
            loop {
                let (mut stream, _) = old.accept().await.expect("a caller");
                let mut asked = vec![0; 4_096];
                if stream.read(&mut asked).await.is_ok_and(|bytes| bytes > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }
        };
        let error = tokio::select! {
            ended = serve(config, std::future::pending()) => ended.expect_err("it is told"),
            () = serving => unreachable!("it goes on"),
        };
        assert!(error.to_string().contains(says), "{error}");
        let left: Vec<_> = fs::read_dir(directory.path())
            .expect("the directory")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.starts_with("take-"))
            .collect();
        assert_eq!(left, [""; 0]);
    }
}
