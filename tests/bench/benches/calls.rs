//! What a provider asks of its cloud: `cargo bench --bench calls -- aws`, `-- --help` for more.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    evenkeel_bench::calls::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
