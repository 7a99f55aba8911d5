//! Both streams of one container, and what is said of it: finds or makes their origins, and collects what ingest makes of
//! them. Waits for nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::{Duration, Instant};

use super::chronicle::Chronicle;
use super::container::{Container, Descriptor, Exit};
use super::driver::Risk;
use super::frame::{Entry, Stream};
use super::position::{self, Position};
use super::stats::{Gap, GapReason};
use super::stream::{Admitted, Begin, Fresh, Track};
use super::{Error, Shared};
use crate::buffer::{LiveOrigin, OriginInfo, Section};
use crate::ingest::{Flush, Ingest};
use crate::record::{Constants, Counters, Nanos, OriginId, time};
use crate::source::READ_BYTES;

/// Lines wait this long for further ones, to be taken up together: the engine sends each on its own.
const LINGER: Duration = Duration::from_millis(20);

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// The streams of one container, each from its first line on.
pub(super) struct Tracks {
    shared: Arc<Shared>,
    container: Container,
    stdout: Option<Track>,
    stderr: Option<Track>,
    chronicle: Option<Chronicle>,
    /// The present reading does not begin at the log's start.
    in_part: bool,
    /// The next one has to: the engine left something out of this one, see [`super::driver::Rotation::compressed`].
    from_start: bool,
    /// When ingest is to be asked about what was pushed.
    feed_at: Option<Instant>,
    /// Sections that wait to be appended, in order: those of one chunk of the engine's stream.
    outbox: VecDeque<Section>,
}

impl Tracks {
    /// Goes on with the origins of this container that the log holds.
    ///
    /// # Errors
    /// [`Error`]: the buffer has stopped, or there are no random ids.
    pub(super) fn resume(shared: Arc<Shared>, container: Container, live: Vec<LiveOrigin>) -> Result<Self, Error> {
        let mut tracks = Tracks {
            shared,
            container,
            stdout: None,
            stderr: None,
            chronicle: None,
            in_part: false,
            from_start: false,
            feed_at: None,
            outbox: VecDeque::new(),
        };
        let is_of = |origin: &LiveOrigin, stream: Option<Stream>| {
            Descriptor::decode(&origin.info.descriptor).is_some_and(|descriptor| descriptor.stream == stream)
        };
        for own in live.iter().filter(|origin| !origin.ended && is_of(origin, None)) {
            tracks.resume_chronicle(own);
        }
        for stream in STREAMS {
            let mine = |origin: &&LiveOrigin| is_of(origin, Some(stream));
            // An ended one still says how far the stream was taken up, where there is none after it.
            let how_far = |origin: &&LiveOrigin| {
                (!origin.ended, Position::decode(&origin.position).map(|position| position.bytes))
            };
            let found = live.iter().filter(mine).max_by_key(how_far);
            if let Some(found) = found {
                tracks.resume_stream(stream, found)?;
            }
        }
        Ok(tracks)
    }

    fn resume_stream(&mut self, stream: Stream, found: &LiveOrigin) -> Result<(), Error> {
        let Some(position) = Position::decode(&found.position) else {
            tracing::warn!(
                container = self.container.candidate.name,
                stream = stream.name(),
                "the position of this stream cannot be read: it is read from the start of the engine's log under a new origin"
            );
            return Ok(());
        };
        let constants = self.constants(stream, found.info.id);
        let same_run = run_id(&found.info.constants) == constants.run_id();
        if !found.ended && same_run {
            let info = if found.info.constants == constants.members() {
                Arc::clone(&found.info)
            } else {
                self.info(stream, found.info.id, &constants)
            };
            let begin = Begin { info, position, counters: found.counters.clone() };
            *self.slot(stream) = Some(self.track(begin, constants, true));
            return Ok(());
        }
        if !found.ended {
            let old = Begin { info: Arc::clone(&found.info), position, counters: found.counters.clone() };
            self.outbox.push_back(old.section(true));
        }
        let (begin, constants) = self.new_origin(stream, Position { at_end: false, ..position })?;
        // Said at once: the old one may retire before the stream has another line.
        self.outbox.push_back(begin.section(false));
        *self.slot(stream) = Some(self.track(begin, constants, true));
        Ok(())
    }

    fn resume_chronicle(&mut self, own: &LiveOrigin) {
        let constants = self.container.constants(&self.shared.options, &self.shared.run, None, own.info.id);
        let Some(found) = Chronicle::of_live(&self.shared, &self.container, own) else { return };
        if run_id(&own.info.constants) == constants.run_id() {
            self.chronicle = Some(found);
        } else {
            self.outbox.push_back(found.end());
        }
    }

