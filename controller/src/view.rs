//! What the commands show: values and their text, without a terminal and without a cluster (Decides).
//!
//! ```text
//! standing     what the controller tells of its Services over HTTP
//! services     rows of `evenkeel status`, from that and from what the API server has
//! status       the page of `evenkeel status`
//! plan         the rehearsal of `evenkeel plan`, as a value and as a page
//! traffic      what went through their load balancers
//! samples      reads the text of metrics
//! table, ink   columns and colour
//! ```
//!
//! Every page is also a document: the same value in JSON, whose fields are stable.

pub mod ink;
pub mod plan;
pub mod samples;
pub mod services;
pub mod standing;
pub mod status;
pub mod table;
pub mod traffic;
