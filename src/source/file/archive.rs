//! Files that gzip compressed: rotated logs. Each is read once from its front to its end, for `ship`; whoever follows
//! files leaves them alone, as their lines were read before they were compressed.
//!
//! The position of an archive is its offset in the text. An archive is known again by its contents and its path or inode,
//! so that a rotation between two starts makes nothing new of it. Where its text begins like a file that the log knows and
//! reaches as far as that was read, it goes on there.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::desk::{Desk, Draw};
use super::discover::{Discovery, Found};
use super::identity::{self, MARK_BYTES, Mark, Stat};
use super::position::{Descriptor, Position};
use super::{Options, Pattern, StartAt};
use crate::buffer::{Appender, Closed, LiveOrigin, OriginInfo};
use crate::ingest::{Flush, Ingest};
use crate::record::{Counters, time};
use crate::source::RunColumns;
use crate::source::intake::Intake;

/// First bytes of a file that gzip compressed.
const MAGIC: &[u8] = b"\x1f\x8b\x08";

/// Most bytes of text that one step takes.
const STEP_BYTES: usize = 64 * 1024;

const KIND: &str = "archive";

/// Which archives are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All that the patterns lead to: they were asked for.
    All,
    /// Where files of a source were read before, only those that hold what was not read of one of these; of other sources
    /// all.
    Unread,
}

/// Whether bytes that begin a file say that gzip compressed it.
pub fn is_gzip(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// Whether an origin of the log is an archive.
pub fn owns(descriptor: &[u8]) -> bool {
    Known::decode(descriptor).is_some()
}

/// What an archive is, as the buffer keeps it: a JSON object.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    kind: String,
    source: String,
    path: String,
    inode: u64,
    /// Hash of its size, its first and its last bytes, where gzip keeps a checksum of the whole.
    content: String,
}

impl Known {
    fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Known>(bytes).ok().filter(|known| known.kind == KIND)
    }

    /// Whether both are one archive, possibly renamed.
    fn is(&self, other: &Known) -> bool {
        self.content == other.content && (self.path == other.path || self.inode == other.inode)
    }
}

/// Tells the reader of archives to end; clones mean the same reader.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// How reading went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Archives that could not be read, or not to their end: which and why.
    pub faults: Vec<String>,
    /// A stop came first.
    pub cut: bool,
}

/// What the reader of archives is started with.
pub struct Setup {
    pub sources: Vec<Options>,
    pub which: Which,
    pub run: RunColumns,
    pub appender: Appender,
    /// Origins of the log: archives, see [`owns`], and files.
    pub live: Vec<LiveOrigin>,
    pub own_paths: Vec<PathBuf>,
}

/// The archives that are there, not read yet.
pub struct Archives {
    desk: Desk,
    which: Which,
    found: Vec<Found>,
    live: Vec<LiveOrigin>,
}

/// A stretch of text that was read of another file: if the archive begins so, it goes on behind it.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    head: Mark,
    offset: u64,
    before: Mark,
}

/// Why an archive was not read to its end.
enum Fault {
    Broken(io::Error),
    Closed,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Broken(error)
    }
}

impl From<Closed> for Fault {
    fn from(_: Closed) -> Self {
        Fault::Closed
    }
}

impl Archives {
    /// Walks over everything that the patterns lead to; looks at the first bytes of each file.
    ///
    /// # Errors
    /// Where the current folder is not known: relative patterns need it.
    pub fn find(setup: Setup, draw: Draw) -> io::Result<Self> {
        let folder = std::env::current_dir()?;
        let discovery = Discovery::new(&setup.sources, &setup.own_paths, &folder);
        let mut seen = HashSet::new();
        let mut found = discovery.survey().files;
        // What cannot be opened is said by the source of files, which tries it again.
        found.retain(|found| seen.insert(found.stat.key) && begins_as_gzip(&found.path).unwrap_or(false));
        let desk = Desk::new(setup.sources, discovery, setup.run, setup.appender, draw);
        Ok(Archives { desk, which: setup.which, found, live: setup.live })
    }

    /// Patterns that match just these files.
    pub fn patterns(&self) -> Vec<Pattern> {
        self.found.iter().filter_map(|found| Pattern::literal(&found.path, false).ok()).collect()
    }