    /// What is said of the container; made where there is none yet.
    fn chronicle(&mut self) -> Result<&mut Chronicle, Error> {
        let chronicle = match self.chronicle.take() {
            Some(chronicle) => chronicle,
            None => Chronicle::new(&self.shared, &self.container)?,
        };
        Ok(self.chronicle.insert(chronicle))
    }

    /// A run of the container is over, and all of its log was taken up.
    ///
    /// # Errors
    /// [`Error`]: there are no random ids.
    pub(super) fn exit(&mut self, exit: &Exit) -> Result<(), Error> {
        let name = self.container.candidate.name.clone();
        let last = self.each().filter_map(Track::last_time).max();
        let section = self.chronicle()?.exit(&name, exit, last, time::now());
        self.outbox.extend(section);
        Ok(())
    }

    /// Whether the exit of the run that began at this time is recorded.
    pub(super) fn has_exit(&self, started_at: &str) -> bool {
        self.chronicle.as_ref().is_some_and(|chronicle| chronicle.has(started_at))
    }

    fn constants(&self, stream: Stream, id: OriginId) -> Constants {
        self.container.constants(&self.shared.options, &self.shared.run, Some(stream), id)
    }

    fn info(&self, stream: Stream, id: OriginId, constants: &Constants) -> Arc<OriginInfo> {
        let descriptor = Descriptor {
            source: self.shared.options.name.to_string(),
            container: self.container.candidate.id.clone(),
            stream: Some(stream),
        };
        Arc::new(OriginInfo { id, descriptor: descriptor.encode(), constants: constants.members().to_vec() })
    }

    fn new_origin(&self, stream: Stream, position: Position) -> Result<(Begin, Constants), Error> {
        let id = OriginId::random().map_err(Error::Random)?;
        let constants = self.constants(stream, id);
        let info = self.info(stream, id, &constants);
        Ok((Begin { info, position, counters: Counters::default() }, constants))
    }

    fn ingest(&self, begin: &Begin, constants: Constants) -> Ingest {
        let options = Arc::clone(&self.shared.ingest);
        Ingest::new(options, Arc::clone(&begin.info), constants, begin.position.bytes, begin.counters.clone())
            .with_default_logger(self.container.logger())
    }

    /// A track that skips nothing; the next [`Self::rewind`] sets it right for its reading.
    fn track(&self, begin: Begin, constants: Constants, known: bool) -> Track {
        let ingest = self.ingest(&begin, constants);
        Track::new(begin, ingest, None, known)
    }

    fn slot(&mut self, stream: Stream) -> &mut Option<Track> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Makes the track of a stream where there is none yet.
    fn ensure(&mut self, stream: Stream) -> Result<(), Error> {
        if self.get(stream).is_none() {
            let (begin, constants) = self.new_origin(stream, Position::default())?;
            *self.slot(stream) = Some(self.track(begin, constants, false));
        }
        Ok(())
    }

    fn get(&self, stream: Stream) -> Option<&Track> {
        match stream {
            Stream::Stdout => self.stdout.as_ref(),
            Stream::Stderr => self.stderr.as_ref(),
        }
    }

    fn each(&self) -> impl Iterator<Item = &Track> {
        STREAMS.into_iter().filter_map(|stream| self.get(stream))
    }

    /// From when on a new reading has to ask; `None`: from the start.
    pub(super) fn since(&self) -> Option<Nanos> {
        if self.from_start {
            return None;
        }
        let [stdout, stderr] = STREAMS.map(|stream| self.get(stream).map(Track::position));
        position::since(stdout, stderr, time::now())
    }

    /// A new reading begins, asked for since then: what was read and not consumed comes again.
    pub(super) fn rewind(&mut self, since: Option<Nanos>) {
        (self.in_part, self.from_start) = (since.is_some(), false);
        for stream in STREAMS {
            if let Some(track) = self.slot(stream) {
                track.rewind(since);
            }
        }
    }

    /// Takes up what came by attach, at `now`.
    ///
    /// # Errors
    /// [`Error`]: there are no random ids.
    pub(super) fn take_attached(&mut self, stream: Stream, bytes: &[u8], now: Nanos) -> Result<(), Error> {
        self.ensure(stream)?;
        if let Some(track) = self.slot(stream) {
            track.push_attached(bytes, now);
        }
        self.pushed(stream);
        Ok(())
    }

    /// Takes up one entry of the reading; false where it has to be left, and the log read again.
    pub(super) fn take(&mut self, entry: Entry<'_>) -> Result<bool, Error> {
        let stream = entry.stream;
        self.ensure(stream)?;
        let Some(track) = self.slot(stream) else { return Ok(true) };
        match track.admit(entry.time, entry.payload, time::now) {
            Admitted::Old => {}
            Admitted::New(fresh) => self.push(stream, &fresh),
            Admitted::AfterGap(_) if self.in_part && self.is_compressed() => {
                self.from_start = true;
                return Ok(false);
            }
            Admitted::AfterGap(fresh) => {
                self.begin_after_gap(stream)?;
                self.push(stream, &fresh);
            }
        }
        Ok(true)
    }

