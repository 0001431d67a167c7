//! Replicas as processes, over one data plane, on a real API server, under load: a leader that ends, is killed, is
//! stopped and goes on, or is cut off. The times are printed.
#![expect(clippy::print_stdout, reason = "the times are shown")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use evenkeel_e2e::{World, WorldOptions, load_balancer, look::LIMIT};
use evenkeel_harness::supervise::Supervised;
use evenkeel_harness::wait::eventually;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Twice the shortest that the program takes: a leader that a busy machine keeps from renewing it is none.
const LEASE: Duration = Duration::from_secs(10);

/// Between two attempts to renew or to take the lead.
const RETRY: Duration = Duration::from_millis(1333);

/// How long after its last renewal a leader gives up; as long a new one destroys nothing.
const DEADLINE: Duration = Duration::from_millis(6666);

/// What this machine may add to any time: it is busy.
const SLACK: Duration = Duration::from_secs(8);

const SERVICES: usize = 12;

/// By the clock that also stamps the lines of the logs.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge: processes are compared by it"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_goes_from_one_to_the_next_and_no_former_leader_writes() -> Result<()> {
    let options = WorldOptions {
        nodes: None,
        controller: false,
        run: ["--lease-duration", "10s", "--log-format", "json"]
            .map(str::to_owned)
            .into(),
        ..WorldOptions::default()
    };
    let world = World::start(options).await?;
    create_node(&world).await?;
    let direct = world.plane.kubeconfig();

    let mut first = Replica::start(&world, direct).await?;
    let second = Replica::start(&world, direct).await?;
    let load = load(&world);
    wrote(&first, Timestamp::UNIX_EPOCH).await?;
    ensure!(
        writes(&second).is_empty(),
        "the standby wrote: {:?}",
        writes(&second)
    );
    asked_to_end(&mut first, &second).await?;

    let third = Replica::start(&world, direct).await?;
    killed(second, &third).await?;

    let door = Door::open(&world).await?;
    let fourth = Replica::start(&world, &door.kubeconfig).await?;
    stopped_and_resumed(third, &fourth).await?;

    let fifth = Replica::start(&world, direct).await?;
    cut_off(&door, fourth, &fifth).await?;

    load.abort();
    let _ = load.await;
    delete_all(&world).await?;
    eventually("nothing to be left", LIMIT, || async {
        let left = world.object_count().await?;
        ensure!(left == 0, "{left} objects");
        Ok(())
    })
    .await?;
    fifth.process.stop()?;
    world.stop().await
}

/// A process with a directory for its log.
struct Replica {
    process: Supervised,
    logs: PathBuf,
}

impl Replica {
    async fn start(world: &World, kubeconfig: &Path) -> Result<Self> {
        let number = std::fs::read_dir(world.plane.log_dir())?.count();
        let logs = world.plane.log_dir().join(format!("replica-{number}"));
        std::fs::create_dir(&logs)?;
        let process = world.start_replica(kubeconfig, &logs).await?;
        Ok(Self { process, logs })
    }
}

/// SIGTERM.
async fn asked_to_end(leader: &mut Replica, other: &Replica) -> Result<()> {
    let at = now();
    leader.process.terminate()?;
    let took = wrote(other, at).await?;
    println!("asked to end: the other wrote after {took:?}");
    ensure!(took < SLACK, "{took:?}");
    let status = leader.process.wait(LIMIT)?;
    ensure!(status.success(), "it ended with {status}");
    one_after_the_other(leader, other)
}

/// SIGKILL.
async fn killed(mut leader: Replica, other: &Replica) -> Result<()> {
    let at = now();
    wrote(&leader, at).await?;
    let at = now();
    leader.process.kill()?;
    let took = wrote(other, at).await?;
    println!("killed: the other wrote after {took:?}; the lease is {LEASE:?}");
    ensure!(took < LEASE + RETRY + SLACK, "{took:?}");
    ensure!(took > LEASE / 2, "the lease was not over: {took:?}");
    destroys_later(other).await
}

/// SIGSTOP while it works, and SIGCONT when another leads.
async fn stopped_and_resumed(mut leader: Replica, other: &Replica) -> Result<()> {
    wrote(&leader, now()).await?;
    let at = now();
    leader.process.pause()?;
    let before = writes(&leader);
    let took = wrote(other, at).await?;
    println!("stopped: the other wrote after {took:?}; the lease is {LEASE:?}");
    ensure!(took < LEASE + RETRY + SLACK, "{took:?}");
    let resumed = Instant::now();
    leader.process.resume()?;
    let status = leader.process.wait(LIMIT)?;
    println!("resumed: it ended after {:?}", resumed.elapsed());
    ensure!(!status.success(), "it ended well");
    ensure!(resumed.elapsed() < SLACK, "{:?}", resumed.elapsed());
    let after = writes(&leader);
    ensure!(
        after.len() == before.len(),
        "it wrote: {:?}",
        &after[before.len()..]
    );
    told_why(&leader)
}

/// No packet gets through to the API server or back, and the data plane is still there.
async fn cut_off(door: &Door, mut leader: Replica, other: &Replica) -> Result<()> {
    wrote(&leader, now()).await?;
    let (at, since) = (now(), Instant::now());
    door.shut.send_replace(true);
    let status = leader.process.wait(LIMIT)?;
    println!(
        "cut off: it ended after {:?}; it gives up after {DEADLINE:?}",
        since.elapsed()
    );
    ensure!(!status.success(), "it ended well");
    ensure!(since.elapsed() < DEADLINE + SLACK, "{:?}", since.elapsed());
    let took = wrote(other, at).await?;
    println!("cut off: the other wrote after {took:?}; the lease is {LEASE:?}");
    ensure!(took < LEASE + RETRY + SLACK, "{took:?}");
    told_why(&leader)?;
    one_after_the_other(&leader, other)
}

