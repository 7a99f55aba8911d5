//! Where a stream of a container was left, and how a new reading of the engine's log finds that place again. Pure.
//!
//! The engine's log has no offsets: a reading can only begin at a time, and holds every entry of that time or later
//! (Podman: later only, hence one nanosecond earlier). So a position names the last whole line that was taken up, its
//! **anchor**: its time, how many entries of that time the stream had up to it, and a hash of its bytes. A reading
//! from 1 ns before it must show the anchor again; everything up to it is skipped, and the bytes taken up behind it (an
//! unterminated end, or pieces of a line that is longer than `max_line`) are skipped by their number.
//!
//! **Invariant: an entry is skipped only where the anchor proves that it was taken up.** An anchor that does not come
//! before a later time than any seen means that the engine has thrown lines away: a gap, and a new origin.
//!
//! What came by an attached stream has no engine's times: its anchor is **counted**, by whole lines since the container's
//! first, and a reading of the log goes through as many lines of the stream from its start. An entry of the log that is
//! later than the anchor before its line was counted means that the engine has thrown lines away.
//!
//! Both streams of a container come in one reading, from the earlier of both needs. A stream that printed something
//! once and then nothing would make every reading begin there; so each position also says how far the **other** stream
//! was when nothing of it was held back ([`Position::beside`]). Where it still is, nothing of it can stand in the log
//! before that moment, but for the disorder between two streams ([`DISORDER_MAX_NANOS`]).

use crate::record::Nanos;

/// How much earlier than an entry that stands before it in the log an entry of the other stream may be timed.
/// dockerd takes the time, then waits for its turn to write; this is some ten thousand times what was measured.
pub const DISORDER_MAX_NANOS: Nanos = 10_000_000_000;

/// A log of which no more bytes than this were taken up is read from its start: cheap, and safe against a clock that was
/// set back and forth in between.
pub const REPLAY_MAX_BYTES: u64 = 128 * 1024;

/// The last whole line that was taken up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    pub time: Nanos,
    /// Latest time of the stream up to here; later than `time` only after the clock was set back.
    pub latest: Nanos,
    /// Of the entry's payload; of the last piece, where the engine cut the line. Counted: see [`LineEnd`]; 0: unknown.
    pub hash: u64,
    /// The entry is the n-th of its time in this stream, counted from 1. 0: there is no such entry, the stream begins
    /// with the first one later than `time` (after a gap). Counted: the n-th line of the stream.
    pub nth: u64,
    /// Stream offset behind it.
    pub end: u64,
    /// `time` is that of its arrival, and it is known by its number.
    pub counted: bool,
}

/// The end of a line by which it is known again, however it came: as the engine cut and wrote it, or by attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEnd(Vec<u8>);

/// Bytes at the end of a line that its hash covers.
const LINE_END_BYTES: usize = 256;

impl LineEnd {
    /// Takes the next piece of the line.
    pub fn push(&mut self, piece: &[u8]) {
        // Each replaced byte is three: that many bytes of the end are enough.
        let end = &piece[piece.len().saturating_sub(2 * LINE_END_BYTES)..];
        for chunk in end.utf8_chunks() {
            self.0.extend_from_slice(chunk.valid().as_bytes());
            // As the engine writes bytes that are no UTF-8 into its log: each by itself.
            self.0.extend(chunk.invalid().iter().flat_map(|_| "\u{fffd}".as_bytes()));
        }
        let over = self.0.len().saturating_sub(4 * LINE_END_BYTES);
        self.0.drain(..over);
    }

    /// The hash of the line, which is whole; the next one begins.
    pub fn take(&mut self) -> u64 {
        let end = &self.0[self.0.len().saturating_sub(LINE_END_BYTES)..];
        let found = hash(end).max(1);
        self.0.clear();
        found
    }
}

/// Place in one stream: what was consumed by ingest. The container is named by the origin's descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Whole lines before it, as the engine counts them.
    pub lines: u64,
    /// Bytes of payload before it.
    pub bytes: u64,
    /// `None`: no whole line yet, the stream begins with the log.
    pub anchor: Option<Anchor>,
    /// Bytes of the other stream that were consumed when the anchor was, where nothing of it was held back.
    pub beside: Option<u64>,
    /// The container was not running and its log was read to the end.
    pub at_end: bool,
}

const VERSION: u8 = 1;
const FLAG_AT_END: u8 = 1;
const FLAG_ANCHOR: u8 = 2;
const FLAG_BESIDE: u8 = 4;
const FLAG_COUNTED: u8 = 8;

