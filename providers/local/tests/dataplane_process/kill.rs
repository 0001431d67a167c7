//! Killed at any call: what was answered survives, what was not is there wholly or not at all, and asking again leads
//! to the same end.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use evenkeel_local::api::{
    BackendSet, BackendSetSpec, Family, LeaseSpec, ListenerPhase, ListenerSpec, Objects, Target,
};
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::{Process, support::*};

/// A request that changes one object.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    /// None deletes.
    body: Option<Value>,
    /// The object must not be there yet.
    new: bool,
}

fn put(path: &str, spec: impl Serialize, new: bool) -> Call {
    let body = serde_json::to_value(body(spec)).expect("JSON");
    Call {
        path: path.to_owned(),
        body: Some(body),
        new,
    }
}

fn create(path: &str, spec: impl Serialize) -> Call {
    put(path, spec, true)
}

fn change(path: &str, spec: impl Serialize) -> Call {
    put(path, spec, false)
}

fn delete(path: &str) -> Call {
    Call {
        path: path.to_owned(),
        body: None,
        new: false,
    }
}

impl Call {
    fn bytes(&self) -> Vec<u8> {
        let method = if self.body.is_some() { "PUT" } else { "DELETE" };
        let body = self.body.as_ref().map(Value::to_string).unwrap_or_default();
        let new = if self.new { "if-none-match: *\r\n" } else { "" };
        format!(
            "{method} {} HTTP/1.1\r\nhost: dataplane\r\nconnection: close\r\nx-evenkeel-cluster: cluster-1\r\n{new}content-length: {}\r\n\r\n{body}",
            self.path,
            body.len()
        )
        .into_bytes()
    }
}

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    /// Before anything is sent.
    Before,
    /// When half of each request is there.
    Half,
    /// When all is sent.
    Sent,
    /// When one of the requests is answered.
    First,
    /// When all are answered.
    Answered,
}

/// Objects by their path, as marks and spec, generation, and the address that a lease got.
type World = BTreeMap<String, Value>;

fn known(kind: &str, object: &Value) -> (String, Value) {
    let name = object["name"].as_str().expect("a name");
    let path = format!("/v1/{kind}/{name}");
    let asked = json!({"marks": object["marks"], "spec": object["spec"]});
    let address = &object["status"]["address"];
    let object = json!({"asked": asked, "generation": object["generation"], "address": address});
    (path, object)
}

async fn world(client: &Client) -> World {
    let all: Value = client.get("/v1/objects").await.object();
    [
        ("leases", "leases"),
        ("backend_sets", "backendsets"),
        ("listeners", "listeners"),
    ]
    .into_iter()
    .flat_map(|(field, kind)| {
        let objects = all[field].as_array().expect("a list");
        objects.iter().map(move |object| known(kind, object))
    })
    .collect()
}

/// The answer that came, if all of it did.
pub async fn answer(stream: &mut UnixStream) -> Option<(u16, Value)> {
    let mut bytes = Vec::new();
    // A killed process breaks the connection.
    let _ = within("an answer or the end", stream.read_to_end(&mut bytes)).await;
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().expect("a status");
    if status == 204 {
        return Some((status, Value::Null));
    }
    Some((status, serde_json::from_str(body).ok()?))
}