fn told_why(leader: &Replica) -> Result<()> {
    let log = leader.process.log_tail(20);
    ensure!(log.contains("the lead is lost"), "{log}");
    Ok(())
}

/// The lines of a log, with their times.
fn lines(replica: &Replica) -> Vec<(Timestamp, Value)> {
    let logs = std::fs::read_dir(&replica.logs).into_iter().flatten();
    let log = logs
        .flatten()
        .filter_map(|file| std::fs::read_to_string(file.path()).ok())
        .collect::<String>();
    log.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| Some((line["timestamp"].as_str()?.parse().ok()?, line)))
        .collect()
}

/// The writes that a replica began, with their times: each is logged before it is made.
fn writes(replica: &Replica) -> Vec<(Timestamp, String)> {
    let began = |(time, line): (Timestamp, Value)| {
        let message = line["message"].as_str()?;
        message
            .starts_with("about to ")
            .then(|| (time, message.to_owned()))
    };
    lines(replica).into_iter().filter_map(began).collect()
}

/// Waits for a write after then; returns how long after it began.
async fn wrote(replica: &Replica, after: Timestamp) -> Result<Duration> {
    let written = eventually("a write", LIMIT, || async {
        let writes = writes(replica);
        let found = writes.iter().find(|(time, _)| *time > after);
        found.map(|(time, _)| *time).context("none yet")
    })
    .await
    .with_context(|| replica.process.log_tail(25))?;
    Ok(written.duration_since(after).try_into()?)
}

fn one_after_the_other(former: &Replica, other: &Replica) -> Result<()> {
    let (former, other) = (writes(former), writes(other));
    let (last, first) = (
        former.last().context("none")?,
        other.first().context("none")?,
    );
    ensure!(last.0 < first.0, "{last:?} came after {first:?}");
    Ok(())
}

/// After a takeover nothing is destroyed as long as late writes of the former leader may come; then it is.
async fn destroys_later(leader: &Replica) -> Result<()> {
    let destroyed = eventually("something to be destroyed", LIMIT, || async {
        let writes = writes(leader);
        let found = writes
            .iter()
            .find(|(_, what)| what.starts_with("about to destroy"));
        found.map(|(time, _)| *time).context("nothing yet")
    })
    .await?;
    let led = lines(leader)
        .into_iter()
        .find(|(_, line)| {
            line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with("this process leads"))
        })
        .context("it does not say that it leads")?;
    let after: Duration = destroyed.duration_since(led.0).try_into()?;
    println!("killed: the other destroyed nothing for {after:?}");
    ensure!(after > DEADLINE - Duration::from_millis(50), "{after:?}");
    Ok(())
}

async fn create_node(world: &World) -> Result<()> {
    let node = json!({
        "metadata": {"name": "node-1"},
        "status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}]},
    });
    Api::<Node>::all(world.client())
        .create(&PostParams::default(), &serde_json::from_value(node)?)
        .await?;
    Ok(())
}

/// Makes, changes and deletes Services until it is aborted.
fn load(world: &World) -> JoinHandle<()> {
    let services = world.services("default");
    tokio::spawn(async move {
        for round in 0_usize.. {
            let name = format!("web-{}", round % SERVICES);
            let timeout = format!("{}s", 60 + round % 500);
            let patch = Patch::Merge(
                json!({"metadata": {"annotations": {"evenkeel.dev/idle-timeout": timeout}}}),
            );
            let patched = services.patch(&name, &PatchParams::default(), &patch).await;
            if patched.is_err() {
                let service = load_balancer(&name, 8080, Value::Null);
                let _ = services.create(&PostParams::default(), &service).await;
            }
            // The others are there all the time, also when nobody can let go of one that is deleted.
            if round % SERVICES < SERVICES / 2 && round % 5 == 0 {
                let _ = services.delete(&name, &DeleteParams::default()).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

async fn delete_all(world: &World) -> Result<()> {
    let services = world.services("default");
    for service in services.list(&ListParams::default()).await? {
        let name = service.metadata.name.unwrap_or_default();
        if name.starts_with("web-") {
            match services.delete(&name, &DeleteParams::default()).await {
                // It was on its way out.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                done => drop(done?),
            }
        }
    }
    Ok(())
}

/// A way to the API server that can be shut: then no byte gets through in either direction, and nobody is told.
struct Door {
    kubeconfig: PathBuf,
    shut: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Door {
    async fn open(world: &World) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let kubeconfig = world.plane.directory().join("door.kubeconfig");
        let text = std::fs::read_to_string(world.plane.kubeconfig())?;
        let url = world.plane.server_url();
        ensure!(
            text.contains(&url),
            "the kubeconfig names another server than {url}"
        );
        std::fs::write(
            &kubeconfig,
            text.replace(&url, &format!("https://{address}")),
        )?;
        let server: SocketAddr = url.trim_start_matches("https://").parse()?;
        let shut = watch::Sender::new(false);
        let is_shut = shut.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((mut inside, _)) = listener.accept().await else {
                    continue;
                };
                let mut is_shut = is_shut.subscribe();
                connections.spawn(async move {
                    let through = async {
                        let mut outside = TcpStream::connect(server).await?;
                        tokio::io::copy_bidirectional(&mut inside, &mut outside).await
                    };
                    let is_shut = async { drop(is_shut.wait_for(|shut| *shut).await) };
                    tokio::select! {
                        biased;
                        () = is_shut => {}
                        _ = through => return,
                    }
                    // Held open until the test ends.
                    std::future::pending::<()>().await;
                });
            }
        });
        Ok(Self {
            kubeconfig,
            shut,
            task,
        })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}
