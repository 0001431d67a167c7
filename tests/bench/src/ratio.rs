//! Ratios between the data plane and a peer, greater always better, and their spread. Decides.

use crate::figure::Better;

/// The goal: no less than this beside the peer.
pub const GOAL: f64 = 0.9;

/// What one alternation measured: both sides within seconds of each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The data plane's value.
    pub ours: f64,
    /// The peer's value.
    pub peer: f64,
}

impl Pair {
    /// How good the data plane is beside the peer: 2 is twice as good, whether more or less is better. NaN where a side
    /// measured nothing.
    #[must_use]
    pub fn ratio(self, better: Better) -> f64 {
        let (above, below) = match better {
            Better::More => (self.ours, self.peer),
            Better::Less => (self.peer, self.ours),
        };
        match above > 0.0 && below > 0.0 {
            true => above / below,
            false => f64::NAN,
        }
    }
}

/// The middle of some values and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle value; of an even number, the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// The spread of the values that are numbers; None when there are none.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, min, max })
    }

    /// Whether the median reaches the [`GOAL`], as it is printed: with two digits.
    #[must_use]
    pub fn reaches_goal(self) -> bool {
        (self.median * 100.0).round() >= GOAL * 100.0
    }
}

/// The value below which this share (0 to 1) of sorted values lies; the nearest one that was measured. None of nothing.
#[must_use]
pub fn percentile(sorted: &[u32], share: f64) -> Option<u32> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1).min(sorted.len().checked_sub(1)?))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greater_ratio_is_always_better() {
        for (ours, peer, better, ratio) in [
            (2.0, 1.0, Better::More, 2.0),
            (1.0, 2.0, Better::More, 0.5),
            (2.0, 1.0, Better::Less, 0.5),
            (1.0, 2.0, Better::Less, 2.0),
            (3.0, 3.0, Better::Less, 1.0),
        ] {
            assert_eq!(Pair { ours, peer }.ratio(better), ratio, "{ours} {peer}");
        }
        for (ours, peer) in [(0.0, 1.0), (1.0, 0.0), (f64::NAN, 1.0), (-1.0, 1.0)] {
            for better in [Better::More, Better::Less] {
                assert!(Pair { ours, peer }.ratio(better).is_nan(), "{ours} {peer}");
            }
        }
    }

    #[test]
    fn the_spread_is_of_what_was_measured() {
        for (values, expected) in [
            (&[1.0][..], Some((1.0, 1.0, 1.0))),
            (&[3.0, 1.0, 2.0], Some((2.0, 1.0, 3.0))),
            (&[4.0, 1.0, 3.0, 2.0], Some((2.5, 1.0, 4.0))),
            (&[f64::NAN, 5.0, f64::INFINITY], Some((5.0, 5.0, 5.0))),
            (&[], None),
            (&[f64::NAN], None),
        ] {
            let spread = Spread::of(values.iter().copied());
            let got = spread.map(|s| (s.median, s.min, s.max));
            assert_eq!(got, expected, "{values:?}");
        }
    }

    #[test]
    fn the_goal_is_judged_as_it_is_printed() {
        for (median, reached) in [(0.9, true), (0.896, true), (0.894, false), (1.2, true)] {
            let spread = Spread {
                median,
                min: 0.0,
                max: 2.0,
            };
            assert_eq!(spread.reaches_goal(), reached, "{median}");
        }
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u32> = (1..=100).collect();
        for (values, share, expected) in [
            (&hundred[..], 0.5, Some(50)),
            (&hundred, 0.99, Some(99)),
            (&hundred, 1.0, Some(100)),
            (&hundred, 0.0, Some(1)),
            (&[7], 0.99, Some(7)),
            (&[], 0.5, None),
        ] {
            assert_eq!(percentile(values, share), expected, "{share}");
        }
    }
}
