//! Cutting a stream into lines and groups of lines. Looks at bytes only; what a line says is for the parsers.
//!
//! A line joins the open group by what the group is ([`step`] and a file for each family of stacks). Lines of which that
//! is not clear yet are held back behind the group, a few at most; where nothing makes them part of it, the group ends
//! before them, and they are looked at again as lines of their own.

mod frames;
mod go;
mod looks;
mod node;
mod object;
mod python;
mod rust;
mod start;
mod step;

use super::options::Multiline;
use super::parse::traceback::{Family, Stack, frames as throwable};

pub use start::Start;
use step::{Inside, Opening, Sight, So, Step, opened};

/// Most lines of one group.
pub const GROUP_MAX_LINES: u32 = 500;
/// Most bytes of one group.
pub const GROUP_MAX_BYTES: usize = 256 * 1024;
/// An open group that nothing was added to for this long is closed by the source (`Flush::Group`).
pub const GROUP_QUIET: std::time::Duration = std::time::Duration::from_secs(1);

/// What to do with bytes that may not be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Keep an open group and an unfinished line for later.
    No,
    /// Close an open group; keep an unfinished line.
    Group,
    /// Close an open group, and take an unfinished line as it is.
    All,
}

/// A group of lines that is complete: offsets in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub start: usize,
    /// End of the last line, its line end included.
    pub end: usize,
    pub lines: u32,
    /// Where it is one piece of a line over `max_line`: its number from 1.
    pub piece: Option<u32>,
    /// Where it is one piece of a group over a bound: its number from 1.
    pub group_piece: Option<u32>,
    /// The exception that the group holds, if it does.
    pub stack: Option<Stack>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    end: usize,
    /// Start of its last line.
    last: usize,
    lines: u32,
    inside: Inside,
    stack: Option<Stack>,
    /// Line at which one may begin.
    suspect: Option<usize>,
    /// Lines behind it that are part of it only if one that follows joins.
    held: Option<Held>,
    /// It goes on with a group that was cut: the number of this piece.
    piece: Option<u32>,
    /// The exception stands in an earlier piece.
    is_told: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// Where the group stands without them.
    inside: Inside,
    end: usize,
    lines: u32,
}

/// A group was cut at a bound: how it stood, and the number of the piece that comes.
#[derive(Clone, Copy, Debug)]
struct Cut {
    inside: Inside,
    number: u32,
    /// The exception stands in what was cut off.
    is_told: bool,
}

/// State of one stream between calls. All offsets are relative to the start of the window, which is what
/// has not been consumed.
#[derive(Debug)]
pub struct Framer {
    multiline: Multiline,
    max_line: usize,
    open: Option<Open>,
    /// Bytes of the window that hold no line end behind the open group: not searched again.
    searched: usize,
    /// Pieces already cut off the line under way.
    pieces: u32,
    cut: Option<Cut>,
    /// The line before which the last group ended, which is not searched again.
    ahead: Option<Line>,
}

/// One line: where its text and its end are.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: usize,
    text_end: usize,
    end: usize,
}

/// What became of a line.
enum Added {
    Joined,
    /// It is the last of the group.
    Closes,
    /// The group ends before it.
    Not,
}

impl Framer {
    pub fn new(multiline: Multiline, max_line: usize) -> Self {
        Framer { multiline, max_line: max_line.max(1), open: None, searched: 0, pieces: 0, cut: None, ahead: None }
    }

    /// Whether bytes are held back that only a flush would take.
    pub fn holds_back(&self) -> bool {
        self.open.is_some() || self.searched > 0
    }

    /// The window was cut by `consumed` bytes at its front.
    pub fn consumed(&mut self, consumed: usize) {
        let moved = |at: usize| at.saturating_sub(consumed);
        self.searched = moved(self.searched);
        self.ahead = self.ahead.filter(|line| line.start >= consumed).map(|line| Line {
            start: moved(line.start),
            text_end: moved(line.text_end),
            end: moved(line.end),
        });
        if let Some(open) = &mut self.open {
            (open.end, open.last) = (moved(open.end), moved(open.last));
            open.suspect = open.suspect.map(moved);
            open.stack = open.stack.map(|stack| Stack { at: moved(stack.at), ..stack });
            open.held = open.held.map(|held| Held { end: moved(held.end), ..held });
        }
    }

    /// Forgets what was seen of bytes that are not consumed: the window begins anew with other ones. A line or a group that
    /// was cut into pieces goes on.
    pub fn reset(&mut self) {
        self.open = None;
        self.ahead = None;
        self.searched = 0;
    }

