//! Files: one thread finds them, follows them through rotation, and hands their lines to ingest and on to the buffer.
//!
//! Data takes no detour: the thread that reads a file splits its lines and appends the sections. Hints of the operating
//! system wake it, looking decides, and a slow poll looks at everything.
//!
//! Holes in a file and files in UTF-16 are passed over: the former are nothing, the latter a gap. What gzip compressed is
//! read by [`archive`], where everything is read once.
//!
//! **Invariant:** a byte of a file generation is taken up once. What was taken up is known by inode, birth time and hashes
//! of the first bytes and of those before the position; before each read the latter are compared.
//!
//! **Invariant:** a file is opened as soon as it is seen, also while the buffer is too full to be read into: what is open
//! can be renamed or deleted and is still read to its end.
//!
//! **Invariant:** where it cannot be told whether lines were read before, they are read again, never left out.

pub mod archive;
mod copies;
mod desk;
mod discover;
mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod generations;
mod identity;
mod observe;
pub mod options;
pub mod pattern;
mod position;
mod resume;
mod roster;
pub mod stats;
mod tail;
mod targets;
mod wake;
mod watch;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use copies::{COMPRESSED_HEAD_BYTES, decompressor};
pub use desk::Draw;
pub use options::{Options, StartAt};
pub use pattern::Pattern;
pub use position::Descriptor;
pub use stats::Stats;
pub use wake::FileControl;

use crate::buffer::{Appender, LiveOrigin};
use crate::ingest::GROUP_QUIET;
use crate::source::RunColumns;
use desk::Desk;
use discover::Discovery;
use engine::Engine;
use position::Position;
use roster::{Remembered, Roster};
use wake::Wake;
use watch::Watch;

/// How often everything is looked at without a hint.
pub const POLL: Duration = Duration::from_secs(1);

/// A file that looks like a copy of another is one of its own when nothing has happened to it for this long.
pub const COPY_PROOF: Duration = Duration::from_secs(2);

/// A deleted file is over when its last writer has been quiet for this long; an unfinished line of a deleted or renamed
/// file is taken then.
pub const GONE_QUIET: Duration = Duration::from_secs(10);

/// The origin of a file that was renamed to a name that no source wants ends when it has been quiet for this long.
pub const ROTATED_QUIET: Duration = Duration::from_secs(60);

/// Pause after a hint, in which further ones add up: a busy writer gives one for each write.
pub const WAKE_PAUSE: Duration = Duration::from_millis(2);

/// Most files that are held open; half of the process's limit where that is less. The rest is opened when it changes.
pub const HANDLES_MAX: usize = 4096;

/// Fewest files that are held open, whatever the limit.
const HANDLES_MIN: usize = 16;

/// The time constants of the file source.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub poll: Duration,
    pub group_quiet: Duration,
    pub copy_proof: Duration,
    pub gone_quiet: Duration,
    pub rotated_quiet: Duration,
    pub wake_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            poll: POLL,
            group_quiet: GROUP_QUIET,
            copy_proof: COPY_PROOF,
            gone_quiet: GONE_QUIET,
            rotated_quiet: ROTATED_QUIET,
            wake_pause: WAKE_PAUSE,
        }
    }
}

/// What the file source is started with.
pub struct Setup {
    pub sources: Vec<Options>,
    pub run: RunColumns,
    pub appender: Appender,
    /// Origins of the log whose descriptor is ours, see [`owns`]; the ended ones too, as long as the log has them.
    pub live: Vec<LiveOrigin>,
    /// Never read: the log of this process, its file sinks (and their rotated names), its state folder.
    pub own_paths: Vec<PathBuf>,
    pub timing: Timing,
}

/// Why the thread ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the file source ended because the buffer has stopped; what was not taken up yet is read at the next start"
    )]
    BufferClosed,
}

/// The running file source.
pub struct Running {
    /// Takes drains and stops; when the last clone is dropped the thread ends.
    pub control: FileControl,
    pub stats: Arc<Stats>,
    /// Ends after a stop.
    pub thread: JoinHandle<Result<(), Error>>,
}

/// All `[[sources.file]]` of the process.
pub struct FileSource;

impl FileSource {
    /// Starts the thread. `draw` gives the id of a new origin, see [`crate::record::OriginId::random`].
    ///
    /// # Errors
    /// Where the current folder is not known (relative patterns need it) or no thread can be started.
    pub fn start(
        setup: Setup,
        draw: impl FnMut() -> io::Result<crate::record::OriginId> + Send + 'static,
    ) -> io::Result<Running> {
        let folder = std::env::current_dir()?;
        let discovery = Discovery::new(&setup.sources, &setup.own_paths, &folder);
        let desk = Desk::new(setup.sources, discovery, setup.run, setup.appender, Box::new(draw));
        let mut roster = Roster::default();
        for live in setup.live {
            let id = live.info.id;
            match Remembered::of(live) {
                Some(known) => roster.remembered.push(known),
                None => tracing::error!(
                    origin = %id,
                    "position of a file is not understood (another version?): the file is read again from its beginning"
                ),
            }
        }
        let wake = Arc::new(Wake::default());
        let control = FileControl::new(Arc::clone(&wake));
        let stats = Arc::clone(&desk.stats);
        let timing = setup.timing;
        let thread = std::thread::Builder::new().name("files".to_owned()).spawn(move || {
            let watch = Watch::new(Arc::clone(&wake));
            Engine::new(desk, roster, watch, timing, wake).run()
        })?;
        Ok(Running { control, stats, thread })
    }
}

/// Whether an origin of the log is a file.
pub fn owns(descriptor: &[u8]) -> bool {
    Descriptor::decode(descriptor).is_some()
}

/// Bytes of an origin that are known to have been written and could not be read, out of its position: what a manifest
/// reports as a gap. `None` where the position is not one of a file.
pub fn unread_bytes(position: &[u8]) -> Option<u64> {
    Position::decode(position).map(|position| position.unread)
}

/// Most files that this process may hold open.
fn handles_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let half = limit.current.map_or(HANDLES_MAX, |limit| usize::try_from(limit / 2).unwrap_or(HANDLES_MAX));
    half.clamp(HANDLES_MIN, HANDLES_MAX)
}
