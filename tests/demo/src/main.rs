//! `cargo demo`: the main job, shown and checked on a real control plane.
//!
//! Starts etcd, kube-apiserver and kube-controller-manager, nodes and pods, the data plane and the controller. The first chapter
//! applies a complete application and shows how its front end gets an address, how requests to that address reach the pods, and
//! what happens when parts fail; the second one walks through what there is to learn of Services. Everything it starts it takes
//! down again, however it ends.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

mod args;
mod balancer;
mod inside;
mod manifest;
mod on_aws;
mod on_azure;
mod on_cloud;
mod scene;
mod show;
mod stay;
mod steps;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use anyhow::Result;

use args::{Args, Provider};
use evenkeel_e2e::{aws::AwsWorld, azure::AzureWorld};
use scene::{NODES, Scene};
use show::Show;

fn main() -> ExitCode {
    let args = Args::read();
    if args.list {
        steps::list();
        return ExitCode::SUCCESS;
    }
    if args.provider == Provider::Local {
        match inside::enter_if_needed() {
            Ok(Some(code)) => return code,
            Ok(None) => {}
            Err(error) => return failed(&error),
        }
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    match runtime.block_on(run(&args)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    println!("\nthe demo could not go on: {error:#}");
    ExitCode::FAILURE
}

/// Whether every check passed.
async fn on_a_cloud(provider: Provider) -> Result<bool> {
    match provider {
        Provider::Aws => on_cloud::run(AwsWorld::start(NODES, &[])).await,
        Provider::Azure => on_cloud::run(AzureWorld::start(NODES, &[])).await,
        Provider::Local => Ok(false),
    }
}

/// Whether every check passed.
async fn run(args: &Args) -> Result<bool> {
    if args.provider != Provider::Local {
        return tokio::select! {
            shown = on_a_cloud(args.provider) => shown,
            _ = tokio::signal::ctrl_c() => Ok(false),
        };
    }
    let stays = !args.once && args.step.is_none() && std::io::stdout().is_terminal();
    println!("A control plane, {NODES} nodes, the data plane and the controller are started ...");
    let mut show = Show::new();
    let mut scene = tokio::select! {
        scene = Scene::start() => scene?,
        _ = tokio::signal::ctrl_c() => return Ok(false),
    };
    let only = args.step.map(usize::from);
    let ended = tokio::select! {
        ended = steps::run(&mut scene, &mut show, only) => Some(ended),
        _ = tokio::signal::ctrl_c() => None,
    };
    show.summary();
    if stays && matches!(ended, Some(Ok(()))) {
        stay::stay(&scene).await?;
    }
    scene.world.stop().await?;
    // Interrupted, it has not shown what it was to show.
    let whole = ended.transpose()?.is_some();
    Ok(whole && show.failed() == 0)
}