    /// The next complete group of `window`, which begins at `start`: the end of the one before, or 0.
    pub fn next(&mut self, window: &[u8], start: usize, flush: Flush) -> Option<Group> {
        if self.searched > window.len() || self.open.as_ref().is_some_and(|open| open.seen() > window.len()) {
            self.reset();
        }
        loop {
            let from = self.open.as_ref().map_or(start, Open::seen);
            let Some(line) = self.line(window, from, flush) else {
                if flush == Flush::No {
                    return None;
                }
                let open = self.open.take()?;
                // Lines that were held behind it are lines of their own now, and are searched again.
                self.searched = open.end;
                return Some(open.group(start));
            };
            if line.text_end - line.start > self.max_line || self.pieces > 0 {
                if let Some(open) = self.open.take() {
                    // The long line is searched for its end again: cheap beside the rest.
                    self.searched = open.end;
                    return Some(open.group(start));
                }
                return Some(self.piece(window, &line));
            }
            let text = without_mark(&window[line.start..line.text_end]);
            let Some(open) = &mut self.open else {
                let (open, is_whole) = self.begin(&line, text);
                self.searched = line.end;
                if is_whole {
                    return Some(open.group(start));
                }
                self.open = Some(open);
                continue;
            };
            let fits = open.count() < GROUP_MAX_LINES && line.end - start <= GROUP_MAX_BYTES;
            match open.add(&self.multiline, window, start, &line, text, fits) {
                Added::Joined => self.searched = line.end,
                added => {
                    let mut closed = *open;
                    self.open = None;
                    self.searched = closed.end;
                    // Not one that may go on.
                    self.ahead = (line.start == closed.end && window[line.end - 1] == b'\n').then_some(line);
                    if let (Added::Closes, false) = (added, fits) {
                        let number = closed.piece.unwrap_or(1);
                        closed.piece = Some(number);
                        let is_told = closed.is_told || closed.stack.is_some();
                        self.cut = Some(Cut { inside: closed.settled(), number: number.saturating_add(1), is_told });
                    }
                    return Some(closed.group(start));
                }
            }
        }
    }

    fn line(&mut self, window: &[u8], start: usize, flush: Flush) -> Option<Line> {
        if let Some(line) = self.ahead.take().filter(|line| line.start == start && line.end <= window.len()) {
            return Some(line);
        }
        let from = self.searched.max(start).min(window.len());
        match memchr::memchr(b'\n', &window[from..]) {
            Some(at) => {
                let newline = from + at;
                let text_end = if newline > start && window[newline - 1] == b'\r' { newline - 1 } else { newline };
                Some(Line { start, text_end, end: newline + 1 })
            }
            None => {
                self.searched = window.len();
                let rest = window.len().saturating_sub(start);
                // Two more than the bound: the last two may yet be a line end.
                let take = rest >= self.max_line + 2 || (flush == Flush::All && rest > 0);
                take.then_some(Line { start, text_end: window.len(), end: window.len() })
            }
        }
    }

    /// Opens a group with a line; whether it is whole with it.
    fn begin(&mut self, line: &Line, text: &[u8]) -> (Open, bool) {
        let open = Open { end: line.end, last: line.start, lines: 1, ..Open::default() };
        let is_single = match self.multiline {
            Multiline::None => true,
            Multiline::Start(_) => looks::is_wrapped(text),
            Multiline::Auto => false,
        };
        if is_single {
            self.cut = None;
            return (open, true);
        }
        if let Some(cut) = self.cut.take() {
            let goes_on = match (cut.inside.step(text, So { lines: GROUP_MAX_LINES, held: 0 }), &self.multiline) {
                (_, Multiline::Start(start)) if start.matches(text) => None,
                (Step::Join(inside) | Step::Hold(inside), _) => Some((inside, false)),
                (Step::Leave, Multiline::Start(_)) => Some((opened(text).inside(), false)),
                (Step::Last, Multiline::Start(_)) => Some((Inside::Plain, false)),
                (Step::Last, _) => Some((cut.inside, true)),
                (Step::Leave, _) => None,
            };
            if let Some((inside, is_last)) = goes_on {
                let open = Open { inside, piece: Some(cut.number), is_told: cut.is_told, ..open };
                return (open.with_sight(line.start), is_last);
            }
        }
        match (opened(text), &self.multiline) {
            (Opening::Group(inside), _) => (Open { inside, ..open }.with_sight(line.start), false),
            (Opening::Whole, Multiline::Start(_)) => (open, false),
            (Opening::Whole, _) => (open, true),
        }
    }

