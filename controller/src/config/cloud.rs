//! How clouds are reached, whichever they are (Decides).
//!
//! Proxies are read from `HTTPS_PROXY` and `NO_PROXY`, as by everything else in a pod, and have no option here.

use std::path::PathBuf;

use evenkeel_core::problem::Problems;

use super::{sources::Sources, word};

/// How clouds are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloudConfig {
    /// A file with certificates, in PEM, of authorities that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether endpoints that are validated under FIPS 140 are asked. None: as the cloud's own tools are told.
    pub fips: Option<bool>,
}

impl CloudConfig {
    pub(super) fn read(sources: &Sources, problems: &mut Problems) -> Self {
        Self {
            ca_file: sources.text("ca-file").map(PathBuf::from),
            fips: word(sources, "fips", &[("on", true), ("off", false)], problems),
        }
    }
}
