//! What the bench of many Services promises of calls holds with a few Services on some nodes. Nothing is said of time and memory.
#![cfg(target_os = "linux")]

use anyhow::{Result, ensure};
use evenkeel_bench::scale::{
    args::Size,
    page::{broken, tables},
    run::run,
};
use evenkeel_harness::{evenkeel::evenkeel_binary, progress::Progress};

/// How fast time passes: a busy machine must still keep pace.
const PACE: u32 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn a_few_services_keep_what_is_promised_of_many() -> Result<()> {
    let program = tokio::task::spawn_blocking(evenkeel_binary).await??;
    let size = Size {
        services: 10,
        nodes: 50,
    };
    let measured = run(&program, size, PACE, &Progress::quiet()).await?;
    let broken = broken(&measured);
    ensure!(broken.is_empty(), "{broken}\n{}", tables(&[measured]));
    Ok(())
}
