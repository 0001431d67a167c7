//! The provider at the wire: what it asks of AWS, counted and checked against AWS's own model, and what is there
//! afterwards as another client sees it.

mod access;
mod budget;
mod changes;
mod credentials;
mod endpoints;
mod failing;
mod kinds;
mod openings;
mod policy;
mod probe;
mod rows;
mod stage;
