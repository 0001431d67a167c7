//! A provider with many Services on many nodes, on a cloud that limits calls: `cargo bench --bench scale -- aws`, `-- --help` for more.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    evenkeel_bench::scale::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
