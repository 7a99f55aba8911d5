//! Dead letters, sent again: the files that were taken up are worked off from their ends, portion by portion.
//!
//! A portion is sent like any load, with the same decisions and waits. What is refused again is back in the file of new
//! letters, on disk, before the portion is cut off the end of its own file: so the length of that file says how far the
//! replay is, and a crash repeats one portion.
//!
//! Elasticsearch is asked first which of the records it holds: a letter may be older than a rollover, or its record may
//! have been accepted after a crash. Azure cannot be asked: what a replay that was cut short may have sent is sent again
//! and counted as possible doubles. Its `TimeGenerated` is what it was; where it is older than two days, Azure puts the time of
//! receipt in its place, as always, and `EventTime` tells.
//!
//! Counters of the cursor are not touched: the manifest goes on to say that these records were dead-lettered on their
//! way. `verify` finds them in the sink and calls it equal.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::attempt::{Drain, Shared, deliver};
use super::batch::Load;
use super::deadletter::TakenUp;
use super::decision::Protocol;
use super::letter::Letter;
use super::retry::Pause;
use super::streak::Streak;
use super::{BATCH_MAX_RECORDS, DeadLetters, Ledger, Stats};
use crate::buffer::ReadOrigin;
use crate::record::{EventId, OriginId};
use crate::sink::{self, Sink};

/// Longest line, in bytes, where it is over a batch: the largest record has a sixteenth of it.
pub const LINE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Ids of letters that are remembered, 16 MB of them: a crash may have written a letter twice. Further ones are sent twice
/// then, and Elasticsearch refuses the second.
const SEEN_MAX: usize = 500_000;

/// Why a replay cannot go on. Nothing is lost: what is not delivered stays in its file.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("a replay is under way already: wait for its end")]
    Busy,
    #[error("dead letters cannot be read or written at {path:?}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path:?} ends in a line of over {LINE_MAX_BYTES} bytes, which is no dead letter: cut it off")]
    Line { path: PathBuf },
    #[error("the replay broke off: {0}")]
    Broken(String),
}

/// What a replay did to one sink's letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Accepted, or there already.
    pub sent: u64,
    pub refused: u64,
    /// Their documents were not kept: they stay as they are.
    pub without_document: u64,
    /// Lines that are no letters of this type of sink; they stay as they are.
    pub unreadable: u64,
    pub left: u64,
    pub possible_doubles: u64,
    /// Why the sink does not accept at the moment.
    pub fault: Option<String>,
}

/// The replay of one sink.
#[derive(Debug)]
pub struct Replay {
    shared: Arc<Shared>,
    batch_bytes: usize,
    left_bytes: AtomicU64,
    without_document: AtomicU64,
    unreadable: AtomicU64,
    /// Accepted and refused in portions that are done.
    settled: AtomicU64,
}

/// Letters from the end of a file.
struct Portion {
    load: Load,
    /// Lines that are not sent.
    keep: Vec<u8>,
    without_document: u64,
    unreadable: u64,
    /// Where it begins: the length of the file without it.
    start: u64,
}

impl Replay {
    /// For a state folder that no daemon holds. Opens nothing yet.
    pub fn new(options: &sink::Options, sink: Sink, dead_letter_dir: &Path) -> Self {
        let batch_bytes = options.batch_bytes.min(sink.body_max_bytes()).max(1);
        let dead = Arc::new(DeadLetters::new(dead_letter_dir, &options.name));
        Self::beside(Arc::clone(&options.name), Protocol::of(&options.kind), Arc::new(sink), dead, batch_bytes)
    }

