//! Under construction.
use crate::rig::Rig;
/// Soon.
///
/// # Errors
/// None yet.
pub fn random_walks<R: Rig>(_rig: &R, _seeds: &'static str) -> Result<(), String> {
    Ok(())
}