impl Position {
    /// Version, flags, then the numbers that the flags announce, little endian.
    pub fn encode(&self) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut out = Vec::with_capacity(66);
        out.push(VERSION);
        out.push(
            flag(self.at_end, FLAG_AT_END)
                | flag(self.anchor.is_some(), FLAG_ANCHOR)
                | flag(self.beside.is_some(), FLAG_BESIDE)
                | flag(self.anchor.is_some_and(|anchor| anchor.counted), FLAG_COUNTED),
        );
        out.extend_from_slice(&self.lines.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        if let Some(anchor) = &self.anchor {
            out.extend_from_slice(&anchor.time.to_le_bytes());
            out.extend_from_slice(&anchor.latest.to_le_bytes());
            out.extend_from_slice(&anchor.hash.to_le_bytes());
            out.extend_from_slice(&anchor.nth.to_le_bytes());
            out.extend_from_slice(&anchor.end.to_le_bytes());
        }
        if let Some(beside) = self.beside {
            out.extend_from_slice(&beside.to_le_bytes());
        }
        out
    }

    /// The position that [`Self::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Position> {
        let (&[version, flags], mut rest) = bytes.split_first_chunk::<2>()?;
        if version != VERSION || flags & !(FLAG_AT_END | FLAG_ANCHOR | FLAG_BESIDE | FLAG_COUNTED) != 0 {
            return None;
        }
        let mut word = || -> Option<[u8; 8]> {
            let (word, behind) = rest.split_first_chunk::<8>()?;
            rest = behind;
            Some(*word)
        };
        let lines = u64::from_le_bytes(word()?);
        let bytes = u64::from_le_bytes(word()?);
        let mut anchor = None;
        if flags & FLAG_ANCHOR != 0 {
            anchor = Some(Anchor {
                time: Nanos::from_le_bytes(word()?),
                latest: Nanos::from_le_bytes(word()?),
                hash: u64::from_le_bytes(word()?),
                nth: u64::from_le_bytes(word()?),
                end: u64::from_le_bytes(word()?),
                counted: flags & FLAG_COUNTED != 0,
            });
        } else if flags & FLAG_COUNTED != 0 {
            return None;
        }
        let beside = if flags & FLAG_BESIDE != 0 { Some(u64::from_le_bytes(word()?)) } else { None };
        let sound = anchor.is_none_or(|anchor| anchor.end <= bytes);
        let at_end = flags & FLAG_AT_END != 0;
        (rest.is_empty() && sound).then_some(Position { lines, bytes, anchor, beside, at_end })
    }

    /// Bytes taken up behind the anchor.
    fn behind_anchor(&self) -> u64 {
        self.bytes - self.anchor.map_or(0, |anchor| anchor.end.min(self.bytes))
    }

    /// The position with which the stream goes on where this one's anchor can no longer be found: with the first entry
    /// later than all that was seen.
    pub fn after_gap(&self) -> Position {
        let latest = self.anchor.map_or(Nanos::MIN, |anchor| anchor.latest);
        let boundary = Anchor { time: latest, latest, hash: 0, nth: 0, end: self.bytes, counted: false };
        Position { anchor: Some(boundary), beside: None, at_end: false, ..*self }
    }
}

/// Since when a reading of both streams has to ask the engine; `None`: from the start of its log.
///
/// `now` is the engine's wall clock, or ours where it cannot be asked: set back behind an anchor, it would have the
/// engine leave out what was written since.
pub fn since(stdout: Option<&Position>, stderr: Option<&Position>, now: Nanos) -> Option<Nanos> {
    let both = [stdout, stderr];
    if both.iter().flatten().filter_map(|position| position.anchor).any(|anchor| anchor.counted) {
        return None;
    }
    let replay: u64 = both.iter().flatten().map(|position| position.bytes).sum();
    let latest = both.iter().flatten().filter_map(|position| position.anchor).map(|anchor| anchor.latest).max()?;
    if now < latest || replay <= REPLAY_MAX_BYTES {
        return None;
    }
    need(stdout, stderr).min(need(stderr, stdout))
}