    /// Beside a delivery to the same sink: they share connections and files, and nothing that is counted.
    pub(super) fn beside(
        name: Arc<str>,
        protocol: Protocol,
        sink: Arc<Sink>,
        dead: Arc<DeadLetters>,
        batch_bytes: usize,
    ) -> Self {
        let shared = Shared {
            name,
            protocol,
            sink,
            stats: Arc::new(Stats::default()),
            ledger: Ledger::without_file(),
            dead,
            is_replay: true,
            drain: Arc::new(Drain::default()),
            pause: Pause::default(),
            suspect_left: AtomicUsize::new(0),
            suspect_window: 0,
            streak: Mutex::new(Streak::default()),
            spare: Mutex::default(),
            logged: Mutex::new(None),
        };
        // Somebody waits for the end: waits of our own are short.
        shared.drain.begin();
        Replay {
            shared: Arc::new(shared),
            batch_bytes,
            left_bytes: AtomicU64::new(0),
            without_document: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            settled: AtomicU64::new(0),
        }
    }

    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Bytes of letters that are still to be gone through.
    pub fn left_bytes(&self) -> u64 {
        self.left_bytes.load(Ordering::Relaxed)
    }

    /// Goes through all letters there are, however long that takes. It may be dropped at any time.
    ///
    /// # Errors
    /// [`ReplayError`].
    pub async fn run(&self) -> Result<(), ReplayError> {
        let dead = &self.shared.dead;
        let _alone = dead.begin_replay().ok_or(ReplayError::Busy)?;
        let io_error = |path: &Path, source| ReplayError::Io { path: path.to_owned(), source };
        let files = dead.take_up().map_err(|source| io_error(dead.dir(), source))?;
        let len = |file: &TakenUp| fs::metadata(&file.path).map_or(0, |found| found.len());
        self.left_bytes.store(files.iter().map(len).sum(), Ordering::Relaxed);
        let mut seen = HashSet::new();
        for file in files {
            seen = self.work_off(&file, seen).await?;
            fs::remove_file(&file.path).map_err(|source| io_error(&file.path, source))?;
        }
        Ok(())
    }

    async fn work_off(&self, taken: &TakenUp, mut seen: HashSet<EventId>) -> Result<HashSet<EventId>, ReplayError> {
        let io_error = |source| ReplayError::Io { path: taken.path.clone(), source };
        let broken = |error: tokio::task::JoinError| ReplayError::Broken(error.to_string());
        let file = Arc::new(File::options().read(true).write(true).open(&taken.path).map_err(io_error)?);
        let mut len = file.metadata().map_err(io_error)?.len();
        let mut may_be_there = taken.is_leftover;
        while len > 0 {
            let (shared, from, max) = (Arc::clone(&self.shared), Arc::clone(&file), self.batch_bytes);
            let cut = tokio::task::spawn_blocking(move || {
                let portion = cut(&shared.sink, &from, len, max, &mut seen);
                (portion, seen)
            });
            let (portion, seen_now) = cut.await.map_err(broken)?;
            seen = seen_now;
            let Some(portion) = portion.map_err(io_error)? else {
                return Err(ReplayError::Line { path: taken.path.clone() });
            };
            let Portion { load, keep, without_document, unreadable, start } = portion;
            if load.len() > 0 {
                let asks = may_be_there || self.shared.protocol == Protocol::Elasticsearch;
                deliver(&self.shared, load, asks.then(Vec::new)).await.map_err(io_error)?;
            }
            let (shared, to) = (Arc::clone(&self.shared), Arc::clone(&file));
            let ended = tokio::task::spawn_blocking(move || {
                shared.dead.put_back(&keep)?;
                to.set_len(start)?;
                to.sync_all()
            });
            ended.await.map_err(broken)?.map_err(io_error)?;
            self.without_document.fetch_add(without_document, Ordering::Relaxed);
            self.unreadable.fetch_add(unreadable, Ordering::Relaxed);
            self.settled.store(self.answered(), Ordering::Relaxed);
            self.left_bytes.fetch_sub(len - start, Ordering::Relaxed);
            len = start;
            may_be_there = false;
        }
        Ok(seen)
    }

