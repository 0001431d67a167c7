//! A data plane that stands still for a while: a disk that hangs, a machine that is suspended.

use std::fs;

use evenkeel_core::{error::ErrorClass, ticket::Ticket};
use evenkeel_local::{
    api::{Family, LeaseSpec, LeaseStatus},
    client::{self, Expect},
    model::Kind,
};
use rustix::process::{Pid, kill_process};

use super::*;

#[tokio::test]
async fn what_was_given_up_meanwhile_is_never_begun() {
    let directory = tempfile::tempdir().expect("a directory");
    let process = Process::start(directory.path(), &address().to_string(), None).await;
    let client = &process.client;
    let pid = Pid::from_child(&process.child);
    let hasty = client::Client::new(
        &client.socket,
        "cluster-1".into(),
        Duration::from_millis(50),
    );
    let ticket = Ticket::unlimited();
    let sets: Vec<_> = (0..20).map(|number| format!("late-{number}")).collect();

    kill_process(pid, Signal::STOP).expect("it stops");
    let stat = format!("/proc/{}/stat", process.child.id());
    until("it stands still", async || {
        fs::read_to_string(&stat)
            .ok()?
            .contains(") T ")
            .then_some(())
    })
    .await;
    for name in &sets {
        let put = body(LeaseSpec::of(Family::V4));
        let made = hasty.put::<_, LeaseStatus>(Kind::Lease, name, &put, Expect::Absent, &ticket);
        let error = made.await.expect_err("nobody answers");
        assert_eq!(error.class, ErrorClass::Conflict, "{error}");
    }
    kill_process(pid, Signal::CONT).expect("it goes on");

    for look in 0..20 {
        let objects: Objects = client.get("/v1/objects").await.object();
        assert!(
            objects.leases.is_empty(),
            "look {look}: {:?}",
            objects.leases
        );
    }
    // A patient caller is served.
    let lease = body(LeaseSpec::of(Family::V4));
    client.create("/v1/leases/late-0", &lease).await.done();
}
