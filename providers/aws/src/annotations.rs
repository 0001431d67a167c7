//! The keys of this cloud, and reading them (Decides).
