//! One generation of one file: its handle, what was read of it and what was taken up. Reads when it is told to;
//! which files there are and what happened to them is decided elsewhere.

mod limit;
mod passed;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::desk::{Desk, Handle};
use super::discover::Found;
use super::identity::{Key, MARK_BYTES, Mark, Stat, read_at};
use super::position::Position;
use super::roster::TailId;
use crate::buffer::Closed;
use crate::buffer::section::OriginInfo;
use crate::ingest::{Flush, Ingest, Times};
use crate::record::{GapKind, Nanos, time};
use crate::source::READ_BYTES;
use std::sync::Arc;

/// Nanoseconds for which a file must have been left alone for its time of change to prove that nothing changed:
/// two writes within one tick of the file system's clock look alike.
const CLOCK_TICK: Nanos = 100_000_000;

/// The kernel's timestamps of files lag behind the clock by up to one of its ticks: 10 ms at 100 Hz.
const TIMESTAMP_LAG: Nanos = 10_000_000;

/// Largest carried-over buffer whose memory is kept when less is carried.
const CARRY_KEEP_BYTES: usize = 8 * MARK_BYTES;

/// What a tail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Seen, nothing read yet: it may be a copy of another file.
    Fresh,
    /// Looks like a copy of this other file; unread until that is decided. `changed` is when it last changed.
    Held { of: TailId, since: Instant, changed: Instant },
    /// Is read.
    Live,
    /// The file was truncated or rewritten: what is left of the old generation, waiting for a copy of it to show up.
    Truncated { since: Instant, unread: u64 },
    /// The origin has ended. Should the file grow after all, a new origin goes on where it ended.
    Done,
    /// Compressed: the lines in it are another file's.
    Skipped,
}

/// Where the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At its path, which a source wants.
    Here,
    /// Renamed to a name that no source wants.
    Away { since: Instant },
    /// Without a name: it is there as long as its handle is.
    Deleted { since: Instant },
}

/// How much of what was held back has been flushed since the last growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Flushed {
    Nothing,
    Group,
    All,
}

/// The file as it was when its contents were last compared.
#[derive(Clone, Copy, Debug)]
struct Verified {
    size: u64,
    modified: Nanos,
    changed: Nanos,
    at: Nanos,
}

/// The origin that the lines go to.
struct Stream {
    info: Arc<OriginInfo>,
    ingest: Ingest,
}

/// What stops a tail.
#[derive(Debug)]
pub(super) enum Fault {
    /// This file cannot be read now.
    Io(io::Error),
    /// The buffer takes no more sections.
    Closed,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Io(error)
    }
}

impl From<Closed> for Fault {
    fn from(_: Closed) -> Self {
        Fault::Closed
    }
}

/// What a look at the file showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// It begins as it did and reaches at least as far as it was read.
    Intact,
    /// It is shorter, or other bytes stand where we have been.
    Rewritten,
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// This many new bytes.
    Took(usize),
    /// Other bytes stand where we have been.
    Rewritten,
}

/// One time for every line of a window: when it was read.
struct ReadAt(Nanos);

impl Times for ReadAt {
    fn at(&self, _offset: usize) -> Nanos {
        self.0
    }
}

