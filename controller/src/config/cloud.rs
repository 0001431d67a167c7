//! How clouds are reached, whichever they are (Decides).
//!
//! Proxies are read from `HTTPS_PROXY` and `NO_PROXY`, as by everything else in a pod, and have no option here.

use std::{ops::RangeInclusive, path::PathBuf};

use evenkeel_core::{
    limiter::Rate,
    problem::{Problem, Problems},
};

use super::{
    sources::{Given, Sources},
    word,
};

/// The rates that may be asked for, calls a second, or calls at once.
const RATES: RangeInclusive<f64> = 0.1..=10_000.0;

/// What is wrong with a text, and what to do.
pub(super) type Wrong = (&'static str, &'static str);

/// How clouds are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudConfig {
    /// A file with certificates, in PEM, of authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether endpoints that are validated under FIPS 140 are asked. None: as the cloud's own tools are told.
    pub fips: Option<bool>,
}

impl CloudConfig {
    pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Self {
        Self {
            ca_file: sources.text("ca-file").map(PathBuf::from),
            fips: word(sources, "fips", &[("on", true), ("off", false)], problems),
        }
    }
}

/// A text that has the right form.
pub(super) fn checked(
    sources: &Sources,
    key: &'static str,
    problems: &mut Problems,
    wrong: fn(&str) -> Option<Wrong>,
) -> Option<String> {
    let Given { place, text } = sources.given(key)?;
    if let Some((message, advice)) = wrong(text) {
        problems.push(Problem::new(place, text, message, advice));
        return None;
    }
    Some(text.clone())
}

pub(super) fn endpoint(text: &str) -> Option<Wrong> {
    let good = text.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
    });
    (!good).then_some((
        "must be a URL with http or https",
        "Write it as http://127.0.0.1:5555, or leave it out for the cloud itself.",
    ))
}

/// Reads `Team=edge`.
pub(super) fn pair<'a>(given: &'a Given, problems: &mut Problems) -> Option<(&'a str, &'a str)> {
    let Given { place, text } = given;
    let pair = text.split_once('=');
    let pair = pair.map(|(key, value)| (key.trim(), value.trim()));
    let pair = pair.filter(|(key, _)| !key.is_empty());
    let pair = pair
        .ok_or_else(|| Problem::new(place, text, "must be KEY=VALUE", "Write it as Team=edge."));
    problems.take(pair)
}

/// Reads `elb=10` and `elb=10:40` into the rate of that name, which is one of `names`.
pub(super) fn rate<'a>(
    Given { place, text }: &Given,
    names: &[&str],
    named: impl FnOnce(&str) -> Option<&'a mut Rate>,
    problems: &mut Problems,
) {
    let number = |text: &str| {
        let number = text.trim().parse().ok();
        number.filter(|number| RATES.contains(number))
    };
    let read = text.split_once('=').and_then(|(name, rate)| {
        let (per_second, burst) = match rate.split_once(':') {
            Some((rate, burst)) => (number(rate)?, Some(number(burst).filter(|n| *n >= 1.0)?)),
            None => (number(rate)?, None),
        };
        Some((named(name.trim())?, per_second, burst))
    });
    match read {
        Some((rate, per_second, burst)) => {
            *rate = rate.at(per_second);
            rate.burst = burst.unwrap_or(rate.burst);
        }
        None => problems.push(Problem::new(
            place,
            text,
            format!(
                "must be one of {} with a number of calls a second from 0.1 to 10000, and with how many at once after a rest, if \
                 you like",
                names.join(", ")
            ),
            format!(
                "Write it as {0}=6 or {0}=6:20; keep to a part of what the cloud allows, which others use too.",
                names[0]
            ),
        )),
    }
}
