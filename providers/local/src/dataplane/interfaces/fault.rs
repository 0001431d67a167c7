//! What is said about an address that is not on its interface. Decides: no IO.

use std::{io, net::IpAddr};

use rustix::io::Errno;

use super::decide::{Fault, InterfaceAddress};
use crate::api::{ListenerPhase, failure};

/// Why the system did not add an address.
pub(super) fn of_system(at: &InterfaceAddress, error: &io::Error) -> Fault {
    let interface = at.interface.clone();
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM) => Fault::Forbidden { interface },
        // The kernel's word for disable_ipv6 (net/ipv6/addrconf.c, addrconf_add_dev).
        Some(Errno::ACCESS) if at.address.is_ipv6() => Fault::Ipv6Off { interface },
        Some(Errno::ACCESS) => Fault::Forbidden { interface },
        Some(Errno::NODEV) => Fault::Missing { interface },
        _ => Fault::Refused {
            interface,
            why: error.to_string(),
        },
    }
}

impl Fault {
    /// The phase of listeners of the address.
    pub(super) fn phase(&self, address: IpAddr) -> ListenerPhase {
        let (code, message) = match self {
            Self::Missing { interface } => (
                failure::INTERFACE_MISSING,
                format!(
                    "{address} is to be added to {interface}, and this machine has no such interface; make it, or correct add-to of the \
                     pool (`ip link` lists what there is)"
                ),
            ),
            Self::Down { interface } => (
                failure::INTERFACE_DOWN,
                format!(
                    "{interface}, the interface of {address}, is down; set it up (`ip link set {interface} up`)"
                ),
            ),
            Self::Elsewhere { interface, found } => {
                let (there, prefix) = (&found.at.interface, found.prefix);
                (
                    failure::ADDRESS_ELSEWHERE,
                    format!(
                        "{address} is to be added to {interface}, and {there} has it already; take it away there (`ip address del \
                         {address}/{prefix} dev {there}`), or correct add-to of the pool"
                    ),
                )
            }
            Self::Forbidden { interface } => (
                failure::ADDRESS_FORBIDDEN,
                format!(
                    "the system lets this process not add {address} to {interface}; give the data plane the capability CAP_NET_ADMIN, or \
                     add it yourself (`ip address add {address} dev {interface}`)"
                ),
            ),
            Self::Ipv6Off { interface } => (
                failure::ADDRESS_NOT_ADDED,
                format!(
                    "{address} cannot be added to {interface}, where IPv6 is switched off; switch it on (`sysctl \
                     net.ipv6.conf.{interface}.disable_ipv6=0`)"
                ),
            ),
            Self::NoRecord { interface, why } => (
                failure::ADDRESS_NOT_ADDED,
                format!(
                    "{address} is not added to {interface}, because that cannot be written down beside the state: {why}; make room, or \
                     correct the permissions of the state directory"
                ),
            ),
            Self::Refused { interface, why } => (
                failure::ADDRESS_NOT_ADDED,
                format!(
                    "{address} cannot be added to {interface}: {why}; see to that, or add it yourself (`ip address add {address} dev \
                     {interface}`)"
                ),
            ),
        };
        ListenerPhase::Failed {
            code: code.to_owned(),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_says_why_and_what_to_do() {
        for (address, errno, code, says) in [
            (
                "192.0.2.1",
                Errno::PERM,
                "AddressForbidden",
                "CAP_NET_ADMIN",
            ),
            (
                "2001:db8::1",
                Errno::PERM,
                "AddressForbidden",
                "CAP_NET_ADMIN",
            ),
            (
                "2001:db8::1",
                Errno::ACCESS,
                "AddressNotAdded",
                "net.ipv6.conf.eth0.disable_ipv6=0",
            ),
            ("192.0.2.1", Errno::NODEV, "InterfaceMissing", "`ip link`"),
            (
                "192.0.2.1",
                Errno::NOBUFS,
                "AddressNotAdded",
                "ip address add 192.0.2.1 dev eth0",
            ),
        ] {
            let at = InterfaceAddress {
                address: address.parse().expect("an address"),
                interface: "eth0".to_owned(),
            };
            let fault = of_system(&at, &errno.into());
            let ListenerPhase::Failed { code: got, message } = fault.phase(at.address) else {
                panic!("{errno:?} is a failure");
            };
            assert_eq!(got, code, "{errno:?}");
            assert!(message.contains(says), "{errno:?}: {message}");
            assert!(message.contains(address), "{errno:?}: {message}");
        }
    }
}
