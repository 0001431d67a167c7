//! The reconciler against a real API server, with a toy cloud whose every call can be held back, broken or cut.
//!
//! Each test has a namespace and a provider name of its own, hence a class and a finalizer of its own, so that the
//! controllers of several tests leave each other alone on one control plane.

mod api;
mod changes;
mod endpoints;
mod events;
mod groups;
mod life;
mod nodes;
mod patient;
mod races;
mod restart;
mod scene;
mod targets;
mod trouble;
