//! The Docker source: every line of every selected container, by the engine's API. Reads logs, changes nothing.
//!
//! ```text
//! containers   events, list, reconcile ─▶ one task a container (opening, reader) ─▶ raw log stream (engine)
//! reader       follow, read to the end after the exit, idle, gone               ─▶ entries (frame, timestamp)
//! attached     a container with --rm, since before its start                    ─▶ pieces of a stream
//! polled       Podman, which loses lines to whoever follows: readings in turns  ─▶ entries
//! held         the engine's own file of its log                                 ─▶ entries
//! continuity   whether a log that is rotated came whole (recount asks), what its driver loses (driver)
//! tracks       stdout and stderr: one origin each (stream, position)            ─▶ ingest ─▶ buffer
//! chronicle    exits, and what was missed: one origin a container               ─▶ ingest ─▶ buffer
//! ```
//!
//! - **Events are hints.** Every task looks for itself what its container does; a list from time to time finds what the
//!   events did not say (their ring holds 256, and is empty after a restart of the engine).
//! - **One way of reading is the truth for a container at any time**: `logs` with timestamps, from a position on. Whatever
//!   ends a stream (an exit, a restart, a proxy, a full buffer), the next reading goes on by position, see
//!   [`position`]. A container that its engine removes when it ends is attached to before its start instead
//!   ([`opening`]); the handover from there to its log, or to the file of its log that is held open, counts lines. They
//!   never run side by side.
//! - **Reading never waits on a sink.** Where the buffer is full the stream is let go and asked for again later: a client
//!   that stays attached and does not read makes the engine skip lines.
//! - **What is followed is not taken on trust** where the engine rotates the log: it may skip files, or give one twice. A
//!   reading without follow may not. See [`continuity`].
//! - **A drain's target** is what the log holds when it is asked for: each container is read to its end without follow,
//!   by a request that begins after the drain does.

mod address;
mod alarm;
mod answer;
mod attached;
mod chronicle;
mod container;
mod containers;
mod continuity;
mod drain;
mod driver;
mod engine;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gone;
mod held;
mod opening;
pub mod options;
mod own;
mod polled;
pub mod position;
mod reader;
mod reading;
mod recount;
mod seen;
mod signal;
mod socket;
mod stats;
mod stream;
mod taking;
#[cfg(test)]
mod tests;
mod timestamp;
mod tls;
mod tracks;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

pub use address::{Address, AddressError, Environment};
pub use frame::{Damage, Decoder, ENTRY_MAX_BYTES, Entry, Stream};
pub use options::{ColumnFrom, Host, Options, Select};
pub use stats::{GAPS_MAX, Gap, GapReason, Stats};
pub use timestamp::parse as parse_timestamp;

use container::Candidate;
use engine::{Engine, EngineError};
use seen::Seen;

use crate::buffer::{Appender, LiveOrigin};
use crate::ingest;
use crate::record::time;
use crate::source::{Control, RunColumns};

/// Most logs that are followed at a time, one connection each; further running containers wait for a place.
pub const FOLLOWS_MAX: usize = 512;

/// Most logs that are read to their end at a time, one connection each.
pub const READINGS_MAX: usize = 32;

/// Most containers that are known at a time, running or not; further ones wait until one is removed.
pub const CONTAINERS_MAX: usize = 16_384;

/// What a Docker source needs.
pub struct Setup {
    pub options: Options,
    pub run: RunColumns,
    pub appender: Appender,
    /// Origins of this source (see [`owner`]) that the buffer holds.
    pub live: Vec<LiveOrigin>,
    pub control: mpsc::Receiver<Control>,
    pub stats: Arc<Stats>,
    /// Where it is noted which containers are accounted for, in a folder that is there; `None`: nowhere.
    pub memory: Option<PathBuf>,
}

/// Why the source ended on its own.
#[derive(Debug, Error)]
pub enum Error {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("the buffer has stopped")]
    BufferClosed,
    #[error("the task of a container failed ({0}); the next start goes on where the log ends")]
    Task(String),
    #[error("no random bytes for the id of an origin: {0}")]
    Random(#[source] io::Error),
}

/// What the tasks of one source share.
struct Shared {
    options: Options,
    ingest: Arc<ingest::Options>,
    run: RunColumns,
    appender: Appender,
    stats: Arc<Stats>,
    follows: Semaphore,
    readings: Semaphore,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a Docker source wrote this descriptor of an origin.
pub fn owns(descriptor: &[u8]) -> bool {
    container::Descriptor::decode(descriptor).is_some()
}

/// Name of the Docker source that wrote this descriptor; `None` where none did.
pub fn owner(descriptor: &[u8]) -> Option<String> {
    container::Descriptor::decode(descriptor).map(|descriptor| descriptor.source)
}

/// Reads until [`Control::Stop`], or until the senders of `control` are gone.
///
/// # Errors
/// [`Error`]. An engine that is absent is none: it is waited for.
pub async fn run(setup: Setup) -> Result<(), Error> {
    containers::run(setup).await
}

/// Longest wait for the refusal of events, which come when they come.
const EVENTS_PROBE: Duration = Duration::from_millis(500);

/// Makes each of the calls that reading takes, for `check --online`.
///
/// # Errors
/// What answered, or did not, and what to do, in one line.
pub async fn probe(options: &Options) -> Result<String, String> {
    let address = Address::of(&options.host, &Environment::read()).map_err(|error| error.to_string())?;
    match try_calls(&address, options).await {
        Ok(found) => Ok(format!("{address} answers, {found}")),
        Err(error) => Err(format!("{address}: {error}")),
    }
}

async fn try_calls(address: &Address, options: &Options) -> Result<String, EngineError> {
    let engine = Engine::new(address, options.variables())?;
    let version = engine.version().await?;
    let mut events = engine.events(time::now());
    if let Ok(Some(refused)) = timeout(EVENTS_PROBE, events.next()).await {
        refused?;
    }
    let listed = engine.list().await?;
    let listed: Vec<Candidate> = listed.into_iter().filter_map(Candidate::of_summary).collect();
    if let Some(one) = listed.first() {
        engine.inspect(&one.id).await?;
        match engine.try_logs(&one.id).await {
            // Gone meanwhile, or one whose log cannot be read: others may be.
            Err(EngineError::Refused { status, .. }) if !matches!(status, 401 | 403 | 405) => {}
            tried => tried?,
        }
    }
    let selected = listed.iter().filter(|candidate| candidate.is_selected(options)).count();
    Ok(format!("{version}; {selected} of {} containers selected", listed.len()))
}
