//! What stands behind a name: `name=value`, `"name": "value"`, `\"name\": \"value\"`, `--name value`, `<name>value</name>`.
//! Where it is not clear where a value ends, more is taken.

use super::keys::Found;
use super::kind::{Kind, is_marker};
use super::ordinary::{Form, is_count, is_secret, is_word, may_count};
use super::text::{Edge, Span, at};

/// Most blanks and colours on either side of a separator.
const BLANK_MAX_BYTES: usize = 32;
/// Most bytes that are searched for the end of what stands in brackets.
const BRACKETS_MAX_BYTES: usize = 4_096;

/// What parts a name from its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Separator {
    /// `=`, `=>`, `:=`.
    Equals,
    Colon,
    /// A blank behind `--name`.
    Flag,
    /// `>` behind `<name`.
    Tag,
}

/// Place of the value behind a name; `None` where there is none, or one that is no secret.
pub fn behind(text: &[u8], found: &Found, edge: Edge) -> Option<Span> {
    let (separator, begin) = separator(text, found)?;
    let span = |start: usize, end: usize| Span { start, end, kind: found.name.kind.index() };
    let begin = match at(text, begin) {
        // b'…' and the like of Python.
        b'b' | b'r' | b'u' | b'f' | b'B' if matches!(at(text, begin + 1), b'\'' | b'"') => begin + 1,
        _ => begin,
    };
    if let Some(quote) = Quote::at(text, begin) {
        let start = begin + quote.len();
        let end = quote.end(text, start);
        let value = text.get(start..end)?;
        return is_secret(value, found.name, Form::Quoted).then(|| span(start, end));
    }
    if matches!(at(text, begin), b'{' | b'[' | b'(') {
        let end = closing(text, begin)?;
        let inner = text.get(begin + 1..end - 1)?;
        // Numbers alone are counts and ids.
        let has_text = inner.iter().any(|byte| matches!(byte, b'\'' | b'"') || byte.is_ascii_alphabetic());
        return (has_text && !is_marker(text.get(begin..end)?)).then(|| span(begin, end));
    }
    if may_count(found.name) && is_count(text.get(begin..bare_end(text, begin))?) {
        return None;
    }
    let end = match (separator, found.name.kind) {
        (Separator::Tag, _) => line_end(text, begin, |byte, _| byte == b'<'),
        (_, Kind::Authorization) => authorization_end(text, begin),
        (_, Kind::Cookie | Kind::ConnectionString) => wide_end(text, begin),
        _ => bare_end(text, begin),
    };
    let value = text.get(begin..end)?;
    if separator == Separator::Flag && value.starts_with(b"-") {
        return None;
    }
    let form = if separator == Separator::Colon { Form::Prose } else { Form::Bare };
    let cut_off = edge.open_end && end == text.len() && !value.is_empty();
    (cut_off || is_secret(value, found.name, form)).then(|| span(begin, end))
}

/// What parts the name from its value, and where that begins.
fn separator(text: &[u8], found: &Found) -> Option<(Separator, usize)> {
    let mut place = found.end;
    let mut quoted = false;
    if let Some(quote) = Quote::at(text, place) {
        place += quote.len();
        quoted = true;
        if at(text, place) == b']' {
            place += 1;
        }
    }
    let before = if found.start > 0 { at(text, found.start - 1) } else { b'\n' };
    if before == b'<' && at(text, place) == b'>' {
        return Some((Separator::Tag, place + 1));
    }
    let is_flag = text.get(..found.start).is_some_and(|head| head.ends_with(b"--"))
        || text.get(found.start..).is_some_and(|name| name.starts_with(b"--"));
    let sep = blanks(text, place);
    let (separator, end) = match (at(text, sep), at(text, sep + 1)) {
        (b':', b':') => return None,
        (b':' | b'=', b'=' | b'>') => (Separator::Equals, sep + 2),
        (b'=', _) => (Separator::Equals, sep + 1),
        (b':', _) => (Separator::Colon, sep + 1),
        (b'%', b'3') if matches!(at(text, sep + 2), b'd' | b'D') => (Separator::Equals, sep + 3),
        // A pair, as header lists are printed: ('authorization', 'x').
        (b',', _) if quoted && is_pair(text, found.start) => (Separator::Equals, sep + 1),
        _ if is_flag && sep > place => (Separator::Flag, sep),
        _ => return None,
    };
    Some((separator, blanks(text, end)))
}

