//! What the process runs with, checked at the door (Decides).
//!
//! Flags and variables win over the file, the file over the defaults. Every mistake of every source is found in one
//! pass and names the option, its value, what is allowed and what to do. A [`Config`] holds valid values only, and no
//! `Option` that has a default.

mod aws;
mod azure;
mod cloud;
mod file;
mod home;
mod local;
mod publishing;
mod sources;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use evenkeel_core::{
    annotation::nearest,
    claim::{ClaimRules, ClassRule, Profile},
    ids::ProviderName,
    problem::{Problem, Problems},
};
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;

pub use aws::AwsConfig;
pub use azure::AzureConfig;
pub use cloud::CloudConfig;
pub use home::HomeConfig;
pub use local::{LocalConfig, Outside, Start, Surroundings};
pub use sources::File;
use sources::{Given, Sources};

use crate::args::{DataplaneArgs, RunArgs};

/// The providers that this program has.
pub const KNOWN_PROVIDERS: [&str; 3] = ["aws", "azure", "local"];

/// Those that need to be told nothing: they find where they are.
pub const SELF_EVIDENT_PROVIDERS: [&str; 2] = ["aws", "local"];

/// Changes of nodes are gathered for at most this many times the debounce: a cluster where nodes come and go all the
/// time must be served too.
const LONGEST_DEBOUNCE: u32 = 5;

/// What `evenkeel run` runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The kubeconfig; None: as kubectl finds it, else the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Its context; None: the current one.
    pub context: Option<String>,
    /// Where the controller's own objects are.
    pub home: HomeConfig,
    /// Name of the cluster, for people.
    pub cluster_name: String,
    /// Which Services are ours. `enabled` are the providers that run.
    pub rules: ClaimRules,
    /// Where health, readiness and metrics are told; None: nowhere.
    pub listen: Option<SocketAddr>,
    /// How many groups are worked on at a time.
    pub workers: usize,
    /// How long the nodes must be quiet before a change is acted on.
    pub node_debounce: Duration,
    /// How long that may put a change off.
    pub node_debounce_longest: Duration,
    /// How often each group is looked at though nothing changed.
    pub resync: Duration,
    /// What is logged.
    pub log: LogConfig,
    /// How clouds are reached.
    pub cloud: CloudConfig,
    /// The `aws` provider.
    pub aws: AwsConfig,
    /// The `azure` provider; None where it does not run.
    pub azure: Option<AzureConfig>,
    /// The `local` provider.
    pub local: LocalConfig,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A filter that parses.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// What `evenkeel dataplane` runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct DataplaneConfig {
    /// What is logged.
    pub log: LogConfig,
    /// The data plane.
    pub local: LocalConfig,
}

impl Config {
    /// The configuration of `evenkeel run`.
    ///
    /// # Errors
    /// Everything that is wrong, in all sources.
    pub fn of_run(
        args: &RunArgs,
        file: Option<&File>,
        around: &Surroundings,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        let sources = Sources::of_run(args, file, &mut problems);
        let rules = claim_rules(&sources, &mut problems);
        let debounce = duration(
            &sources,
            "node-debounce",
            Duration::from_secs(2),
            &mut problems,
        );
        let cloud = CloudConfig::read(&sources, &mut problems);
        let config = Self {
            kubeconfig: sources.text("kubeconfig").map(PathBuf::from),
            context: sources.text("context").map(str::to_owned),
            home: HomeConfig::read(&sources, around, &mut problems),
            cluster_name: sources
                .text("cluster-name")
                .unwrap_or("kubernetes")
                .to_owned(),
            rules,
            listen: listen(&sources, &mut problems),
            workers: workers(&sources, &mut problems),
            node_debounce: debounce,
            node_debounce_longest: debounce * LONGEST_DEBOUNCE,
            resync: duration(&sources, "resync", Duration::from_secs(600), &mut problems),
            log: log(&sources, &mut problems),
            aws: AwsConfig::read(&sources, &mut problems),
            azure: AzureConfig::read(&sources, around, &cloud, &mut problems),
            cloud,
            local: LocalConfig::read(&sources, around, &mut problems),
        };
        problems.check()?;
        Ok(config)
    }
}

