//! Cutting a stream into lines and groups of lines. Looks at bytes only; what a line says is for the parsers.

use super::options::Multiline;
use super::parse::java;

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
    /// Offset of the line `Traceback (most recent call last):`, if the group holds one.
    pub traceback: Option<usize>,
}

/// Where an open group stands within a Python traceback, which decides what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Inside {
    /// A line and its indented continuation.
    #[default]
    Plain,
    /// Behind `Traceback (most recent call last):`.
    Stack,
    /// Behind the line that names the exception.
    Raised,
    /// Behind `During handling of the above exception …`.
    Chained,
    /// Behind the first of the two lines of java.util.logging.
    Headed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Open {
    end: usize,
    lines: u32,
    inside: Inside,
    traceback: Option<usize>,
    /// A blank line behind the exception: part of the group only if a chained traceback follows.
    blank: Option<usize>,
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
}

/// One line: where its text and its end are.
struct Line {
    start: usize,
    text_end: usize,
    end: usize,
}

impl Framer {
    pub fn new(multiline: Multiline, max_line: usize) -> Self {
        Framer { multiline, max_line: max_line.max(1), open: None, searched: 0, pieces: 0 }
    }

    /// Whether bytes are held back that only a flush would take.
    pub fn holds_back(&self) -> bool {
        self.open.is_some() || self.searched > 0
    }

    /// The window was cut by `consumed` bytes at its front.
    pub fn consumed(&mut self, consumed: usize) {
        self.searched = self.searched.saturating_sub(consumed);
        if let Some(open) = &mut self.open {
            open.end = open.end.saturating_sub(consumed);
            open.traceback = open.traceback.map(|at| at.saturating_sub(consumed));
            open.blank = open.blank.map(|at| at.saturating_sub(consumed));
        }
    }

    /// Forgets what was seen of bytes that are not consumed: the window begins anew with other ones. A line that was cut
    /// into pieces goes on.
    pub fn reset(&mut self) {
        self.open = None;
        self.searched = 0;
    }

    /// The next complete group of `window`, which begins at `start`: the end of the one before, or 0.
    pub fn next(&mut self, window: &[u8], start: usize, flush: Flush) -> Option<Group> {
        if self.searched > window.len() || self.open.is_some_and(|open| open.end > window.len()) {
            self.reset();
        }
        loop {
            let from = self.open.map_or(start, |open| open.blank.unwrap_or(open.end));
            let Some(line) = self.line(window, from, flush) else {
                if flush == Flush::No {
                    return None;
                }
                let open = self.open.take()?;
                // A blank line that was held behind it is a line of its own now, and is searched again.
                self.searched = open.end;
                return Some(group(start, open));
            };
            if line.text_end - line.start > self.max_line || self.pieces > 0 {
                if let Some(open) = self.open.take() {
                    // The long line is searched for its end again: cheap beside the rest.
                    self.searched = open.end;
                    return Some(group(start, open));
                }
                return Some(self.piece(window, &line));
            }
            let text = without_mark(&window[line.start..line.text_end]);
            match &mut self.open {
                None => {
                    let open = opened(&line, text);
                    self.searched = line.end;
                    if self.multiline == Multiline::None || text.first() == Some(&b'{') {
                        return Some(group(start, open));
                    }
                    self.open = Some(open);
                }
                Some(open) => {
                    let fits = open.lines < GROUP_MAX_LINES && line.end - start <= GROUP_MAX_BYTES;
                    if !fits || !join(open, &line, text) {
                        let closed = *open;
                        self.open = None;
                        self.searched = closed.end;
                        return Some(group(start, closed));
                    }
                    self.searched = line.end;
                }
            }
        }
    }

