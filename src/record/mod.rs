//! What a record is made of: its columns, its ids and its time. Values only, no stage of the flow.

pub mod column;
pub mod constants;
pub mod counters;
pub mod histogram;
pub mod id;
pub mod json;
pub mod rule;
pub mod time;

pub use constants::Constants;
pub use counters::{Counters, GapKind};
pub use histogram::Histogram;
pub use id::{EventId, OriginId};
pub use rule::Rule;
pub use time::Nanos;

/// Longest string value of a record, in bytes of UTF-8; longer messages become parts.
/// Azure Monitor cuts values over 64 KB in silence, so every sink gets shorter ones.
pub const STRING_MAX_BYTES: usize = 60_000;

/// Largest encoded record, in bytes; Azure Monitor takes calls of 1,048,576 bytes at most.
pub const RECORD_MAX_BYTES: usize = 900_000;

/// Most sinks that one configuration can have: one route bit each, see [`RouteBits`].
pub const SINKS_MAX: usize = 32;

/// Bit `n` is set where the record goes to the sink with index `n`.
pub type RouteBits = u32;
