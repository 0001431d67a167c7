//! What is held and what is let go, a row or a story each.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A brake and its time.
struct Story {
    brake: Brake,
    start: Instant,
    seconds: u32,
}

fn aws() -> ProviderName {
    ProviderName::from("aws")
}

fn placed(name: &str, placement: Placement) -> Node {
    Node {
        name: NodeName::from(name),
        provider_id: Some(format!("aws:///{name}").into()),
        addresses: vec![],
        zone: None,
        placement,
    }
}

/// The nodes `a`, `b`, ... of a text.
fn nodes(names: &str) -> Vec<Node> {
    let name = |letter: char| placed(&letter.to_string(), Placement::Add);
    names.chars().map(name).collect()
}

impl Story {
    /// A first list.
    fn begins(names: &str) -> Self {
        let mut story = Self {
            brake: Brake::default(),
            start: Instant::now(),
            seconds: 0,
        };
        story.finds(nodes(names));
        story
    }

    fn now(&self) -> Moment {
        Moment {
            at: self.start + SECOND * self.seconds,
            time: Timestamp::from_second(1_800_000_000 + i64::from(self.seconds)).expect("a time"),
        }
    }

    fn later(&mut self, seconds: u32) -> &mut Self {
        self.seconds += seconds;
        self
    }

    /// Another pass; returns what the groups get: targets, and those that are held behind a bar.
    fn finds(&mut self, nodes: Vec<Node>) -> String {
        let now = self.now();
        let set = self.brake.settle(NodeSet::new(nodes), now);
        let names =
            |nodes: Vec<&Node>| -> String { nodes.iter().map(|node| node.name.as_str()).collect() };
        let held =
            |node: &&Node| node.placement == Placement::KeepIfPresent(NodeReason::HeldByBrake);
        let held = names(set.nodes().iter().filter(held).collect());
        let eligible = names(set.eligible().collect());
        if held.is_empty() {
            eligible
        } else {
            format!("{eligible}|{held}")
        }
    }

    fn sees(&mut self, names: &str) -> String {
        self.finds(nodes(names))
    }

    fn second_list(&mut self, names: &str) -> usize {
        let began = self.now().at;
        self.brake.confirm(&NodeSet::new(nodes(names)), began)
    }

    fn held(&self) -> Option<Held> {
        self.brake.held(&aws())
    }
}

#[test]
fn more_than_half_and_three_at_least_are_held() {
    for (before, after, want) in [
        ("abcdef", "", "|abcdef"),
        ("abcdef", "ab", "ab|cdef"),
        ("abcdef", "abc", "abc"),
        ("abcdefg", "abc", "abc|defg"),
        ("abcd", "a", "a|bcd"),
        ("abc", "", "|abc"),
        ("ab", "", ""),
        ("abc", "a", "a"),
        ("a", "", ""),
        ("", "", ""),
    ] {
        let mut story = Story::begins(before);
        let got = story.sees(after);
        assert_eq!(got, want, "{before} to {after}");
        assert_eq!(
            story.held().is_some(),
            want.contains('|'),
            "{before} to {after}"
        );
        assert_eq!(story.brake.due().is_some(), want.contains('|'));
    }
}

#[test]
fn only_what_nobody_said_anything_of_has_vanished() {
    let reason = |reason| Some(Placement::Remove(reason));
    for (what, placement, held) in [
        ("no object", None, true),
        ("no address any more", reason(NodeReason::NoAddress), true),
        (
            "no providerID any more",
            reason(NodeReason::NoProviderId),
            true,
        ),
        (
            "excluded by a person",
            reason(NodeReason::ExcludedByLabel),
            false,
        ),
        ("being deleted", reason(NodeReason::BeingDeleted), false),
        ("shut down", reason(NodeReason::Shutdown), false),
        ("out of service", reason(NodeReason::OutOfService), false),
        ("marked", reason(NodeReason::MarkedByAutoscaler), false),
        (
            "marked and kept",
            Some(Placement::KeepIfPresent(NodeReason::MarkedByAutoscaler)),
            false,
        ),
        ("there", Some(Placement::Add), false),
    ] {
        let mut story = Story::begins("abcd");
        let found = placement.into_iter().flat_map(|placement: Placement| {
            ["a", "b", "c", "d"].map(|name| placed(name, placement.clone()))
        });
        story.finds(found.collect());
        assert_eq!(story.held().is_some(), held, "{what}");
    }
}

