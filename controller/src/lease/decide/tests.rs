//! Who leads, case by case. Times are seconds after the beginning.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

fn pace() -> Pace {
    Pace::of(Duration::from_secs(15))
}

/// Times by their number.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }
    fn at(&self, seconds: u64) -> Instant {
        self.0 + Duration::from_secs(seconds)
    }
}

fn held(holder: &str, version: &str) -> Record {
    Record {
        holder: Some(holder.into()),
        lease: Some(Duration::from_secs(15)),
        meta: ObjectMeta {
            resource_version: Some(version.into()),
            ..ObjectMeta::default()
        },
        ..Record::default()
    }
}

fn free(version: &str) -> Record {
    Record {
        holder: None,
        ..held("", version)
    }
}

fn take(seen: &Record, taking: Taking) -> Step {
    Step::Take {
        seen: seen.clone(),
        taking,
    }
}

fn renew(version: &str) -> Step {
    Step::Renew {
        seen: held("us", version),
    }
}

/// One who knows this since the beginning.
fn standby(clock: &Clock, seen: Option<Record>) -> Election {
    let mut election = Election::new("us", pace());
    election.read(seen, clock.at(0));
    election
}

/// One who leads since the beginning.
fn leader(clock: &Clock) -> Election {
    let mut election = standby(clock, None);
    election.decide(clock.at(0));
    assert_eq!(
        election.wrote(held("us", "1"), clock.at(0)),
        Some(Taking::Free)
    );
    election
}

#[test]
fn the_times_are_those_of_kubernetes() {
    let seconds = Duration::from_secs;
    assert_eq!(
        pace(),
        Pace {
            lease: seconds(15),
            deadline: seconds(10),
            retry: seconds(2),
            answer: seconds(3)
        }
    );
}

#[test]
fn a_standby_takes_what_is_free_and_waits_for_what_is_not() {
    let clock = Clock::start();
    let short = Record {
        lease: Some(Duration::from_secs(5)),
        ..held("them", "1")
    };
    let unsaid = Record {
        lease: None,
        ..held("them", "1")
    };
    let skewed = |seconds: i64| Record {
        renewed: Some(jiff::Timestamp::from_second(seconds).expect("a time")),
        ..held("them", "1")
    };
    for (name, seen, at, want) in [
        ("absent", None, 0, Step::Create(Taking::Free)),
        ("free", Some(free("1")), 0, take(&free("1"), Taking::Free)),
        ("held", Some(held("them", "1")), 0, Step::Wait(clock.at(15))),
        (
            "held, still",
            Some(held("them", "1")),
            14,
            Step::Wait(clock.at(15)),
        ),
        (
            "silent",
            Some(held("them", "1")),
            15,
            take(&held("them", "1"), Taking::Unreleased),
        ),
        (
            "silent for as long as it asked",
            Some(short.clone()),
            5,
            take(&short, Taking::Unreleased),
        ),
        (
            "silent, without a duration",
            Some(unsaid.clone()),
            14,
            Step::Wait(clock.at(15)),
        ),
        (
            "silent, without a duration, long",
            Some(unsaid.clone()),
            15,
            take(&unsaid, Taking::Unreleased),
        ),
        (
            "its clock is far behind",
            Some(skewed(1)),
            14,
            Step::Wait(clock.at(15)),
        ),
        (
            "its clock is far ahead",
            Some(skewed(99_999_999_999)),
            15,
            take(&skewed(99_999_999_999), Taking::Unreleased),
        ),
    ] {
        assert_eq!(standby(&clock, seen).decide(clock.at(at)), want, "{name}");
    }
    assert_eq!(
        Election::new("us", pace()).decide(clock.at(0)),
        Step::Look,
        "nothing known"
    );
}

#[test]
fn every_renewal_that_is_seen_gives_the_holder_its_time_anew() {
    let clock = Clock::start();
    for (name, second, want) in [
        ("renewed", held("them", "2"), Step::Wait(clock.at(25))),
        (
            "another holder",
            held("others", "2"),
            Step::Wait(clock.at(25)),
        ),
        (
            "told again",
            held("them", "1"),
            take(&held("them", "1"), Taking::Unreleased),
        ),
        ("released", free("2"), take(&free("2"), Taking::Free)),
    ] {
        let mut election = standby(&clock, Some(held("them", "1")));
        election.told(Some(second), clock.at(10));
        assert_eq!(election.decide(clock.at(15)), want, "{name}");
    }
}

