use super::*;
use crate::api::HealthCheckKind;

fn check(interval_ms: u32, rise: u8, fall: u8) -> HealthCheck {
    HealthCheck {
        kind: HealthCheckKind::Tcp,
        port: None,
        interval_ms,
        timeout_ms: 50,
        rise,
        fall,
    }
}

/// `+` and `-` are results, `(+-)*3` stands for `+-+-+-`, blanks for nothing.
fn results(text: &str) -> Vec<bool> {
    let mut all = Vec::new();
    for word in text.split_whitespace() {
        let (results, times) = match word.strip_prefix('(').map(|word| word.split_once(")*")) {
            Some(Some((results, times))) => (results, times.parse().expect("a number")),
            _ => (word, 1),
        };
        let results = results.chars().map(|result| result == '+');
        all.extend(std::iter::repeat_n(results.collect::<Vec<_>>(), times).flatten());
    }
    all
}

fn letter(standing: Standing) -> char {
    match standing {
        Standing::Initial => 'i',
        Standing::Healthy => 'h',
        Standing::Flapping => 'f',
        Standing::Unhealthy => 'u',
    }
}

fn standings(believed: Health, text: &str, check: &HealthCheck) -> String {
    let mut judge = Judge::new(believed);
    let observed = results(text)
        .into_iter()
        .map(|result| judge.observe(result, check));
    std::iter::once(believed.into())
        .chain(observed)
        .map(letter)
        .collect()
}

#[test]
fn health_follows_the_results() {
    let check = check(100, 2, 3);
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
        assert_eq!(standings(believed, results, &check), want, "{name}");
    }
}

/// Each row is told by how long the target stood how in the end, so that it can be read.
#[test]
fn a_target_that_changes_too_often_stays_out() {
    let second = check(1_000, 1, 1);
    let slow = check(60_000, 2, 1);
    for (name, check, results, want) in [
        (
            "three falls are a bad day",
            &second,
            "(+-)*3 (+)*2",
            "i1 h1 u1 h1 u1 h1 u1 h2",
        ),
        (
            "the fourth is flapping: out for ten good results",
            &second,
            "(+-)*4 (+)*11",
            "i1 h1 u1 h1 u1 h1 u1 h1 u1 f9 h2",
        ),
        (
            "that do not answer to begin with",
            &second,
            "(-)*50 (+)*2",
            "i1 u50 h2",
        ),
        (
            "a failure starts the ten over",
            &second,
            "(+-)*4 (+)*9 - (+)*10",
            "i1 h1 u1 h1 u1 h1 u1 h1 u1 f9 u1 f9 h1",
        ),
        (
            "one that goes on flapping never comes back",
            &second,
            "(+-)*4 (+++-)*3",
            "i1 h1 u1 h1 u1 h1 u1 h1 u1 f3 u1 f3 u1 f3 u1",
        ),
        (
            "seldom enough is no flapping",
            &second,
            "+ - (+)*29 - (+)*29 - (+)*29 - (+)*29 -",
            "i1 h1 u1 h29 u1 h29 u1 h29 u1 h29 u1",
        ),
        (
            "the second time it takes twenty",
            &second,
            "(+-)*4 (+)*10 (-+)*3 - (+)*21",
            "i1 h1 u1 h1 u1 h1 u1 h1 u1 f9 h1 u1 h1 u1 h1 u1 h1 u1 f19 h2",
        ),
        (
            "after a long good time it is forgotten",
            &second,
            "(+-)*4 (+)*160 (-+)*3 - (+)*11",
            "i1 h1 u1 h1 u1 h1 u1 h1 u1 f9 h151 u1 h1 u1 h1 u1 h1 u1 f9 h2",
        ),
        (
            "a check that looks rarely holds for five minutes",
            &slow,
            "(++-)*4 (+)*6",
            "i1 h2 u2 h1 u2 h1 u2 h1 u2 f3 h2",
        ),
    ] {
        let all = standings(Health::Initial, results, check);
        let mut short: Vec<(char, usize)> = Vec::new();
        for standing in all.chars() {
            match short.last_mut() {
                Some((last, count)) if *last == standing => *count += 1,
                _ => short.push((standing, 1)),
            }
        }
        let short: Vec<String> = short
            .into_iter()
            .map(|(standing, count)| format!("{standing}{count}"))
            .collect();
        assert_eq!(short.join(" "), want, "{name}");
    }
}

#[test]
fn a_hold_grows_and_is_bounded() {
    for (interval_ms, rise, want) in [
        (1_000, 1, [10, 20, 40, 80, 160, 160]),
        (100, 1, [10, 20, 40, 80, 160, 160]),
        (10_000, 1, [10, 20, 30, 30, 30, 30]),
        (300_000, 1, [1, 1, 1, 1, 1, 1]),
        (300_000, 7, [7, 7, 7, 7, 7, 7]),
    ] {
        let check = check(interval_ms, rise, 1);
        let holds: Vec<u64> = (1..7).map(|times| hold(times, &check)).collect();
        assert_eq!(holds, want, "{interval_ms} ms, rise {rise}");
    }
    assert_eq!(hold(u32::MAX, &check(100, 1, 1)), LONGEST_HOLD);
}

#[test]
fn another_judge_goes_on_where_one_stopped() {
    let check = check(1_000, 1, 1);
    for text in [
        "(+-)*8 (+)*200 (-+)*3",
        "+ (-+)*4 (+)*9 - (+)*25 (-+)*5 (+)*170 -+",
    ] {
        let mut judge = Judge::new(Health::Initial);
        let mut heir = judge.clone();
        for (number, result) in results(text).into_iter().enumerate() {
            let standing = judge.observe(result, &check);
            assert_eq!(
                heir.observe(result, &check),
                standing,
                "{text}: result {number}"
            );
            heir = match heir.memory() {
                Some(memory) => Judge::following(memory),
                None => Judge::new(standing.into()),
            };
            assert_eq!(heir.standing(), standing, "{text}: result {number}");
        }
    }
}
