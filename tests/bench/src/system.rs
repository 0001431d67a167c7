//! What the system says of processes and of itself, and where threads run. Reads: /proc. Writes: this process's limits.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The processors that something may run on. Empty: all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpus(Vec<usize>);

impl Cpus {
    /// The first and the second half of the processors: one for clients and targets, one for the balancer.
    ///
    /// # Errors
    /// When there are not two.
    pub fn halves() -> Result<(Self, Self)> {
        let all = count();
        ensure!(
            all >= 2,
            "there is one processor: run without --pin, which needs two"
        );
        Ok((Self((0..all / 2).collect()), Self((all / 2..all).collect())))
    }

    /// How many there are.
    #[must_use]
    pub fn number(&self) -> usize {
        match self.0.len() {
            0 => count(),
            some => some,
        }
    }

    /// As `taskset -c` wants it; None for all.
    #[must_use]
    pub fn list(&self) -> Option<String> {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        (!numbers.is_empty()).then(|| numbers.join(","))
    }

    /// Keeps this thread, and those that it starts from now on, on them.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn hold_this_thread(&self) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut set = rustix::thread::CpuSet::new();
        for cpu in &self.0 {
            set.set(*cpu);
        }
        rustix::thread::sched_setaffinity(None, &set)
            .with_context(|| format!("cannot stay on the processors {:?}", self.0))
    }
}

/// How many processors this process may use.
#[must_use]
pub fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Raises the limit of open files of this process, and of those it starts, as far as it may; returns it.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_files() -> Result<u64> {
    /// More than anything here needs.
    const ENOUGH: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX).min(ENOUGH);
    let now = limit.current.unwrap_or(u64::MAX);
    if now < most {
        let raised = Rlimit {
            current: Some(most),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised).context("cannot raise the limit of open files")?;
    }
    // No more than that for the balancers either: some make a table of it.
    Ok(now.max(most).min(ENOUGH))
}

/// What a process group has used and uses.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time, in user mode and in the kernel.
    pub cpu: Duration,
    /// Memory: proportional set size, in KiB.
    pub memory: u64,
}

/// The usage of all processes of a group.
///
/// # Errors
/// When the group has none.
pub fn usage(group: u32) -> Result<Usage> {
    let mut usage = Usage {
        cpu: Duration::ZERO,
        memory: 0,
    };
    let mut some = false;
    for entry in std::fs::read_dir("/proc")? {
        let path = entry?.path();
        let Ok(stat) = std::fs::read_to_string(path.join("stat")) else {
            continue;
        };
        let Some((in_group, cpu)) = parse_stat(&stat) else {
            continue;
        };
        if in_group == group {
            some = true;
            usage.cpu += cpu;
            usage.memory += memory(&path)?;
        }
    }
    ensure!(some, "the process group {group} has no process");
    Ok(usage)
}

/// The group and the processor time in a line of `/proc/PID/stat`: fields 5, 14 and 15 of proc(5). A tick is 10 ms on every Linux
/// that Rust runs on.
fn parse_stat(stat: &str) -> Option<(u32, Duration)> {
    // The name, in parentheses, may hold anything.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let group = u32::try_from(number(2)?).ok()?;
    let ticks = number(11)? + number(12)?;
    Some((group, Duration::from_millis(ticks * 10)))
}

/// What a process has cost since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Processor time, in user mode and in the kernel.
    pub cpu: Duration,
    /// The greatest resident set, in KiB.
    pub peak: u64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mebibytes = self.peak as f64 / 1024.0;
        write!(
            f,
            "{mebibytes:.1} MiB at most, {:.2} s of processor time",
            self.cpu.as_secs_f64()
        )
    }
}

/// What a process has cost since its start.
///
/// # Errors
/// When it has ended.
pub fn cost(process: u32) -> Result<Cost> {
    let read = |what: &str| {
        let path = format!("/proc/{process}/{what}");
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
    };
    let (_, cpu) = parse_stat(&read("stat")?).context("no times in /proc")?;
    let peak = field(&read("status")?, "VmHWM:").context("no VmHWM in /proc")?;
    Ok(Cost { cpu, peak })
}

fn memory(process: &Path) -> Result<u64> {
    let path = process.join("smaps_rollup");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", path.display()))?;
    field(&text, "Pss:").with_context(|| format!("{} has no Pss", path.display()))
}

/// The number after a key of `/proc`.
fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// This machine in general words.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Processors.
    pub processors: usize,
    /// Memory, in GiB.
    pub memory: u64,
    /// The kernel's version, without what a vendor adds.
    pub kernel: String,
}

impl Machine {
    /// The machine that this runs on.
    ///
    /// # Errors
    /// When /proc does not say.
    pub fn this() -> Result<Self> {
        let memory = field(&std::fs::read_to_string("/proc/meminfo")?, "MemTotal:")
            .context("/proc/meminfo has no MemTotal")?;
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        Ok(Self {
            processors: count(),
            memory: memory.div_ceil(1 << 20),
            kernel: kernel
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_and_time_are_read_whatever_the_name() {
        let stat = "42 (a) b (c) S 1 77 77 0 -1 4194560 9 0 0 0 150 25 0 0 20 0 3 0 99";
        let expected = (77, Duration::from_millis(1750));
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn fields_of_proc_are_read() {
        assert_eq!(
            field("Rss:  9 kB\nPss:   120 kB\nPss_Dirty: 7 kB\n", "Pss:"),
            Some(120)
        );
        assert_eq!(field("Rss: 9 kB\n", "Pss:"), None);
    }

    #[test]
    fn this_process_group_uses_something() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get();
        assert!(usage(group.unsigned_abs()).unwrap().memory > 0);
    }
}
