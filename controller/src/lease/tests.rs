//! What the rest of the process sees of the lead.

use super::*;

const SOON: Duration = Duration::from_millis(50);
const LIMIT: Duration = Duration::from_secs(10);

fn may_write(lead: &Lead) -> bool {
    lead.ticket().begin().is_ok()
}

fn may_tell(lead: &Lead) -> bool {
    lead.words().begin().is_ok()
}

#[test]
fn the_right_to_write_ends_by_itself_when_nobody_renews_it() {
    let lead = Lead::sought("a".into());
    assert!(!may_write(&lead) && !may_tell(&lead), "it has not been had");
    lead.renew(Instant::now() + LIMIT);
    assert!(may_write(&lead) && may_tell(&lead));
    let lead = Lead::sought("a".into());
    lead.renew(Instant::now() + SOON);
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        std::thread::yield_now();
    }
    assert!(!may_write(&lead) && !may_tell(&lead), "nobody did anything");
}

#[test]
fn a_lost_lead_ends_everything_at_once() {
    let lead = Lead::sought("a".into());
    lead.renew(Instant::now() + LIMIT);
    lead.lose();
    assert!(!may_write(&lead) && !may_tell(&lead) && lead.is_lost());
    lead.renew(Instant::now() + LIMIT);
    assert!(
        !may_write(&lead),
        "an answer that comes late brings nothing back"
    );
}

#[tokio::test]
async fn the_lead_is_closed_after_the_last_write_and_that_may_still_be_told() {
    for (name, lead) in [
        ("one of many", Lead::sought("a".into())),
        ("alone", Lead::alone("a".into())),
    ] {
        lead.renew(Instant::now() + LIMIT);
        lead.role.send_replace(Role::Leads);
        let writing = lead.ticket().begin().expect(name);
        let mut closing = tokio::spawn({
            let lead = lead.clone();
            async move { lead.close(LIMIT).await }
        });
        tokio::time::timeout(SOON, &mut closing)
            .await
            .expect_err("a write is under way");
        assert!(!may_write(&lead), "{name}: none begins");
        drop(writing);
        tokio::time::timeout(LIMIT, closing)
            .await
            .expect(name)
            .expect(name);
        assert!(may_tell(&lead), "{name}");
    }
}

#[test]
fn no_two_processes_have_one_name() {
    let (one, other) = (identity(), identity());
    assert_ne!(one, other);
    let (host, unique) = one.rsplit_once('_').expect("a host and more");
    assert!(!host.is_empty() && unique.len() == 36, "{one}");
}
