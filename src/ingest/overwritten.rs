//! Lines that a program wrote over: a progress bar sends a carriage return and its next state. Only the last one says how
//! it ended. A carriage return alone is no bar: where the states do not resemble each other, all of the text stays.

use super::parse::ansi;
use super::parse::traceback::Stack;

const RETURN: u8 = b'\r';

/// Words beside the numbers of a bar, in small letters: they change with how far it is.
const UNITS: [&[u8]; 22] = [
    b"s", b"sec", b"secs", b"ms", b"us", b"m", b"min", b"mins", b"h", b"d", b"it", b"b", b"k", b"kb", b"kib", b"mb",
    b"mib", b"gb", b"gib", b"tb", b"tib", b"eta",
];
/// Fewest letters before the first number for which two bars are the same one.
const NAME_MIN_LETTERS: usize = 3;
/// Fewest characters in a row that draw a bar.
const BAR_MIN_LEN: usize = 3;

/// The last state of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last<'t> {
    pub(super) text: &'t [u8],
    /// States before it that were not empty.
    pub(super) before: u32,
}

/// Lines of which only the last state is left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) text: Vec<u8>,
    /// The exception in it.
    pub(super) stack: Option<Stack>,
    /// States that were left out.
    pub(super) before: u32,
}

/// What a state looks like without its numbers and the characters that draw it.
#[derive(Debug, Default)]
struct Shape {
    /// Its words but for units, a blank behind each.
    words: Vec<u8>,
    /// Bytes of those that stand before the first number.
    name: usize,
    has_digit: bool,
    /// It holds a number of per cent.
    has_percent: bool,
    /// It holds that, a drawn bar, or nothing but a wheel that turns.
    has_gauge: bool,
}

impl Shape {
    fn of(state: &[u8]) -> Shape {
        let state = &*ansi::strip(state);
        let mut shape = Shape { has_gauge: is_wheel(state), ..Shape::default() };
        let mut rest = state;
        let mut before = 0;
        while let Some(&byte) = rest.first() {
            let drawn = drawn_len(rest);
            let len = match byte {
                _ if drawn > 0 => {
                    shape.has_gauge = true;
                    drawn
                }
                b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => shape.word(rest),
                b'#' | b'=' => {
                    let len = rest.iter().take_while(|other| **other == byte).count();
                    shape.has_gauge |= len >= BAR_MIN_LEN;
                    len
                }
                b'%' => {
                    let is_percent = u8::is_ascii_digit(&before);
                    shape.has_percent |= is_percent;
                    shape.has_gauge |= is_percent;
                    1
                }
                _ => 1,
            };
            if byte.is_ascii_digit() && !shape.has_digit {
                (shape.has_digit, shape.name) = (true, shape.words.len());
            }
            before = byte;
            rest = rest.get(len..).unwrap_or_default();
        }
        shape
    }

    /// Takes the word at the front; gives its length.
    fn word(&mut self, text: &[u8]) -> usize {
        let is_part = |at: usize, byte: u8| match byte {
            0x80.. => at == 0 || text.get(at..).is_none_or(|rest| drawn_len(rest) == 0),
            _ => byte.is_ascii_alphabetic(),
        };
        let len = text.iter().enumerate().take_while(|(at, byte)| is_part(*at, **byte)).count().max(1);
        let word = text.get(..len).unwrap_or_default();
        if !UNITS.iter().any(|unit| word.eq_ignore_ascii_case(unit)) {
            self.words.extend_from_slice(word);
            self.words.push(b' ');
        }
        len
    }

    /// Whether one may be a later state of the other.
    fn is_like(&self, other: &Shape) -> bool {
        let counts = |shape: &Shape| shape.has_digit || shape.has_gauge;
        let is_same = self.words == other.words && (!self.words.is_empty() || (counts(self) && counts(other)));
        is_same
            || (self.has_percent && other.has_percent)
            || (self.has_gauge && other.has_gauge && self.is_named(other))
    }

    /// Whether the same words stand before the first number.
    fn is_named(&self, other: &Shape) -> bool {
        self.name > NAME_MIN_LETTERS && self.words.get(..self.name) == other.words.get(..other.name)
    }

    /// Whether it says nothing but how far something is.
    fn is_bar_alone(&self) -> bool {
        self.words.is_empty() && self.has_gauge
    }
}

/// Length of the character at the front, if bars and wheels alone are drawn with it: boxes, blocks, discs, Braille.
fn drawn_len(text: &[u8]) -> usize {
    match text {
        [0xe2, 0x94..=0x97 | 0xa0..=0xa3, 0x80..=0xbf, ..] => 3,
        _ => 0,
    }
}

/// Whether a text is one of the characters that make a wheel turn.
fn is_wheel(text: &[u8]) -> bool {
    matches!(text.trim_ascii(), [b'|' | b'/' | b'-' | b'\\'])
}

fn states(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == RETURN).filter(|state| !state.trim_ascii().is_empty())
}

/// What stands before the first carriage return, or behind those at the front; `None` where there is none.
pub(super) fn first(line: &[u8]) -> Option<&[u8]> {
    memchr::memchr(RETURN, line)?;
    states(line).next()
}