#[test]
fn a_lease_deleted_under_its_holder_is_left_alone_for_as_long_as_it_lasts() {
    let clock = Clock::start();
    let mut election = standby(&clock, Some(held("them", "1")));
    election.told(None, clock.at(1));
    assert_eq!(election.decide(clock.at(1)), Step::Wait(clock.at(15)));
    assert_eq!(
        election.decide(clock.at(15)),
        Step::Create(Taking::Unreleased)
    );
}

#[test]
fn a_write_that_meets_another_version_is_followed_by_a_look() {
    let clock = Clock::start();
    for (name, seen, want) in [
        (
            "another was faster",
            held("them", "2"),
            Step::Wait(clock.at(15)),
        ),
        (
            "somebody labelled it",
            free("2"),
            take(&free("2"), Taking::Free),
        ),
    ] {
        let mut election = standby(&clock, Some(free("1")));
        election.decide(clock.at(0));
        election.conflicted();
        assert_eq!(election.decide(clock.at(0)), Step::Look, "{name}");
        election.read(Some(seen), clock.at(0));
        assert_eq!(election.decide(clock.at(0)), want, "{name}");
    }
    let mut election = leader(&clock);
    election.conflicted();
    assert_eq!(election.decide(clock.at(2)), Step::Look);
    election.read(Some(held("us", "9")), clock.at(2));
    assert_eq!(election.decide(clock.at(2)), renew("9"), "it is still ours");
}

#[test]
fn a_lost_answer_does_not_hide_from_whom_the_lead_was_taken() {
    let clock = Clock::start();
    for (name, first, at, want) in [
        ("free", free("1"), 0, Taking::Free),
        ("silent", held("them", "1"), 15, Taking::Unreleased),
    ] {
        let mut election = standby(&clock, Some(first.clone()));
        assert_eq!(election.decide(clock.at(at)), take(&first, want), "{name}");
        election.failed(clock.at(at));
        election.told(Some(held("us", "2")), clock.at(at));
        assert_eq!(
            election.decide(clock.at(at)),
            Step::Wait(clock.at(at + 2)),
            "{name}"
        );
        let again = take(&held("us", "2"), want);
        assert_eq!(election.decide(clock.at(at + 2)), again, "{name}");
        assert_eq!(
            election.wrote(held("us", "3"), clock.at(at + 2)),
            Some(want),
            "{name}"
        );
    }
}

#[test]
fn a_leader_renews_in_time_and_gives_up_in_time() {
    let clock = Clock::start();
    let mut election = leader(&clock);
    for (at, want) in [
        (0, Step::Wait(clock.at(2))),
        (2, renew("1")),
        (9, renew("1")),
        (10, Step::Lost(Loss::NotRenewed(Duration::from_secs(10)))),
        (99, Step::Lost(Loss::NotRenewed(Duration::from_secs(10)))),
    ] {
        assert_eq!(election.decide(clock.at(at)), want, "at {at}");
    }
}

#[test]
fn a_renewal_counts_from_when_it_was_begun() {
    let clock = Clock::start();
    let mut election = leader(&clock);
    assert_eq!(election.wrote(held("us", "2"), clock.at(2)), None);
    assert_eq!(election.ends(), Some(clock.at(12)));
    assert_eq!(
        election.decide(clock.at(5)),
        renew("2"),
        "three seconds for the answer"
    );
    assert_eq!(election.wrote(held("us", "3"), clock.at(1)), None);
    assert_eq!(election.ends(), Some(clock.at(12)), "never brought nearer");
    let mut stopped = leader(&clock);
    stopped.wrote(held("us", "2"), clock.at(2));
    assert!(
        matches!(stopped.decide(clock.at(60)), Step::Lost(_)),
        "an answer that was long on its way is no right to write"
    );
}