/// The same for one stream, given what the other knows about it. `None` sorts before every time.
fn need(own: Option<&Position>, other: Option<&Position>) -> Option<Nanos> {
    let bytes = own.map_or(0, |position| position.bytes);
    let by_anchor = own.and_then(|position| position.anchor).map(|anchor| anchor.time.saturating_sub(1));
    let unchanged = other.filter(|other| other.beside == Some(bytes));
    let at_anchor = own.is_none_or(|position| position.behind_anchor() == 0);
    let by_other = unchanged
        .filter(|_| at_anchor)
        .and_then(|other| other.anchor)
        .map(|anchor| anchor.time.saturating_sub(DISORDER_MAX_NANOS));
    by_anchor.max(by_other)
}

/// What of a reading has to be skipped for one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seek {
    /// Up to the anchor, then this many bytes.
    Anchor(Anchor, u64),
    /// Lines up to this counted anchor, then so many bytes.
    Lines(Anchor, u64),
    /// This many bytes; 0: nothing.
    Bytes(u64),
    /// What was taken up is not what the log holds: nothing proves where the next entry belongs.
    Nowhere,
}

/// Follows the entries of one stream through one reading.
#[derive(Clone, Debug)]
pub struct Finder {
    seek: Seek,
    /// Time of the last entry and how many of that time there were.
    run: Option<(Nanos, u64)>,
    /// Whole lines that were counted, and the end of the one under way.
    lines: u64,
    line: LineEnd,
}

/// What an entry is to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Taken up before.
    Old,
    /// New from this byte of its payload on; the entry is the n-th of its time.
    New { from: usize, nth: u64 },
    /// New, but the anchor did not come before it: what stood between is unknown. Everything after it is new.
    Lost { nth: u64 },
}

impl Finder {
    /// For a reading that begins at `since` (see [`since`]) of a stream that was left at `position`.
    pub fn new(position: &Position, since: Option<Nanos>) -> Finder {
        let seek = match position.anchor {
            // Where the reading begins later than the anchor, `since` has proven that the stream stood still until then.
            Some(anchor) if anchor.counted => Seek::Lines(anchor, position.behind_anchor()),
            Some(anchor) if since.is_some_and(|since| since > anchor.time) => Seek::Bytes(0),
            Some(anchor) => Seek::Anchor(anchor, position.behind_anchor()),
            None => Seek::Bytes(position.bytes),
        };
        Finder { seek, run: None, lines: 0, line: LineEnd::default() }
    }

    /// Whether all that was taken up has been seen.
    pub fn is_through(&self) -> bool {
        matches!(self.seek, Seek::Bytes(0))
    }

    /// The next line of the log, or a piece of it, while lines are counted.
    fn count(&mut self, anchor: Anchor, behind: u64, time: Nanos, payload: &[u8], nth: u64) -> Found {
        if time > anchor.latest.saturating_add(DISORDER_MAX_NANOS) {
            self.seek = Seek::Bytes(0);
            return Found::Lost { nth };
        }
        self.line.push(payload);
        if payload.ends_with(b"\n") {
            self.lines += 1;
            let found = self.line.take();
            if self.lines == anchor.nth {
                let same = anchor.hash == 0 || anchor.hash == found;
                self.seek = if same { Seek::Bytes(behind) } else { Seek::Nowhere };
            }
        }
        Found::Old
    }

    /// The next entry of the stream.
    pub fn next(&mut self, time: Nanos, payload: &[u8]) -> Found {
        let nth = match self.run {
            Some((last, count)) if last == time => count + 1,
            _ => 1,
        };
        self.run = Some((time, nth));
        if let Seek::Lines(anchor, behind) = self.seek {
            return self.count(anchor, behind, time, payload, nth);
        }
        if self.seek == Seek::Nowhere {
            self.seek = Seek::Bytes(0);
            return Found::Lost { nth };
        }
        if let Seek::Anchor(anchor, behind) = self.seek {
            if anchor.nth == 0 && time > anchor.time {
                self.seek = Seek::Bytes(behind);
            } else if anchor.nth == nth && anchor.time == time && anchor.hash == hash(payload) {
                self.seek = Seek::Bytes(behind);
                return Found::Old;
            } else if time > anchor.latest {
                self.seek = Seek::Bytes(0);
                return Found::Lost { nth };
            } else {
                return Found::Old;
            }
        }
        let Seek::Bytes(left) = self.seek else { return Found::Old };
        let length = payload.len() as u64;
        if left > 0 && left >= length {
            self.seek = Seek::Bytes(left - length);
            return Found::Old;
        }
        self.seek = Seek::Bytes(0);
        Found::New { from: left as usize, nth }
    }
}

/// Hash by which an entry is known again.
pub fn hash(payload: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(payload)
}

#[cfg(test)]
#[path = "position_tests.rs"]
mod tests;