/// Sends the calls at once and kills the process at the moment; the answers that came all the same.
async fn killed_at(process: Process, calls: &[Call], moment: Moment) -> Vec<Option<(u16, Value)>> {
    if moment == Moment::Before {
        process.kill();
        return vec![None; calls.len()];
    }
    let mut streams = Vec::new();
    for call in calls {
        let mut stream = UnixStream::connect(&process.client.socket)
            .await
            .expect("the socket");
        let bytes = call.bytes();
        let end = if moment == Moment::Half {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        stream.write_all(&bytes[..end]).await.expect("written");
        streams.push(stream);
    }
    let mut answers = vec![None; calls.len()];
    match moment {
        Moment::First => answers[0] = answer(&mut streams[0]).await,
        Moment::Answered => answers = join_all(streams.iter_mut().map(answer)).await,
        _ => {}
    }
    process.kill();
    for (answered, stream) in answers.iter_mut().zip(&mut streams) {
        if answered.is_none() {
            *answered = answer(stream).await;
        }
    }
    answers
}

/// What the world must be: what it was, with every answered call; calls without an answer may have been carried out.
fn check(
    before: &World,
    calls: &[Call],
    answers: &[Option<(u16, Value)>],
    now: &World,
    when: &str,
) {
    let mut touched = BTreeSet::new();
    for (call, answer) in calls.iter().zip(answers) {
        touched.insert(&call.path);
        let found = now.get(&call.path);
        match answer {
            Some((status, object)) => {
                assert!(
                    *status < 300,
                    "{when}: {call:?} was refused: {status} {object}"
                );
                let kind = call.path.split('/').nth(2).expect("a kind");
                let want = call.body.as_ref().map(|_| known(kind, object).1);
                assert_eq!(found, want.as_ref(), "{when}: {call:?} was answered");
            }
            None if found == before.get(&call.path) => {}
            None => {
                let asked = found.map(|object| &object["asked"]);
                assert_eq!(
                    asked,
                    call.body.as_ref(),
                    "{when}: {call:?} is there in part"
                );
            }
        }
    }
    let rest = |world: &World| -> World {
        world
            .iter()
            .filter(|(path, _)| !touched.contains(path))
            .map(|(path, object)| (path.clone(), object.clone()))
            .collect()
    };
    assert_eq!(rest(now), rest(before), "{when}: others");
    let leases = now.values().filter(|object| !object["address"].is_null());
    let addresses: Vec<_> = leases.map(|object| object["address"].to_string()).collect();
    let distinct: BTreeSet<_> = addresses.iter().collect();
    assert_eq!(distinct.len(), addresses.len(), "{when}: {addresses:?}");
}

/// Every listener that is there serves.
async fn serves(client: &Client, when: &str) {
    let objects: Objects = client.get("/v1/objects").await.object();
    for listener in &objects.listeners {
        assert_eq!(
            listener.status.phase,
            ListenerPhase::Ready,
            "{when}: {}",
            listener.name
        );
        let lease = objects
            .leases
            .iter()
            .find(|lease| lease.name == listener.spec.lease);
        let address = lease.expect("its lease").status.address;
        let mut talk = Talk::open(SocketAddr::new(address, listener.spec.port)).await;
        assert!(talk.works().await, "{when}: {}", listener.name);
    }
}

fn lease(address: Option<Ipv4Addr>) -> LeaseSpec {
    LeaseSpec {
        address: address.map(Into::into),
        ..LeaseSpec::of(Family::V4)
    }
}

/// Steps of one or several calls at once: every kind is created, changed and deleted, alone and with others.
fn script(server: &Server, addresses: &[Ipv4Addr]) -> Vec<Vec<Call>> {
    let set = backend_set(&[server]);
    let slower = BackendSetSpec {
        drain_seconds: 7,
        ..set.clone()
    };
    let on = |lease: &str, set: &str, address: Ipv4Addr| ListenerSpec {
        lease: lease.into(),
        backend_set: set.into(),
        ..listener(free_port(address))
    };
    let (first, second) = (on("a", "s", addresses[0]), on("b", "t", addresses[1]));
    let idle = |spec: &ListenerSpec| ListenerSpec {
        idle_timeout_seconds: Some(60),
        ..spec.clone()
    };
    vec![
        vec![
            create("/v1/leases/a", lease(Some(addresses[0]))),
            create("/v1/leases/b", lease(Some(addresses[1]))),
        ],
        vec![create("/v1/backendsets/s", &set)],
        vec![create("/v1/listeners/l", &first)],
        vec![
            create("/v1/leases/c", lease(None)),
            create("/v1/leases/d", lease(None)),
            create("/v1/backendsets/t", &set),
        ],
        vec![change("/v1/backendsets/s", &slower)],
        vec![change("/v1/listeners/l", idle(&first))],
        vec![change("/v1/leases/a", lease(None))],
        vec![
            delete("/v1/leases/c"),
            create("/v1/listeners/m", &second),
            change("/v1/backendsets/t", &slower),
            change("/v1/listeners/l", &first),
        ],
        vec![
            change("/v1/listeners/m", idle(&second)),
            create("/v1/leases/e", lease(None)),
        ],
        vec![delete("/v1/listeners/l")],
        vec![delete("/v1/backendsets/s")],
        vec![delete("/v1/leases/a"), delete("/v1/leases/missing")],
    ]
}

/// Runs the script and kills the process at every step.
async fn killed_at_every_step(moment: Moment) {
    let directory = tempfile::tempdir().expect("a directory");
    let addresses: Vec<_> = (0..5).map(|_| address()).collect();
    let pools: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let pools = pools.join(",");
    let server = Server::start("a").await;
    let script = script(&server, &addresses);
    let start = async || Process::start(directory.path(), &pools, None).await;

    let mut process = start().await;
    let mut before = World::new();
    for (step, calls) in script.iter().enumerate() {
        let when = format!("step {step}, killed {moment:?}");
        let answers = killed_at(process, calls, moment).await;
        match moment {
            Moment::Before | Moment::Half => assert!(answers.iter().all(Option::is_none), "{when}"),
            Moment::Sent => {}
            Moment::First => assert!(answers[0].is_some(), "{when}"),
            Moment::Answered => assert!(answers.iter().all(Option::is_some), "{when}"),
        }
        process = start().await;
        let now = world(&process.client).await;
        check(&before, calls, &answers, &now, &when);
        if matches!(moment, Moment::Before | Moment::Half) {
            assert_eq!(now, before, "{when}: nothing was asked");
        }
        serves(&process.client, &when).await;

        // Asked again, as by a caller who got no answer, until all is answered.
        for call in calls {
            let mut stream = UnixStream::connect(&process.client.socket)
                .await
                .expect("the socket");
            stream.write_all(&call.bytes()).await.expect("written");
            let (status, object) = answer(&mut stream).await.expect("an answer");
            assert!(status < 300, "{when}: {call:?} again: {status} {object}");
        }
        before = world(&process.client).await;
    }

    let asked: BTreeMap<_, _> = before
        .into_iter()
        .map(|(path, object)| (path, object["asked"].clone()))
        .collect();
    let mut want = BTreeMap::new();
    for call in script.into_iter().flatten() {
        match call.body {
            Some(body) => want.insert(call.path, body),
            None => want.remove(&call.path),
        };
    }
    assert_eq!(asked, want, "{moment:?}: the end");
}

#[tokio::test]
async fn killed_before_each_call() {
    killed_at_every_step(Moment::Before).await;
}

#[tokio::test]
async fn killed_when_half_of_each_call_is_sent() {
    killed_at_every_step(Moment::Half).await;
}

#[tokio::test]
async fn killed_when_each_call_is_sent() {
    killed_at_every_step(Moment::Sent).await;
}

#[tokio::test]
async fn killed_at_the_first_answer_of_each_step() {
    killed_at_every_step(Moment::First).await;
}

#[tokio::test]
async fn killed_after_each_answer() {
    killed_at_every_step(Moment::Answered).await;
}

/// Targets of the sets that are written while the process is killed: so many that a save takes its time.
const MANY: u16 = 400;

fn numbered(number: u32) -> BackendSetSpec {
    let target = |port: u16| Target {
        node: format!("node-{port}"),
        address: Ipv4Addr::LOCALHOST.into(),
        port,
    };
    BackendSetSpec {
        targets: (1..=MANY).map(target).collect(),
        health_check: None,
        drain_seconds: number,
        affinity_seconds: None,
    }
}

/// Writes one number after the other until the process is gone: the last one that was answered, and the last one asked.
async fn count_up(client: Client, path: String, from: u32) -> (u32, u32) {
    let mut answered = from;
    for number in from + 1.. {
        let Ok(mut stream) = UnixStream::connect(&client.socket).await else {
            return (answered, number - 1);
        };
        let call = change(&path, numbered(number));
        if stream.write_all(&call.bytes()).await.is_err() {
            return (answered, number);
        }
        match answer(&mut stream).await {
            Some((status, object)) => assert!(status < 300, "{status} {object}"),
            None => return (answered, number),
        }
        answered = number;
    }
    unreachable!("numbers do not end")
}

/// Several callers write all the time, and the process is killed at any moment, mostly while it saves.
#[tokio::test]
#[expect(
    clippy::print_stdout,
    reason = "who sees a failure wants to see it again"
)]
async fn killed_while_it_saves() {
    let seed = std::env::var("EVENKEEL_TEST_SEED").map_or_else(
        |_| fastrand::u64(..),
        |seed| seed.parse().expect("EVENKEEL_TEST_SEED is a number"),
    );
    println!("EVENKEEL_TEST_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let directory = tempfile::tempdir().expect("a directory");
    let pool = address().to_string();
    let start = async || Process::start(directory.path(), &pool, None).await;

    let paths = ["a", "b", "c"].map(|name| format!("/v1/backendsets/{name}"));
    let mut known = [0; 3];
    let mut process = start().await;
    for round in 0..20 {
        let callers: Vec<_> = paths
            .iter()
            .zip(known)
            .map(|(path, from)| tokio::spawn(count_up(process.client.clone(), path.clone(), from)))
            .collect();
        // Not to wait for anything, but to come at any time.
        tokio::time::sleep(Duration::from_micros(random.u64(0..80_000))).await;
        process.kill();
        let ends = join_all(callers).await;
        process = start().await;
        for ((path, known), end) in paths.iter().zip(&mut known).zip(ends) {
            let (answered, asked) = end.expect("no panic");
            let found = process.client.get(path).await;
            *known = match found.status {
                404 => 0,
                _ => found.object::<BackendSet>().spec.drain_seconds,
            };
            assert!(
                (answered..=asked).contains(known),
                "round {round}: {path} is {known}, {answered} was answered and {asked} was asked"
            );
            if *known > 0 {
                let set: BackendSet = process.client.get(path).await.object();
                assert_eq!(set.spec, numbered(*known), "round {round}: {path}");
            }
        }
    }
    assert!(
        known.iter().all(|number| *number > 0),
        "nothing was written: {known:?}"
    );
}
