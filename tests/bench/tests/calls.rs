//! The part of docs/performance.md about calls to AWS is what the bench writes: the same words and rows, with whatever numbers.
#![cfg(target_os = "linux")]

use std::time::Duration;

use evenkeel_bench::{
    calls::{
        page::{Results, render, shortfalls, table},
        row::{Amount, Row, Scale},
    },
    page::shape,
    performance,
    system::Machine,
};

fn machine() -> Machine {
    Machine {
        processors: 64,
        memory: 512,
        kernel: "9.9.9".to_owned(),
    }
}

/// All at their goals.
fn results() -> Results {
    Row::ALL
        .map(|row| (row, row.goal(Scale::FULL)))
        .into_iter()
        .collect()
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
    results.insert(Row::Memory, Amount::Memory(10 * 1024 + 512));
    let table = table(&results, Scale::FULL);
    for row in [
        "| create, warm, 1 port | 26 calls (8 of them writes) | **6 writes, 1 read** | 6 writes, 1 read |",
        "| 200 Services on 200 nodes: memory to create all, peak | 123 MiB | **10.5 MiB** | 48.0 MiB |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row}\n{table}");
    }
    assert_eq!(table.lines().count(), 2 + Row::ALL.len());
}

#[test]
fn what_falls_short_is_said() {
    assert_eq!(shortfalls(&results(), Scale::FULL), "");
    let mut short = results();
    short.insert(Row::Cpu, Amount::Cpu(Duration::from_millis(3500)));
    let calls = Amount::Calls {
        writes: 0,
        reads: 700,
    };
    short.insert(Row::Restart, calls);
    assert_eq!(
        shortfalls(&short, Scale::FULL),
        "- 200 Services on 200 nodes: restart: 0 writes, 700 reads, where 0 writes, 32 reads would do\n\
         - 200 Services on 200 nodes: processor time to create all: 3.50 s, where 3.00 s would do\n"
    );
}
