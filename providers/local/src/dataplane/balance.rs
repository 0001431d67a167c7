//! Which target a connection goes to. Decides: no IO, no clock, no randomness.

use super::health::Standing;

/// What matters about a target that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) standing: Standing,
    /// Connections open now.
    pub(crate) open: u64,
    /// This connection tried it already.
    pub(crate) tried: bool,
}

/// The index of the target with the fewest open connections.
///
/// Among equals it is the next one from `cursor` on, so that short connections go round. A flapping target is chosen
/// when no healthy one is left to try, one that was never probed only when none answers at all; unhealthy ones never.
pub(crate) fn choose(cursor: usize, candidates: &[Candidate]) -> Option<usize> {
    let count = candidates.len();
    let best_of = |standing: Standing| {
        (0..count)
            .map(|step| (cursor % count + step) % count)
            .filter(|index| candidates[*index].standing == standing && !candidates[*index].tried)
            .min_by_key(|index| candidates[*index].open)
    };
    let any = |standing| {
        candidates
            .iter()
            .any(|candidate| candidate.standing == standing)
    };
    if any(Standing::Healthy) || any(Standing::Flapping) {
        best_of(Standing::Healthy).or_else(|| best_of(Standing::Flapping))
    } else {
        best_of(Standing::Initial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `h3` is a healthy target with three connections, `h3!` one that was tried.
    fn candidates(text: &str) -> Vec<Candidate> {
        text.split_whitespace()
            .map(|word| Candidate {
                standing: match word.as_bytes()[0] {
                    b'h' => Standing::Healthy,
                    b'f' => Standing::Flapping,
                    b'i' => Standing::Initial,
                    _ => Standing::Unhealthy,
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
            ("flapping only without healthy ones", 0, "f0 h5", Some(1)),
            ("flapping as a last resort", 0, "u0 f5 i0 f4", Some(3)),
            (
                "also when the healthy ones did not answer",
                0,
                "h0! f9",
                Some(1),
            ),
            ("flapping ones were tried too", 0, "h0! f9! i0", None),
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