impl DataplaneConfig {
    /// The configuration of `evenkeel dataplane`.
    ///
    /// # Errors
    /// Everything that is wrong, in all sources.
    pub fn of_dataplane(
        args: &DataplaneArgs,
        file: Option<&File>,
        around: &Surroundings,
    ) -> Result<Self, Problems> {
        let mut problems = Problems::none();
        let sources = Sources::of_dataplane(args, file, &mut problems);
        let config = Self {
            log: log(&sources, &mut problems),
            local: LocalConfig::read(&sources, around, &mut problems),
        };
        problems.check()?;
        Ok(config)
    }
}

fn claim_rules(sources: &Sources, problems: &mut Problems) -> ClaimRules {
    let named = sources.texts("provider");
    let mut enabled = Vec::new();
    for Given { place, text } in named {
        if KNOWN_PROVIDERS.contains(&text.as_str()) {
            enabled.push(ProviderName::from(text.as_str()));
        } else {
            problems.push(unknown_provider(place, text));
        }
    }
    if named.is_empty() {
        let message = format!("must name at least one of {}", KNOWN_PROVIDERS.join(", "));
        problems.push(Problem::new(
            "--provider",
            "",
            message,
            "Say for example --provider local.",
        ));
    }
    let mut rules = ClaimRules::new(enabled);
    if let Some(Given { place, text }) = sources.given("default-provider")
        && let Some(rule) = problems.take(class_rule(place, text, text, &rules))
    {
        rules = rules.with_default(rule);
    }
    let mut places: BTreeMap<&str, &str> = BTreeMap::new();
    for Given { place, text } in sources.texts("class") {
        let Some((class, rule)) = problems.take(class(place, text, &rules)) else {
            continue;
        };
        if places
            .insert(class, text)
            .is_some_and(|before| before != text)
        {
            let message = "maps a class that another value maps to something else";
            problems.push(Problem::new(place, text, message, "Keep one of the two."));
        }
        rules = rules.with_class(class, rule);
    }
    rules
}

fn unknown_provider(place: &str, text: &str) -> Problem {
    let advice = match nearest(text, KNOWN_PROVIDERS) {
        Some(near) => format!("Did you mean {near}?"),
        None => "Name one of these.".to_owned(),
    };
    Problem::new(
        place,
        text,
        format!("must be one of {}", KNOWN_PROVIDERS.join(", ")),
        advice,
    )
}

fn enabled_provider(
    place: &str,
    value: &str,
    name: &str,
    rules: &ClaimRules,
) -> Result<ProviderName, Problem> {
    let provider = ProviderName::from(name);
    if rules.enabled.contains(&provider) {
        return Ok(provider);
    }
    if KNOWN_PROVIDERS.contains(&name) {
        let advice = format!("Add --provider {name}, or name another.");
        return Err(Problem::new(
            place,
            value,
            format!("names the provider {name}, which does not run here"),
            advice,
        ));
    }
    Err(unknown_provider(place, name))
}

/// The profiles, as they are written.
const PROFILES: [(&str, Profile); 4] = [
    ("neutral", Profile::Neutral),
    ("ccm", Profile::Ccm),
    ("lbc", Profile::Lbc),
    ("azure", Profile::Azure),
];

/// Reads `CLASS=PROVIDER[:PROFILE]`.
fn class<'a>(
    place: &str,
    text: &'a str,
    rules: &ClaimRules,
) -> Result<(&'a str, ClassRule), Problem> {
    let Some((class, rule)) = text
        .split_once('=')
        .filter(|(class, rule)| !class.is_empty() && !rule.is_empty())
    else {
        let advice = "Write it as service.k8s.aws/nlb=local:lbc.";
        return Err(Problem::new(
            place,
            text,
            "must be CLASS=PROVIDER or CLASS=PROVIDER:PROFILE",
            advice,
        ));
    };
    Ok((class.trim(), class_rule(place, text, rule, rules)?))
}