pub(super) struct Tail {
    pub source: usize,
    /// Where the file was last seen.
    pub path: PathBuf,
    /// Path at discovery: captures and FilePath come from it.
    pub discovered: PathBuf,
    pub key: Key,
    pub birth: Option<Nanos>,
    pub handle: Option<Handle>,
    pub state: State,
    pub place: Place,
    /// Its name changed since it was discovered.
    pub renamed: bool,
    /// The log knew it at the start.
    pub resumed: bool,
    /// Wall-clock time since which it is looked at: what this generation holds was not there before.
    pub since: Nanos,
    /// Wall-clock time of the last look that found it whole.
    pub intact_at: Nanos,
    pub generation: u32,
    /// Size at the last look.
    pub size: u64,
    /// Time of the last change of any kind, at the last look.
    pub changed: Nanos,
    /// Of the first bytes of the file, as far as they were present when it was last read.
    pub head: Mark,
    /// When bytes were last read.
    pub grown: Instant,
    pub flushed: Flushed,
    /// It could not be read at the last try, which has been said.
    pub trouble: bool,
    /// It stands in the queue of those to be read.
    pub queued: bool,
    /// Its contents are to be compared at the next look.
    pub check: bool,
    /// Bytes of the file up to this offset have been read.
    read: u64,
    /// Up to [`MARK_BYTES`] bytes that were taken up, then those that were read and not taken up yet. Where it is not
    /// empty it reaches back [`MARK_BYTES`] from either offset, or to the beginning of the file.
    carry: Vec<u8>,
    /// Of the bytes before `read`, where `carry` is empty.
    before: Mark,
    verified: Option<Verified>,
    /// It is in an encoding that is not read; its bytes are passed over.
    unreadable: bool,
    said_unreadable: bool,
    /// Behind what was read the file is a hole to its end.
    hollow: bool,
    stream: Option<Stream>,
}

impl Tail {
    /// A file that was just found.
    pub fn new(found: &Found, handle: Option<Handle>) -> Self {
        Tail {
            source: found.source,
            path: found.path.clone(),
            discovered: found.path.clone(),
            key: found.stat.key,
            birth: found.stat.birth,
            handle,
            state: State::Fresh,
            place: Place::Here,
            renamed: false,
            resumed: false,
            since: time::now() - TIMESTAMP_LAG,
            intact_at: time::now() - TIMESTAMP_LAG,
            generation: 0,
            size: found.stat.size,
            changed: found.stat.changed,
            head: Mark::EMPTY,
            grown: Instant::now(),
            flushed: Flushed::Nothing,
            trouble: false,
            queued: false,
            check: false,
            read: 0,
            carry: Vec::new(),
            before: Mark::EMPTY,
            verified: None,
            unreadable: false,
            said_unreadable: false,
            hollow: false,
            stream: None,
        }
    }

    /// Goes on at `position`, not read yet; without a stream until [`Self::attach`] gives one.
    pub fn resume_at(&mut self, position: &Position) {
        self.state = State::Live;
        self.generation = position.generation;
        self.read = position.offset;
        self.head = position.head;
        self.before = position.before;
        self.carry = Vec::new();
    }

    /// Lets the lines go to this origin from here on.
    pub fn attach(&mut self, info: Arc<OriginInfo>, ingest: Ingest) {
        self.unreadable = ingest.counters().has_gap(GapKind::Unreadable);
        self.stream = Some(Stream { info, ingest });
    }

