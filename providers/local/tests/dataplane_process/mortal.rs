//! Either data plane killed at any step of a handover: the other one has all ports, or takes them.

use std::{fmt, net::SocketAddr};

use rustix::process::{getpid, kill_process};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    takeover::{Load, healthy, two_ports, two_ports_of},
    *,
};

/// Kills this process as soon as it logs these words.
pub fn die_at(step: String) {
    tracing::subscriber::set_global_default(Mortal { step }).expect("there is no other");
}

struct Mortal {
    step: String,
}

impl Subscriber for Mortal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata
                .target()
                .starts_with("evenkeel_local::dataplane::handover")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut Words(&self.step));
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Words<'a>(&'a str);

impl Visit for Words<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" && format!("{value:?}") == self.0 {
            kill_process(getpid(), Signal::KILL).expect("its death");
            loop {
                std::thread::park();
            }
        }
    }
}

fn dies_at(step: &str) -> [(&'static str, String); 1] {
    [(DIES, step.to_owned())]
}

async fn objects(client: &Client) -> Objects {
    client.get("/v1/objects").await.object()
}

/// Whoever is there now has everything and is master of it.
async fn serves(client: &Client, fronts: &[SocketAddr], before: &Objects, when: &str) {
    assert_same(before, objects(client).await);
    for front in fronts {
        assert!(Talk::open(*front).await.works().await, "{when}");
    }
    let set = body(backend_set(&[]));
    let made = client.create("/v1/backendsets/probe", &set).await;
    assert_eq!(made.status, 201, "{when}");
    client.delete("/v1/backendsets/probe").await.done();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_killed_at_any_step_costs_nobody_anything() {
    let (directory, pool, _server, mut old, fronts) = two_ports().await;
    let client = old.client.clone();
    let before = objects(&client).await;
    let mut talk = Talk::open(fronts[0]).await;
    let load = Load::start(&fronts, 8);
    for step in [
        "heard Owner",
        "heard Sockets",
        "heard Beliefs",
        "heard Offered",
        "said Ready",
        "heard Yours",
    ] {
        let mut new = Process::spawn(directory.path(), &pool, &taking_over(&dies_at(step)));
        new.died().await;
        load.goes_on(50).await;
        old.runs();
        serves(&client, &fronts, &before, step).await;
        assert!(talk.works().await, "{step}");
    }
    load.end().await;

    // With its last word all is its own, and the old one leaves.
    let last = dies_at("said Mine");
    let mut new = Process::spawn(directory.path(), &pool, &taking_over(&last));
    new.died().await;
    assert!(talk.works().await, "an old connection goes on");
    drop(talk);
    old.ended().await;
    let _process = Process::start(directory.path(), &pool, None).await;
    serves(&client, &fronts, &before, "started again").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_old_one_is_killed_at_any_step_the_new_one_takes_its_place() {
    let steps = [
        "another data plane wants to take over",
        "said Owner",
        "said Sockets",
        "said Beliefs",
        "said Offered",
        "heard Ready",
        "said Yours",
        "heard Mine",
    ];
    let (directory, pool, _server, mut process, fronts) = two_ports_of(&dies_at(steps[0])).await;
    let before = objects(&process.client).await;
    for (number, step) in steps.iter().enumerate() {
        let next = steps.get(number + 1).copied().unwrap_or("never");
        let heir = Process::take_over_with(directory.path(), &pool, &dies_at(next)).await;
        std::mem::replace(&mut process, heir).died().await;
        // Where the beliefs were not handed over it looks for itself.
        healthy(&process.client).await;
        serves(&process.client, &fronts, &before, step).await;
    }
    process.runs();
}