    fn line(&mut self, window: &[u8], start: usize, flush: Flush) -> Option<Line> {
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

    /// Cuts the next piece off a line over `max_line`.
    fn piece(&mut self, window: &[u8], line: &Line) -> Group {
        self.pieces += 1;
        let piece = Some(self.pieces);
        let mut end = line.end;
        if line.text_end - line.start > self.max_line {
            end = line.start + self.max_line;
            // Not within a character, so that both pieces stay readable.
            while end > line.start + 1 && line.start + self.max_line - end < 3 && is_continuation(window, end) {
                end -= 1;
            }
        } else {
            self.pieces = 0;
        }
        self.searched = end;
        Group { start: line.start, end, lines: 1, piece, traceback: None }
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

fn group(start: usize, open: Open) -> Group {
    Group { start, end: open.end, lines: open.lines, piece: None, traceback: open.traceback }
}

const TRACEBACK: &[u8] = b"Traceback (most recent call last):";
const CHAINS: [&[u8]; 2] = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
];

fn opened(line: &Line, text: &[u8]) -> Open {
    let traceback = text.starts_with(TRACEBACK);
    let inside = match traceback {
        true => Inside::Stack,
        false if java::is_first_of_two(text) => Inside::Headed,
        false => Inside::Plain,
    };
    Open { end: line.end, lines: 1, inside, traceback: traceback.then_some(line.start), blank: None }
}

fn is_indented(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t'))
}

/// Whether a line begins as only loggers' lines do: an object, or a date.
fn looks_logged(text: &[u8]) -> bool {
    let is_date = || {
        text.get(..8).is_some_and(|head| {
            head[..4].iter().all(u8::is_ascii_digit) && matches!(head[4], b'-' | b'/') && head[5].is_ascii_digit()
        })
    };
    text.first() == Some(&b'{') || is_date()
}

/// Adds a line to an open group if it belongs there.
fn join(open: &mut Open, line: &Line, text: &[u8]) -> bool {
    let blank_before = open.blank.is_some();
    let next = match open.inside {
        Inside::Plain if text.starts_with(TRACEBACK) => {
            open.traceback = Some(line.start);
            Some(Inside::Stack)
        }
        Inside::Plain if is_indented(text) => Some(Inside::Plain),
        Inside::Plain if open.lines > 1 && text.starts_with(b"Caused by: ") => Some(Inside::Plain),
        Inside::Plain => None,
        Inside::Headed => java::is_second_of_two(text).then_some(Inside::Plain),
        Inside::Stack if is_indented(text) => Some(Inside::Stack),
        // What is not indented names the exception; a blank line there is a traceback cut short.
        // So is one that ends in a line of a logger.
        Inside::Stack if text.is_empty() || looks_logged(text) => None,
        Inside::Stack => Some(Inside::Raised),
        Inside::Raised if text.is_empty() && !blank_before => {
            open.blank = Some(line.end);
            return true;
        }
        Inside::Raised if blank_before => CHAINS.iter().any(|chain| text.starts_with(chain)).then_some(Inside::Chained),
        Inside::Raised => is_indented(text).then_some(Inside::Raised),
        Inside::Chained if text.is_empty() => Some(Inside::Chained),
        Inside::Chained => text.starts_with(TRACEBACK).then_some(Inside::Stack),
    };
    let Some(inside) = next else { return false };
    open.inside = inside;
    open.end = line.end;
    open.lines += 1 + u32::from(blank_before);
    open.blank = None;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All groups of a text, given in one piece and byte by byte: both must agree.
    fn groups(multiline: Multiline, max_line: usize, text: &str) -> Vec<String> {
        let whole = feed(multiline, max_line, text, text.len().max(1));
        for step in [1, 2, 7] {
            assert_eq!(feed(multiline, max_line, text, step), whole, "in steps of {step}");
        }
        whole
    }

    fn feed(multiline: Multiline, max_line: usize, text: &str, step: usize) -> Vec<String> {
        let mut framer = Framer::new(multiline, max_line);
        let mut out = Vec::new();
        let mut window: Vec<u8> = Vec::new();
        let bytes = text.as_bytes();
        let mut lines = 0;
        for (index, chunk) in bytes.chunks(step).enumerate() {
            window.extend_from_slice(chunk);
            let last = (index + 1) * step >= bytes.len();
            let mut start = 0;
            while let Some(group) = framer.next(&window, start, if last { Flush::All } else { Flush::No }) {
                assert_eq!(group.start, start);
                assert!(group.end > start);
                out.push(String::from_utf8(window[group.start..group.end].to_vec()).expect("text"));
                lines += group.lines as usize;
                start = group.end;
            }
            window.drain(..start);
            framer.consumed(start);
        }
        assert!(window.is_empty(), "all is taken at the end");
        assert_eq!(out.concat(), text);
        if max_line > 100 {
            assert_eq!(lines, text.lines().count(), "{text:?}");
        }
        out
    }

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(groups(Multiline::Auto, 1000, text), expected);
    }

    #[test]
    fn lines_stand_alone_and_the_last_one_may_lack_its_end() {
        check("", &[]);
        check("a\nb\r\n\nc", &["a\n", "b\r\n", "\n", "c"]);
        assert_eq!(groups(Multiline::None, 1000, "a\n b\n"), ["a\n", " b\n"]);
    }

    #[test]
    fn indented_lines_join_the_line_before() {
        check("a\n  b\n\tc\nd\n", &["a\n  b\n\tc\n", "d\n"]);
        check("x\n\tat a.B\nCaused by: y\n\tat c.D\nz\n", &["x\n\tat a.B\nCaused by: y\n\tat c.D\n", "z\n"]);
    }

    #[test]
    fn the_two_lines_of_java_util_logging_are_one_group() {
        let head = "Nov 20, 2026 11:00:33 PM com.example.Main run\n";
        check(
            &format!("{head}INFO: up\n{head}SEVERE: down\n"),
            &[&format!("{head}INFO: up\n"), &format!("{head}SEVERE: down\n")],
        );
        check(&format!("{head}x\nINFO: up\n"), &[head, "x\n", "INFO: up\n"]);
    }

    #[test]
    fn a_traceback_joins_the_line_that_logged_it() {
        let traceback =
            "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    f()\nValueError: x\n";
        check(&format!("ERROR oh\n{traceback}next\n"), &[&format!("ERROR oh\n{traceback}"), "next\n"]);
        check(&format!("{traceback}{traceback}"), &[traceback, traceback]);
        let chained = format!(
            "E\n{traceback}\nDuring handling of the above exception, another exception occurred:\n\n{traceback}"
        );
        check(&format!("{chained}\nnext\n"), &[&chained, "\n", "next\n"]);
        check(&format!("{traceback}\n\n"), &[traceback, "\n", "\n"]);
    }

    #[test]
    fn a_line_over_the_bound_becomes_pieces_and_loses_nothing() {
        let check = |text: &str, expected: &[&str]| assert_eq!(groups(Multiline::Auto, 4, text), expected, "{text:?}");
        check("abcd\n", &["abcd\n"]);
        check("abcdefghij\nk\n", &["abcd", "efgh", "ij\n", "k\n"]);
        check("abcdefgh\nk\n", &["abcd", "efgh\n", "k\n"]);
        check("ab€cd\n", &["ab", "€c", "d\n"]);
        check("x\n\nabcde", &["x\n", "\n", "abcd", "e"]);
    }

    #[test]
    fn a_traceback_that_was_cut_short_swallows_no_line() {
        let cut = "Traceback (most recent call last):\n  File \"a.py\", line 1\n";
        check(&format!("{cut}{{\"a\":1}}\n"), &[cut, "{\"a\":1}\n"]);
        check(&format!("{cut}2026-11-20 00:00:00 x\n"), &[cut, "2026-11-20 00:00:00 x\n"]);
    }

    #[test]
    fn after_a_flushed_traceback_the_blank_line_and_what_follows_are_lines_of_their_own() {
        let traceback = "Traceback (most recent call last):\n  x\nE: y\n";
        let mut framer = Framer::new(Multiline::Auto, 1000);
        let mut window = format!("{traceback}\n").into_bytes();
        assert_eq!(framer.next(&window, 0, Flush::No), None);
        let first = framer.next(&window, 0, Flush::Group).expect("the traceback");
        assert_eq!((first.end, first.lines), (traceback.len(), 3));
        window.drain(..first.end);
        framer.consumed(first.end);
        window.extend_from_slice(b"next\n");
        let blank = framer.next(&window, 0, Flush::Group).expect("the blank line");
        assert_eq!((blank.end, blank.lines), (1, 1));
        let next = framer.next(&window, 1, Flush::Group).expect("the next line");
        assert_eq!((next.start, next.end, next.lines), (1, 6, 1));
    }

    #[test]
    fn a_window_that_begins_anew_is_read_from_its_start() {
        let mut framer = Framer::new(Multiline::Auto, 1000);
        assert_eq!(framer.next(b"head\n  more\n  and", 0, Flush::No), None);
        // With and without being told.
        assert_eq!(framer.next(b"he", 0, Flush::No), None);
        framer.reset();
        let group = framer.next(b"head\n  more\nnext\n", 0, Flush::No).expect("a group");
        assert_eq!((group.end, group.lines), (12, 2));
    }

    #[test]
    fn a_group_is_bounded_in_lines_and_bytes() {
        let many = format!("a\n{}", " b\n".repeat(GROUP_MAX_LINES as usize));
        let out = feed(Multiline::Auto, 1000, &many, 4096);
        assert_eq!(out.iter().map(|g| g.lines().count()).collect::<Vec<_>>(), [500, 1]);
        let wide = format!("a\n{}", format!(" {}\n", "b".repeat(9_998)).repeat(30));
        let out = feed(Multiline::Auto, 100_000, &wide, 4096);
        assert!(out.len() == 2 && out.iter().all(|g| g.len() <= GROUP_MAX_BYTES));
    }
}
