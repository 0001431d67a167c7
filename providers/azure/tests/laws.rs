//! The laws that every provider obeys, held to this one at the wire: the real client, and an Azure of our own as strict as the real one. Once
//! for Services inside the virtual network, which are claims alone, and once for those on the Internet, which have addresses too.

mod rig;

use evenkeel_core::intent::Scheme;

use rig::AzureRig;

mod internal {
    use super::{AzureRig, Scheme};

    evenkeel_laws::all_laws!(
        AzureRig::of(Scheme::Internal),
        "proptest-regressions/laws_internal.txt"
    );
}

mod public {
    use super::{AzureRig, Scheme};

    evenkeel_laws::all_laws!(
        AzureRig::of(Scheme::InternetFacing),
        "proptest-regressions/laws_public.txt"
    );
}
