//! One Service that is changed all the time does not delay the others.
//!
//! The same number of Services is made twice, on a quiet controller and while a neighbour is changed a hundred times a
//! second, each time for a write of its own. What that costs the others is printed, and bounded as a ratio of the same run.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use evenkeel_e2e::{World, WorldOptions};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// How many Services are made at a time.
const OTHERS: usize = 20;

/// One change of the busy Service in this time.
const BEAT: Duration = Duration::from_millis(10);

/// How many times longer the others may take: far less than if each change of the busy one went before them.
const WORST: u32 = 10;

/// A machine that does something else for a moment is no unfairness.
const MOMENT: Duration = Duration::from_secs(2);

/// How long each of the others takes from its creation until it has an address, sorted.
async fn served(world: &World, prefix: &str) -> Result<Vec<Duration>> {
    let one = |number: usize| async move {
        let name = format!("{prefix}-{number}");
        let began = Instant::now();
        world.expose("default", &name, 8080, json!(null)).await?;
        world.address("default", &name, 8080).await?;
        anyhow::Ok(began.elapsed())
    };
    let all = stream::iter(0..OTHERS).map(one).buffer_unordered(OTHERS);
    let mut took: Vec<_> = all.try_collect().await?;
    took.sort();
    Ok(took)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_service_that_is_changed_all_the_time_does_not_delay_the_others() -> Result<()> {
    let options = WorldOptions {
        nodes: None,
        ..WorldOptions::default()
    };
    let world = World::start(options).await?;
    world.expose("default", "busy", 8080, json!(null)).await?;
    world.address("default", "busy", 8080).await?;
    let quiet = served(&world, "quiet").await?;

    let (end, changes) = (AtomicBool::new(false), AtomicU32::new(0));
    let services = world.services("default");
    let busy = async {
        let mut beat = tokio::time::interval(BEAT);
        while !end.load(Ordering::Relaxed) {
            beat.tick().await;
            let number = changes.fetch_add(1, Ordering::Relaxed);
            let timeout = (60 + number % 600).to_string();
            let patch =
                json!({"metadata": {"annotations": {"evenkeel.dev/idle-timeout": timeout}}});
            services
                .patch("busy", &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        anyhow::Ok(())
    };
    let others = async {
        let began = Instant::now();
        let took = served(&world, "beside").await;
        end.store(true, Ordering::Relaxed);
        took.map(|took| (took, began.elapsed()))
    };
    let (changed, others) = tokio::join!(busy, others);
    changed?;
    let (beside, lasted) = others?;
    let rate = f64::from(changes.load(Ordering::Relaxed)) / lasted.as_secs_f64();
    let (median, worst) = (OTHERS / 2, OTHERS - 1);
    let report = format!(
        "{OTHERS} Services until served: alone {:?} (slowest {:?}); beside one that is changed {rate:.0} times a second {:?} (slowest {:?})",
        quiet[median], quiet[worst], beside[median], beside[worst],
    );
    #[expect(clippy::print_stdout, reason = "the figure is the purpose")]
    {
        println!("fairness: {report}");
    }
    assert!(beside[worst] <= quiet[worst] * WORST + MOMENT, "{report}");
    world.stop().await
}