    /// Cuts the next piece off a line over `max_line`.
    fn piece(&mut self, window: &[u8], line: &Line) -> Group {
        self.pieces += 1;
        let piece = Some(self.pieces);
        let mut end = line.end;
        if line.text_end - line.start > self.max_line {
            end = line.start + self.max_line;
            // Behind a carriage return, so that the states of a progress bar stay whole.
            let cut = match self.multiline {
                Multiline::None => None,
                _ => window.get(line.start + 1..end).and_then(|piece| memchr::memrchr(b'\r', piece)),
            };
            if let Some(at) = cut {
                end = line.start + at + 2;
            }
            // Not within a character, so that both pieces stay readable.
            while end > line.start + 1 && line.start + self.max_line - end < 3 && is_continuation(window, end) {
                end -= 1;
            }
        } else {
            self.pieces = 0;
        }
        self.searched = end;
        Group { start: line.start, end, lines: 1, piece, group_piece: None, stack: None }
    }
}

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// A text without the byte order mark at its start: what follows decides what it is.
pub(super) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

fn is_continuation(window: &[u8], at: usize) -> bool {
    window.get(at).is_some_and(|byte| byte & 0xc0 == 0x80)
}

impl Open {
    /// End of what was looked at.
    fn seen(&self) -> usize {
        self.held.map_or(self.end, |held| held.end)
    }

    fn count(&self) -> u32 {
        self.lines + self.held.map_or(0, |held| held.lines)
    }

    /// How it stands without the lines that are held back.
    fn settled(&self) -> Inside {
        self.held.map_or(self.inside, |held| held.inside)
    }

    fn group(&self, start: usize) -> Group {
        Group { start, end: self.end, lines: self.lines, piece: None, group_piece: self.piece, stack: self.stack }
    }

    /// Adds a line if it belongs there. Where it does and does not fit, the group closes before it.
    fn add(
        &mut self,
        multiline: &Multiline,
        window: &[u8],
        start: usize,
        line: &Line,
        text: &[u8],
        fits: bool,
    ) -> Added {
        let so = So { lines: self.lines, held: self.held.map_or(0, |held| held.lines) };
        let step = match multiline {
            Multiline::Start(pattern) if pattern.matches(text) || looks::is_wrapped(text) => Step::Leave,
            Multiline::Start(_) => self.step_on(text, so),
            _ => self.inside.step(text, so),
        };
        match step {
            Step::Leave => Added::Not,
            Step::Hold(_) if !fits => Added::Not,
            Step::Join(_) | Step::Last if !fits => Added::Closes,
            Step::Hold(inside) => {
                let before = self.held.map_or(self.inside, |held| held.inside);
                self.held = Some(Held { inside: before, end: line.end, lines: so.held + 1 });
                self.inside = inside;
                self.look(line.start);
                Added::Joined
            }
            Step::Join(inside) => {
                let was_plain = matches!(self.inside, Inside::Plain | Inside::Told);
                if matches!((self.inside, inside), (Inside::Frames(_), Inside::Python(_))) {
                    // What was taken for an exception only introduces one.
                    self.suspect = None;
                }
                self.inside = inside;
                if was_plain && matches!(inside.sight(), Sight::Sure(Family::Frames | Family::Ruby)) {
                    self.suspect = Some(self.thrower(window, start));
                }
                self.join(line, so);
                self.look(line.start);
                Added::Joined
            }
            Step::Last => {
                self.join(line, so);
                Added::Closes
            }
        }
    }

    /// What a line does that belongs to the group whatever it is.
    fn step_on(&mut self, text: &[u8], so: So) -> Step {
        match self.inside.step(text, so) {
            Step::Join(inside) | Step::Hold(inside) => Step::Join(inside),
            Step::Last => Step::Join(Inside::Plain),
            Step::Leave => {
                self.suspect = None;
                Step::Join(opened(text).inside())
            }
        }
    }

    fn join(&mut self, line: &Line, so: So) {
        (self.end, self.last) = (line.end, line.start);
        self.lines += so.held + 1;
        self.held = None;
    }

    fn with_sight(mut self, at: usize) -> Self {
        self.look(at);
        self
    }

    /// Notes where an exception begins, or may begin, now that the line at `at` was added.
    fn look(&mut self, at: usize) {
        if self.is_told {
            return;
        }
        match self.inside.sight() {
            Sight::None => self.suspect = None,
            Sight::May => _ = self.suspect.get_or_insert(at),
            Sight::Sure(family) => {
                _ = self.stack.get_or_insert(Stack { at: self.suspect.unwrap_or(at), family });
            }
        }
    }

    /// The line whose exception the frames are that follow an ordinary one: the one before them, else the first.
    fn thrower(&self, window: &[u8], start: usize) -> usize {
        let line = window.get(self.last..self.end).unwrap_or_default().trim_ascii();
        if throwable::name(line).is_some() { self.last } else { start }
    }
}

#[cfg(test)]
mod tests;
