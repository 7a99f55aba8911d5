//! Steps back, jumps and counts, without an engine.
