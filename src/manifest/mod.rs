//! The proof of delivery: what was read of each origin, and what became of it in each sink, per RunID, as records in
//! every sink and as a file in the state folder. It reads counters and cursors; it counts nothing itself.
//!
//! Manifest records are records of an origin of our own, one for each RunID, that stands in the log like any other:
//! so they are as durable as what they speak of. Its position is the incarnation of its last summary.
//!
//! - An origin that has ended and that every sink has passed gets its record at once, and retires by the same write.
//! - A drain or stop writes a record for each origin that is still live, and a summary of them and all retired ones.
//! - An origin's record carries the incarnation of the summary that it belongs to: of several the highest holds.
//!
//! **Invariant: an origin retires only by the write that holds its manifest record**, so none is without.

mod document;
mod keeper;

pub use document::{EVENT_ORIGIN, EVENT_SUMMARY};
pub use keeper::{Keeper, Setup, Target, Written};

/// Column Source of manifest records.
pub const SOURCE: &str = "logferry";

/// Column LoggerName of manifest records.
pub const LOGGER: &str = "logferry.manifest";

/// Begins the descriptor of our own origins in the log; the RunID follows.
const DESCRIPTOR: &[u8] = b"logferry.manifest\n";

/// Whether an origin of the log is one of ours.
pub fn owns(descriptor: &[u8]) -> bool {
    descriptor.starts_with(DESCRIPTOR)
}
