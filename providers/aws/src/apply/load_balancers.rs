//! Load balancers (Writes).

use evenkeel_core::error::CloudError;

use super::Doing;
use crate::{
    call,
    client::LoadBalancerReply,
    errors::{self, code},
    model::{Pairs, Told, step::NewLoadBalancer},
    names,
};

impl Doing<'_> {
    /// AWS answers a create of what is there with that object, where all settings are the same: that may be a stranger's of the
    /// same name. So what was not just made has to prove by its tags that it is ours; and so has what has a name that somebody
    /// chose, which two Services may have asked for at the same time.
    pub(super) async fn create_load_balancer(
        &self,
        new: &NewLoadBalancer,
    ) -> Result<Told, CloudError> {
        let call = &call::CREATE_LOAD_BALANCER;
        let made = match self.client.create_load_balancer(new, self.ticket).await {
            Ok(made) => made.ok_or_else(|| {
                errors::stale(
                    call.operation,
                    "AWS did not say what it made; it is looked at anew",
                )
            })?,
            Err(error) if error.code.as_deref() == Some(code::LOAD_BALANCER_EXISTS) => {
                // With other settings. If it is ours, the look that follows finds it.
                let there = self.client.load_balancer_of_name(&new.name).await?;
                return match there {
                    Some(there) if self.is_ours(&there, &new.tags).await? => Err(errors::stale(
                        call.operation,
                        format!(
                            "the load balancer `{}` is there with other settings; it is looked at anew",
                            new.name
                        ),
                    )),
                    _ => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let proves_itself = is_new(&made) && self.is_ours_alone(new);
        if !proves_itself && !self.is_ours(&made, &new.tags).await? {
            return Err(errors::foreign(
                call.operation,
                format!(
                    "a load balancer `{}` is there and not of this Service; choose another name in `aws-load-balancer-name`, or delete it",
                    new.name
                ),
            ));
        }
        Ok(Told::Created {
            id: made.arn(),
            dns_name: made.dns_name(),
        })
    }

    /// Whether nobody else can ask for the name: it is made of the group's identity.
    fn is_ours_alone(&self, new: &NewLoadBalancer) -> bool {
        let open = new.security_groups.is_empty();
        new.name == names::load_balancer(&new.marks.cluster, self.key, new.scheme, open)
    }

    async fn is_ours(&self, there: &LoadBalancerReply, wanted: &Pairs) -> Result<bool, CloudError> {
        let arn = there.arn();
        let tags = self.client.tags(std::slice::from_ref(&arn)).await?;
        Ok(tags.get(&arn).is_some_and(|tags| same_owner(tags, wanted)))
    }
}

/// Whether two objects are of one cluster, group and kind.
pub(super) fn same_owner(tags: &Pairs, wanted: &Pairs) -> bool {
    match (names::marks(tags), names::marks(wanted)) {
        (Some(there), Some(wanted)) => {
            there.cluster == wanted.cluster && there.group == wanted.group && there.id == wanted.id
        }
        _ => false,
    }
}

/// How long before now something made by this call can have been made, by AWS's clock and ours.
const JUST_NOW: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Whether it was made just now. Without a time nothing is known, and the tags decide.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge, and about a call that just ended"
)]
fn is_new(made: &LoadBalancerReply) -> bool {
    let age = made
        .created_at()
        .map(|at| jiff::Timestamp::now().duration_since(at));
    age.is_some_and(|age| age.abs() < JUST_NOW)
}
