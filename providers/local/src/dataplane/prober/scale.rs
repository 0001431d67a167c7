//! A measurement, run by hand: what many probes cost.
//! `EVENKEEL_PROBES=100x100 cargo test -p evenkeel-local --lib -- --ignored --nocapture what_many_probes_cost`

use std::{
    fs,
    net::Ipv4Addr,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::Instant,
};

use super::*;
use crate::api::HealthCheckKind;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(20);
/// Threads of the servers; what they use does not count.
const SERVER: &str = "probed";

/// Ticks of CPU, at 100 a second, that all threads but the servers' have used.
fn ticks() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("threads");
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter(|stat| !stat.contains(SERVER))
        .filter_map(|stat| {
            let fields: Vec<u64> = stat
                .rsplit(')')
                .next()?
                .split_whitespace()
                .map(|field| field.parse().unwrap_or(0))
                .collect();
            Some(fields[11] + fields[12])
        })
        .sum()
}

fn memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("a status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.and_then(|line| line.trim().strip_suffix(" kB"));
    line.expect("a size").parse().expect("a number")
}

async fn serve(port: u16, looks: Arc<AtomicU64>) {
    let socket = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        .await
        .expect("a free port");
    loop {
        let (mut stream, _) = socket.accept().await.expect("a probe");
        let looks = Arc::clone(&looks);
        tokio::spawn(async move {
            let mut head = [0; 512];
            let _ = stream.read(&mut head).await;
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await;
            looks.fetch_add(1, Relaxed);
        });
    }
}

#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "what was measured")]
fn what_many_probes_cost() {
    let size = std::env::var("EVENKEEL_PROBES").unwrap_or_else(|_| "100x100".to_owned());
    let (sets, nodes) = size.split_once('x').expect("SETSxNODES");
    let (sets, nodes): (u16, u32) = (sets.parse().expect("sets"), nodes.parse().expect("nodes"));
    let looks = Arc::new(AtomicU64::new(0));
    let servers = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(SERVER)
        .enable_all()
        .build()
        .expect("a runtime");
    for set in 0..sets {
        servers.spawn(serve(20_000 + set, Arc::clone(&looks)));
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let probes = Probes::default();
        let before = memory_kib();
        let begin = Instant::now();
        let all: Vec<_> = (0..sets)
            .flat_map(|set| (0..nodes).map(move |node| (set, node)))
            .map(|(set, node)| {
                let first = u32::from(Ipv4Addr::new(127, 88, 0, 1));
                let address = Ipv4Addr::from_bits(first + node);
                let target = SocketAddr::from((address, 20_000 + set));
                let check = HealthCheck {
                    kind: HealthCheckKind::Http {
                        path: "/healthz".into(),
                    },
                    port: None,
                    interval_ms: 1_000,
                    timeout_ms: 1_000,
                    rise: 1,
                    fall: 2,
                };
                probes.want(target, &check, Health::Initial)
            })
            .collect();
        println!(
            "{} probes, {} bytes each",
            all.len(),
            (memory_kib() - before) * 1_024 / all.len() as u64
        );
        while all
            .iter()
            .any(|probe| probe.standing() == Standing::Initial)
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        println!("the first verdict of all after {:?}", begin.elapsed());
        let (from, used, begin) = (looks.load(Relaxed), ticks(), Instant::now());
        tokio::time::sleep(WATCHED).await;
        let (looks, used, time) = (looks.load(Relaxed) - from, ticks() - used, begin.elapsed());
        println!(
            "{:.0} looks a second of {} asked; {:.2} CPUs, {:.0} us of CPU a look; {} KiB in all",
            looks as f64 / time.as_secs_f64(),
            all.len(),
            used as f64 / 100.0 / time.as_secs_f64(),
            used as f64 * 10_000.0 / looks as f64,
            memory_kib(),
        );
    });
}
