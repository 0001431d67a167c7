//! Time that passes faster for one program, which knows nothing of it: a library in front of the C library (`pace/pace.c`). Writes: a
//! file in the caller's directory, which the C compiler makes.
//!
//! What takes an hour of waiting so takes minutes, with every wait of the program as long beside every other as it is meant to
//! be. What it computes, and what it waits for others, takes as long as ever, so to the program both seem slower.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

const SOURCE: &str = include_str!("../pace/pace.c");

/// How fast time passes, and since when: all programs that are given it agree on what time it is.
#[derive(Clone, Debug)]
pub struct Pace {
    factor: u32,
    since: Timestamp,
    library: PathBuf,
}

impl Pace {
    /// So many seconds in one, from now on.
    ///
    /// # Errors
    /// When there is no C compiler, or what it makes does not hasten a program's time.
    pub fn new(factor: u32, directory: &Path) -> Result<Self> {
        let source = directory.join("pace.c");
        let library = directory.join("pace.so");
        std::fs::write(&source, SOURCE)?;
        let made = Command::new("cc")
            .args(["-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()
            .context("cannot run cc: install a C compiler")?;
        let told = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "cc failed: {told}");
        let pace = Self {
            factor,
            since: now(),
            library,
        };
        pace.check()?;
        Ok(pace)
    }

    /// How many seconds pass in one.
    #[must_use]
    pub fn factor(&self) -> u32 {
        self.factor
    }

    /// The environment of a program that it shall hold for.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("EVENKEEL_PACE", self.factor.to_string()),
            (
                "EVENKEEL_PACE_SINCE",
                self.since.as_nanosecond().to_string(),
            ),
        ]
    }

    /// Fails unless a program that began at the epoch is far ahead of us by now.
    fn check(&self) -> Result<()> {
        let mut date = Command::new("date");
        date.arg("+%s").envs(self.environment());
        let told = date
            .env("EVENKEEL_PACE", "2")
            .env("EVENKEEL_PACE_SINCE", "0");
        let told = told.output().context("cannot run date")?.stdout;
        let told: i64 = String::from_utf8_lossy(&told).trim().parse()?;
        ensure!(
            told > now().as_second() * 3 / 2,
            "programs of this system do not take the time from a library in front of the C library"
        );
        Ok(())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: a program's clock begins where the one on the wall is"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
