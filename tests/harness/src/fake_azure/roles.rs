//! Who may do what. Decides.
//!
//! "Azure permissions for Networking" lists the actions; "Resource Manager: linked access check" is why a PUT needs `join/action` on what it
//! refers to. A list without the right at its scope shows what may be read ("Azure RBAC: scope").

use super::ids::ArmId;
use super::refusal::{Answer, Refusal, refuse_with};

/// Actions at scopes.
#[derive(Clone, Debug, Default)]
pub struct Role {
    grants: Vec<(String, String)>,
    denied: Vec<(String, String)>,
}

impl Role {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// These actions too, in a scope: `/subscriptions/S/resourceGroups/G`. An action may have `*` in it.
    #[must_use]
    pub fn with(mut self, scope: &str, actions: &[&str]) -> Self {
        let scope = scope.to_lowercase();
        let grants = actions
            .iter()
            .map(|action| (scope.clone(), action.to_lowercase()));
        self.grants.extend(grants);
        self
    }

    /// Without this action anywhere.
    #[must_use]
    pub fn without(mut self, action: &str) -> Self {
        self.grants
            .retain(|(_, granted)| !granted.eq_ignore_ascii_case(action));
        self
    }

    /// No writes in a scope, whatever is granted, by a deny assignment of this name: "Fully managed resource group" of AKS Automatic.
    #[must_use]
    pub fn denied_by(mut self, scope: &str, assignment: &str) -> Self {
        self.denied
            .push((scope.to_lowercase(), assignment.to_owned()));
        self
    }

    fn grants(&self, action: &str, scope: &str) -> bool {
        let (action, scope) = (action.to_lowercase(), scope.to_lowercase());
        let mut grants = self.grants.iter();
        grants.any(|(within, granted)| is_within(&scope, within) && matches(granted, &action))
    }
}

fn is_within(scope: &str, within: &str) -> bool {
    scope
        .strip_prefix(within)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn matches(pattern: &str, action: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == action,
        Some((begin, end)) => {
            action.len() >= begin.len() + end.len()
                && action.starts_with(begin)
                && action.ends_with(end)
        }
    }
}

/// Who asks, in the texts of refusals.
const CLIENT: &str = "11111111-1111-1111-1111-111111111111";

/// Whether a call on a resource is allowed; else as Azure refuses it.
pub(super) fn check(role: Option<&Role>, verb: &str, id: &ArmId) -> Answer<()> {
    let Some(role) = role else {
        return Ok(());
    };
    let (action, scope) = (format!("{}/{verb}", id.full_kind()), id.to_string());
    if !role.grants(&action, &scope) {
        return Err(refuse_with(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{CLIENT}' with object id '{CLIENT}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials."
            ),
        ));
    }
    let within = scope.to_lowercase();
    let mut denied = role.denied.iter();
    if verb != "read"
        && let Some((denied, assignment)) = denied.find(|(denied, _)| is_within(&within, denied))
    {
        return Err(refuse_with(
            403,
            "DenyAssignmentAuthorizationFailed",
            format!(
                "The client '{CLIENT}' with object id '{CLIENT}' has permission to perform action '{action}' on scope '{scope}'; however, the access is denied because of the deny assignment with name '{assignment}' and Id '{CLIENT}' at scope '{denied}'."
            ),
        ));
    }
    Ok(())
}

/// Whether something may be shown in a list.
pub(super) fn may_read(role: Option<&Role>, id: &ArmId) -> bool {
    check(role, "read", id).is_ok()
}

/// Whether a write may refer to something.
pub(super) fn check_link(
    role: Option<&Role>,
    writing: &ArmId,
    linked: &str,
    verb: &str,
) -> Answer<()> {
    let (Some(role), Some(linked)) = (role, ArmId::parse(linked)) else {
        return Ok(());
    };
    let action = format!("{}/{verb}", linked.full_kind());
    if role.grants(&action, &linked.to_string()) {
        return Ok(());
    }
    Err(Refusal {
        status: 403,
        ..super::refusal::refuse(
            "LinkedAuthorizationFailed",
            format!(
                "The client '{CLIENT}' with object id '{CLIENT}' has permission to perform action '{}/write' on scope '{writing}'; however, it does not have permission to perform action(s) '{action}' on the linked scope(s) '{linked}' (respectively) or the linked scope(s) are invalid.",
                writing.full_kind()
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_hold_within_their_scope() {
        let role = Role::none().with(
            "/subscriptions/s/resourceGroups/rg",
            &["Microsoft.Network/loadBalancers/*"],
        );
        for (scope, action, expected) in [
            (
                "/subscriptions/s/resourceGroups/RG/providers/x",
                "Microsoft.Network/loadBalancers/write",
                true,
            ),
            (
                "/subscriptions/s/resourceGroups/rg2/providers/x",
                "Microsoft.Network/loadBalancers/write",
                false,
            ),
            (
                "/subscriptions/s/resourceGroups/rg",
                "Microsoft.Network/publicIPAddresses/read",
                false,
            ),
        ] {
            assert_eq!(role.grants(action, scope), expected, "{action} {scope}");
        }
    }
}
