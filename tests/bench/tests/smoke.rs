//! Every load through our own data plane, shortly: what goes in comes out. Nothing is said of speed.
#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use evenkeel_bench::{
    balancer::{Balancer, Plan},
    load::{self, Idle, Window},
    run::Trial,
    system::{Cpus, raise_open_files},
    target::{ECHO_PORTS, Targets},
};
use evenkeel_harness::evenkeel::evenkeel_binary;

#[test]
fn every_load_passes_through_the_data_plane() -> Result<()> {
    let cpus = Cpus::default();
    let plan = Plan::new(cpus.clone(), raise_open_files()?)?;
    let _targets = Targets::start(&plan.targets, &cpus)?;
    let mut ours = Balancer::ours(&plan, &evenkeel_binary()?)?;
    let window = Window::of(Duration::from_millis(200));

    for trial in Trial::ALL {
        if trial.refused_by(&ours).is_some() {
            continue;
        }
        // Each load compares what comes back with what it sent.
        let measured = trial.measure(&ours, window, 100)?;
        assert_eq!(measured.values.len(), trial.figures().len(), "{trial:?}");
        if trial != Trial::Memory {
            assert!(measured.values[0] > 0.0, "{trial:?}: {measured:?}");
        }
        ours.check()?;
    }
    let echo = ours.at(ECHO_PORTS[0]);
    assert!(load::round_trips(echo, 3, window)?.count > 0);

    let idle = Idle::open(&ours.echo(), 20)?;
    idle.check()?;
    drop(ours);
    idle.check().expect_err("connections end with the balancer");
    Ok(())
}