    fn answered(&self) -> u64 {
        let stats = &self.shared.stats;
        stats.accepted.load(Ordering::Relaxed) + stats.dead_lettered.load(Ordering::Relaxed)
    }

    /// What it came to. Letters that are left are counted in their files.
    pub fn replayed(&self) -> Replayed {
        let stats = &self.shared.stats;
        let lines: u64 = self.shared.dead.replaying().iter().map(|path| count_lines(path)).sum();
        let of_open_portion = self.answered() - self.settled.load(Ordering::Relaxed);
        Replayed {
            sent: stats.accepted.load(Ordering::Relaxed),
            refused: stats.dead_lettered.load(Ordering::Relaxed),
            without_document: self.without_document.load(Ordering::Relaxed),
            unreadable: self.unreadable.load(Ordering::Relaxed),
            left: lines.saturating_sub(of_open_portion),
            possible_doubles: stats.possible_doubles.load(Ordering::Relaxed),
            fault: stats.fault(),
        }
    }
}

/// Lines of a file of letters; of one that cannot be read none.
pub fn count_lines(path: &Path) -> u64 {
    let Ok(file) = File::open(path) else { return 0 };
    let mut read = io::BufReader::new(file);
    let mut lines = 0;
    loop {
        match read.skip_until(b'\n') {
            Ok(0) | Err(_) => return lines,
            Ok(_) => lines += 1,
        }
    }
}

/// Reads the last whole lines of the first `len` bytes of a file: `max` bytes of them, or one. `None`: the last line is
/// longer than a letter can be.
fn read_end(file: &File, len: u64, max: usize) -> io::Result<Option<(u64, Vec<u8>)>> {
    let mut want = max as u64;
    loop {
        let start = len.saturating_sub(want);
        let mut bytes = vec![0; (len - start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        if start == 0 {
            return Ok(Some((0, bytes)));
        }
        // The last line feed ends the last line; what stands behind another one is whole.
        let within = bytes.split_last().map_or(&[][..], |(_, rest)| rest);
        if let Some(at) = memchr::memchr(b'\n', within) {
            bytes.drain(..=at);
            return Ok(Some((start + at as u64 + 1, bytes)));
        }
        if want >= LINE_MAX_BYTES {
            return Ok(None);
        }
        want *= 2;
    }
}

/// Makes a portion of the end of a file. A letter that was `seen` is passed over.
fn cut(sink: &Sink, file: &File, len: u64, max: usize, seen: &mut HashSet<EventId>) -> io::Result<Option<Portion>> {
    let Some((mut start, bytes)) = read_end(file, len, max)? else { return Ok(None) };
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let too_many = lines.len().saturating_sub(BATCH_MAX_RECORDS);
    start += lines.drain(..too_many).map(|line| line.len() as u64).sum::<u64>();
    let mut portion = Portion { load: Load::default(), keep: Vec::new(), without_document: 0, unreadable: 0, start };
    let mut origin = Arc::new(ReadOrigin { id: OriginId([0; 16]), constants: Vec::new(), run_id: String::new() });
    for line in lines {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let stays = match Letter::read(line) {
            Letter::Whole { id, .. } | Letter::WithoutDocument { id } if seen.contains(&id) => false,
            Letter::Whole { id, run_id, document } => {
                if origin.run_id != run_id {
                    origin = Arc::new(ReadOrigin { run_id, id: origin.id, constants: Vec::new() });
                }
                let is_taken = portion.load.push_document(sink, id, &document, &origin);
                if is_taken && seen.len() < SEEN_MAX {
                    seen.insert(id);
                }
                portion.unreadable += u64::from(!is_taken);
                !is_taken
            }
            Letter::WithoutDocument { .. } => {
                portion.without_document += 1;
                true
            }
            Letter::Unreadable => {
                portion.unreadable += 1;
                true
            }
        };
        if stays {
            portion.keep.extend_from_slice(line);
            portion.keep.push(b'\n');
        }
    }
    Ok(Some(portion))
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
