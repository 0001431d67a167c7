//! How Azure behaves in a test: what takes how long, how many there may be, how often may be asked, what is allowed. Decides.

use super::buckets::Buckets;
use super::quotas::Quotas;
use super::roles::Role;
use crate::cloud::Settle;

/// How Azure behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What takes how long.
    pub times: Times,
    /// How late reads of resources may be. Operations are never late.
    pub lag: Settle,
    /// How many there may be.
    pub quotas: Quotas,
    /// How often may be asked; none: as often as one likes.
    pub buckets: Option<Buckets>,
    /// What whoever is tested may do; none: everything.
    pub role: Option<Role>,
    /// Whether polls need `locations/operations/read`, or `locations/operationResults/read`. Unverified either way.
    pub polls_need_role: bool,
    /// What becomes of a write to a resource that another one still changes.
    pub overlap: Overlap,
    /// How ids are written in answers.
    pub casing: Casing,
    /// How many items a page of a list has.
    pub page: usize,
    /// The seconds of `Retry-After` in answers about operations under way; none: none is sent, as recorded.
    pub poll_after: Option<u64>,
    /// Whether fields that only Azure writes are refused in what whoever is tested sends; else they are ignored, as Azure does.
    pub refuses_read_only: bool,
    /// Whether a load balancer may have no frontend.
    pub empty_load_balancers: bool,
    /// Whether an IP-based pool that is written without addresses keeps those it has; else it is emptied. Unverified either way.
    pub keeps_omitted_addresses: bool,
    /// Whether the history is kept. It grows with each change.
    pub history: bool,
}

impl Default for Settings {
    /// Azure as quick as it was ever recorded, within its default quotas, with no limits of calls.
    fn default() -> Self {
        Self {
            times: Times::recorded(),
            lag: Settle::AT_ONCE,
            quotas: Quotas::default(),
            buckets: None,
            role: None,
            polls_need_role: false,
            overlap: Overlap::Supersedes,
            casing: Casing::AsWritten,
            page: 1000,
            poll_after: None,
            refuses_read_only: true,
            empty_load_balancers: false,
            keeps_omitted_addresses: false,
            history: true,
        }
    }
}

impl Settings {
    /// Azure as slow as it is, with its limits of calls.
    #[must_use]
    pub fn as_azure() -> Self {
        Self {
            times: Times::typical(),
            buckets: Some(Buckets::documented()),
            ..Self::default()
        }
    }
}

/// How a write comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// The first answer says `Succeeded` already, and the operation that it names is over.
    AtOnce,
    /// The first answer says `Updating`; the operation is over when so much time has passed on the fake's clock, and so many looks at it or
    /// at the resource have found it under way.
    Operation(Settle),
}

/// What takes how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// PUT of a load balancer.
    pub load_balancer: Pace,
    /// PUT or DELETE of a backend pool.
    pub pool: Pace,
    /// PUT of a public address.
    pub public_ip: Pace,
    /// PUT of a security group, PUT or DELETE of one of its rules.
    pub security_group: Pace,
    /// DELETE of any of these.
    pub deletion: Pace,
    /// For how long a public address that a load balancer let go cannot be deleted; calls are those that are refused.
    pub release: Settle,
}

impl Times {
    /// Recorded traffic of the Azure cloud provider for Kubernetes and of the Azure CLI (`testdata/AZURECLOUD.yaml`,
    /// `test_network_lb.yaml`): a PUT of a load balancer answers `Succeeded`; all else answers `Updating`, and the first poll `Succeeded`.
    #[must_use]
    pub const fn recorded() -> Self {
        Self {
            load_balancer: Pace::AtOnce,
            pool: Pace::Operation(Settle::AT_ONCE),
            public_ip: Pace::Operation(Settle::AT_ONCE),
            security_group: Pace::Operation(Settle::AT_ONCE),
            deletion: Pace::Operation(Settle::AT_ONCE),
            release: Settle::AT_ONCE,
        }
    }

    /// Some seconds each. Azure documents no times.
    #[must_use]
    pub const fn typical() -> Self {
        const fn seconds(seconds: u64) -> Pace {
            Pace::Operation(Settle::after(std::time::Duration::from_secs(seconds)))
        }
        Self {
            load_balancer: seconds(4),
            pool: seconds(4),
            public_ip: seconds(3),
            security_group: seconds(4),
            deletion: seconds(10),
            release: Settle::after(std::time::Duration::from_secs(5)),
        }
    }
}

/// What becomes of a write to a resource that another one still changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// It cancels the other one, whose changes are lost: `CanceledAndSupersededDueToAnotherOperation` (terraform-provider-azurerm#10178,
    /// terraform-azurerm-caf#389: a PUT of a load balancer superseded the PUT of its pool).
    Supersedes,
    /// It is refused with 409 `AnotherOperationInProgress`. The status is unverified.
    Refused,
}

/// How ids are written in answers. Resource providers differ in it, and Azure says that ids are compared without case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Casing {
    /// As in the PUT that made the resource.
    AsWritten,
    /// The names of resource groups in capitals, as Microsoft.Compute answers.
    UpperGroups,
    /// Everything in small letters.
    Lower,
}
