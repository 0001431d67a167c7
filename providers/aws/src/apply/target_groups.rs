//! Target groups and their targets (Writes).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use evenkeel_core::error::CloudError;

use super::{Doing, load_balancers::same_owner};
use crate::{
    call,
    errors::{self, code},
    model::{CloudId, Target, Told, step::NewTargetGroup},
};

/// The most targets in one call.
const TARGETS: usize = 200;

impl Doing<'_> {
    /// The name tells cluster and group, so that one of the name is ours; its tags prove it where AWS refuses.
    pub(super) async fn create_target_group(
        &self,
        new: &NewTargetGroup,
    ) -> Result<Told, CloudError> {
        let call = &call::CREATE_TARGET_GROUP;
        let vpc = self.client.vpc().await?;
        let made = match self
            .client
            .create_target_group(new, &vpc, self.ticket)
            .await
        {
            Ok(made) => made,
            Err(error) if error.code.as_deref() == Some(code::TARGET_GROUP_EXISTS) => {
                let there = self.client.target_group_of_name(&new.name).await?;
                let Some(there) = there else {
                    return Err(error);
                };
                let arn = there.arn();
                let tags = self.client.tags(std::slice::from_ref(&arn)).await?;
                let tags = tags.get(&arn).cloned().unwrap_or_default();
                if !same_owner(&tags, &new.tags) {
                    return Err(errors::foreign(
                        call.operation,
                        format!(
                            "a target group `{}` is there and not of this Service; delete it",
                            new.name
                        ),
                    ));
                }
                // With other settings, maybe: the look that follows tells which, and the plan mends them.
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        let made = made.ok_or_else(|| {
            errors::stale(
                call.operation,
                "AWS did not say what it made; it is looked at anew",
            )
        })?;
        Ok(Told::Created {
            id: made.arn(),
            dns_name: None,
        })
    }

    /// AWS takes all targets of a call or none, and names those that it does not take: the others are registered without them.
    pub(super) async fn register(
        &self,
        target_group: &str,
        targets: &BTreeSet<Target>,
    ) -> Result<Told, CloudError> {
        let arn = &self.target_group(target_group)?.arn;
        let all: Vec<_> = targets.iter().cloned().collect();
        let mut refused = BTreeMap::new();
        for chunk in all.chunks(TARGETS) {
            self.register_chunk(arn, chunk.to_vec(), &mut refused)
                .await?;
        }
        Ok(match refused.is_empty() {
            true => Told::Nothing,
            false => Told::NotTaken(refused),
        })
    }

    async fn register_chunk(
        &self,
        arn: &CloudId,
        chunk: Vec<Target>,
        refused: &mut BTreeMap<Target, Arc<str>>,
    ) -> Result<(), CloudError> {
        let (mut waiting, mut corrected) = (vec![chunk], BTreeSet::new());
        while let Some(chunk) = waiting.pop() {
            let outside = self.outside(&chunk);
            let registered = self.client.register(arn, &chunk, &outside, self.ticket);
            let error = match registered.await {
                Ok(()) => continue,
                Err(error) if self.aws.otherwise.learn(&chunk, &error, &mut corrected) => {
                    waiting.push(chunk);
                    continue;
                }
                Err(error) if error.code.as_deref() == Some(code::INVALID_TARGET) => error,
                Err(error) => return Err(error),
            };
            let (named, rest): (Vec<_>, Vec<_>) = chunk
                .into_iter()
                .partition(|target| names(&error.message, &target.id));
            if named.is_empty() && rest.len() > 1 {
                // Nothing is named: halves find it.
                let middle = rest.len() / 2;
                waiting.extend([rest[..middle].to_vec(), rest[middle..].to_vec()]);
                continue;
            }
            let (out, rest) = match named.is_empty() {
                true => (rest, named),
                false => (named, rest),
            };
            let why: Arc<str> = error.message.as_str().into();
            refused.extend(out.into_iter().map(|target| (target, Arc::clone(&why))));
            if !rest.is_empty() {
                waiting.push(rest);
            }
        }
        Ok(())
    }

    /// The addresses that are none of the VPC's, as far as is known: AWS wants to be told.
    fn outside(&self, targets: &[Target]) -> BTreeSet<Arc<str>> {
        let prefixes = &self.seen.facts.vpc_prefixes;
        let within = |address: IpAddr| {
            prefixes
                .iter()
                .any(|prefix| prefix.net().contains(&address))
        };
        let addresses = targets.iter().filter(|target| {
            let address = target.id.parse::<IpAddr>();
            let outside = !prefixes.is_empty() && address.is_ok_and(|address| !within(address));
            outside != self.aws.otherwise.is(&target.id)
        });
        addresses.map(|target| Arc::clone(&target.id)).collect()
    }

    /// What is not registered is no error to AWS.
    pub(super) async fn deregister(
        &self,
        target_group: &str,
        targets: &BTreeSet<Target>,
    ) -> Result<Told, CloudError> {
        let arn = &self.target_group(target_group)?.arn;
        let all: Vec<_> = targets.iter().cloned().collect();
        let mut corrected = BTreeSet::new();
        for chunk in all.chunks(TARGETS) {
            loop {
                let outside = self.outside(chunk);
                let deregistered = self.client.deregister(arn, chunk, &outside, self.ticket);
                match deregistered.await {
                    Err(error) if self.aws.otherwise.learn(chunk, &error, &mut corrected) => {
                        continue;
                    }
                    Err(error) if error.code.as_deref() == Some(code::INVALID_TARGET) => {
                        self.deregister_one_by_one(arn, chunk).await?;
                    }
                    deregistered => deregistered?,
                }
                break;
            }
            self.aws.otherwise.forget(chunk);
        }
        Ok(Told::Nothing)
    }

    /// Where one is refused, which is not documented, the others go all the same.
    async fn deregister_one_by_one(
        &self,
        arn: &CloudId,
        targets: &[Target],
    ) -> Result<(), CloudError> {
        if let [_] = targets {
            return Ok(());
        }
        for target in targets {
            let one = std::slice::from_ref(target);
            let outside = self.outside(one);
            match self
                .client
                .deregister(arn, one, &outside, self.ticket)
                .await
            {
                Err(error) if error.code.as_deref() == Some(code::INVALID_TARGET) => {}
                deregistered => deregistered?,
            }
        }
        Ok(())
    }
}

/// Whether a message names an instance or an address: `i-0a` is not named where `i-0ab` is.
pub(super) fn names(message: &str, id: &str) -> bool {
    let part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':'));
    let words = message.split(part);
    words
        .map(|word| word.trim_end_matches(['.', ':']))
        .any(|word| word == id)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_message_names_whole_ids() {
        let message = "The following targets are not in a running state: 'i-0ab', 'i-1'";
        assert!(names(message, "i-0ab"));
        assert!(names(message, "i-1"));
        assert!(!names(message, "i-0a"));
        let message =
            "The IP address '10.1.0.11' is not within the VPC. Choose another than 10.1.0.12.";
        assert!(names(message, "10.1.0.11") && names(message, "10.1.0.12"));
        assert!(!names(message, "10.1.0.1"));
        assert!(!names(message, "i-"));
    }
}