/// Reads `PROVIDER[:PROFILE]`, a part of `value`.
fn class_rule(
    place: &str,
    value: &str,
    rule: &str,
    rules: &ClaimRules,
) -> Result<ClassRule, Problem> {
    let (provider, profile) = match rule.split_once(':') {
        Some((provider, profile)) => (provider, profile),
        None => (rule, "neutral"),
    };
    let provider = enabled_provider(place, value, provider, rules)?;
    let names = PROFILES.map(|(name, _)| name);
    let Some((_, profile)) = PROFILES.into_iter().find(|(name, _)| *name == profile) else {
        let advice = match nearest(profile, names) {
            Some(near) => format!("Did you mean {near}?"),
            None => "Leave the profile out for neutral.".to_owned(),
        };
        return Err(Problem::new(
            place,
            value,
            format!("must name one of the profiles {}", names.join(", ")),
            advice,
        ));
    };
    Ok(ClassRule { provider, profile })
}

fn listen(sources: &Sources, problems: &mut Problems) -> Option<SocketAddr> {
    let default = SocketAddr::from(([127, 0, 0, 1], 10290));
    let Some(Given { place, text }) = sources.given("listen") else {
        return Some(default);
    };
    if text == "off" {
        return None;
    }
    let address = text.parse().map_err(|_| {
        Problem::new(
            place,
            text,
            "must be ADDRESS:PORT, or off",
            "Write it as 127.0.0.1:10290, or [::1]:10290.",
        )
    });
    problems.take(address).or(Some(default))
}

fn workers(sources: &Sources, problems: &mut Problems) -> usize {
    const MOST: usize = 256;
    let Some(Given { place, text }) = sources.given("workers") else {
        return 8;
    };
    let workers = text
        .parse()
        .ok()
        .filter(|workers| (1..=MOST).contains(workers))
        .ok_or_else(|| {
            Problem::new(
                place,
                text,
                format!("must be a number from 1 to {MOST}"),
                "Leave it out for 8.",
            )
        });
    problems.take(workers).unwrap_or(8)
}

/// Reads `2s`, `10m`, `1h 30m`.
fn duration(
    sources: &Sources,
    key: &'static str,
    default: Duration,
    problems: &mut Problems,
) -> Duration {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let Some(Given { place, text }) = sources.given(key) else {
        return default;
    };
    let read = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|read| Duration::try_from(read).ok());
    let read = read
        .filter(|read| !read.is_zero() && *read <= LONGEST)
        .ok_or_else(|| {
            let advice = format!(
                "Write it as 2s, 500ms, 10m or 1h 30m; leave it out for {}s.",
                default.as_secs()
            );
            Problem::new(
                place,
                text,
                "must be a duration of more than nothing and at most a day",
                advice,
            )
        });
    problems.take(read).unwrap_or(default)
}

fn log(sources: &Sources, problems: &mut Problems) -> LogConfig {
    let filter = match sources.given("log") {
        None => "info".to_owned(),
        Some(Given { place, text }) => {
            let advice = "Write a level (error, warn, info, debug, trace), or MODULE=LEVEL parts with commas between them.";
            let read = EnvFilter::try_new(text).map(|_| text.clone());
            let read = read.map_err(|_| Problem::new(place, text, "must be a log filter", advice));
            problems.take(read).unwrap_or_default()
        }
    };
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = word(sources, "log-format", &formats, problems).unwrap_or(LogFormat::Text);
    LogConfig { filter, format }
}

/// Reads one of a few words.
fn word<T: Copy>(
    sources: &Sources,
    key: &'static str,
    words: &[(&str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let Given { place, text } = sources.given(key)?;
    let found = words
        .iter()
        .find(|(word, _)| word == text)
        .map(|(_, meaning)| *meaning);
    let names: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let found = found.ok_or_else(|| {
        let advice = match nearest(text, names.iter().copied()) {
            Some(near) => format!("Did you mean {near}?"),
            None => format!("Leave it out for {}.", names[0]),
        };
        Problem::new(
            place,
            text,
            format!("must be one of {}", names.join(", ")),
            advice,
        )
    });
    problems.take(found)
}
