//! After the last step, on a terminal: the front end is back, and everything stays up to play with. Writes: the API server.
#![expect(clippy::print_stdout, reason = "showing is the purpose")]

use anyhow::Result;

use crate::scene::{FRONT, LESSONS, SHOP, Scene};
use crate::steps::application::shop;
use crate::{inside, manifest};

/// Brings the front end back and stays until Ctrl-C, with what is needed to play.
pub(crate) async fn stay(scene: &Scene) -> Result<()> {
    let front: Vec<_> = shop(scene)?
        .into_iter()
        .filter(|o| o["metadata"]["name"] == FRONT)
        .collect();
    manifest::apply(&scene.world.client(), SHOP, &front).await?;
    let address = scene.front().await?;
    println!("\nIt is all up again. The front end answers on http://{address}/");
    if let Some(way_in) = inside::way_in() {
        println!("This runs in namespaces of its own; enter them with\n\n    {way_in}\n");
    }
    println!("Try:\n");
    println!("    curl http://{address}/");
    println!(
        "    export KUBECONFIG={}",
        scene.world.plane.kubeconfig().display()
    );
    println!("    alias kubectl={}", scene.kubectl.program().display());
    println!("    kubectl -n {SHOP} get services -o wide");
    println!("    kubectl -n {LESSONS} describe service lonely");
    println!("    kubectl -n {SHOP} annotate service frontend evenkeel.dev/schem=internal");
    println!("\nCtrl-C takes everything down.");
    tokio::signal::ctrl_c().await?;
    println!();
    Ok(())
}
