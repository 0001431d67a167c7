//! Tells whoever waits what takes so long: a bar on a terminal, plain lines elsewhere. Writes to standard error.
//!
//! Standard error is written directly, so that a `cargo test` that builds the control plane for minutes does not look hung.
//! Nothing is said where nothing takes long.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Pause between two plain lines about one task.
const LINE_INTERVAL: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Bars,
    Lines,
    Quiet,
}

/// Where progress is told.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    mode: Mode,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Bars if standard error is a terminal, lines otherwise.
    #[must_use]
    pub fn new() -> Self {
        let mode = match std::io::stderr().is_terminal() {
            true => Mode::Bars,
            false => Mode::Lines,
        };
        Self { mode }
    }

    /// Plain lines, whatever standard error is.
    #[must_use]
    pub fn lines() -> Self {
        Self { mode: Mode::Lines }
    }

    /// Says nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self { mode: Mode::Quiet }
    }

    /// One line that stays. Not to be called while a [`Task`] of this process is under way: use [`Task::note`].
    pub fn note(&self, line: &str) {
        if self.mode != Mode::Quiet {
            print(line);
        }
    }

    /// Starts to tell about something that takes a while. `expected` is how many units of work it has, if known;
    /// an estimate will do.
    #[must_use]
    pub fn task(&self, what: impl Into<String>, expected: Option<u64>) -> Task {
        let what = what.into();
        let bar = match self.mode {
            Mode::Bars => Some(bar(&what, expected)),
            Mode::Lines => {
                print(&format!("{what} ..."));
                None
            }
            Mode::Quiet => None,
        };
        let now = Instant::now();
        Task {
            what,
            bar,
            mode: self.mode,
            started: now,
            told: now,
        }
    }
}

/// Something that takes a while. Dropped without [`Task::done`], it ends without a word.
#[derive(Debug)]
pub struct Task {
    what: String,
    bar: Option<ProgressBar>,
    mode: Mode,
    started: Instant,
    told: Instant,
}

impl Task {
    /// `units` of work are done; `detail` says of what, for people: `412 packages`.
    pub fn at(&mut self, units: u64, detail: &str) {
        if let Some(bar) = &self.bar {
            if bar.length().is_some_and(|length| units > length) {
                bar.set_length(units);
            }
            bar.set_position(units);
            bar.set_message(detail.to_owned());
        } else if self.mode == Mode::Lines && self.told.elapsed() >= LINE_INTERVAL {
            self.told = Instant::now();
            print(&format!(
                "{}: {detail}, {} s",
                self.what,
                self.started.elapsed().as_secs()
            ));
        }
    }

    /// One line that stays, above the bar.
    pub fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print(line)),
            None if self.mode == Mode::Lines => print(line),
            None => {}
        }
    }

    /// It worked; says how long it took.
    pub fn done(self) {
        let line = format!(
            "{}: {:.1} s",
            self.what,
            self.started.elapsed().as_secs_f64()
        );
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.mode != Mode::Quiet {
            print(&line);
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &str, expected: Option<u64>) -> ProgressBar {
    let (bar, template) = match expected {
        Some(length) => (
            ProgressBar::new(length),
            "{prefix} [{bar:24}] {elapsed} {wide_msg}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{prefix} {spinner} {elapsed} {wide_msg}",
        ),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn print(line: &str) {
    // Who closed standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "{line}");
}
