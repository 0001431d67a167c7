//! Which address a new lease gets, or why none. Decides: no IO.
//!
//! Pools are tried in their order, and in each the addresses in theirs: what is handed out depends on the requests
//! alone. An address of a shared pool may be held by several leases, whose ports differ; there the address is chosen
//! on which most of the asked ports are free, and a lease that would have none of them is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    pool::{HostAddress, Pool},
    store::{Held, Stored},
};
use crate::api::{ApiError, LeaseSpec, Marks, Port, code};

#[cfg(test)]
mod tests;

/// Most addresses of a shared pool that are weighed against each other.
const WEIGHED: usize = 4_096;
/// Most holders that a message names.
const NAMED: usize = 5;

/// A port of an address.
pub(crate) type Place = (IpAddr, Port);

/// What the machine was found to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Its addresses, in the order of its interfaces.
    pub(crate) host: Vec<HostAddress>,
    /// Ports of shared addresses that other processes have.
    pub(crate) busy: BTreeSet<Place>,
}

/// What is held.
#[derive(Debug, Default)]
pub(crate) struct Holdings<'a> {
    /// The leases of each address.
    pub(crate) leases: BTreeMap<IpAddr, Vec<&'a Stored<Held>>>,
    /// Ports of shared addresses, and who has them or is going to.
    pub(crate) ports: BTreeMap<Place, String>,
}

/// What a new lease gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) address: IpAddr,
    /// Whether others may hold the address too.
    pub(crate) shared: bool,
}

/// Why a pool gives no address.
enum Refusal {
    /// It serves other namespaces.
    Namespace(String),
    /// The namespace has all it may have.
    Limit(String),
    /// Every address is held.
    Exhausted(usize),
    /// None of the asked ports is free on any address.
    Ports(String),
}

/// Chooses the address of a new lease.
pub(crate) fn allocate(
    pools: &[Pool],
    facts: &Facts,
    holdings: &Holdings<'_>,
    asked: &LeaseSpec,
    marks: &Marks,
) -> Result<Granted, ApiError> {
    let choice = Choice {
        pools,
        facts,
        holdings,
        asked,
        marks,
    };
    match asked.address {
        Some(address) => choice.particular(address),
        None => choice.any(),
    }
}

/// The pool that an address is of. An address that is listed is that pool's, also where it is the machine's own.
pub(crate) fn pool_of<'a>(
    pools: &'a [Pool],
    host: &[HostAddress],
    address: IpAddr,
) -> Option<&'a Pool> {
    let of = |is_host: bool| {
        pools
            .iter()
            .find(|pool| pool.is_host() == is_host && pool.contains(address, host))
    };
    of(false).or_else(|| of(true))
}

/// The namespace of what an object serves.
fn namespace(marks: &Marks) -> &str {
    marks.service.split('/').next().unwrap_or_default()
}

struct Choice<'a> {
    pools: &'a [Pool],
    facts: &'a Facts,
    holdings: &'a Holdings<'a>,
    asked: &'a LeaseSpec,
    marks: &'a Marks,
}

impl<'a> Choice<'a> {
    fn particular(&self, address: IpAddr) -> Result<Granted, ApiError> {
        let family = self.asked.family;
        let pools = self.candidates()?;
        let found = pool_of(self.pools, &self.facts.host, address).filter(|pool| {
            pools
                .iter()
                .any(|candidate| std::ptr::eq(*candidate, *pool))
        });
        let Some(pool) = found else {
            return Err(ApiError::new(
                code::ADDRESS_NOT_IN_POOL,
                format!("{address} lies in none of the {family} pools ({}); ask for one that does, or for none", names(&pools)),
            )
            .at("spec.address"));
        };
        self.admitted(pool)
            .and_then(|()| self.allowance(pool, address))
            .map_err(|refusal| self.refused(&[(pool, refusal)]))?;
        if let Some(holder) = self.excluding(pool, address) {
            return Err(ApiError::new(
                code::ADDRESS_TAKEN,
                format!(
                    "{address} is held by another lease, of {}; ask for another address, or delete that lease",
                    holder.marks.service
                ),
            )
            .at("spec.address"));
        }
        match self.served(pool, [address].into_iter()) {
            Ok(address) => Ok(self.granted(pool, address)),
            Err(refusal) => Err(self.refused(&[(pool, refusal)])),
        }
    }

    fn any(&self) -> Result<Granted, ApiError> {
        let pools = self.candidates()?;
        let mut refusals = Vec::new();
        for pool in &pools {
            match self.from(pool) {
                Ok(address) => return Ok(self.granted(pool, address)),
                Err(refusal) => refusals.push((*pool, refusal)),
            }
        }
        Err(self.refused(&refusals))
    }