    /// Starts at the end of what is in the file now.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        let Some(handle) = &self.handle else { return Ok(()) };
        let stat = Stat::of_file(handle)?;
        let before = Mark::read_before(handle, stat.size)?;
        let head = Mark::read(handle, 0, stat.size.min(MARK_BYTES as u64) as u16)?;
        if let (Some(before), Some(head)) = (before, head) {
            (self.read, self.before, self.head, self.size) = (stat.size, before, head, stat.size);
        }
        Ok(())
    }

    /// Offset up to which the file has been read.
    pub fn read_to(&self) -> u64 {
        self.read
    }

    /// Offset up to which the file has been taken up.
    pub fn taken(&self) -> u64 {
        self.stream.as_ref().map_or(self.read, |stream| stream.ingest.position())
    }

    /// Bytes that were read and are held back: an open group or an unfinished line.
    pub fn held_back(&self) -> usize {
        usize::try_from(self.read - self.taken()).unwrap_or(usize::MAX)
    }

    /// Whether all bytes that the last look saw have been read.
    pub fn at_end(&self) -> bool {
        self.read >= self.size
    }

    /// Whether lines of it went to an origin.
    pub fn has_origin(&self) -> bool {
        self.stream.is_some()
    }

    /// How far it was taken up and how to know it again.
    pub fn position(&self, desk: &Desk) -> Option<(Arc<OriginInfo>, crate::record::Counters, Position)> {
        let stream = self.stream.as_ref()?;
        let history = self.carry.len().saturating_sub(self.held_back());
        let before = if self.carry.is_empty() { self.before } else { Mark::of_tail(&self.carry[..history]) };
        let position = self.position_at(desk.boot, self.taken(), before);
        Some((Arc::clone(&stream.info), stream.ingest.counters().clone(), position))
    }

    fn position_at(&self, boot: u64, offset: u64, before: Mark) -> Position {
        let unread = if let State::Truncated { unread, .. } = self.state { unread } else { 0 };
        Position {
            generation: self.generation,
            offset,
            unread,
            key: self.key,
            boot,
            birth: self.birth,
            head: self.head,
            before,
            path: self.path.clone(),
        }
    }

    /// Looks at size, names and, where that was asked for and it changed, at the contents.
    pub fn inspect(&mut self) -> io::Result<Condition> {
        let Some(handle) = &self.handle else { return Ok(Condition::Intact) };
        let stat = Stat::of_file(handle)?;
        let closely = std::mem::take(&mut self.check);
        let looked_at = time::now() - TIMESTAMP_LAG;
        if stat.links == 0 && !matches!(self.place, Place::Deleted { .. }) {
            self.place = Place::Deleted { since: Instant::now() };
        }
        if stat.size < self.read {
            self.check = true;
            return Ok(Condition::Rewritten);
        }
        let condition = if closely && self.is_stale(&stat) { self.verify(&stat)? } else { Condition::Intact };
        if condition == Condition::Intact {
            (self.size, self.changed) = (self.end_of(stat.size)?, stat.changed);
            self.intact_at = looked_at;
        } else {
            // Whoever looks next is to see it, too, should this answer not be acted on.
            self.check = true;
        }
        Ok(condition)
    }

    /// Whether the file may have changed since its contents were last compared.
    pub fn is_stale(&self, stat: &Stat) -> bool {
        self.verified.is_none_or(|seen| {
            (seen.size, seen.modified, seen.changed) != (stat.size, stat.modified, stat.changed)
                || seen.at - seen.changed.max(seen.modified) < CLOCK_TICK
        })
    }

    /// Compares the head and the bytes before the offset with what they were.
    fn verify(&mut self, stat: &Stat) -> io::Result<Condition> {
        let Some(handle) = &self.handle else { return Ok(Condition::Intact) };
        let at = time::now();
        let head_is_equal = Mark::read(handle, 0, self.head.len)? == Some(self.head);
        let before_is_equal = Mark::read_before(handle, self.read)? == Some(self.before());
        if !head_is_equal || !before_is_equal {
            return Ok(Condition::Rewritten);
        }
        self.verified = Some(Verified { size: stat.size, modified: stat.modified, changed: stat.changed, at });
        Ok(Condition::Intact)
    }

    /// Reads once, at most [`READ_BYTES`], compares what stands before, and takes up every complete line.
    pub fn read(&mut self, desk: &mut Desk) -> Result<ReadOutcome, Fault> {
        let mut scratch = std::mem::take(&mut desk.scratch);
        let outcome = self.read_into(&mut scratch, desk);
        desk.scratch = scratch;
        outcome
    }

    fn read_into(&mut self, scratch: &mut Vec<u8>, desk: &mut Desk) -> Result<ReadOutcome, Fault> {
        if self.unreadable {
            return self.pass_over_unreadable(desk);
        }
        let Some(handle) = &self.handle else { return Ok(ReadOutcome::Took(0)) };
        let carried = self.carry.len();
        let held_back = self.held_back();
        // Layout: what is carried (or, where nothing is, room for the bytes before), then the new bytes.
        let front = if carried > 0 { carried } else { usize::from(self.before.len) };
        let again = front.min(MARK_BYTES);
        let needed = front + READ_BYTES;
        if scratch.len() < needed {
            scratch.resize(needed, 0);
        }
        scratch[..carried].copy_from_slice(&self.carry);
        let filled = read_at(handle, &mut scratch[front - again..needed], self.read - again as u64)?;
        let Some(new) = filled.checked_sub(again) else { return Ok(ReadOutcome::Rewritten) };
        let unchanged = match carried {
            0 => Mark::of_head(&scratch[..again]) == self.before,
            _ => scratch[front - again..front] == self.carry[carried - again..],
        };
        if !unchanged {
            return Ok(ReadOutcome::Rewritten);
        }
        if new == 0 {
            return Ok(ReadOutcome::Took(0));
        }
        if self.stream.is_none() {
            self.begin_stream(desk)?;
        }
        if self.unreadable || self.turns_out_as_utf_16(&scratch[front - held_back..front + new]) {
            return self.pass_over_unreadable(desk);
        }
        let new = match self.first_hole(&scratch[front..front + new])? {
            Some((0, hole)) => return self.pass_over_hole(hole, desk),
            Some((text, _)) => text,
            None => new,
        };
        if usize::from(self.head.len) < MARK_BYTES && self.read == front as u64 {
            self.head = Mark::of_head(&scratch[..front + new]);
        }
        self.read += new as u64;
        self.size = self.size.max(self.read);
        (self.grown, self.flushed) = (Instant::now(), Flushed::Nothing);
        self.take(&scratch[..front + new], front - held_back, Flush::No, desk)?;
        Ok(ReadOutcome::Took(new))
    }

    /// Draws an origin that begins where the file has been read to.
    pub fn begin_stream(&mut self, desk: &mut Desk) -> io::Result<()> {
        let is_utf_16 = self.begins_as_utf_16()?;
        let (info, constants) = desk.new_origin(self.source, &self.discovered)?;
        let Some(source) = desk.sources.get(self.source) else { return Ok(()) };
        let options = Arc::clone(&source.ingest);
        let mut counters = crate::record::Counters::default();
        if is_utf_16 {
            // Counted before anything is passed over, so that it is known after a restart.
            counters.count_gap(GapKind::Unreadable, 0);
        }
        let ingest = Ingest::new(options, Arc::clone(&info), constants, self.read, counters);
        self.attach(info, ingest);
        Ok(())
    }

    /// Hands `bytes[at..]` to ingest and appends the sections that come of it. `bytes[..at]` was taken up before.
    fn take(&mut self, bytes: &[u8], mut at: usize, flush: Flush, desk: &Desk) -> Result<(), Closed> {
        let times = ReadAt(time::now());
        let Some(mut stream) = self.stream.take() else { return Ok(()) };
        let (lines, taken) = (stream.ingest.counters().lines, stream.ingest.counters().bytes);
        let appended = loop {
            let fed = stream.ingest.feed(bytes.get(at..).unwrap_or_default(), &times, flush);
            at += fed.consumed;
            let before = Mark::of_tail(bytes.get(..at).unwrap_or_default());
            let position = self.position_at(desk.boot, stream.ingest.position(), before).encode();
            if let Some(section) = stream.ingest.section(position, false)
                && let Err(closed) = desk.appender.append_blocking(section)
            {
                break Err(closed);
            }
            if !fed.section_full {
                break Ok(());
            }
        };
        if let Some(figures) = desk.stats.sources.get(self.source) {
            figures.lines.add(stream.ingest.counters().lines.saturating_sub(lines));
            figures.bytes.add(stream.ingest.counters().bytes.saturating_sub(taken));
        }
        self.stream = Some(stream);
        self.note_pace();
        let kept = bytes.get(at.saturating_sub(MARK_BYTES)..).unwrap_or_default();
        if self.carry.capacity() > CARRY_KEEP_BYTES.max(2 * kept.len()) {
            self.carry = Vec::new();
        }
        self.carry.clear();
        self.carry.extend_from_slice(kept);
        appended
    }

    /// Takes up what is held back, as far as `flush` says, and has told what a rate limit left out.
    pub fn flush(&mut self, flush: Flush, desk: &Desk) -> Result<(), Closed> {
        self.flushed = if matches!(flush, Flush::All) { Flushed::All } else { Flushed::Group };
        let held_back = self.held_back();
        if held_back > 0 {
            let carry = std::mem::take(&mut self.carry);
            self.take(&carry, carry.len().saturating_sub(held_back), flush, desk)?;
        }
        self.tell_left_out(desk)
    }

    /// Takes up all that is held back and ends the origin. The tail stays, to see whether the file grows after all.
    pub fn end(&mut self, desk: &Desk) -> Result<(), Closed> {
        self.flush(Flush::All, desk)?;
        if let Some((info, counters, position)) = self.position(desk) {
            desk.append_position(&info, &counters, position.offset, position.encode(), true)?;
        }
        self.rest();
        self.stream = None;
        self.state = State::Done;
        self.generation = self.generation.saturating_add(1);
        Ok(())
    }

    /// Notes that so many bytes were gone before they were read; none is no gap.
    pub fn count_gap(&mut self, unread: u64) {
        if let Some(stream) = self.stream.as_mut().filter(|_| unread > 0) {
            stream.ingest.count_gap(GapKind::Truncated, unread);
        }
    }

    /// Appends the position alone: the path or the start is new and no line is.
    pub fn commit(&self, desk: &Desk) -> Result<(), Closed> {
        match self.position(desk) {
            Some((info, counters, position)) => {
                desk.append_position(&info, &counters, position.offset, position.encode(), false)
            }
            None => Ok(()),
        }
    }

    /// Gives back the memory of a file that is not written to.
    pub fn rest(&mut self) {
        if self.held_back() == 0 && !self.carry.is_empty() {
            self.before = Mark::of_tail(&self.carry);
            self.carry = Vec::new();
        }
    }

    /// Splits off a new generation of the same file: it takes the handle, what stays behind is the old generation.
    /// Gives the new one and how many bytes of the old are known to be unread.
    pub fn split_generation(&mut self) -> (Tail, u64) {
        let stat = Stat {
            key: self.key,
            birth: self.birth,
            size: 0,
            modified: self.changed,
            changed: self.changed,
            links: 1,
            regular: true,
            folder: false,
        };
        let found = Found { path: self.path.clone(), source: self.source, stat };
        let mut next = Tail::new(&found, self.handle.take());
        next.place = self.place;
        if self.place != Place::Here {
            next.discovered = self.discovered.clone();
        }
        next.renamed = self.renamed;
        next.generation = self.generation.saturating_add(1);
        next.since = self.intact_at;
        let unread = self.size.saturating_sub(self.read);
        self.state = State::Truncated { since: Instant::now(), unread };
        (next, unread)
    }

    /// Takes over the file of `copy`, which holds the same bytes, and goes on reading there.
    pub fn adopt(&mut self, copy: Tail) {
        self.path = copy.path;
        self.key = copy.key;
        self.birth = copy.birth;
        self.handle = copy.handle;
        self.place = copy.place;
        self.size = copy.size;
        self.changed = copy.changed;
        self.verified = None;
        self.renamed = true;
        self.state = if self.stream.is_some() { State::Live } else { State::Done };
    }

    /// The mark of what stands before the offset up to which the file was read.
    pub fn before(&self) -> Mark {
        if self.carry.is_empty() { self.before } else { Mark::of_tail(&self.carry) }
    }

    /// Whether a path is where the file was last seen.
    pub fn is_at(&self, path: &Path) -> bool {
        self.path == path
    }
}