    /// Reads all of them, one after the other. Blocks.
    ///
    /// # Errors
    /// The buffer has stopped.
    pub fn read(mut self, stop: &Stop) -> Result<Outcome, Closed> {
        let mut outcome = Outcome::default();
        for found in std::mem::take(&mut self.found) {
            if stop.is_set() {
                outcome.cut = true;
                break;
            }
            match self.read_one(&found, stop) {
                Ok(Some(fault)) => outcome.faults.push(format!("{}: {fault}", found.path.display())),
                Ok(None) => {}
                Err(Fault::Closed) => return Err(Closed),
                Err(Fault::Broken(error)) => outcome.faults.push(format!("{}: {error}", found.path.display())),
            }
            outcome.cut |= stop.is_set();
        }
        for fault in &outcome.faults {
            tracing::error!("{fault}");
        }
        self.end_missing()?;
        Ok(outcome)
    }

    /// Origins whose archives are gone have ended.
    fn end_missing(&self) -> Result<(), Closed> {
        let gone = |known: Known| Path::new(&known.path).symlink_metadata().is_err();
        for origin in self.live.iter().filter(|origin| !origin.ended) {
            if Known::decode(&origin.info.descriptor).is_some_and(gone) {
                let position = origin.position.clone();
                self.desk.append_position(&origin.info, &origin.counters, offset_of(&position), position, true)?;
            }
        }
        Ok(())
    }

    /// What could not be read of it, in words.
    fn read_one(&mut self, found: &Found, stop: &Stop) -> Result<Option<String>, Fault> {
        let file = identity::open(&found.path)?;
        let source = self.desk.sources.get(found.source).map(|source| source.name.to_string()).unwrap_or_default();
        let this = Known {
            kind: KIND.to_owned(),
            source,
            path: found.path.to_string_lossy().into_owned(),
            inode: found.stat.key.ino,
            content: content(&file)?,
        };
        let is_this = |origin: &LiveOrigin| Known::decode(&origin.info.descriptor).is_some_and(|known| known.is(&this));
        let known = self.live.iter().position(is_this).map(|n| self.live.swap_remove(n));
        let (ingest, from) = match known {
            Some(known) if known.ended => return Ok(None),
            Some(known) => {
                let from = offset_of(&known.position);
                (self.ingest(known.info.id, found, &this, from, known.counters), from)
            }
            None => {
                let Some(from) = self.new_from(found, &this.source)? else {
                    tracing::info!(path = %found.path.display(), "compressed file is left alone: its lines were read before");
                    return Ok(None);
                };
                let id = self.desk.new_origin(found.source, &found.path)?.0.id;
                (self.ingest(id, found, &this, from, Counters::default()), from)
            }
        };
        let Some(ingest) = ingest else { return Ok(None) };
        tracing::debug!(path = %found.path.display(), from, "compressed file is read");
        let mut text = Text::open(&found.path)?;
        let mut intake = Intake::new(ingest, &self.desk.appender);
        take_up(&mut text, &mut intake, from, stop)
    }

    fn ingest(
        &self,
        id: crate::record::OriginId,
        found: &Found,
        known: &Known,
        from: u64,
        counters: Counters,
    ) -> Option<Ingest> {
        let (info, constants) = self.desk.origin(id, found.source, &found.path);
        let descriptor = serde_json::to_vec(known).unwrap_or_default();
        let info = Arc::new(OriginInfo { id, descriptor, constants: info.constants.clone() });
        let options = Arc::clone(&self.desk.sources.get(found.source)?.ingest);
        Some(Ingest::new(options, info, constants, from, counters))
    }

    /// Where an archive that the log does not know begins to be new; `None` where nothing of it is.
    fn new_from(&self, found: &Found, source: &str) -> io::Result<Option<u64>> {
        let mut read_before = false;
        let mut stretches = Vec::new();
        for origin in &self.live {
            let (Some(file), Some(at)) =
                (Descriptor::decode(&origin.info.descriptor), Position::decode(&origin.position))
            else {
                continue;
            };
            if file.source == source {
                read_before = true;
                let (head, offset, before) = (at.head, at.offset, at.before);
                stretches.extend((head.len > 0).then_some(Stretch { head, offset, before }));
            }
        }
        let longest = longest_match(&found.path, stretches)?;
        let whole = self.which == Which::All || !(read_before || self.is_left_out(found));
        Ok(longest.or(whole.then_some(0)))
    }

