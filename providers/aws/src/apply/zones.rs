//! For which addresses AWS wants a zone to be told (Decides, and remembers).
//!
//! It does for those outside the VPC, and refuses it for those within. By which prefixes it goes is its own business: an address in a
//! prefix of the VPC that has no subnet counts as outside. So where AWS says that it is otherwise than the prefixes tell, it is asked again as it says.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use evenkeel_core::error::CloudError;

use super::target_groups::names;
use crate::{errors::code, model::Target};

/// The addresses for which it is otherwise than the prefixes tell.
#[derive(Debug, Default)]
pub struct Otherwise(Mutex<BTreeSet<Arc<str>>>);

impl Otherwise {
    fn addresses(&self) -> MutexGuard<'_, BTreeSet<Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is otherwise.
    pub(super) fn is(&self, address: &str) -> bool {
        self.addresses().contains(address)
    }

    /// Nobody has the address any more.
    pub(super) fn forget<'a>(&self, targets: impl IntoIterator<Item = &'a Target>) {
        let mut addresses = self.addresses();
        for target in targets {
            addresses.remove(&target.id);
        }
    }

    /// Takes in what AWS said of targets that it refused. Returns whether to ask again: not for what was `corrected` before.
    pub(super) fn learn(
        &self,
        targets: &[Target],
        error: &CloudError,
        corrected: &mut BTreeSet<Arc<str>>,
    ) -> bool {
        if error.code.as_deref() != Some(code::VALIDATION) || !error.message.contains(code::ZONE) {
            return false;
        }
        let mut named: Vec<_> = targets.iter().map(|target| &target.id).collect();
        named.dedup();
        named.retain(|id| !corrected.contains(*id) && names(&error.message, id));
        let mut addresses = self.addresses();
        for id in &named {
            corrected.insert(Arc::clone(id));
            if !addresses.remove(*id) {
                addresses.insert(Arc::clone(id));
            }
        }
        !named.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::error::ErrorClass;

    use super::*;

    #[test]
    fn what_aws_says_of_an_address_is_done_once() {
        let targets = ["10.4.40.87", "10.4.40.8"].map(|id| Target {
            id: id.into(),
            port: 80,
        });
        let refused = |message: &str| {
            CloudError::new(ErrorClass::Rejected, "RegisterTargets", message)
                .with_code(code::VALIDATION)
        };
        let (known, mut corrected) = (Otherwise::default(), BTreeSet::new());
        let mut learn = |error: &CloudError| known.learn(&targets, error, &mut corrected);
        // Both as AWS answered others: kubernetes-sigs/aws-load-balancer-controller, issues 3714 and 561.
        let outside = refused(
            "The Availability Zone is required for IP address '10.4.40.87' because it is not in the VPC",
        );
        assert!(learn(&outside));
        assert!(known.is("10.4.40.87") && !known.is("10.4.40.8"));
        assert!(!learn(&outside), "it was told, and did not help");
        let within = refused(
            "The IP address '10.4.40.8' is within the VPC, and cannot have its Availability Zone overridden to 'all' from 'us-east-1b'",
        );
        assert!(learn(&within) && known.is("10.4.40.8"));
        assert!(!learn(&refused("The IP address '10.4.40.8' is not valid")));
        known.forget(&targets[..1]);
        assert!(!known.is("10.4.40.87") && known.is("10.4.40.8"));
    }
}
