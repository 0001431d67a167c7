//! Which target a connection goes to. Decides: no IO, no clock, no randomness.

use crate::api::Health;

/// What matters about a target that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) health: Health,
    /// Connections open now.
    pub(crate) open: u64,
    /// This connection tried it already.
    pub(crate) tried: bool,
}

/// The index of the target with the fewest open connections.
///
/// Among equals it is the next one from `cursor` on, so that short connections go round. Targets that were never
/// probed are chosen only when none is healthy; unhealthy ones never.
pub(crate) fn choose(cursor: usize, candidates: &[Candidate]) -> Option<usize> {
    let count = candidates.len();
    let best_of = |health: Health| {
        (0..count)
            .map(|step| (cursor % count + step) % count)
            .filter(|index| candidates[*index].health == health && !candidates[*index].tried)
            .min_by_key(|index| candidates[*index].open)
    };
    let any_healthy = candidates
        .iter()
        .any(|candidate| candidate.health == Health::Healthy);
    best_of(if any_healthy {
        Health::Healthy
    } else {
        Health::Initial
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `h3` is a healthy target with three connections, `h3!` one that was tried.
    fn candidates(text: &str) -> Vec<Candidate> {
        text.split_whitespace()
            .map(|word| Candidate {
                health: match word.as_bytes()[0] {
                    b'h' => Health::Healthy,
                    b'i' => Health::Initial,
                    _ => Health::Unhealthy,
                },
                open: word[1..].trim_end_matches('!').parse().expect("a number"),
                tried: word.ends_with('!'),
            })
            .collect()
    }

    #[test]
    fn the_least_busy_healthy_target_is_chosen() {
        for (name, cursor, targets, want) in [
            ("none", 0, "", None),
            ("one", 7, "h0", Some(0)),
            ("fewest", 0, "h3 h1 h2", Some(1)),
            ("equals go round", 1, "h0 h0 h0", Some(1)),
            ("and wrap", 5, "h0 h0 h0", Some(2)),
            ("fewest wins over the turn", 2, "h0 h1 h1", Some(0)),
            ("unhealthy never", 0, "u0 h5", Some(1)),
            ("all unhealthy", 0, "u0 u0", None),
            ("unknown only without healthy ones", 0, "i0 h5", Some(1)),
            ("unknown at last", 0, "u0 i5 i4", Some(2)),
            ("tried ones are skipped", 0, "h0! h1", Some(1)),
            (
                "a tried healthy one does not let unknown ones in",
                0,
                "h0! i0",
                None,
            ),
        ] {
            assert_eq!(choose(cursor, &candidates(targets)), want, "{name}");
        }
    }

    #[test]
    fn many_connections_spread_evenly() {
        for hold in [true, false] {
            let mut targets = candidates("h0 h0 h0");
            let mut served = [0; 3];
            let mut cursor = 0;
            for _ in 0..300 {
                let index = choose(cursor, &targets).expect("a target");
                cursor = index + 1;
                served[index] += 1;
                targets[index].open += u64::from(hold);
            }
            assert_eq!(served, [100; 3], "hold: {hold}");
        }
    }
}
