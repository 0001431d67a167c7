//! The data plane beside HAProxy and nginx: `cargo bench --bench dataplane`, `-- --help` for more.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    evenkeel_bench::bench::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
