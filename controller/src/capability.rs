//! The capability to open ports below 1024. Writes: what the calling thread, and those that it starts, may do.

/// Makes use of `CAP_NET_BIND_SERVICE` where the process may.
///
/// A program file with `cap_net_bind_service=p` starts wherever it is, and gives the capability permitted but not effective
/// (capabilities(7)): what does not open ports does without. To be called before there are other threads.
#[cfg(target_os = "linux")]
pub(crate) fn use_net_bind_service() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

    let Ok(mut sets) = capabilities(None) else {
        return;
    };
    let wanted = CapabilitySet::NET_BIND_SERVICE;
    if sets.permitted.contains(wanted) && !sets.effective.contains(wanted) {
        sets.effective |= wanted;
        // Without it, a low port that cannot be opened says so on its Service.
        let _ = set_capabilities(None, sets);
    }
}

/// Other systems have no capabilities.
#[cfg(not(target_os = "linux"))]
pub(crate) fn use_net_bind_service() {}
