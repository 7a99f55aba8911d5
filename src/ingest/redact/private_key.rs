//! Private keys that are cut into records: line by line within each record, since a record may begin anywhere in a key and
//! hold any number of its lines. A key that stands whole in a record is found by its shape (`shapes`).

use super::kind::Kind;
use super::text::Edge;
use super::{Edit, Redactor, shapes};

/// Most lines of one private key.
const KEY_MAX_LINES: u32 = 400;
/// Lines of others that may stand between those of a private key.
const KEY_OTHERS_MAX: u32 = 4;

/// Lengths of the lines of a private key: by these one is known where its beginning was not seen.
const KEY_LINE_BYTES: [usize; 3] = [64, 70, 76];

/// Where a stream stands within a private key. Blank lines count as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Outside,
    /// The stream goes on where another process left it: it may be within one, for so many lines of others.
    Maybe {
        others: u32,
    },
    /// So many lines of it may follow, with so many of others between them.
    Inside {
        lines: u32,
        others: u32,
    },
}

impl Key {
    pub(super) const MAYBE: Key = Key::Maybe { others: KEY_OTHERS_MAX };
    const BEGUN: Key = Key::Inside { lines: KEY_MAX_LINES, others: KEY_OTHERS_MAX };

    /// Behind a line of the key.
    fn after_line(self) -> Key {
        match self {
            Key::Inside { lines: 0 | 1, .. } | Key::Outside => Key::Outside,
            Key::Inside { lines, .. } => Key::Inside { lines: lines - 1, others: KEY_OTHERS_MAX },
            Key::Maybe { .. } => Key::Inside { lines: KEY_MAX_LINES - 1, others: KEY_OTHERS_MAX },
        }
    }

    /// Behind a line of something else.
    fn after_other(self) -> Key {
        match self {
            Key::Maybe { others: 0 } | Key::Inside { others: 0, .. } | Key::Outside => Key::Outside,
            Key::Maybe { others } => Key::Maybe { others: others - 1 },
            Key::Inside { lines, others } => Key::Inside { lines, others: others - 1 },
        }
    }
}

/// What to change in a record, in order and apart; `key`: where the stream stands before it, then behind it.
pub(super) fn edits(redactor: &Redactor, key: &mut Key, text: &[u8], scratch: &mut Vec<u8>) -> Vec<Edit> {
    let mut pass = Pass { redactor, scratch, text, edits: Vec::new(), done: 0, goes_on: false };
    while pass.done < text.len() {
        *key = match *key {
            Key::Outside => pass.outside(),
            within => pass.within(within),
        };
    }
    pass.edits
}

/// One pass over a record.
struct Pass<'t> {
    redactor: &'t Redactor,
    scratch: &'t mut Vec<u8>,
    text: &'t [u8],
    edits: Vec<Edit>,
    /// What stands before this place is decided.
    done: usize,
    /// The last edit ends there, and is of the key that goes on.
    goes_on: bool,
}

impl Pass<'_> {
    /// What follows is no key, up to where one begins that does not end in this record.
    fn outside(&mut self) -> Key {
        self.goes_on = false;
        if self.redactor.is_on(Kind::PrivateKey) {
            let mut from = self.done;
            while let Some(found) = shapes::find_key(self.text, from, self.text.len()) {
                if !found.ended {
                    self.mask(found.start, found.end);
                    return Key::BEGUN;
                }
                from = found.end;
            }
        }
        self.leave(self.text.len());
        Key::Outside
    }

    /// What follows may be lines of a key; returns at the end of the record, or `Outside` before it.
    fn within(&mut self, mut key: Key) -> Key {
        let mut from = self.done;
        while from < self.text.len() {
            let rest = self.text.get(from..).unwrap_or_default();
            let line = rest.get(..memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len())).unwrap_or_default();
            let line_end = from + line.len();
            if line.trim_ascii().is_empty() {
                from = line_end + 1;
                continue;
            }
            let is_maybe = matches!(key, Key::Maybe { .. });
            // Where it is not known that a key goes on, the end may be that of anything.
            let end = if is_maybe { None } else { shapes::find_pem_end(line) };
            // And there, whatever begins shows that none goes on.
            let begin = if is_maybe {
                shapes::find_pem_begin(line)
            } else {
                shapes::find_key(self.text, from, line_end).map(|found| found.start - from)
            };
            if begin.is_some_and(|begin| end.is_none_or(|end| begin < end)) {
                return Key::Outside;
            }
            if let Some(end) = end {
                // The last line of the key may stand in the same one.
                let start = body_start(line.get(..end).unwrap_or_default()).unwrap_or(end);
                self.mask(from + start, from + shapes::pem_end(line, end));
                return Key::Outside;
            }
            let body =
                body_start(line).filter(|start| !is_maybe || is_full_line(line.get(*start..).unwrap_or_default()));
            key = match body {
                Some(start) => {
                    self.mask(from + start, line_end);
                    key.after_line()
                }
                None => key.after_other(),
            };
            if key == Key::Outside {
                return key;
            }
            from = line_end + 1;
        }
        self.leave(self.text.len());
        key
    }

    /// Part of a key; lines of one that nothing parts become one marker.
    fn mask(&mut self, start: usize, end: usize) {
        let between = self.text.get(self.done..start).unwrap_or_default();
        match self.edits.last_mut().filter(|_| self.goes_on && between.trim_ascii().is_empty()) {
            Some(last) => last.end = end,
            None => {
                self.leave(start);
                let with = self.redactor.marker(Kind::PrivateKey.index());
                self.edits.push(Edit { start, end, with });
            }
        }
        self.done = end;
        self.goes_on = true;
    }

    /// No part of a key, up to there: whatever else it may hold.
    fn leave(&mut self, end: usize) {
        let stretch = self.text.get(self.done..end).unwrap_or_default();
        let mut found = self.redactor.edits(stretch, Edge::default(), 0, self.scratch);
        for edit in &mut found {
            edit.start += self.done;
            edit.end += self.done;
        }
        self.edits.append(&mut found);
        self.done = end;
        self.goes_on = false;
    }
}

/// Where the part of a key begins in a line of one: behind what indents it, or its last word behind those of a logger.
fn body_start(line: &[u8]) -> Option<usize> {
    let line = line.trim_ascii_end();
    let indent = line.len() - line.trim_ascii_start().len();
    let text = line.get(indent..)?;
    if text.starts_with(b"Proc-Type:") || text.starts_with(b"DEK-Info:") {
        return Some(indent);
    }
    let start = line.iter().rposition(u8::is_ascii_whitespace).map_or(0, |blank| blank + 1);
    let word = line.get(start..)?;
    let is_base64 = word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    // A sentence ends in a short word; the last line of a key may be one.
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase);
    let alone = start == indent;
    let short = word.len().is_multiple_of(4) && !word.is_empty() && (alone || mixed || word.ends_with(b"="));
    let long = word.len() >= 32 || short;
    (is_base64 && long).then_some(start)
}

/// Whether it is a line of a key by itself: of the usual length, and mixed as base 64 is.
fn is_full_line(word: &[u8]) -> bool {
    let word = word.trim_ascii_end();
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    KEY_LINE_BYTES.contains(&word.len())
        && has(u8::is_ascii_digit)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
}
