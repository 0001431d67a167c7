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

/// Healthy targets that are compared for one connection. The least busy one of so many is hardly busier than the least
/// busy one of all, and looking at thousands for each connection would cost more than the connection.
const COMPARED: usize = 64;

/// The index of the target with the fewest open connections, of `count` targets that `look` tells of.
///
/// Among equals it is the next one from `cursor` on, so that short connections go round. A flapping target is chosen
/// when no healthy one is left to try, one that was never probed only when none answers at all; unhealthy ones never.
pub(crate) fn choose(
    cursor: usize,
    count: usize,
    look: impl Fn(usize) -> Candidate,
) -> Option<usize> {
    let [mut healthy, mut flapping, mut initial] = [None; 3];
    let mut any_answers = false;
    let mut compared = 0;
    for step in 0..count {
        let index = (cursor % count + step) % count;
        let Candidate {
            standing,
            open,
            tried,
        } = look(index);
        let best = match standing {
            Standing::Healthy => &mut healthy,
            Standing::Flapping => &mut flapping,
            Standing::Initial => &mut initial,
            Standing::Unhealthy => continue,
        };
        any_answers |= standing != Standing::Initial;
        if tried {
            continue;
        }
        if best.is_none_or(|(fewest, _)| open < fewest) {
            *best = Some((open, index));
        }
        if standing == Standing::Healthy {
            compared += 1;
            if open == 0 || compared == COMPARED {
                break;
            }
        }
    }
    healthy
        .or(flapping)
        .or(initial.filter(|_| !any_answers))
        .map(|(_, index)| index)
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

    fn choose_of(cursor: usize, candidates: &[Candidate]) -> Option<usize> {
        choose(cursor, candidates.len(), |index| candidates[index])
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
            assert_eq!(choose_of(cursor, &candidates(targets)), want, "{name}");
        }
    }

    #[test]
    fn many_connections_spread_evenly() {
        for hold in [true, false] {
            let mut targets = candidates("h0 h0 h0");
            let mut served = [0; 3];
            let mut cursor = 0;
            for _ in 0..300 {
                let index = choose_of(cursor, &targets).expect("a target");
                cursor = index + 1;
                served[index] += 1;
                targets[index].open += u64::from(hold);
            }
            assert_eq!(served, [100; 3], "hold: {hold}");
        }
    }

    #[test]
    fn of_very_many_targets_some_are_compared() {
        let looked = std::cell::Cell::new(0);
        let choose_of = |cursor, targets: &[Candidate]| {
            looked.set(0);
            choose(cursor, targets.len(), |index| {
                looked.set(looked.get() + 1);
                targets[index]
            })
        };
        let mut targets = candidates(&"h1 ".repeat(1_000));
        assert_eq!((choose_of(990, &targets), looked.get()), (Some(990), 64));
        targets[20].open = 0;
        assert_eq!((choose_of(990, &targets), looked.get()), (Some(20), 31));
        // Those that may not be chosen do not stand in the way of one that may.
        let mut targets = candidates(&format!("{} h5 i0", "u0 h0! f0 i0 ".repeat(250)));
        assert_eq!(choose_of(0, &targets), Some(1_000));
        targets[1_000].tried = true;
        assert_eq!(choose_of(0, &targets), Some(2));
    }
}