    /// Takes up the last entry of a reading that is over.
    pub(super) fn take_last(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        self.in_part = false;
        self.take(entry).map(|_| ())
    }

    fn is_compressed(&self) -> bool {
        self.container.driver.rotation.is_some_and(|rotation| rotation.compressed)
    }

    fn push(&mut self, stream: Stream, fresh: &Fresh<'_>) {
        self.note_lossy(stream);
        let pieces = self.container.driver.pieces;
        if self.get(stream).is_some_and(|track| track.is_cut_before(fresh, pieces)) {
            self.feed(stream, Flush::All);
        }
        if let Some(track) = self.slot(stream) {
            track.push(fresh);
        }
        self.pushed(stream);
    }

    fn pushed(&mut self, stream: Stream) {
        let unfed = self.get(stream).map_or(0, Track::unfed);
        if self.feed_at.is_none() {
            self.feed_at = Some(Instant::now() + LINGER);
        }
        if unfed >= READ_BYTES {
            self.feed(stream, Flush::No);
        }
    }

    /// A new line comes by a log that may have lost others before it: noted once for each origin.
    fn note_lossy(&mut self, stream: Stream) {
        let driver = self.container.driver;
        if driver.risk == Risk::None {
            return;
        }
        let lines = self.each().map(|track| track.position().lines).sum();
        if !driver.is_lossy_after(lines, self.consumed()) {
            return;
        }
        let kind = GapReason::Lossy.kind();
        if self.get(stream).is_none_or(|track| track.has_gap(kind)) {
            return;
        }
        if !self.each().any(|track| track.has_gap(kind)) {
            self.say_gap(None, GapReason::Lossy);
        }
        if let Some(track) = self.slot(stream) {
            track.count_gap(kind);
        }
    }

    fn begin_after_gap(&mut self, stream: Stream) -> Result<(), Error> {
        if let Some(track) = self.slot(stream).as_mut().filter(|track| track.has_untold()) {
            track.tell_left_out(time::now);
            let section = track.section(None);
            self.outbox.extend(section);
        }
        let Some(track) = self.get(stream) else { return Ok(()) };
        let (old, known) = (track.begin(), track.is_known());
        self.say_gap(Some(stream), GapReason::Rotated);
        let (mut begin, constants) = self.new_origin(stream, old.position.after_gap())?;
        begin.counters.count_gap(GapReason::Rotated.kind(), 0);
        // One that has nothing but a gap says that, too.
        if known || old.counters.gaps > 0 {
            self.outbox.push_back(old.section(true));
        }
        let ingest = self.ingest(&begin, constants);
        self.outbox.push_back(begin.section(false));
        if let Some(track) = self.slot(stream) {
            track.replace_origin(begin, ingest);
        }
        Ok(())
    }

    /// Lines of the container may be missing, of whichever stream: counted with the first that there is, or with what is said
    /// of the container.
    ///
    /// # Errors
    /// [`Error`]: there are no random ids.
    pub(super) fn gap(&mut self, reason: GapReason) -> Result<(), Error> {
        self.say_gap(None, reason);
        let section = match self.stdout.as_mut().or(self.stderr.as_mut()) {
            Some(track) => {
                track.count_gap(reason.kind());
                // There may not be another line to say it with.
                track.section(None)
            }
            None => self.chronicle()?.gap(reason),
        };
        self.outbox.extend(section);
        Ok(())
    }

    /// Notes that lines may be missing, and says so.
    fn say_gap(&self, stream: Option<Stream>, reason: GapReason) {
        let last = self.each().filter_map(|track| track.position().anchor).map(|anchor| anchor.time).max();
        let own = stream.and_then(|stream| self.get(stream)).and_then(|track| track.position().anchor);
        let after = own.map(|anchor| anchor.time).or(last);
        let what = match reason {
            GapReason::Rotated => "the engine no longer has the line at which reading goes on: lines may be missing",
            GapReason::Gone => "the container was removed before its log was read to the end: lines may be missing",
            GapReason::Unreadable => "the log of the container cannot be read",
            GapReason::BrokenOff => "the engine broke the log off: lines may be missing",
            GapReason::Skipped => {
                "the engine rotates its log faster than it reads it, and skipped lines: lines are missing"
            }
            GapReason::Unproven => {
                "the engine rotated its log before it could be asked whether it skipped lines: lines may be missing"
            }
            GapReason::Lossy => "the container's log driver may drop lines without a word: lines may be missing",
        };
        tracing::warn!(
            container = self.container.candidate.name,
            id = self.container.candidate.id,
            stream = stream.map(Stream::name),
            after = after.map(time::rfc3339),
            "{what}"
        );
        let Container { candidate, .. } = &self.container;
        let (container, name) = (candidate.id.clone(), candidate.name.clone());
        self.shared.stats.add_gap(Gap { container, name, stream, reason, after });
    }

