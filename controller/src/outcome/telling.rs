//! What holds of a Service, and when it is told again (Decides).
//!
//! The API server forgets an event an hour after its last write (`--event-ttl`). Whoever asks later why a Service is not
//! served shall find an answer, so what still holds is told again before. The text is part of what is told: another cause
//! is told at once.

use jiff::{SignedDuration, Timestamp};

use super::Notice;

/// When what holds is told again: with room for a busy API server before the hour is over.
pub(crate) const RENEW: SignedDuration = SignedDuration::from_mins(45);

/// How something that holds is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// When it begins.
    Once,
    /// When it begins, and again while it holds.
    Again,
    /// Only when it has held for long: that it began was told in other words.
    Later,
}

/// Something that holds.
#[derive(Clone, Debug)]
pub(super) struct Holding {
    notice: Notice,
    manner: Manner,
}

impl Holding {
    /// Told when it begins.
    pub(super) fn told_once(notice: Notice) -> Self {
        let manner = Manner::Once;
        Self { notice, manner }
    }

    /// Told when it begins, and again while it holds.
    pub(super) fn told_again(notice: Notice) -> Self {
        let manner = Manner::Again;
        Self { notice, manner }
    }

    /// Told when it has held for long. Its text may change meanwhile.
    pub(super) fn told_later(notice: Notice) -> Self {
        let manner = Manner::Later;
        Self { notice, manner }
    }

    fn is(&self, other: &Self) -> bool {
        let same_text = self.manner == Manner::Later || self.notice.note == other.notice.note;
        self.manner == other.manner && self.notice.reason == other.notice.reason && same_text
    }
}

/// What was told of what holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Tellings(Vec<Telling>);

#[derive(Clone, Debug)]
struct Telling {
    holding: Holding,
    /// When it was last told, or began.
    at: Timestamp,
    /// How often it was found since.
    times: i32,
}

impl Telling {
    fn due(&self) -> Option<Timestamp> {
        (self.holding.manner != Manner::Once)
            .then(|| self.at.checked_add(RENEW).unwrap_or(Timestamp::MAX))
    }

    /// Tells it if it is time.
    fn renewal(&mut self, now: Timestamp) -> Option<Notice> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        self.at = now;
        let times = std::mem::take(&mut self.times).max(1);
        Some(Notice {
            times,
            ..self.holding.notice.clone()
        })
    }
}

impl Tellings {
    /// What to tell now that exactly this holds: what is new, and what was told long ago.
    pub(super) fn told(&mut self, holding: Vec<Holding>, now: Timestamp) -> Vec<Notice> {
        let mut known: Vec<Telling> = Vec::new();
        let mut tell = Vec::new();
        for holding in holding {
            if known.iter().any(|known| known.holding.is(&holding)) {
                continue;
            }
            let before = self.0.iter().position(|known| known.holding.is(&holding));
            let telling = match before.map(|place| self.0.swap_remove(place)) {
                Some(before) => {
                    let times = before.times.saturating_add(1);
                    let mut telling = Telling {
                        holding,
                        times,
                        ..before
                    };
                    tell.extend(telling.renewal(now));
                    telling
                }
                None => {
                    if holding.manner != Manner::Later {
                        tell.push(holding.notice.clone());
                    }
                    Telling {
                        holding,
                        at: now,
                        times: 0,
                    }
                }
            };
            known.push(telling);
        }
        known.shrink_to_fit();
        self.0 = known;
        tell
    }

    /// What is to be told again by now, though nothing has happened.
    pub(super) fn renewals(&mut self, now: Timestamp) -> Vec<Notice> {
        self.0
            .iter_mut()
            .filter_map(|telling| telling.renewal(now))
            .collect()
    }

    /// When something is to be told again.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(Telling::due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + 60 * minutes).expect("a time")
    }

    fn warning(note: &str) -> Notice {
        Notice::warning("R", note)
    }

    fn notes(notices: Vec<Notice>) -> Vec<(String, i32)> {
        notices
            .into_iter()
            .map(|notice| (notice.note, notice.times))
            .collect()
    }

    #[test]
    fn when_what_holds_is_told() {
        let again = |note| Holding::told_again(warning(note));
        let once = |note| Holding::told_once(warning(note));
        let later = |note| Holding::told_later(warning(note));
        for (name, runs, want) in [
            (
                "again, with how often it was found",
                vec![
                    (0, vec![again("a")]),
                    (1, vec![again("a")]),
                    (44, vec![again("a")]),
                    (45, vec![again("a")]),
                    (60, vec![again("a")]),
                ],
                vec![(0, "a", 1), (45, "a", 3)],
            ),
            (
                "another cause at once, and the first when it comes back",
                vec![
                    (0, vec![again("a")]),
                    (1, vec![again("b")]),
                    (2, vec![again("a")]),
                ],
                vec![(0, "a", 1), (1, "b", 1), (2, "a", 1)],
            ),
            (
                "once",
                vec![(0, vec![once("a")]), (600, vec![once("a")])],
                vec![(0, "a", 1)],
            ),
            (
                "later, with its last text",
                vec![
                    (0, vec![later("a")]),
                    (44, vec![later("b")]),
                    (46, vec![later("c")]),
                ],
                vec![(46, "c", 2)],
            ),
            (
                "what ended in time is never told",
                vec![(0, vec![later("a")]), (44, vec![]), (46, vec![later("a")])],
                vec![],
            ),
            (
                "the same twice",
                vec![(0, vec![again("a"), again("a")])],
                vec![(0, "a", 1)],
            ),
        ] {
            let mut tellings = Tellings::default();
            let mut told = Vec::new();
            for (minutes, holding) in runs {
                let now = notes(tellings.told(holding, at(minutes)));
                told.extend(now.into_iter().map(|(note, times)| (minutes, note, times)));
            }
            let told: Vec<_> = told
                .iter()
                .map(|(minutes, note, times)| (*minutes, note.as_str(), *times))
                .collect();
            assert_eq!(told, want, "{name}");
        }
    }

    #[test]
    fn what_holds_is_told_again_though_nothing_happens() {
        let mut tellings = Tellings::default();
        assert_eq!(tellings.next(), None);
        let holding = vec![
            Holding::told_once(warning("once")),
            Holding::told_again(warning("again")),
        ];
        tellings.told(holding, at(0));
        assert_eq!(tellings.next(), Some(at(45)));
        assert_eq!(notes(tellings.renewals(at(44))), []);
        assert_eq!(notes(tellings.renewals(at(45))), [("again".to_owned(), 1)]);
        assert_eq!(tellings.next(), Some(at(90)));
    }
}
