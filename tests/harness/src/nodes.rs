//! Nodes and pods without a container engine.
