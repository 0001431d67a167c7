//! Two opposite toy providers. Small, but with the files of a provider in their order, so that who reads one knows
//! where things stand in the others.

pub mod annotations;
pub mod own;
pub mod shared;