#[test]
fn while_the_api_server_is_away_a_leader_tries_until_its_end() {
    let clock = Clock::start();
    let mut election = leader(&clock);
    election.failed(clock.at(2));
    assert_eq!(election.decide(clock.at(2)), Step::Wait(clock.at(4)));
    assert_eq!(election.decide(clock.at(4)), renew("1"));
    election.failed(clock.at(9));
    assert_eq!(election.decide(clock.at(9)), Step::Wait(clock.at(10)));
    assert!(matches!(election.decide(clock.at(10)), Step::Lost(_)));
    let mut standby = Election::new("us", pace());
    standby.failed(clock.at(0));
    assert_eq!(standby.decide(clock.at(0)), Step::Wait(clock.at(2)));
    assert_eq!(standby.decide(clock.at(2)), Step::Look);
}

#[test]
fn a_leader_that_hears_of_another_looks_and_then_knows() {
    let clock = Clock::start();
    for (name, news, there, want) in [
        (
            "stolen",
            Some(held("them", "2")),
            Some(held("them", "2")),
            Step::Lost(Loss::Stolen("them".into())),
        ),
        (
            "cleared",
            Some(free("2")),
            Some(free("2")),
            Step::Lost(Loss::Cleared),
        ),
        ("deleted", None, None, Step::Lost(Loss::Deleted)),
        (
            "old news",
            Some(free("0")),
            Some(held("us", "1")),
            Step::Wait(clock.at(2)),
        ),
    ] {
        let mut election = leader(&clock);
        election.told(news, clock.at(1));
        assert_eq!(election.decide(clock.at(1)), Step::Look, "{name}");
        election.read(there, clock.at(1));
        assert_eq!(election.decide(clock.at(1)), want, "{name}");
    }
    let mut election = leader(&clock);
    election.told(Some(held("us", "1")), clock.at(1));
    assert_eq!(
        election.decide(clock.at(1)),
        Step::Wait(clock.at(2)),
        "its own writes are no news"
    );
}

/// Two replicas, one API server, calls that fail or whose answers are lost, and stops of any length: whatever happens, their
/// terms never overlap.
#[test]
fn two_never_lead_at_the_same_time() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = Clock::start();
        let mut server: Option<Record> = None;
        let mut version = 0;
        let mut replicas: Vec<Election> = ["a", "b"].map(|us| Election::new(us, pace())).into();
        let mut asleep = [0_u64; 2];
        let mut led = 0;
        for now in 0..400_u64 {
            for me in 0..2 {
                if now < asleep[me] {
                    continue;
                }
                if random.u8(..) < 6 {
                    asleep[me] = now + random.u64(1..40);
                    continue;
                }
                if random.u8(..) < 200 {
                    replicas[me].told(server.clone(), clock.at(now));
                }
                for _ in 0..4 {
                    let step = replicas[me].decide(clock.at(now));
                    let (arrives, answered) = (random.u8(..) > 40, random.u8(..) > 40);
                    let us = ["a", "b"][me];
                    let wanted = match &step {
                        Step::Wait(_) => break,
                        Step::Lost(_) => {
                            // The process ends, and another takes its place.
                            replicas[me] = Election::new(us, pace());
                            break;
                        }
                        Step::Look => {
                            if arrives && answered {
                                replicas[me].read(server.clone(), clock.at(now));
                            } else {
                                replicas[me].failed(clock.at(now));
                            }
                            continue;
                        }
                        Step::Create(_) => None,
                        Step::Take { seen, .. } | Step::Renew { seen } => {
                            Some(seen.version().to_owned())
                        }
                    };
                    if !arrives {
                        replicas[me].failed(clock.at(now));
                        continue;
                    }
                    let there = server.as_ref().map(|record| record.version().to_owned());
                    if there == wanted {
                        version += 1;
                        server = Some(held(us, &version.to_string()));
                        if answered {
                            let written = server.clone().expect("just written");
                            replicas[me].wrote(written, clock.at(now));
                        } else {
                            replicas[me].failed(clock.at(now));
                        }
                    } else {
                        replicas[me].conflicted();
                    }
                }
            }
            let leads =
                |election: &Election| election.ends().is_some_and(|ends| clock.at(now) < ends);
            let leaders = replicas.iter().filter(|replica| leads(replica)).count();
            assert!(leaders < 2, "seed {seed}, second {now}: {replicas:#?}");
            led += leaders;
        }
        assert!(led > 40, "seed {seed}: hardly anybody led: {led}");
    }
}
