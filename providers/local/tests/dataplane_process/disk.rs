//! No room for the state file: nothing changes and everything goes on, until there is room again.

use std::{fs, io};

use evenkeel_local::api::{ApiError, code};
use rustix::process::{Pid, getrlimit, prlimit};

use super::*;

/// As large as a file may be, in bytes: a few sets of [`Server`]s.
const ROOM: u64 = 3_000;

/// Lets this process write no file that is larger, for as long as nobody allows it more.
pub fn limit_files(bytes: u64) {
    let limit = Rlimit {
        current: Some(bytes),
        ..getrlimit(Resource::Fsize)
    };
    setrlimit(Resource::Fsize, limit).expect("a lower limit");
}

/// As if somebody had made room on the disk.
fn make_room(process: &Process) {
    let pid = Pid::from_child(&process.child);
    let most = getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit {
        current: most,
        maximum: most,
    };
    prlimit(Some(pid), Resource::Fsize, limit).expect("a higher limit");
}

#[tokio::test]
async fn without_room_on_disk_changes_are_refused_and_all_else_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let address = address();
    let pool = address.to_string();
    let server = Server::start("a").await;
    let limited = [(FILE_SIZE, ROOM.to_string())];
    let process = Process::start_with(directory.path(), &pool, &limited).await;
    let client = process.client.clone();
    let front = client
        .expose(backend_set(&[&server]), listener(free_port(address)))
        .await;
    let mut talk = Talk::open(front).await;
    let state = directory.path().join("state.json");
    let path = |number: usize| format!("/v1/backendsets/more-{number}");
    let more = body(backend_set(&[&server]));

    let mut count = 0;
    let (before, refusal) = loop {
        let before = fs::read(&state).expect("the state");
        let answer = client.create(&path(count), &more).await;
        if answer.status != 201 {
            break (before, answer);
        }
        count += 1;
    };
    assert!(count > 0, "there was room for nothing");
    let why: ApiError = serde_json::from_slice(&refusal.bytes).expect("an error");
    assert_eq!((refusal.status, why.code.as_str()), (500, code::STORAGE));
    let system = io::Error::from(rustix::io::Errno::FBIG).to_string();
    for part in [&*state.to_string_lossy(), &system, "make room"] {
        assert!(why.message.contains(part), "{part}: {}", why.message);
    }

    let as_before = async |client: &Client, when: &str| {
        assert_eq!(fs::read(&state).expect("the state"), before, "{when}");
        assert!(!directory.path().join("state.json.new").exists(), "{when}");
        let objects: Objects = client.get("/v1/objects").await.object();
        assert_eq!(objects.backend_sets.len(), count + 1, "{when}");
        assert_eq!(objects.listeners[0].status.phase, ListenerPhase::Ready);
        assert!(Talk::open(front).await.works().await, "{when}");
    };
    as_before(&client, "refused").await;
    assert!(talk.works().await, "a connection from before");
    let health = client.get("/v1/health").await;
    assert_eq!(health.status, 200);
    // Two at once: none of them is there, whichever was first.
    let paths = [path(count), path(count + 1)];
    let (one, other) = tokio::join!(
        client.create(&paths[0], &more),
        client.create(&paths[1], &more)
    );
    assert_eq!(
        (one.code(), other.code()),
        (code::STORAGE.into(), code::STORAGE.into())
    );
    as_before(&client, "refused again").await;

    // Nor does it need room to start.
    process.kill();
    let process = Process::start_with(directory.path(), &pool, &limited).await;
    as_before(&client, "started again").await;
    client.delete(&path(0)).await.done();
    client.create(&path(0), &more).await.done();
    assert_eq!(client.create(&path(count), &more).await.status, 500);

    make_room(&process);
    assert_eq!(client.create(&path(count), &more).await.status, 201);
    process.kill();
    let process = Process::start(directory.path(), &pool, None).await;
    let objects: Objects = process.client.get("/v1/objects").await.object();
    assert_eq!(objects.backend_sets.len(), count + 2);
    assert!(Talk::open(front).await.works().await);
}