#[test]
fn a_deletion_that_was_announced_is_no_mass_removal() {
    let mut story = Story::begins("abcd");
    let leaving = |name| placed(name, Placement::Remove(NodeReason::BeingDeleted));
    story.finds(["a", "b", "c", "d"].map(leaving).to_vec());
    assert_eq!(story.later(5).sees(""), "");
    assert_eq!(story.held(), None);
}

#[test]
fn a_held_node_is_as_it_was() {
    let mut story = Story::begins("abc");
    let lost = ["a", "b", "c"].map(|name| Node {
        provider_id: None,
        ..placed(name, Placement::Remove(NodeReason::NoProviderId))
    });
    assert_eq!(story.finds(lost.to_vec()), "|abc");
    let given = story.brake.given.clone().expect("given");
    let node = given.get(&NodeName::from("a")).expect("held");
    assert_eq!(node.provider_id.as_deref(), Some("aws:///a"));
    assert_eq!(given.nodes().len(), 3, "once each");
}

#[test]
fn what_goes_on_beside_a_hold_goes_on() {
    let mut story = Story::begins("abcdef");
    assert_eq!(story.sees("ab"), "ab|cdef");
    assert_eq!(
        story.later(1).sees("abxy"),
        "abxy|cdef",
        "new nodes come in"
    );
    assert_eq!(story.later(1).sees("abdxy"), "abdxy|cef", "one is back");
    let mut changed = nodes("abxy");
    changed[0].placement = Placement::Remove(NodeReason::ExcludedByLabel);
    changed.push(placed("d", Placement::Add));
    changed.push(placed("e", Placement::Remove(NodeReason::ExcludedByLabel)));
    assert_eq!(
        story.later(1).finds(changed),
        "bdxy|cf",
        "what a person says is done, also of a node that was held"
    );
    assert_eq!(story.later(1).sees("bdxycf"), "bcdfxy", "all are back");
    assert_eq!((story.held(), story.brake.due()), (None, None));
}

#[test]
fn a_node_made_again_under_its_name_is_there() {
    let mut story = Story::begins("abc");
    story.sees("");
    let mut anew = nodes("abc");
    for node in &mut anew {
        node.provider_id = Some("aws:///another".into());
    }
    assert_eq!(story.later(1).finds(anew), "abc");
    let given = story.brake.given.clone().expect("given");
    assert!(
        given
            .nodes()
            .iter()
            .all(|node| node.provider_id.as_deref() == Some("aws:///another"))
    );
}

#[test]
fn the_second_list_a_minute_later_gives_up_what_it_does_not_have() {
    let mut story = Story::begins("abcdef");
    story.sees("a");
    let due = story.brake.due().expect("due");
    assert_eq!(due, story.now().at + CONFIRM);
    assert_eq!(story.later(59).second_list("a"), 0, "too early");
    assert_eq!(story.sees("a"), "a|bcdef");
    assert_eq!(story.later(1).second_list("ab"), 4, "all but what it has");
    assert_eq!(story.sees("a"), "a|b");
    assert_eq!(
        story.brake.due(),
        Some(story.now().at + CONFIRM),
        "which has another minute"
    );
    assert_eq!(story.later(60).second_list("a"), 1);
    assert_eq!(story.sees("a"), "a");
    assert_eq!((story.held(), story.brake.due()), (None, None));
    assert_eq!(story.later(1).sees("a"), "a", "and it does not begin again");
}

