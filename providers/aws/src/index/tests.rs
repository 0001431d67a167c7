//! Looks and our own writes, as the index puts them together.
