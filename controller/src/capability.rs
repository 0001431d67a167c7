//! The capabilities of the data plane: to open ports below 1024, and where pools ask for it to add addresses to interfaces.
//! Writes: what the calling thread, and those that it starts, may do.

/// Makes use of `CAP_NET_BIND_SERVICE`, and of `CAP_NET_ADMIN` where addresses are changed, as far as the process may.
///
/// A program file with `cap_net_bind_service,cap_net_admin=p` starts wherever it is, and gives the capabilities permitted but not
/// effective (capabilities(7)): what does not need them does without. To be called before there are other threads.
#[cfg(target_os = "linux")]
pub(crate) fn use_what_is_permitted(changes_addresses: bool) {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    let Ok(mut sets) = capabilities(None) else {
        return;
    };
    let mut wanted = CapabilitySet::NET_BIND_SERVICE;
    if changes_addresses {
        wanted |= CapabilitySet::NET_ADMIN;
    }
    let more = wanted & sets.permitted & !sets.effective;
    if !more.is_empty() {
        sets.effective |= more;
        // Without them, a low port that cannot be opened and an address that cannot be added say so on their Services.
        let _ = set_capabilities(None, sets);
    }
}

/// Other systems have no capabilities.
#[cfg(not(target_os = "linux"))]
pub(crate) fn use_what_is_permitted(_changes_addresses: bool) {}