    /// Whether `start_at` or `ignore_older` of its source leave it out, as they would the file that it was.
    fn is_left_out(&self, found: &Found) -> bool {
        let Some(source) = self.desk.sources.get(found.source) else { return true };
        let age = time::now().saturating_sub(found.stat.modified);
        let is_older = |limit: Duration| u128::try_from(age).is_ok_and(|age| age > limit.as_nanos());
        source.start_at == StartAt::End || source.ignore_older.is_some_and(is_older)
    }
}

/// The offset in the text that a position stands for.
fn offset_of(position: &[u8]) -> u64 {
    position.first_chunk().map_or(0, |offset| u64::from_le_bytes(*offset))
}

fn begins_as_gzip(path: &Path) -> io::Result<bool> {
    let mut head = [0; MAGIC.len()];
    let read = identity::read_at(&identity::open(path)?, &mut head, 0)?;
    Ok(is_gzip(&head[..read]))
}

/// What tells an archive from others.
fn content(file: &File) -> io::Result<String> {
    let size = Stat::of_file(file)?.size;
    let mut bytes = size.to_le_bytes().to_vec();
    let mut piece = [0; MARK_BYTES];
    for offset in [0, size.saturating_sub(MARK_BYTES as u64)] {
        let read = identity::read_at(file, &mut piece, offset)?;
        bytes.extend_from_slice(&piece[..read]);
    }
    Ok(format!("{:032x}", xxh3_128(&bytes)))
}

/// Takes up the text from an offset on; says why where it breaks off.
fn take_up(text: &mut Text, intake: &mut Intake<'_>, from: u64, stop: &Stop) -> Result<Option<String>, Fault> {
    let read = text.skip_to(from).and_then(|reached| match reached {
        true => Ok(()),
        false => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    });
    let mut step = vec![0; STEP_BYTES];
    let mut read = read.map(|()| 1);
    while read.is_ok() && !stop.is_set() {
        read = text.read(&mut step);
        match read {
            Ok(0) => break,
            Ok(n) => intake.take(&step[..n], Flush::No, false)?,
            Err(_) => {}
        }
    }
    match read {
        Ok(0) => intake.take(&[], Flush::All, false)?,
        // A stop: the next start goes on at the position.
        Ok(_) => {}
        Err(error) => {
            intake.break_off()?;
            return Ok(Some(format!("the compressed file is broken at byte {} of its text: {error}", text.offset)));
        }
    }
    Ok(intake.is_unreadable().then(|| "its text is in UTF-16 and is not read: convert it first".to_owned()))
}

/// The end of the longest stretch that the text of an archive begins with.
fn longest_match(path: &Path, mut stretches: Vec<Stretch>) -> io::Result<Option<u64>> {
    if stretches.is_empty() {
        return Ok(None);
    }
    let mut text = Text::open(path)?;
    let mut head = Vec::new();
    // What cannot be read matches nothing; it is said when it is read.
    let _ = text.by_ref().take(MARK_BYTES as u64).read_to_end(&mut head);
    stretches.retain(|stretch| {
        head.get(..usize::from(stretch.head.len)).is_some_and(|head| Mark::of_head(head) == stretch.head)
    });
    stretches.sort_unstable_by_key(|stretch| stretch.offset);
    let mut text = Text::open(path)?;
    let mut longest = None;
    for stretch in stretches {
        if !text.skip_to(stretch.offset).unwrap_or(false) {
            break;
        }
        if Mark::of_tail(&text.history) == stretch.before {
            longest = Some(stretch.offset);
        }
    }
    Ok(longest)
}

/// The text of an archive, from front to end.
struct Text {
    decoder: MultiGzDecoder<BufReader<File>>,
    offset: u64,
    /// The last bytes before the offset, at least as many as a mark covers.
    history: Vec<u8>,
}

impl Text {
    fn open(path: &Path) -> io::Result<Self> {
        let decoder = MultiGzDecoder::new(BufReader::new(identity::open(path)?));
        Ok(Text { decoder, offset: 0, history: Vec::new() })
    }

    /// Reads up to an offset; false where the text ends before it.
    fn skip_to(&mut self, offset: u64) -> io::Result<bool> {
        let left = offset.saturating_sub(self.offset);
        io::copy(&mut self.by_ref().take(left), &mut io::sink())?;
        Ok(self.offset >= offset)
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.decoder.read(buffer)?;
        self.offset += read as u64;
        self.history.extend_from_slice(&buffer[..read]);
        let spare = self.history.len().saturating_sub(MARK_BYTES);
        self.history.drain(..spare);
        Ok(read)
    }
}
