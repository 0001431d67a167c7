//! Every call that we make of Azure Resource Manager, by name (Decides).
//!
//! What a call counts against, who goes first where calls queue, and which permission it needs all follow from it.

use evenkeel_core::limiter::Urgency;

use crate::errors::Access;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// Reads one.
    Get,
    /// Reads a collection.
    List,
    /// Writes one, whole.
    Put,
    /// Removes one.
    Delete,
    /// Asks how a write comes along, or for a token.
    Ask,
}

/// One operation.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// As it stands in logs and errors: `PUT loadBalancers`.
    pub operation: &'static str,
    /// What is done.
    pub verb: Verb,
    /// The namespace of what it is about.
    pub provider: &'static str,
    /// The type of what it is about, as Azure writes it.
    pub kind: &'static str,
    /// Who goes first.
    pub urgency: Urgency,
}

impl Call {
    /// The call that does this; None where we make none like it.
    pub fn of(verb: Verb, provider: &str, kind: &str) -> Option<&'static Self> {
        ALL.iter().find(|call| {
            call.verb == verb
                && call.provider.eq_ignore_ascii_case(provider)
                && call.kind.eq_ignore_ascii_case(kind)
        })
    }

    /// Whether it may change something.
    pub fn access(&self) -> Access {
        match self.verb {
            Verb::Get | Verb::List | Verb::Ask => Access::Read,
            Verb::Put | Verb::Delete => Access::Write,
        }
    }

    /// The permission that it needs: `Microsoft.Network/loadBalancers/write`. None where it needs none.
    pub fn action(&self) -> Option<String> {
        let verb = match self.verb {
            Verb::Get | Verb::List => "read",
            Verb::Put => "write",
            Verb::Delete => "delete",
            Verb::Ask => return None,
        };
        Some(format!("{}/{}/{verb}", self.provider, self.kind))
    }

    /// The version of the API: what the schema in the tests describes.
    pub fn version(&self) -> &'static str {
        match self.provider {
            NETWORK => "2024-03-01",
            _ => "2024-07-01",
        }
    }
}

const NETWORK: &str = "Microsoft.Network";

macro_rules! calls {
    ($($verb:ident $word:literal $provider:ident $kind:literal $urgency:ident;)*) => {
        /// All of them.
        pub static ALL: &[Call] = &[$(Call {
            operation: concat!($word, " ", $kind),
            verb: Verb::$verb,
            provider: $provider,
            kind: $kind,
            urgency: Urgency::$urgency,
        }),*];
    };
}

calls! {
    Get "GET" NETWORK "loadBalancers" Group;
    List "LIST" NETWORK "loadBalancers" Sweep;
    Put "PUT" NETWORK "loadBalancers" Group;
    Delete "DELETE" NETWORK "loadBalancers" First;
    Get "GET" NETWORK "publicIPAddresses" Group;
    List "LIST" NETWORK "publicIPAddresses" Sweep;
    Put "PUT" NETWORK "publicIPAddresses" Group;
    Delete "DELETE" NETWORK "publicIPAddresses" First;
    Get "GET" NETWORK "networkSecurityGroups" Group;
    Put "PUT" NETWORK "networkSecurityGroups" Group;
    Get "GET" NETWORK "virtualNetworks" Group;
}

/// How a write comes along.
pub static POLL: Call = Call {
    operation: "poll",
    verb: Verb::Ask,
    provider: NETWORK,
    kind: "locations/operations",
    urgency: Urgency::First,
};

/// A token.
pub static TOKEN: Call = Call {
    operation: "token",
    verb: Verb::Ask,
    provider: "Microsoft Entra",
    kind: "token",
    urgency: Urgency::First,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, Call, Verb};

    #[test]
    fn a_call_stands_once_and_is_found_in_any_case() {
        for call in ALL {
            let found = Call::of(call.verb, "microsoft.network", &call.kind.to_uppercase());
            assert!(std::ptr::eq(found.expect("a call"), call), "{call:?}");
        }
        let put = Call::of(Verb::Put, "Microsoft.Network", "loadBalancers").expect("a call");
        assert_eq!(
            put.action().as_deref(),
            Some("Microsoft.Network/loadBalancers/write")
        );
        assert_eq!(
            Call::of(Verb::Put, "Microsoft.Network", "virtualNetworks"),
            None
        );
    }

    /// Who grants a role reads it there.
    #[test]
    fn every_call_is_in_the_readme() {
        let readme = include_str!("../README.md");
        for call in ALL {
            let row = format!("| `{}` |", call.kind);
            let row = readme.lines().find(|line| line.starts_with(&row));
            let verb = call.operation.split(' ').next().expect("a verb");
            assert!(
                row.expect("a row").contains(&format!("`{verb}`")),
                "{call:?}"
            );
        }
    }

    /// What a write refers to needs rights of its own, and a poll may.
    const BESIDE: [&str; 6] = [
        "Microsoft.Network/publicIPAddresses/join/action",
        "Microsoft.Network/publicIPPrefixes/join/action",
        "Microsoft.Network/virtualNetworks/joinLoadBalancer/action",
        "Microsoft.Network/virtualNetworks/subnets/join/action",
        "Microsoft.Network/locations/operations/read",
        "Microsoft.Network/locations/operationResults/read",
    ];

    /// An action that the role forgets fails in a real subscription only.
    #[test]
    fn the_role_allows_what_is_called_and_nothing_else() {
        let role = include_str!("../../../deploy/azure/role.json");
        let role: serde_json::Value = serde_json::from_str(role).expect("JSON");
        let allowed = role["Actions"].as_array().expect("a list").iter();
        let allowed: BTreeSet<_> = allowed
            .map(|action| action.as_str().expect("a text").to_owned())
            .collect();
        let mut needed: BTreeSet<_> = ALL.iter().filter_map(Call::action).collect();
        needed.extend(BESIDE.map(str::to_owned));
        assert_eq!(allowed, needed);
    }
}
