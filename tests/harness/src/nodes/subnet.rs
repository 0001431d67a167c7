//! Claims a subnet for one pool, so that pools of other processes never meet it. Reads and Writes: one loopback port.
//!
//! The claim is a listening socket, which the kernel takes back when the process ends, however it ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, bail};

/// The port of the claims, on 127.79.N.255.
const CLAIM_PORT: u16 = 10255;

/// A number from 0 to 255 that no other pool of this network has.
#[derive(Debug)]
pub(crate) struct Subnet {
    number: u8,
    _claim: TcpListener,
}

impl Subnet {
    /// Claims a number; `first` is an address that must not be in use here for the number to be free.
    pub(crate) fn claim(first: impl Fn(u8) -> Ipv4Addr) -> anyhow::Result<Self> {
        let start = random();
        for step in 0..=u8::MAX {
            let number = start.wrapping_add(step);
            let claim = TcpListener::bind(SocketAddr::from(([127, 79, number, 255], CLAIM_PORT)));
            let claim = match claim {
                Ok(claim) => claim,
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => continue,
                Err(error) => {
                    return Err(error).context(
                        "cannot listen on an address of 127.0.0.0/8 other than 127.0.0.1; pools of nodes need Linux and the loopback interface up (`ip link set lo up`)",
                    );
                }
            };
            let address = first(number);
            let taken = !address.is_loopback() && TcpListener::bind((address, 0)).is_ok();
            if !taken {
                return Ok(Self {
                    number,
                    _claim: claim,
                });
            }
        }
        bail!("all 256 subnets for pools of nodes are in use; end other test runs of this machine")
    }

    pub(crate) fn number(&self) -> u8 {
        self.number
    }
}

/// Where the search starts, so that two pools seldom try the same number.
fn random() -> u8 {
    u8::from_str_radix(&crate::random::hex(1), 16).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_pools_never_share_a_subnet() {
        let loopback = |n| Ipv4Addr::new(127, 80, n, 1);
        let first = Subnet::claim(loopback).unwrap();
        let held = TcpListener::bind(SocketAddr::from((
            [127, 79, first.number(), 255],
            CLAIM_PORT,
        )));
        assert!(held.is_err(), "the claim of {} is not held", first.number());
        let second = Subnet::claim(loopback).unwrap();
        assert_ne!(first.number(), second.number());
    }

    #[test]
    fn a_subnet_in_use_on_this_machine_is_passed_over() {
        let claimed = Subnet::claim(|n| {
            if n == 77 {
                Ipv4Addr::new(192, 0, 2, 77)
            } else {
                Ipv4Addr::UNSPECIFIED
            }
        });
        // Everything but 77 can be bound, so counts as taken; 77 may be held by another pool of this machine.
        if let Ok(subnet) = claimed {
            assert_eq!(subnet.number(), 77);
        }
    }
}