/// Whether the quoted name that begins here is the first of a pair in parentheses.
fn is_pair(text: &[u8], name: usize) -> bool {
    let head = text.get(..name).unwrap_or_default();
    let head = head.strip_suffix(b"'").or(head.strip_suffix(b"\"")).unwrap_or(head);
    let head = head.strip_suffix(b"\\").unwrap_or(head);
    head.strip_suffix(b"b").unwrap_or(head).ends_with(b"(")
}

/// Where blanks and colours of a terminal end.
fn blanks(text: &[u8], from: usize) -> usize {
    let mut place = from;
    while place - from < BLANK_MAX_BYTES {
        match at(text, place) {
            b' ' | b'\t' => place += 1,
            0x1b if at(text, place + 1) == b'[' => {
                let rest = text.get(place + 2..).unwrap_or_default();
                match rest.iter().take(BLANK_MAX_BYTES).position(u8::is_ascii_alphabetic) {
                    Some(letter) => place += 2 + letter + 1,
                    None => return place,
                }
            }
            _ => return place,
        }
    }
    place
}

/// A quote, with the backslashes before it that nesting has put there.
#[derive(Clone, Copy, Debug)]
struct Quote {
    byte: u8,
    backslashes: usize,
}

impl Quote {
    fn at(text: &[u8], from: usize) -> Option<Quote> {
        let backslashes = text.get(from..)?.iter().take(BLANK_MAX_BYTES).take_while(|byte| **byte == b'\\').count();
        let byte = at(text, from + backslashes);
        matches!(byte, b'"' | b'\'' | b'`').then_some(Quote { byte, backslashes })
    }

    fn len(&self) -> usize {
        self.backslashes + 1
    }

    /// Where the text ends that begins at `from` behind this quote: before the quote that closes it, or at the end of the
    /// line.
    fn end(&self, text: &[u8], from: usize) -> usize {
        let n = self.backslashes;
        let mut run = 0;
        for (place, &byte) in text.iter().enumerate().skip(from) {
            match byte {
                b'\\' => {
                    run += 1;
                    continue;
                }
                b'\n' => return place,
                // A quote within the text has more backslashes than the one that ends it; fewer: all of it ended further out.
                byte if byte == self.byte && (run < n || run % (2 * (n + 1)) == n) => return place - run.min(n),
                _ => {}
            }
            run = 0;
        }
        text.len()
    }
}

/// Behind the bracket that closes the one at `open`; on the same line, and quotes are passed over.
fn closing(text: &[u8], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut place = open;
    let limit = text.len().min(open + BRACKETS_MAX_BYTES);
    while place < limit {
        match at(text, place) {
            b'\n' => return None,
            b'{' | b'[' | b'(' => depth += 1,
            b'}' | b']' | b')' => {
                depth -= 1;
                if depth == 0 {
                    return Some(place + 1);
                }
            }
            b'"' | b'\'' | b'\\' => {
                if let Some(quote) = Quote::at(text, place) {
                    place = quote.end(text, place + quote.len()) + quote.backslashes;
                }
            }
            _ => {}
        }
        place += 1;
    }
    None
}

/// The end of the line, or where `ends` says so.
fn line_end(text: &[u8], from: usize, mut ends: impl FnMut(u8, usize) -> bool) -> usize {
    let mut place = from;
    while place < text.len() {
        let byte = at(text, place);
        if matches!(byte, b'\n' | b'\r' | 0x1b) || ends(byte, place) {
            break;
        }
        place += 1;
    }
    place
}

