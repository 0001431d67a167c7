//! The data plane over its API and real sockets on loopback.

#![allow(unreachable_pub, reason = "the modules of a test are all private")]

mod affinity;
mod api;
mod changes;
mod handover;
mod health;
mod leaving;
mod limits;
mod pools;
mod restart;
mod support;
mod traffic;
mod udp;