/// The last state; `None` where there is no carriage return, or what stands before it is more than earlier states of a bar.
pub(super) fn last(line: &[u8]) -> Option<Last<'_>> {
    memchr::memchr(RETURN, line)?;
    let mut before = states(line);
    let text = before.next_back()?;
    let last = Shape::of(text);
    // A bar that was drawn twice is one, whatever was written over it at the end.
    let mut previous: Option<Shape> = None;
    let mut is_sure = true;
    let mut count: u32 = 0;
    for state in before {
        let shape = Shape::of(state);
        let goes_on = shape.has_gauge && previous.as_ref().is_some_and(|previous| previous.is_like(&shape));
        if !is_sure && !goes_on {
            return None;
        }
        is_sure = goes_on || shape.is_like(&last) || shape.is_bar_alone();
        previous = Some(shape);
        count = count.saturating_add(1);
    }
    is_sure.then_some(Last { text, before: count })
}

/// Lines without what was written over, but for those of an exception; `None` where nothing was.
pub(super) fn without(text: &[u8], stack: Option<Stack>) -> Option<Left> {
    let (lines, below) = text.split_at_checked(stack.map_or(text.len(), |stack| stack.at))?;
    memchr::memchr(RETURN, lines)?;
    let mut left = Left { text: Vec::with_capacity(text.len()), stack: None, before: 0 };
    let mut is_same = true;
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let body = super::lines::without_line_end(line);
        let end = line.get(body.len()..).unwrap_or_default();
        match last(body) {
            Some(last) => {
                left.text.extend_from_slice(last.text);
                left.before = left.before.saturating_add(last.before);
                is_same = false;
            }
            None => left.text.extend_from_slice(body),
        }
        left.text.extend_from_slice(end);
    }
    left.stack = stack.map(|stack| Stack { at: left.text.len(), ..stack });
    left.text.extend_from_slice(below);
    (!is_same).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::parse::traceback::Family;

    #[test]
    fn of_what_was_written_over_the_last_state_is_left() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let left = without(text.as_bytes(), None);
            let left = left.map(|left| (String::from_utf8(left.text).expect("text"), left.before));
            assert_eq!(left.as_ref().map(|(text, before)| (text.as_str(), *before)), expected, "{text:?}");
        };
        check("10%\r20%\r100%", Some(("100%", 2)));
        check("\r100%", Some(("100%", 0)));
        check("10%\r        \r", Some(("10%", 0)));
        check("a\r\n  1%\r  2%\r\n  b", Some(("a\r\n  2%\r\n  b", 1)));
        check("a\r\n  b", None);
        check("fetch a.bin 10%\rfetch a.bin 20%\rall is there", Some(("all is there", 2)));
        check("| at it\r/ at it\r- at it", Some(("- at it", 2)));
        check("|\r/\r-\r\\", Some(("\\", 3)));
        check("\u{280b} build\r\u{2819} build", Some(("\u{2819} build", 1)));
        check("   ---- 1.2/9.0 MB 3 s\r   ---- 900/1200 kB eta 0:01", Some(("   ---- 900/1200 kB eta 0:01", 1)));
        check(
            "Building [===>  ] 1/9: serde\rBuilding [====> ] 2/9: regex, tokio",
            Some(("Building [====> ] 2/9: regex, tokio", 1)),
        );
        check("\x1b[31mfetch 1\x1b[0m\rfetch \x1b[32m2", Some(("fetch \x1b[32m2", 1)));
        check("lade \u{fc}ber 1\rlade \u{fc}ber 2", Some(("lade \u{fc}ber 2", 1)));
        check("\r\r", None);
        check("plain", None);
        assert_eq!(first(b"\r1%\r2%"), Some(&b"1%"[..]));
        assert_eq!(first(b"1%"), None);
    }

    #[test]
    fn where_nothing_shows_that_it_was_written_over_all_of_it_stays() {
        for text in [
            "login failed for root\rall is well",
            "one\rtwo\rthree\r",
            "all is well\r10%",
            "10% of the disk is left\rall is well",
            "server started\rserver stopped",
            "begun\rfetch 10%\rfetch 20%",
            "fetch 10%\rfetch 20%\rit broke\rall is well",
            "no\rno\ryes",
            "10.0.0.7\rall is well",
            "???\r!!!",
            "\u{4f60}\u{597d}\r\u{518d}\u{89c1}",
            "=== one ===\r=== two ===",
        ] {
            assert_eq!(last(text.as_bytes()), None, "{text:?}");
            assert_eq!(without(text.as_bytes(), None), None, "{text:?}");
        }
        // The lines around it are none of its business.
        let left = without(b"10%\r20%\n  one\rtwo\n", None).expect("something was left out");
        assert_eq!((left.text.as_slice(), left.before), (&b"20%\n  one\rtwo\n"[..], 1));
    }

    #[test]
    fn an_exception_loses_nothing() {
        let stack = Stack { at: 8, family: Family::Python };
        let text = b"10%\r20%\nTraceback\nE: 1%\r2%";
        let left = without(text, Some(stack)).expect("something was left out");
        assert_eq!(left.text, b"20%\nTraceback\nE: 1%\r2%");
        assert_eq!(without(&text[8..], Some(Stack { at: 0, ..stack })), None);
        assert_eq!(without(text, Some(Stack { at: 800, ..stack })), None);
    }

    #[test]
    fn an_exception_below_is_where_it_is_now() {
        let stack = Stack { at: 8, family: Family::Python };
        let left = without(b"10%\r20%\nTraceback", Some(stack)).expect("something was left out");
        assert_eq!((left.text.as_slice(), left.stack.map(|stack| stack.at)), (&b"20%\nTraceback"[..], Some(4)));
    }
}