/// To a quote that ends something, or to the end of the line: the value has blanks in it.
fn wide_end(text: &[u8], from: usize) -> usize {
    let mut passed = from;
    line_end(text, from, |byte, place| {
        let is_quote = matches!(byte, b'"' | b'\'' | b'`') && place >= passed;
        if is_quote && place > from && at(text, place - 1) == b'=' {
            // `name="value"` is part of it.
            passed = Quote { byte, backslashes: 0 }.end(text, place + 1) + 1;
            return false;
        }
        (is_quote && ends_word(at(text, place + 1), text.len() == place + 1))
            || (byte == b'\\' && place >= passed && matches!(at(text, place + 1), b'"' | b'\'' | b'n' | b'r'))
    })
}

/// Schemes that one word follows.
const SCHEMES: &[&[u8]] = &[b"bearer", b"basic", b"token", b"apikey", b"negotiate", b"ntlm", b"key", b"bot"];

fn authorization_end(text: &[u8], from: usize) -> usize {
    let word = bare_end(text, from);
    let scheme = text.get(from..word).unwrap_or_default();
    if at(text, word) != b' ' || scheme.is_empty() || matches!(at(text, word - 1), b',' | b';') {
        return word;
    }
    if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return bare_end(text, blanks(text, word));
    }
    // Digest and signatures have many parts; a sentence has one.
    let is_scheme = scheme.first().is_some_and(u8::is_ascii_uppercase)
        && scheme.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    if is_scheme { wide_end(text, word) } else { word }
}

fn ends_word(next: u8, is_end: bool) -> bool {
    is_end
        || next.is_ascii_whitespace()
        || matches!(next, b',' | b';' | b'.' | b':' | b')' | b']' | b'}' | b'>' | b'<' | b'"' | b'\'' | b'\\' | 0x1b)
}

/// Whether `name=` or `name:` begins here: then what stands before it parts two values.
fn name_begins(text: &[u8], from: usize) -> bool {
    let from = from + usize::from(matches!(at(text, from), b'"' | b'\''));
    let rest = text.get(from..).unwrap_or_default();
    let len = rest
        .iter()
        .take(48)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        .count();
    let after = at(rest, len);
    len > 0
        && at(rest, 0).is_ascii_alphabetic()
        && (matches!(after, b'=' | b':') || (matches!(after, b'"' | b'\'') && at(rest, len + 1) == b':'))
}

/// Where a value without quotes ends: at a blank, and at what parts values where something else follows it.
fn bare_end(text: &[u8], from: usize) -> usize {
    let mut depth = 0usize;
    let mut place = from;
    while place < text.len() {
        let byte = at(text, place);
        let next = at(text, place + 1);
        let last = place + 1 == text.len();
        let ends = match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x1b => true,
            b'&' | b';' | b'|' => {
                last || next.is_ascii_whitespace() || ends_word(next, last) || name_begins(text, place + 1)
            }
            b',' => last || next.is_ascii_whitespace() || ends_word(next, last) || name_begins(text, place + 1),
            b'"' | b'\'' | b'`' => ends_word(next, last),
            b'\\' => matches!(next, b'"' | b'\'') && ends_word(at(text, place + 2), place + 2 >= text.len()),
            b'(' | b'[' | b'{' => {
                depth += 1;
                false
            }
            b')' | b']' | b'}' if depth > 0 => {
                depth -= 1;
                false
            }
            b')' | b']' | b'}' | b'>' | b'<' => ends_word(next, last),
            _ => false,
        };
        if ends {
            break;
        }
        if byte == b'(' && is_word(text.get(from..place).unwrap_or_default()) && matches!(next, b'"' | b'\'') {
            // `Some("two words")`.
            if let Some(end) = closing(text, place) {
                return end;
            }
        }
        place += 1;
    }
    // What a sentence ends with.
    while place > from && matches!(at(text, place - 1), b',' | b'.' | b':' | b';') {
        place -= 1;
    }
    place
}
