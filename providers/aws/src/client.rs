//! The only file that speaks to AWS (Reads, Writes).

/// A client of the ELBv2 and EC2 APIs.
#[derive(Debug)]
pub struct Client {}
