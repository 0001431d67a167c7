//! When a target is healthy. Decides: no IO, no clock.

use crate::api::{Health, HealthCheck};

/// The opinion about one target, formed from the results of its probe.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judge {
    health: Health,
    /// Results in a row that speak against `health`.
    against: u8,
    /// Until the first result, `health` is what was believed before this probe was there.
    probed: bool,
}

impl Judge {
    /// A judge who has seen nothing yet and starts from what was believed so far.
    pub(crate) fn new(believed: Health) -> Self {
        Self {
            health: believed,
            against: 0,
            probed: false,
        }
    }

    /// Takes one result into account and returns the health after it.
    pub(crate) fn observe(&mut self, succeeded: bool, check: &HealthCheck) -> Health {
        let says = if succeeded {
            Health::Healthy
        } else {
            Health::Unhealthy
        };
        let needed = match says {
            _ if !self.probed => 1,
            Health::Healthy => check.rise,
            Health::Unhealthy | Health::Initial => check.fall,
        };
        self.probed = true;
        if says == self.health {
            self.against = 0;
        } else {
            self.against = self.against.saturating_add(1);
            if self.against >= needed {
                self.health = says;
                self.against = 0;
            }
        }
        self.health
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::HealthCheckKind;

    #[test]
    fn health_follows_the_results() {
        let check = HealthCheck {
            kind: HealthCheckKind::Tcp,
            port: None,
            interval_ms: 100,
            timeout_ms: 50,
            rise: 2,
            fall: 3,
        };
        for (name, believed, results, want) in [
            ("nothing seen", Health::Initial, "", "i"),
            ("the first success decides", Health::Initial, "+", "ih"),
            ("the first failure decides", Health::Initial, "-", "iu"),
            ("falls after three", Health::Initial, "+---", "ihhhu"),
            (
                "a success starts over",
                Health::Initial,
                "+--+--",
                "ihhhhhh",
            ),
            ("rises after two", Health::Initial, "-++", "iuuh"),
            ("a failure starts over", Health::Initial, "-+-+", "iuuuu"),
            ("believed until probed", Health::Healthy, "-", "hu"),
            ("believed and confirmed", Health::Unhealthy, "-++", "uuuh"),
        ] {
            let mut judge = Judge::new(believed);
            let seen: Vec<Health> = std::iter::once(believed)
                .chain(
                    results
                        .chars()
                        .map(|result| judge.observe(result == '+', &check)),
                )
                .collect();
            let seen: String = seen
                .into_iter()
                .map(|health| match health {
                    Health::Initial => 'i',
                    Health::Healthy => 'h',
                    Health::Unhealthy => 'u',
                })
                .collect();
            assert_eq!(seen, want, "{name}");
        }
    }
}