    /// The pools that may be asked: those of the family, or the one that was named.
    fn candidates(&self) -> Result<Vec<&'a Pool>, ApiError> {
        let family = self.asked.family;
        let of_family: Vec<&Pool> = self
            .pools
            .iter()
            .filter(|pool| pool.has_family(family))
            .collect();
        let Some(name) = &self.asked.pool else {
            return Ok(of_family);
        };
        let named: Vec<&Pool> = of_family
            .iter()
            .copied()
            .filter(|pool| pool.name() == Some(name))
            .collect();
        if !named.is_empty() {
            return Ok(named);
        }
        let known: Vec<&str> = of_family.iter().filter_map(|pool| pool.name()).collect();
        let known = if known.is_empty() {
            "no pool of that family has a name".to_owned()
        } else {
            format!("there are {}", known.join(", "))
        };
        Err(ApiError::new(
            code::NO_SUCH_POOL,
            format!(
                "`{name}` is no pool of {family} addresses, {known}; name one of those, or none"
            ),
        )
        .at("spec.pool"))
    }

    /// The address that a pool gives, if it does.
    fn from(&self, pool: &'a Pool) -> Result<IpAddr, Refusal> {
        self.admitted(pool)?;
        let mut held = 0;
        let mut limit = None;
        let free: Vec<IpAddr> = {
            let mut usable = pool
                .addresses(self.asked.family, &self.facts.host)
                .filter(|address| {
                    !pool.is_host()
                        || pool_of(self.pools, &self.facts.host, *address)
                            .is_some_and(|of| std::ptr::eq(of, pool))
                })
                .filter(|address| {
                    let free = self.excluding(pool, *address).is_none();
                    held += usize::from(!free);
                    free
                })
                .filter(|address| match self.allowance(pool, *address) {
                    Ok(()) => true,
                    Err(refusal) => {
                        limit = Some(refusal);
                        false
                    }
                });
            if pool.shared {
                usable.by_ref().take(WEIGHED).collect()
            } else {
                // Beyond an allowance only addresses of the namespace itself would do, and those are not free.
                let mine = self.allowance_left(pool);
                if mine { usable.next() } else { None }
                    .into_iter()
                    .collect()
            }
        };
        if free.is_empty() {
            if !pool.shared && !self.allowance_left(pool) {
                return Err(self.over_allowance(pool));
            }
            return Err(limit.unwrap_or(Refusal::Exhausted(held)));
        }
        self.served(pool, free.into_iter())
    }

    /// Of these addresses the one on which most of the asked ports are free.
    fn served(
        &self,
        pool: &Pool,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Result<IpAddr, Refusal> {
        let asked = &self.asked.ports;
        let mut best: Option<((usize, usize), IpAddr)> = None;
        for address in addresses {
            let count = |is: &dyn Fn(&Place) -> bool| {
                asked.iter().filter(|port| is(&(address, **port))).count()
            };
            let taken = count(&|place| self.holdings.ports.contains_key(place));
            // Another process may end: its port is tried again, and worth less than one that is free.
            let doubtful = count(&|place| self.facts.busy.contains(place));
            let cost = (taken, doubtful);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, address));
            }
            if cost == (0, 0) {
                break;
            }
        }
        let ((taken, _), address) = best.expect("there is an address");
        if taken > 0 && taken == asked.len() {
            let held = asked.iter().filter_map(|port| {
                let holder = self.holdings.ports.get(&(address, *port))?;
                Some(format!("{port} of {address} is taken by {holder}"))
            });
            let mut text = held.collect::<Vec<_>>().join(", ");
            if pool
                .addresses(self.asked.family, &self.facts.host)
                .nth(1)
                .is_some()
            {
                text.push_str(", and no other address has a free one either");
            }
            return Err(Refusal::Ports(text));
        }
        Ok(address)
    }

    /// The lease that keeps an address from being held by this one too.
    fn excluding(&self, pool: &Pool, address: IpAddr) -> Option<&'a Stored<Held>> {
        let leases = self.holdings.leases.get(&address)?;
        leases
            .iter()
            .copied()
            .find(|lease| !(pool.shared && lease.spec.shared))
    }

    fn admitted(&self, pool: &Pool) -> Result<(), Refusal> {
        if pool.namespaces.is_empty() || pool.namespaces.contains(namespace(self.marks)) {
            return Ok(());
        }
        let names: Vec<&str> = pool.namespaces.iter().map(String::as_str).collect();
        Err(Refusal::Namespace(names.join(", ")))
    }

    /// Whether the namespace may hold this address: it may have one more, or has it already.
    fn allowance(&self, pool: &Pool, address: IpAddr) -> Result<(), Refusal> {
        let has = || {
            let leases = self.holdings.leases.get(&address);
            leases.is_some_and(|leases| leases.iter().any(|lease| self.is_neighbour(&lease.marks)))
        };
        if self.allowance_left(pool) || has() {
            Ok(())
        } else {
            Err(self.over_allowance(pool))
        }
    }

    fn allowance_left(&self, pool: &Pool) -> bool {
        pool.per_namespace
            .is_none_or(|limit| self.held_by_namespace(pool).count() < limit)
    }

    fn over_allowance(&self, pool: &Pool) -> Refusal {
        let held: Vec<String> = self
            .held_by_namespace(pool)
            .map(|(address, lease)| format!("{address} of {}", lease.marks.service))
            .collect();
        let limit = pool.per_namespace.unwrap_or(held.len());
        Refusal::Limit(format!("{} of {limit} ({})", held.len(), some_of(&held)))
    }

    /// The addresses of a pool that the namespace holds, each with a lease.
    fn held_by_namespace(&self, pool: &Pool) -> impl Iterator<Item = (IpAddr, &'a Stored<Held>)> {
        self.holdings
            .leases
            .iter()
            .filter_map(|(address, leases)| {
                let of = leases
                    .iter()
                    .find(|lease| self.is_neighbour(&lease.marks))?;
                Some((*address, *of))
            })
            .filter(|(address, _)| {
                pool_of(self.pools, &self.facts.host, *address)
                    .is_some_and(|of| std::ptr::eq(of, pool))
            })
    }

    fn is_neighbour(&self, other: &Marks) -> bool {
        other.cluster == self.marks.cluster && namespace(other) == namespace(self.marks)
    }

    fn granted(&self, pool: &Pool, address: IpAddr) -> Granted {
        Granted {
            address,
            shared: pool.shared,
        }
    }

    /// The error for a lease that no pool gives an address.
    fn refused(&self, refusals: &[(&Pool, Refusal)]) -> ApiError {
        let family = self.asked.family;
        if refusals.is_empty() {
            return ApiError::new(
                code::POOL_EXHAUSTED,
                format!("the data plane has no {family} pool; start it with one"),
            );
        }
        let pools: Vec<&Pool> = refusals.iter().map(|(pool, _)| *pool).collect();
        let exhausted = refusals.iter().map(|(_, refusal)| match refusal {
            Refusal::Exhausted(count) => Some(count),
            _ => None,
        });
        if let Some(count) = exhausted.sum::<Option<usize>>() {
            let message = match count {
                0 => format!(
                    "the {family} pools ({}) have no address to hand out now; give the machine one, ask for a reserved one, or start the data plane with another pool",
                    names(&pools)
                ),
                _ => format!(
                    "all {count} addresses of the {family} pools ({}) are held; delete a lease or start the data plane with a larger pool",
                    names(&pools)
                ),
            };
            return ApiError::new(code::POOL_EXHAUSTED, message);
        }
        let namespace = namespace(self.marks);
        let why = refusals.iter().map(|(pool, refusal)| {
            let label = pool.label();
            match refusal {
                Refusal::Namespace(names) => format!("pool {label} serves only namespaces {names}"),
                Refusal::Limit(held) => format!("of pool {label} the namespace holds {held}"),
                Refusal::Exhausted(count) => {
                    format!("all {count} addresses of pool {label} are held")
                }
                Refusal::Ports(held) => format!("in pool {label} {held}"),
            }
        });
        let why = why.collect::<Vec<_>>().join("; ");
        // What may pass by itself decides: then it is worth coming back.
        let has = |is: fn(&Refusal) -> bool| refusals.iter().any(|(_, refusal)| is(refusal));
        let (code, advice) = if has(|refusal| matches!(refusal, Refusal::Ports(_))) {
            (
                code::PORT_TAKEN,
                "use other ports or another address, or delete what has them",
            )
        } else if has(|refusal| matches!(refusal, Refusal::Limit(_))) {
            (
                code::NAMESPACE_LIMIT,
                "delete one of these, use another pool, or have its per-namespace-limit raised",
            )
        } else if has(|refusal| matches!(refusal, Refusal::Exhausted(_))) {
            (
                code::POOL_EXHAUSTED,
                "delete a lease or start the data plane with a larger pool",
            )
        } else {
            (
                code::NAMESPACE_NOT_SERVED,
                "use one of those namespaces, or have a pool serve this one",
            )
        };
        ApiError::new(
            code,
            format!("no {family} address for namespace {namespace}: {why}; {advice}"),
        )
    }
}

fn names(pools: &[&Pool]) -> String {
    if pools.is_empty() {
        return "there is none".into();
    }
    let labels: Vec<&str> = pools.iter().map(|pool| pool.label()).collect();
    labels.join(", ")
}

/// The first few of a list, and how many more there are.
fn some_of(all: &[String]) -> String {
    let mut text = all[..all.len().min(NAMED)].join(", ");
    if all.len() > NAMED {
        text.push_str(&format!(" and {} more", all.len() - NAMED));
    }
    text
}
