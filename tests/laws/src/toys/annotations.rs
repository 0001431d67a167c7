//! The annotations of both toys (Decides).

use evenkeel_core::{
    annotation::{Grammar, KeyDoc, KeyTable},
    intent::Intent,
    problem::{Problems, Warning},
};
use serde::{Deserialize, Serialize};

/// From which pool the address comes. Cannot be changed in place.
pub const POOL: &str = "toy.evenkeel.dev/pool";
/// After how many idle seconds a connection is closed.
pub const IDLE: &str = "toy.evenkeel.dev/idle";
/// The tier of the listeners. The cloud has only some of them.
pub const TIER: &str = "toy.evenkeel.dev/tier";

/// The keys.
pub static KEYS: KeyTable = KeyTable {
    prefixes: &["toy.evenkeel.dev/"],
    keys: &[
        KeyDoc {
            key: POOL,
            grammar: Grammar::Word(&["east", "west"]),
            default: "east",
            doc: "From which pool the address comes. A change gives up the address.",
            example: "west",
        },
        KeyDoc {
            key: IDLE,
            grammar: Grammar::Seconds { min: 1, max: 3600 },
            default: "350",
            doc: "After how many idle seconds a connection is closed.",
            example: "60",
        },
        KeyDoc {
            key: TIER,
            grammar: Grammar::Text,
            default: "standard",
            doc: "The tier of the listeners.",
            example: "standard",
        },
    ],
};

/// From which pool an address comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pool {
    /// The first.
    East,
    /// The other.
    West,
}

impl Pool {
    /// As annotations and names have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::East => "east",
            Self::West => "west",
        }
    }
}

/// What the annotations of one Service ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The pool.
    pub pool: Pool,
    /// Idle seconds.
    pub idle_seconds: u32,
    /// The tier.
    pub tier: String,
}

/// Reads the annotations of a Service: all problems at once, or the settings.
pub fn read(intent: &Intent, problems: &mut Problems) -> Option<Settings> {
    let reader = KEYS.reader(&intent.annotations);
    let pool = problems.take(reader.choice(POOL, &[("east", Pool::East), ("west", Pool::West)]));
    let idle = problems.take(reader.number(IDLE));
    let tier = problems.take(reader.text(TIER));
    Some(Settings {
        pool: pool?.unwrap_or(Pool::East),
        // The neutral key wins over the toy's own.
        idle_seconds: intent.options.idle_timeout_seconds.or(idle?).unwrap_or(350),
        tier: tier?.map_or_else(|| "standard".to_owned(), |tier| tier.to_string()),
    })
}

/// Warnings about keys of ours that nobody knows.
pub fn warnings(intent: &Intent) -> Vec<Warning> {
    KEYS.unknown(&intent.annotations)
}
