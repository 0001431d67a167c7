//! The steps, in the order in which they are shown. Each changes the world in one way and checks what follows.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

pub(crate) mod application;

mod affinity;
mod by_hand;
mod deleted;
mod empty;
mod kubectl;
mod layers;
mod left_alone;
mod mistake;
mod outages;
mod parts;
mod pods;
mod policy;
mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::pin::Pin;

use anyhow::Result;

use crate::scene::Scene;
use crate::show::Show;

/// What a step does. A check that fails is counted and the step goes on; an error breaks it off.
type Run =
    for<'a> fn(&'a mut Scene, &'a mut Show) -> Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

/// A step.
#[derive(Debug)]
pub(crate) struct Step {
    title: &'static str,
    needs: Needs,
    run: Run,
}

/// What must have happened before a step that is run alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// Nothing: it makes what it needs.
    Nothing,
    /// The application is applied.
    Applied,
    /// Its front end has an address, too.
    Published,
}

/// A step that is an `async fn(&mut Scene, &mut Show) -> Result<()>`.
macro_rules! step {
    ($title:literal, $needs:ident, $run:path) => {
        Step {
            title: $title,
            needs: Needs::$needs,
            run: |scene, show| Box::pin($run(scene, show)),
        }
    };
}

/// All steps. `--step` counts from 1.
pub(crate) const STEPS: &[Step] = &[
    step!("Real parts are started", Nothing, parts::run),
    step!(
        "A complete application is applied (deploy/examples/shop.yaml)",
        Nothing,
        application::apply
    ),
    step!(
        "evenkeel gives the front end an address",
        Applied,
        application::published
    ),
    step!(
        "A request to the address reaches a pod",
        Published,
        application::traffic
    ),
    step!(
        "Address, NodePort and ClusterIP are three layers of one Service",
        Published,
        layers::three
    ),
    step!(
        "The three other Services are left alone",
        Published,
        layers::others
    ),
    step!(
        "The front end is scaled to five pods",
        Published,
        pods::scaled
    ),
    step!("A pod is no longer Ready", Published, pods::not_ready),
    step!("A node goes, and another comes", Published, outages::node),
    step!(
        "The controller is killed, and started again",
        Published,
        outages::controller
    ),
    step!(
        "An annotation has a value that cannot be used",
        Published,
        mistake::run
    ),
    step!("The Service is deleted", Published, deleted::run),
    step!(
        "Two ports, with named target ports (deploy/examples/multi-port.yaml)",
        Nothing,
        ports::named
    ),
    step!(
        "A NodePort of one's own choice (deploy/examples/node-port.yaml)",
        Nothing,
        ports::pinned
    ),
    step!(
        "No selector, endpoints written by hand (deploy/examples/no-selector.yaml)",
        Nothing,
        by_hand::run
    ),
    step!(
        "One client, one pod: ClientIP affinity (deploy/examples/session-affinity.yaml)",
        Nothing,
        affinity::run
    ),
    step!(
        "Policy Cluster against Local (deploy/examples/traffic-policy-local.yaml)",
        Nothing,
        policy::run
    ),
    step!(
        "kubectl create service loadbalancer, and kubectl expose",
        Nothing,
        kubectl::create
    ),
    step!(
        "kubectl patch: the type, and the selector",
        Nothing,
        kubectl::patch
    ),
    step!(
        "kubectl edit, and kubectl delete",
        Nothing,
        kubectl::edit_and_delete
    ),
    step!(
        "Services of other types are left alone (deploy/examples/other-types.yaml)",
        Nothing,
        left_alone::run
    ),
    step!(
        "A Service without endpoints (deploy/examples/no-endpoints.yaml)",
        Nothing,
        empty::run
    ),
];

/// Prints the steps with their numbers.
pub(crate) fn list() {
    for (step, number) in STEPS.iter().zip(1..) {
        println!("{number:>2}. {}", step.title);
    }
}

/// Runs all steps, or one, counted from 1, after what it needs.
///
/// # Errors
/// When the set-up of that one fails.
pub(crate) async fn run(scene: &mut Scene, show: &mut Show, only: Option<usize>) -> Result<()> {
    let mut broken = None;
    for (step, number) in STEPS.iter().zip(1..) {
        if only.is_some_and(|only| only != number) {
            continue;
        }
        if only.is_some() {
            set_up(scene, show, step.needs).await?;
        }
        show.step(number, step.title);
        if let (Some(broken), true) = (broken, step.needs != Needs::Nothing) {
            show.note(format!("left out, because step {broken} broke off"));
            continue;
        }
        if let Err(error) = (step.run)(scene, show).await {
            show.check("the step goes on to its end", Err::<&str, _>(error));
            broken = broken.or(Some(number));
        }
    }
    Ok(())
}

/// Does what a step needs that is run alone.
async fn set_up(scene: &mut Scene, show: &mut Show, needs: Needs) -> Result<()> {
    show.begin_set_up();
    if needs != Needs::Nothing {
        application::apply(scene, show).await?;
    }
    if needs == Needs::Published {
        application::published(scene, show).await?;
    }
    show.end_set_up()
}

/// How often each pod answered, in words.
fn in_words(answers: &BTreeMap<String, usize>) -> String {
    let words = answers.iter().map(|(pod, times)| format!("{pod} {times}x"));
    words.collect::<Vec<_>>().join(", ")
}

/// A set, in words.
fn listed<T: Display>(set: &BTreeSet<T>) -> String {
    let words: Vec<_> = set.iter().map(T::to_string).collect();
    words.join(", ")
}