    /// When [`Self::on_due`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        self.each().filter_map(Track::quiet_at).chain(self.feed_at).min()
    }

    /// Feeds what has waited for further lines, and closes open groups whose streams have been quiet.
    pub(super) fn on_due(&mut self, now: Instant) {
        if self.feed_at.is_some_and(|at| at <= now) {
            self.feed_all(Flush::No);
        }
        for stream in STREAMS {
            if self.get(stream).and_then(Track::quiet_at).is_some_and(|at| at <= now) {
                self.feed(stream, Flush::Group);
            }
        }
    }

    /// Lets ingest consume what was read of both streams.
    pub(super) fn feed_all(&mut self, flush: Flush) {
        self.feed_at = None;
        for stream in STREAMS {
            self.feed(stream, flush);
        }
    }

    fn feed(&mut self, stream: Stream, flush: Flush) {
        if matches!(flush, Flush::No) && self.get(stream).is_none_or(|track| track.unfed() == 0) {
            return;
        }
        loop {
            let is_flushed = !matches!(flush, Flush::No);
            let has_more = |track: &&mut Track| track.held() > 0 || (is_flushed && track.has_untold());
            let Some(track) = self.slot(stream).as_mut().filter(has_more) else { return };
            let fed = track.feed(flush, Instant::now());
            if is_flushed && !fed.section_full {
                track.tell_left_out(time::now);
            }
            let other = match stream {
                Stream::Stdout => self.stderr.as_ref(),
                Stream::Stderr => self.stdout.as_ref(),
            };
            let beside = other.map_or(Some(0), |other| (other.held() == 0).then(|| other.position().bytes));
            let section = self.slot(stream).as_mut().and_then(|track| track.section(beside));
            self.outbox.extend(section);
            if !fed.section_full {
                return;
            }
        }
    }

    /// The container does not run and its log was read to the end: takes up unterminated lines too, and says so.
    pub(super) fn rest(&mut self) {
        self.feed_all(Flush::All);
        for stream in STREAMS {
            let section = self.slot(stream).as_mut().and_then(Track::end_section);
            self.outbox.extend(section);
        }
    }

    /// The container is gone: nothing more can come.
    pub(super) fn end(&mut self) {
        self.feed_all(Flush::All);
        for track in [self.stdout.take(), self.stderr.take()].into_iter().flatten() {
            let begin = track.begin();
            if track.is_known() || begin.counters.gaps > 0 {
                self.outbox.push_back(begin.section(true));
            }
        }
        self.outbox.extend(self.chronicle.take().map(|chronicle| chronicle.end()));
    }

    /// Puts back what could not be appended.
    pub(super) fn put_back(&mut self, section: Section) {
        self.outbox.push_front(section);
    }

    /// Every stream has come, in the present reading, to where it was taken up.
    pub(super) fn are_through(&self) -> bool {
        self.each().all(Track::is_through)
    }

    /// The next section to append; it is appended before anything after it.
    pub(super) fn next_section(&mut self) -> Option<Section> {
        self.outbox.pop_front()
    }

    /// Whether there are sections to append.
    pub(super) fn has_sections(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Origins that were begun.
    pub(super) fn origins(&self) -> u64 {
        self.each().count() as u64
    }

    /// Bytes that were read and not consumed.
    pub(super) fn held(&self) -> u64 {
        self.each().map(|track| track.held() as u64).sum()
    }

    /// Bytes of both streams that ingest has consumed.
    pub(super) fn consumed(&self) -> u64 {
        self.each().map(|track| track.position().bytes).sum()
    }

    /// Bytes of both streams up to which the present reading has come.
    pub(super) fn read_end(&self) -> u64 {
        self.each().map(Track::read_end).sum()
    }

    /// Every stream was read to its end while the container did not run, and nothing was begun since.
    pub(super) fn are_at_end(&self) -> bool {
        self.origins() > 0 && self.each().all(|track| track.position().at_end)
    }

    pub(super) fn count_read(&self, bytes: usize) {
        self.shared.stats.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// RunID among the members of stored constants; empty where there is none.
fn run_id(members: &[u8]) -> String {
    let object = [b"{".as_slice(), members, b"}"].concat();
    let columns: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(&object).ok();
    let run_id = columns.and_then(|mut columns| columns.remove("RunID"));
    run_id.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
