//! The part of docs/performance.md about calls to AWS is what the bench writes: the same words and rows, with whatever numbers. And
//! what the bench counts at the wire is within its goals, with few Services; nothing is said of time and memory.
#![cfg(target_os = "linux")]

use std::time::Duration;

use anyhow::Result;
use evenkeel_bench::{
    calls::{
        page::{Results, detail, render, shortfalls, table},
        row::{Amount, Row, Scale},
        run::run,
    },
    page::shape,
    performance,
    system::Machine,
};
use evenkeel_harness::{evenkeel::evenkeel_binary, progress::Progress};

fn machine() -> Machine {
    Machine {
        processors: 64,
        memory: 512,
        kernel: "9.9.9".to_owned(),
    }
}

/// All at their goals.
fn results() -> Results {
    let goals = Row::ALL.map(|row| (row, row.goal(Scale::FULL)));
    Results {
        amounts: goals.into(),
        ..Results::default()
    }
}

#[test]
fn the_committed_part_has_the_shape_that_the_bench_writes() {
    let written = render(&results(), &machine());
    assert_eq!(
        shape(&performance::committed(&written)),
        shape(&written),
        "write it anew: cargo bench --bench calls -- aws --write"
    );
}

#[test]
fn a_row_tells_the_peer_ours_and_the_goal() {
    let mut results = results();
    results
        .amounts
        .insert(Row::Memory, Amount::Memory(10 * 1024 + 512));
    let table = table(&results, Scale::FULL);
    for row in [
        "| create, warm, 1 port | 26 calls (8 of them writes) | **6 writes, 1 read** | 6 writes, 1 read |",
        "| 200 Services on 200 nodes: memory, peak | 123 MiB | **10.5 MiB** | 48.0 MiB |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row}\n{table}");
    }
    assert_eq!(table.lines().count(), 2 + Row::ALL.len());
}

#[test]
fn what_falls_short_is_said() {
    assert_eq!(shortfalls(&results(), Scale::FULL), "");
    let mut short = results();
    short
        .amounts
        .insert(Row::Cpu, Amount::Time(Duration::from_millis(3500)));
    let calls = Amount::Calls {
        writes: 0,
        reads: 700,
    };
    short.amounts.insert(Row::Restart, calls);
    assert_eq!(
        shortfalls(&short, Scale::FULL),
        "- 200 Services on 200 nodes: restart: 0 writes, 700 reads, where 0 writes, 32 reads would do\n\
         - 200 Services on 200 nodes: processor time to create all: 3.50 s, where 3.00 s would do\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_asks_at_most_what_its_goal_allows() -> Result<()> {
    let program = tokio::task::spawn_blocking(evenkeel_binary).await??;
    let scale = Scale {
        services: 4,
        nodes: 4,
        more: 6,
        ..Scale::SHORT
    };
    let results = run(&program, scale, &Progress::quiet()).await?;
    for row in Row::ALL {
        let goal = row.goal(scale);
        if goal.calls().is_some() {
            let amount = results.amounts[&row];
            assert!(
                amount.is_within(&goal),
                "{row:?}: {amount}\n{}",
                detail(&results, scale)
            );
        }
    }
    Ok(())
}
