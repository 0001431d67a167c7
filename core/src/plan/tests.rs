//! Approvals, and what a plan says.

use super::*;

fn lose(id: &str, identity: &str, field: &'static str) -> Change {
    Change::new(Action::Destroy, "address", id.into(), "192.0.2.1")
        .because(vec![Reason::new(field, "east", "west")])
        .giving_up(identity)
}

fn keep(id: &str) -> Change {
    Change::new(Action::Change, "target set", id.into(), "3 targets")
}

#[test]
fn a_digest_covers_what_is_lost_and_nothing_else() {
    let one = [lose("address", "eip-1", "pool"), keep("set")];
    for (name, other, same) in [
        (
            "the order",
            vec![keep("set"), lose("address", "eip-1", "pool")],
            true,
        ),
        ("what is kept", vec![lose("address", "eip-1", "pool")], true),
        (
            "nodes that come and go",
            vec![lose("address", "eip-1", "pool"), keep("set"), keep("other")],
            true,
        ),
        (
            "what the cloud calls it",
            vec![lose("address", "eip-2", "pool"), keep("set")],
            false,
        ),
        (
            "which object",
            vec![lose("address/b", "eip-1", "pool"), keep("set")],
            false,
        ),
        (
            "one more",
            vec![
                lose("address", "eip-1", "pool"),
                lose("address/b", "eip-2", "pool"),
            ],
            false,
        ),
        ("nothing", vec![keep("set")], false),
    ] {
        assert_eq!(
            approval_digest(&one) == approval_digest(&other),
            same,
            "{name}"
        );
    }
}

#[test]
fn only_the_digest_approves() {
    let changes = [keep("set"), lose("address", "eip-1", "pool")];
    let digest = approval_digest(&changes);
    for (approval, goes) in [
        (None, false),
        (Some(""), false),
        (Some("yes"), false),
        (Some(&digest[..9]), false),
        (Some(digest.as_str()), true),
        (Some(&*format!(" {digest}\n")), true),
        (Some(&*format!("0123456789 {digest}")), true),
        (Some(&*format!("{digest} 0123456789")), true),
        (Some(&*format!("0123456789{digest}")), false),
    ] {
        assert_eq!(approved(&changes, approval).is_ok(), goes, "{approval:?}");
    }
    assert_eq!(approved(&[keep("set")], None), Ok(()), "nothing is lost");
    assert_eq!(approved(&[], None), Ok(()), "nothing is done");
}

#[test]
fn a_refusal_says_what_would_be_lost_why_and_how_to_approve() {
    let changes = [keep("set"), lose("address", "eip-1", "pool")];
    let refusal = approved(&changes, Some("0000000000")).expect_err("another digest");
    let digest = approval_digest(&changes);
    assert_eq!(refusal.id.as_str(), "address");
    assert_eq!(refusal.approval.as_deref(), Some(&*digest));
    assert_eq!(
        refusal.problem.reason,
        crate::problem::reason::APPROVAL_REQUIRED
    );
    assert_eq!(
        refusal.problem.to_string(),
        format!(
            "pool: \"west\" would destroy address address (pool: east -> west). \
             To approve exactly this, annotate the Service with evenkeel.dev/approve={digest}; else take the change back."
        )
    );
}

#[test]
fn a_change_prints_its_sign_and_its_reasons() {
    for (action, first) in [
        (
            Action::Create,
            "+ address        address          192.0.2.1",
        ),
        (
            Action::Change,
            "~ address        address          192.0.2.1",
        ),
        (
            Action::Replace,
            "± address        address          192.0.2.1",
        ),
        (
            Action::Destroy,
            "- address        address          192.0.2.1",
        ),
    ] {
        let change = Change {
            action,
            ..lose("address", "eip-1", "pool")
        };
        assert_eq!(
            change.to_string(),
            format!("{first}\n      pool: east -> west")
        );
    }
}
