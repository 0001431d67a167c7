use super::*;

/// A queue and a clock that only moves when told.
struct Scene {
    queue: Queue<&'static str>,
    start: Instant,
}

impl Scene {
    fn new() -> Self {
        Self {
            queue: Queue::default(),
            start: Instant::now(),
        }
    }

    fn at(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn ask(&mut self, key: &'static str, why: Why, seconds: u64) {
        let now = self.at(seconds);
        self.queue.ask(key, why, now);
    }

    fn next(&mut self, seconds: u64) -> Option<(&'static str, Why)> {
        let now = self.at(seconds);
        self.queue.next(now).map(|turn| (turn.key, turn.why))
    }

    fn key(&mut self, seconds: u64) -> Option<&'static str> {
        self.next(seconds).map(|(key, _)| key)
    }
}

const LOOK: Why = Why {
    work: true,
    changed: false,
    look: true,
};

#[test]
fn first_come_first_served() {
    let mut scene = Scene::new();
    for key in ["a", "b", "a", "c", "a"] {
        scene.ask(key, Why::WORK, 0);
    }
    let order: Vec<_> = std::iter::from_fn(|| scene.key(0)).collect();
    assert_eq!(order, ["a", "b", "c"], "each once");
}

#[test]
fn requests_of_one_run_add_up() {
    let mut scene = Scene::new();
    scene.ask("a", Why::PUBLISHED, 0);
    scene.ask("a", Why::CHANGED, 1);
    scene.ask("a", LOOK, 2);
    let turn = scene.queue.next(scene.at(5)).expect("asked for");
    assert_eq!(
        turn.why,
        Why {
            work: true,
            changed: true,
            look: true
        }
    );
    assert_eq!(
        turn.waited,
        Duration::from_secs(5),
        "since the first request"
    );
}

#[test]
fn one_run_at_a_time_and_one_more_for_what_came_meanwhile() {
    let mut scene = Scene::new();
    scene.ask("a", Why::WORK, 0);
    assert_eq!(scene.key(0), Some("a"));
    scene.ask("a", Why::PUBLISHED, 1);
    scene.ask("a", Why::CHANGED, 1);
    assert_eq!(scene.next(1), None, "it runs");
    scene.queue.done(&"a", Next::Rest);
    assert_eq!(scene.next(2), Some(("a", Why::CHANGED)));
    scene.queue.done(&"a", Next::Rest);
    assert_eq!(scene.next(3), None, "one more run, not two");
    assert!(scene.queue.entries.is_empty(), "what rests takes no room");
}

#[test]
fn a_hot_key_starves_nobody() {
    let mut scene = Scene::new();
    for key in ["hot", "a", "b"] {
        scene.ask(key, Why::WORK, 0);
    }
    let mut order = Vec::new();
    for second in 0..6 {
        let Some(key) = scene.key(second) else { break };
        order.push(key);
        scene.ask("hot", Why::WORK, second);
        scene.queue.done(&key, Next::Rest);
    }
    assert_eq!(order, ["hot", "a", "b", "hot", "hot", "hot"]);
}

#[test]
fn a_delay_ends_at_its_time() {
    let mut scene = Scene::new();
    scene.ask("a", Why::WORK, 0);
    scene.key(0);
    let at = scene.at(10);
    scene.queue.done(&"a", Next::At(at, LOOK));
    assert_eq!(scene.queue.due(), Some(at));
    assert_eq!(scene.next(9), None);
    let turn = scene.queue.next(scene.at(12)).expect("due");
    assert_eq!((turn.why, turn.waited), (LOOK, Duration::from_secs(2)));
    assert_eq!(scene.queue.due(), None);
}

#[test]
fn what_becomes_of_a_delay_when_the_key_runs_before() {
    for (name, next, due) in [
        ("it goes", Next::Rest, None),
        (
            "it is another",
            Next::At(Instant::now(), Why::WORK),
            Some(20),
        ),
    ] {
        let mut scene = Scene::new();
        scene.ask("a", Why::WORK, 0);
        scene.key(0);
        let at = scene.at(10);
        scene.queue.done(&"a", Next::At(at, Why::WORK));
        scene.ask("a", Why::PUBLISHED, 1);
        assert_eq!(
            scene.next(1),
            Some(("a", Why::PUBLISHED)),
            "{name}: a request does not wait for the delay"
        );
        let next = match next {
            Next::At(_, why) => Next::At(scene.at(20), why),
            other => other,
        };
        scene.queue.done(&"a", next);
        assert_eq!(
            scene.queue.due(),
            due.map(|seconds| scene.at(seconds)),
            "{name}"
        );
    }
}

#[test]
fn a_delay_that_ends_during_a_run_makes_one_more() {
    let mut scene = Scene::new();
    scene.ask("a", Why::WORK, 0);
    scene.key(0);
    let at = scene.at(5);
    scene.queue.done(&"a", Next::At(at, LOOK));
    scene.ask("a", Why::PUBLISHED, 4);
    assert_eq!(scene.next(4), Some(("a", Why::PUBLISHED)));
    assert_eq!(scene.next(6), None, "it runs");
    scene.queue.done(&"a", Next::Rest);
    assert_eq!(scene.next(7), Some(("a", LOOK)));
}

#[test]
fn the_sooner_of_two() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    for (a, b, want) in [
        (Next::Rest, Next::Rest, Next::Rest),
        (Next::Rest, Next::At(at(3), LOOK), Next::At(at(3), LOOK)),
        (
            Next::At(at(5), LOOK),
            Next::At(at(3), Why::PUBLISHED),
            Next::At(at(3), Why::PUBLISHED),
        ),
        (
            Next::At(at(3), LOOK),
            Next::At(at(3), Why::WORK),
            Next::At(at(3), LOOK),
        ),
    ] {
        assert_eq!(a.sooner(b), want);
        assert_eq!(b.sooner(a), want);
    }
}

#[test]
fn an_edit_comes_before_what_only_follows_nodes() {
    let mut scene = Scene::new();
    for key in ["a", "b", "c"] {
        scene.ask(key, Why::WORK, 0);
    }
    scene.ask("d", Why::CHANGED, 1);
    scene.ask("c", Why::CHANGED, 1);
    assert_eq!(scene.queue.depth(), 4, "each stands once");
    let order: Vec<_> = std::iter::from_fn(|| scene.key(1)).collect();
    assert_eq!(order, ["d", "c", "a", "b"]);
}

#[test]
fn edits_never_make_the_others_stand_still() {
    let mut scene = Scene::new();
    for key in ["a", "b"] {
        scene.ask(key, Why::WORK, 0);
    }
    let edits = ["k", "l", "m", "n", "o", "p", "q", "r", "s"];
    for key in edits {
        scene.ask(key, Why::CHANGED, 0);
    }
    let order: String = std::iter::from_fn(|| scene.key(0)).collect();
    assert_eq!(order, "klmnaopqrbs");
}

#[test]
fn an_edit_during_a_run_is_an_edit_after_it() {
    let mut scene = Scene::new();
    scene.ask("a", Why::WORK, 0);
    assert_eq!(scene.key(0), Some("a"));
    scene.ask("b", Why::WORK, 0);
    scene.ask("a", Why::WORK, 0);
    scene.ask("a", Why::CHANGED, 0);
    scene.queue.done(&"a", Next::Rest);
    assert_eq!((scene.key(0), scene.key(0)), (Some("a"), Some("b")));
}
