//! The client at the wire: what it asks of Azure, how it takes what is answered, and whom else it asks, which is nobody.

mod azure_json;
mod calls;
mod credentials;
mod elsewhere;
mod failing;
mod operations;
mod rates;
mod stage;
