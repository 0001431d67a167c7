//! The controller: what Kubernetes says, made true on clouds, and told back.
//!
//! ```text
//! args, config          what the process runs with
//! run                   wiring: client, caches, providers, queue, HTTP server, shutdown
//! watch                 what Kubernetes says                                            (R)
//!   -> brake            nodes that vanish all at once are held
//!   -> queue            what to work on next
//!   -> reconcile        one group of Services, top to bottom
//!        -> outcome     what a run means: conditions and events
//!        -> publish     finalizer, status, events                                       (W)
//!        -> retry       when to come back
//! lease, fence          which replica may write, and that no other does                    (W)
//! providers             the clouds of this program
//! holder                that no other cluster with this one's identity writes there             (W)
//! standing              how the controller itself stands: its own object in the cluster      (W)
//! sweep                 what clouds have that nobody asks for
//! admin, metrics, telemetry, journal    what operators see
//! capability            opening low ports and adding addresses without being root               (W)
//! commands, view        the command line: what it finds out, and how it is shown
//! ```

pub mod admin;
pub mod args;
pub mod brake;
mod capability;
pub mod clock;
pub mod commands;
pub mod config;
mod connect;
pub mod controller_object;
mod fence;
mod holder;
pub mod journal;
mod lease;
pub mod metrics;
pub mod outcome;
pub mod providers;
mod proxy_health;
pub mod publish;
pub mod queue;
mod reconcile;
pub mod retry;
pub mod run;
pub mod standing;
pub mod sweep;
pub mod telemetry;
pub mod version;
pub mod view;
pub mod watch;