#[test]
fn what_vanishes_while_others_are_held_is_held_for_its_own_minute() {
    let mut story = Story::begins("abcdefgh");
    story.sees("abc");
    assert_eq!(story.later(30).sees("ab"), "ab|cdefgh", "a single one too");
    assert_eq!(story.later(30).second_list("ab"), 5);
    assert_eq!(story.sees("ab"), "ab|c");
    assert_eq!(story.later(30).second_list("ab"), 1);
    assert_eq!(story.sees("ab"), "ab");
}

#[test]
fn many_small_losses_within_a_minute_are_a_mass() {
    let mut story = Story::begins("abcdefghij");
    assert_eq!(story.sees("abcdefgh"), "abcdefgh");
    assert_eq!(story.later(10).sees("abcdef"), "abcdef");
    assert_eq!(story.later(10).sees("abcd"), "abcd|ef", "six of ten");
    let held = story.held().expect("held");
    assert_eq!((held.missing.len(), held.of), (2, 6));

    let mut story = Story::begins("abcdefghij");
    for left in ["abcdefgh", "abcdef", "abcd"] {
        assert_eq!(story.later(60).sees(left), left, "a scale-down at leisure");
    }
}

#[test]
fn nodes_that_come_and_go_are_not_counted_twice() {
    let mut story = Story::begins("abcdef");
    for _ in 0..4 {
        assert_eq!(story.later(5).sees("abcde"), "abcde");
        assert_eq!(story.later(5).sees("abcdef"), "abcdef");
    }
}

#[test]
fn an_operator_gives_up_what_is_held_by_naming_it() {
    let mut story = Story::begins("abcdef");
    story.sees("ab");
    let held = story.held().expect("held");
    assert_eq!(story.brake.release(&aws(), "other"), 0);
    assert_eq!(
        story
            .brake
            .release(&ProviderName::from("gcp"), &held.digest),
        0
    );
    assert_eq!(story.brake.release(&aws(), &held.digest), 4);
    assert_eq!(story.later(1).sees("ab"), "ab");
    assert_eq!(story.held(), None);

    // The same nodes are there again and vanish again.
    story.later(600).sees("abcdef");
    assert_eq!(story.later(1).sees("ab"), "ab|cdef");
    assert_eq!(
        story.brake.release(&aws(), &held.digest),
        0,
        "what was said once approves nothing later"
    );
}

#[test]
fn a_digest_names_the_nodes_and_nothing_else() {
    let mut story = Story::begins("abcdef");
    story.sees("ab");
    let digest = |story: &Story| story.held().expect("held").digest;
    let first = digest(&story);
    story.later(1).sees("abxyz");
    assert_eq!(digest(&story), first, "additions are none of its business");
    story.later(1).sees("abc");
    assert_ne!(digest(&story), first, "one is back");
    assert_eq!(story.brake.release(&aws(), &first), 0);
}

#[test]
fn the_first_list_is_believed() {
    let mut story = Story::begins("");
    assert_eq!(story.held(), None);
    assert_eq!(story.sees("abc"), "abc");
}

#[test]
fn a_set_that_is_the_same_is_the_same_value() {
    let mut brake = Brake::default();
    let story = Story::begins("");
    let first = brake.settle(NodeSet::new(nodes("abc")), story.now());
    let held = brake.settle(NodeSet::new(nodes("")), story.now());
    let again = brake.settle(NodeSet::new(nodes("")), story.now());
    assert!(Arc::ptr_eq(&held, &again) && !Arc::ptr_eq(&first, &held));
}

#[test]
fn the_message_says_what_happened_and_what_to_do() {
    let mut story = Story::begins("abcdefgh");
    story.sees("a");
    let held = story.held().expect("held");
    assert_eq!(
        held.message("kube-system", "evenkeel"),
        format!(
            "7 of the 8 nodes of the provider aws vanished at once: b, c, d, e, f and 2 more. They stay targets where they are \
             targets, and nothing new is sent to them, until a list that is read 60 s later shows the same. If they are really gone, \
             give them up at once with `kubectl annotate configmap -n kube-system evenkeel --overwrite \
             evenkeel.dev/release-nodes={}`; else look into what deletes Node objects.",
            held.digest
        )
    );
}
