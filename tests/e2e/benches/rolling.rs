//! A hundred nodes and a hundred times all pods replaced under load: what clients saw, printed. About twenty minutes.
//! Run with `cargo bench -p evenkeel-e2e --bench rolling`; needs network namespaces.
#![expect(clippy::print_stdout, reason = "printing figures is the purpose")]

use anyhow::{Result, anyhow};
use evenkeel_e2e::rolling::{Rolling, replace_under_load};
use evenkeel_harness::nodes::namespaces_possible;

fn main() -> Result<()> {
    namespaces_possible().map_err(|reason| anyhow!("needs network namespaces: {reason}"))?;
    let asked = Rolling {
        nodes: 100,
        nodes_at_once: 2,
        rollouts: 100,
        per_second: 500,
    };
    let report = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(replace_under_load(asked))?;
    println!("{asked:?}\n{report}");
    Ok(())
}
