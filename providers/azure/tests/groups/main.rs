//! The provider at the wire: the real client, and an Azure as strict as the real one.

mod addresses;
mod basics;
mod commit;
mod counts;
mod preflight;
mod records;
mod stage;
