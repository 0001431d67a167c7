//! Security groups and their rules (Writes).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_core::error::CloudError;

use super::{Doing, load_balancers::same_owner};
use crate::{
    call,
    client::{GroupReply, filter},
    errors::{self, code},
    model::{CloudId, Marks, Pairs, Rule, Told},
};

/// For how long AWS may take to let go of the security groups of a load balancer that was deleted.
const LETTING_GO: Duration = Duration::from_secs(600);

/// Groups of which AWS would not delete something because it was in use, with the time of the first attempt.
#[derive(Debug, Default)]
pub struct Held(Mutex<HashMap<Arc<str>, Instant>>);

impl Held {
    /// Something of this group is in use.
    pub(super) fn note(&self, group: &str) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // One that went otherwise is not heard of again.
        held.retain(|_, since| since.elapsed() < 10 * LETTING_GO);
        held.entry(group.into()).or_insert_with(Instant::now);
    }

    /// For how long something of it has been.
    fn of(&self, group: &str) -> Option<Duration> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(group).map(Instant::elapsed)
    }
}

impl Doing<'_> {
    /// One of the name that is there is ours where its tags say so: its create was answered and the answer lost.
    pub(super) async fn create_security_group(
        &self,
        name: &str,
        marks: &Marks,
        tags: &Pairs,
    ) -> Result<Told, CloudError> {
        let what = format!(
            "who may connect to the load balancer of {}",
            printable(&marks.service)
        );
        let id = self.create_or_find(name, &what, tags, |there| same_owner(there, tags));
        Ok(Told::Created {
            id: id.await?,
            dns_name: None,
        })
    }

    /// Creates a group, or finds the one that is there. One that is found may have other rules: the caller looks again.
    pub(super) async fn create_or_find(
        &self,
        name: &str,
        what: &str,
        tags: &Pairs,
        is_ours: impl Fn(&Pairs) -> bool,
    ) -> Result<CloudId, CloudError> {
        let (client, vpc) = (self.client, self.client.vpc().await?);
        let made = client
            .create_security_group(name, what, &vpc, tags, self.ticket)
            .await;
        let error = match made {
            Err(error) if error.code.as_deref() == Some(code::GROUP_EXISTS) => error,
            made => return made,
        };
        let filters = vec![filter("vpc-id", [&*vpc]), filter("group-name", [name])];
        match client.security_groups(filters).await?.first() {
            Some(there) if !is_ours(&there.tags()) => Err(errors::foreign(
                error.operation,
                format!(
                    "a security group `{name}` ({}) is there and not ours; delete it",
                    there.id()
                ),
            )),
            // It may have rules already, which only a look tells.
            Some(there) if !there.rules().is_empty() => Err(error),
            Some(there) => Ok(there.id()),
            None => Err(error),
        }
    }

    /// All or none: where one rule is there already the true difference is sent.
    pub(super) async fn authorize(
        &self,
        group: &str,
        rules: &BTreeSet<Rule>,
    ) -> Result<Told, CloudError> {
        let id = &self.security_group(group)?.id;
        self.add_rules(id, rules, None).await?;
        Ok(Told::Nothing)
    }

    pub(super) async fn add_rules(
        &self,
        id: &CloudId,
        rules: &BTreeSet<Rule>,
        description: Option<&str>,
    ) -> Result<(), CloudError> {
        let authorize = |rules| self.client.authorize(id, rules, description, self.ticket);
        let added = authorize(rules).await;
        let error = match added {
            Err(error) if error.code.as_deref() == Some(code::RULE_EXISTS) => error,
            added => return added,
        };
        let Some(there) = self.rules_of(id).await? else {
            return Err(error);
        };
        let missing: BTreeSet<_> = rules.difference(&there).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        authorize(&missing).await
    }

    /// The same for rules that are gone already.
    pub(super) async fn revoke(
        &self,
        group: &str,
        rules: &BTreeSet<Rule>,
    ) -> Result<Told, CloudError> {
        let id = &self.security_group(group)?.id;
        self.remove_rules(id, rules).await?;
        Ok(Told::Nothing)
    }

    pub(super) async fn remove_rules(
        &self,
        id: &CloudId,
        rules: &BTreeSet<Rule>,
    ) -> Result<(), CloudError> {
        let removed = self.client.revoke(id, rules, self.ticket).await;
        let error = match removed {
            Err(error)
                if matches!(
                    error.code.as_deref(),
                    Some(code::NO_RULE | code::UNKNOWN_RULE)
                ) =>
            {
                error
            }
            removed => return removed,
        };
        let Some(there) = self.rules_of(id).await? else {
            return Err(error);
        };
        let left: BTreeSet<_> = rules.intersection(&there).cloned().collect();
        if !left.is_empty() {
            self.client.revoke(id, &left, self.ticket).await?;
        }
        Ok(())
    }

    async fn rules_of(&self, id: &CloudId) -> Result<Option<BTreeSet<Rule>>, CloudError> {
        let filters = vec![filter("group-id", [id.as_str()])];
        let found = self.client.security_groups(filters).await?;
        Ok(found.first().map(GroupReply::rules))
    }

    /// Where AWS has not let go of the load balancer yet it is asked first who uses the security group: writes that are refused use up
    /// what the account has of them. What uses it for long is somebody else's, and named.
    pub(super) async fn delete_security_group(&self, id: &CloudId) -> Result<(), CloudError> {
        if let Some(held) = self.aws.held.of(self.identity) {
            let users = self.client.users_of_group(id).await.unwrap_or_default();
            let by = match held >= LETTING_GO {
                true => users.join(", "),
                false => "network interfaces that AWS has not taken away yet".to_owned(),
            };
            if !users.is_empty() {
                let what = format!("{id} is used by {by}");
                return Err(errors::in_use(call::DELETE_SECURITY_GROUP.operation, what));
            }
        }
        let deleted = self.client.delete_security_group(id, self.ticket).await;
        self.note_use(deleted)
    }

    /// Notes what AWS says of something that it would not delete.
    pub(super) fn note_use(&self, deleted: Result<(), CloudError>) -> Result<(), CloudError> {
        let in_use = |code: &str| matches!(code, code::IN_USE | code::DEPENDENCY);
        if let Err(error) = &deleted
            && error.code.as_deref().is_some_and(in_use)
        {
            self.aws.held.note(self.identity);
        }
        deleted
    }
}

/// Descriptions may have few characters beside letters and digits; names in Kubernetes have fewer.
fn printable(text: &Arc<str>) -> String {
    text.chars().take(200).collect()
}
