//! The data plane's part of docs/performance.md is what the bench writes: the same words and rows, with whatever numbers.
#![cfg(target_os = "linux")]

use evenkeel_bench::{
    figure::Figure,
    page::{Setup, render, shape, shortfalls, table},
    performance,
    ratio::Pair,
    run::{Results, Series},
    system::Machine,
};

fn setup() -> Setup {
    Setup {
        machine: Machine {
            processors: 64,
            memory: 512,
            kernel: "9.9.9".to_owned(),
        },
        haproxy: "9.8".to_owned(),
        nginx: "9.7".to_owned(),
        alternations: 3,
        seconds: 0.5,
        idle: 7_000,
        threads: 64,
        pinned: false,
    }
}

/// Ours is 2, 4 and 6 where the peer is 4.
fn results() -> Results {
    let pairs: Vec<_> = [2.0, 4.0, 6.0]
        .map(|ours| Pair { ours, peer: 4.0 })
        .to_vec();
    let series = Figure::ALL.map(|figure| {
        let series = Series {
            pairs: pairs.clone(),
            cpu: Vec::new(),
        };
        (figure, series)
    });
    Results {
        series: series.into(),
        ..Results::default()
    }
}

#[test]
fn the_committed_page_has_the_shape_that_the_bench_writes() {
    let written = render(&results(), &setup());
    assert_eq!(
        shape(&performance::committed(&written)),
        shape(&written),
        "write it anew: cargo bench --bench dataplane -- --write"
    );
}

#[test]
fn a_row_tells_the_ratio_its_spread_and_both_values() {
    let mut results = results();
    results
        .series
        .entry(Figure::Connections)
        .and_modify(|series| {
            series.cpu = vec![Pair {
                ours: 1.0,
                peer: 3.0,
            }];
        });
    let table = table(&results);
    for row in [
        "| bulk, target to client, 1 connection | HAProxy | **1.00** | 0.50 to 1.50 | 4.0 MB/s | 4.0 MB/s |  |",
        "| memory per 1,000 idle connections | HAProxy | **1.00** | 0.67 to 2.00 | 4.0 KiB | 4.0 KiB |  |",
        "| new connections (open, 64 B there and back, close) | HAProxy | **1.00** | 0.50 to 1.50 | 4.0 /s | 4.0 /s | 3.00 |",
    ] {
        assert!(table.lines().any(|line| line == row), "{row}\n{table}");
    }
    assert_eq!(table.lines().count(), 2 + Figure::ALL.len());
}

#[test]
fn what_falls_short_is_said() {
    assert_eq!(shortfalls(&results()), "");
    let mut short = results();
    short.series.remove(&Figure::Datagrams);
    short.refused.insert(Figure::Datagrams, "no UDP".to_owned());
    short.series.insert(
        Figure::TailOne,
        Series {
            pairs: vec![Pair {
                ours: 125_000.0,
                peer: 100_000.0,
            }],
            cpu: Vec::new(),
        },
    );
    assert_eq!(
        shortfalls(&short),
        "- 64 B round trips, 1 connection, p99: 0.80 of HAProxy, below 0.9\n\
         - UDP requests answered, 1,000 flows: not measured. The data plane said: no UDP\n"
    );
    let page = render(&short, &setup());
    assert!(page.contains("| 125,000 µs | 100,000 µs |"), "{page}");
    assert!(
        page.contains("| UDP requests answered, 1,000 flows | nginx | not measured |"),
        "{page}"
    );
}

#[test]
fn a_page_with_other_words_or_rows_has_another_shape() {
    let page = render(&results(), &setup());
    let mut other = setup();
    other.machine.kernel = "1.2.3".to_owned();
    other.alternations = 50;
    assert_eq!(
        shape(&page),
        shape(&render(&results(), &other)),
        "numbers differ"
    );
    for (from, to) in [
        (
            "64 B round trips, 1 connection, p50",
            "64 B round trips, 2 connections, p50",
        ),
        ("## Below the goal", "## Something else"),
        ("on loopback", "on the moon"),
        ("| what | beside |", "| what | versus |"),
    ] {
        assert!(page.contains(from), "{from}");
        assert_ne!(shape(&page), shape(&page.replace(from, to)), "{from}");
    }
    let without: String = page
        .lines()
        .filter(|line| !line.contains("p99"))
        .collect::<Vec<_>>()
        .join("\n");
    assert_ne!(shape(&page), shape(&without));
}
