//! Where lines come from. A source finds origins, reads their bytes, hands them to ingest and appends
//! the sections to the buffer. It never meets a sink.

pub mod announced;
pub mod docker;
pub mod file;
mod intake;
pub mod stdin;

pub use intake::is_utf_16;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

/// Most bytes that one read of one origin takes.
pub const READ_BYTES: usize = 256 * 1024;

/// What the pipeline asks of a running source.
#[derive(Debug)]
pub enum Control {
    /// Take up all that was written until now (one last discovery first), flush open groups and, once it is
    /// unchanged for `settle`, an unterminated last line. Reading goes on.
    Drain { settle: Duration, deadline: Option<Instant>, done: oneshot::Sender<Drained> },
    /// The same, then end. Near the deadline unterminated lines are taken as they are.
    Stop { settle: Duration, deadline: Option<Instant>, done: oneshot::Sender<Drained> },
}

/// Answer to a [`Control`]: everything up to the target stands in the buffer's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Origins that were looked at.
    pub origins: u64,
    /// Bytes that are known and could not be taken up before the deadline.
    pub left_bytes: u64,
}

/// Columns of `[run]` in their order (RunID, TaskID, Benchmark, VMName, the user's own), empty ones left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunColumns(pub Vec<(String, String)>);
