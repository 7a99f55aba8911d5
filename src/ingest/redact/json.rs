//! Redaction of JSON: by the names of its members at any depth, and in the text of its strings, whatever their escapes.
//! What is no secret keeps its bytes, so that what parses goes on to parse.

use std::borrow::Cow;

use super::keys::Name;
use super::kind::Kind;
use super::ordinary::{self, Form};
use super::text::{Edge, at};

use super::{Edit, Redactor};
use crate::record::json as encode;

/// Deepest nesting of objects and lists; deeper ones are redacted as text.
const DEPTH_MAX: usize = 127;

/// Members whose text names what another member, `value`, holds.
const NAMES: &[&[u8]] = &[b"name", b"key", b"header"];
const VALUE: &[u8] = b"value";

/// What to change in `text`; `None`: it is no JSON. `nesting`: how many strings it lies in.
pub fn edits(redactor: &Redactor, text: &[u8], nesting: usize, scratch: &mut Vec<u8>) -> Option<Vec<Edit>> {
    let mut rewriter = Rewriter { redactor, text, place: 0, edits: Vec::new(), nesting, scratch };
    rewriter.blanks();
    rewriter.value(None, 0)?;
    rewriter.blanks();
    if rewriter.place < text.len() {
        return None;
    }
    // A pair's value may have been changed after what stands behind it.
    rewriter.edits.sort_by_key(|edit| edit.start);
    Some(rewriter.edits)
}

struct Rewriter<'a, 's> {
    redactor: &'a Redactor,
    text: &'a [u8],
    place: usize,
    edits: Vec<Edit>,
    nesting: usize,
    scratch: &'s mut Vec<u8>,
}

impl<'a> Rewriter<'a, '_> {
    fn byte(&self) -> u8 {
        at(self.text, self.place)
    }

    fn blanks(&mut self) {
        while matches!(self.byte(), b' ' | b'\t' | b'\n' | b'\r') {
            self.place += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.byte() == byte).then(|| self.place += 1)
    }

    /// One value; `secret`: the name that it, or what it lies in, stands behind.
    fn value(&mut self, secret: Option<Name>, depth: usize) -> Option<()> {
        match self.byte() {
            b'"' => self.text_value(secret),
            b'{' if depth < DEPTH_MAX => self.object(secret, depth + 1),
            b'[' if depth < DEPTH_MAX => self.list(secret, depth + 1),
            b'-' | b'0'..=b'9' => self.number(secret),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => None,
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        let is = self.text.get(self.place..)?.starts_with(word);
        is.then(|| self.place += word.len())
    }

    fn object(&mut self, secret: Option<Name>, depth: usize) -> Option<()> {
        self.take(b'{')?;
        self.blanks();
        if self.take(b'}').is_some() {
            return Some(());
        }
        let (mut named, mut named_value) = (None, None);
        loop {
            let start = self.place;
            let key = self.string()?;
            self.scan(&key, start);
            self.blanks();
            self.take(b':')?;
            self.blanks();
            let name = self.redactor.name(&key);
            let start = self.place;
            let is_text = self.byte() == b'"';
            self.value(name.or(secret), depth)?;
            if is_text && NAMES.iter().any(|known| key.eq_ignore_ascii_case(known)) {
                let raw = self.text.get(start + 1..self.place - 1)?;
                named = self.redactor.name(raw);
            } else if is_text && key.eq_ignore_ascii_case(VALUE) {
                named_value = Some((start, self.place));
            }
            self.blanks();
            if self.take(b',').is_none() {
                break;
            }
            self.blanks();
        }
        self.take(b'}')?;
        if let (Some(name), Some((start, end))) = (named, named_value) {
            self.pair(name, start, end);
        }
        Some(())
    }

    /// `{"name": "DB_PASSWORD", "value": "…"}`: the value, which lies at these places, quotes and all.
    fn pair(&mut self, name: Name, start: usize, end: usize) {
        let raw = self.text.get(start + 1..end - 1).unwrap_or_default();
        if ordinary::is_secret(raw, name, Form::Quoted) {
            self.edits.retain(|edit| edit.start < start || edit.end > end);
            self.mark(start, end, name.kind);
        }
    }

    fn list(&mut self, secret: Option<Name>, depth: usize) -> Option<()> {
        self.take(b'[')?;
        self.blanks();
        if self.take(b']').is_some() {
            return Some(());
        }
        loop {
            self.value(secret, depth)?;
            self.blanks();
            if self.take(b',').is_none() {
                break;
            }
            self.blanks();
        }
        self.take(b']')
    }

    fn number(&mut self, secret: Option<Name>) -> Option<()> {
        let start = self.place;
        while matches!(self.byte(), b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
            self.place += 1;
        }
        let number = self.text.get(start..self.place)?;
        let is_secret = |name: &Name| !(ordinary::may_count(*name) && ordinary::is_count(number));
        if let Some(name) = secret.filter(is_secret) {
            self.mark(start, self.place, name.kind);
        } else if self.redactor.is_card(number) {
            self.mark(start, self.place, Kind::Card);
        }
        Some(())
    }

    /// Puts a marker, as a string, in the place of a value.
    fn mark(&mut self, start: usize, end: usize, kind: Kind) {
        let mut with = Vec::new();
        encode::string(&mut with, &self.redactor.marker(kind.index()));
        self.edits.push(Edit { start, end, with });
    }

    fn text_value(&mut self, secret: Option<Name>) -> Option<()> {
        let start = self.place;
        let text = self.string()?;
        match secret {
            Some(name) if ordinary::is_secret(&text, name, Form::Quoted) => self.mark(start, self.place, name.kind),
            _ => self.scan(&text, start),
        }
        Some(())
    }

    /// Redacts within the string that begins at `start` and has been passed.
    fn scan(&mut self, text: &[u8], start: usize) {
        if let Some(with) = self.redactor.replaced(text, Edge::default(), self.nesting + 1, self.scratch) {
            let mut encoded = Vec::with_capacity(with.len() + 2);
            encode::string(&mut encoded, &with);
            self.edits.push(Edit { start, end: self.place, with: encoded });
        }
    }

    /// Passes a string; its text without escapes.
    fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        self.take(b'"')?;
        let rest = self.text.get(self.place..)?;
        let mut from = 0;
        let end = loop {
            let found = from + memchr::memchr2(b'"', b'\\', rest.get(from..)?)?;
            match at(rest, found) {
                b'"' => break found,
                _ => from = found + 2,
            }
        };
        self.place += end + 1;
        let raw = rest.get(..end)?;
        match memchr::memchr(b'\\', raw) {
            None => Some(Cow::Borrowed(raw)),
            Some(_) => unescaped(raw).map(Cow::Owned),
        }
    }
}

/// The text of a string; `None` where an escape is none. Half a pair of surrogates becomes U+FFFD.
fn unescaped(raw: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(backslash) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(rest.get(..backslash)?);
        let escape = *rest.get(backslash + 1)?;
        rest = rest.get(backslash + 2..)?;
        match escape {
            b'"' | b'\\' | b'/' => out.push(escape),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'b' => out.push(0x08),
            b'f' => out.push(0x0c),
            b'u' => {
                let mut unit = hex(rest)?;
                rest = rest.get(4..)?;
                if (0xd800..0xdc00).contains(&unit)
                    && let Some(low) =
                        rest.strip_prefix(b"\\u").and_then(hex).filter(|low| (0xdc00..0xe000).contains(low))
                {
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    rest = rest.get(6..)?;
                }
                let character = char::from_u32(unit).unwrap_or('\u{fffd}');
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn hex(text: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(text.get(..4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}
