//! What else than the losses makes an approval another one.

use super::*;

fn lose(reasons: &[(&'static str, &str, &str)]) -> Change {
    let reasons = reasons
        .iter()
        .map(|(field, from, to)| Reason::new(field, from, to));
    Change::new(Action::Replace, "load balancer", "lb".into(), "")
        .because(reasons.collect())
        .giving_up("lb-1")
}

#[test]
fn an_approval_is_for_what_was_asked_when_it_was_given() {
    let scheme = ("scheme", "internal", "internet-facing");
    let subnets = ("subnets", "a", "b");
    let approved = approval_digest(&[lose(&[scheme, subnets])]);
    for (name, changes, same) in [
        ("the same", vec![lose(&[scheme, subnets])], true),
        (
            "its reasons in another order",
            vec![lose(&[subnets, scheme])],
            true,
        ),
        (
            "told by two steps",
            vec![lose(&[scheme, subnets]), lose(&[scheme, subnets])],
            true,
        ),
        (
            "seen half-way",
            vec![lose(&[("scheme", "both", "internet-facing"), subnets])],
            true,
        ),
        (
            "for something else",
            vec![lose(&[scheme, ("subnets", "a", "c")])],
            false,
        ),
        (
            "for something more",
            vec![lose(&[scheme, subnets, ("ip mode", "4", "6")])],
            false,
        ),
        ("for nothing", vec![lose(&[])], false),
    ] {
        assert_eq!(approval_digest(&changes) == approved, same, "{name}");
        assert_eq!(
            super::approved(&changes, Some(&approved)).is_ok(),
            same,
            "{name}"
        );
    }
}
