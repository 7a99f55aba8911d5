//! Redaction of one stream, record after record: what a cut has separated.

use std::sync::Arc;

use super::kind::Kind;
use super::text::Edge;
use super::{Edit, Redactor, apply, shapes};

/// Bytes before a piece of a long line that it is looked at together with.
pub const TAIL_BYTES: usize = 8 * 1024;

/// Most lines of one private key.
const KEY_MAX_LINES: u32 = 400;
/// Lines of others that may stand between those of a private key.
const KEY_OTHERS_MAX: u32 = 4;

/// Lengths of the lines of a private key: by these one is known where its beginning was not seen.
const KEY_LINE_BYTES: [usize; 3] = [64, 70, 76];

/// Most bytes that the copy for searching keeps between records.
const SCRATCH_MAX_BYTES: usize = 64 * 1024;

/// Where a stream stands within a private key whose lines are records of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Outside,
    /// The stream goes on where another process left it: it may be within one.
    Maybe,
    Inside {
        lines: u32,
        others: u32,
    },
}

/// Redacts the records of one stream, in order.
#[derive(Debug)]
pub struct Redaction {
    redactor: Arc<Redactor>,
    scratch: Vec<u8>,
    key: Key,
    /// The end of the piece before, as it came.
    tail: Vec<u8>,
    /// Kind of the secret that went on where the piece before ended, where it began before the tail.
    carried: Option<usize>,
}

/// A text that was changed.
#[derive(Debug)]
pub struct Clean {
    pub text: Vec<u8>,
    edits: Vec<Edit>,
}

impl Clean {
    /// Where a place of the text as it came stands now; `None`: within a secret.
    pub fn place(&self, before: usize) -> Option<usize> {
        let mut place = before;
        for edit in self.edits.iter().take_while(|edit| edit.start < before) {
            if edit.end > before {
                return None;
            }
            place = place + edit.with.len() - (edit.end - edit.start);
        }
        Some(place)
    }
}

/// Whether a record is a piece of a line that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    None,
    /// The number from 1, and whether the line goes on behind it.
    Of {
        number: u32,
        goes_on: bool,
    },
}

impl Redaction {
    /// `resumed`: there is text before that was redacted by another process.
    pub fn new(redactor: Arc<Redactor>, resumed: bool) -> Self {
        let key = if resumed { Key::Maybe } else { Key::Outside };
        Redaction { redactor, scratch: Vec::new(), key, tail: Vec::new(), carried: None }
    }

    /// The text of the next record without secrets; `None`: it is as it may be.
    pub fn clean(&mut self, text: &[u8], piece: Piece) -> Option<Clean> {
        if self.redactor.is_off() {
            return None;
        }
        let edits = match piece {
            Piece::None if self.key == Key::Outside => {
                let edits = self.redactor.edits(text, Edge::default(), 0, &mut self.scratch);
                self.note_opened(text, &edits);
                edits
            }
            Piece::None => self.edits_within_key(text),
            Piece::Of { number, goes_on } => self.edits_of_piece(text, number, goes_on),
        };
        if self.scratch.capacity() > SCRATCH_MAX_BYTES {
            self.scratch = Vec::new();
        }
        (!edits.is_empty()).then(|| Clean { text: apply(text, &edits), edits })
    }

    fn note_opened(&mut self, text: &[u8], edits: &[Edit]) {
        let last = edits.last().filter(|edit| edit.end == text.len());
        if last.is_some_and(|edit| shapes::opens_pem(text, edit.start)) {
            self.key = Key::Inside { lines: KEY_MAX_LINES, others: KEY_OTHERS_MAX };
        }
    }

    /// A record where a private key may go on.
    fn edits_within_key(&mut self, text: &[u8]) -> Vec<Edit> {
        let (lines, others) = match self.key {
            Key::Inside { lines, others } => (lines, others),
            Key::Maybe => (KEY_MAX_LINES, 0),
            Key::Outside => (0, 0),
        };
        let mark = |start: usize, end: usize| Edit { start, end, with: self.redactor.marker(Kind::PrivateKey.index()) };
        if let Some(found) = shapes::find_pem_end(text).filter(|_| self.key != Key::Maybe) {
            self.key = Key::Outside;
            let end = shapes::pem_end(text, found);
            // The last line of the key may stand in the same record.
            let start = body_start(text.get(..found).unwrap_or_default()).unwrap_or(found);
            let mut edits = vec![mark(start, end)];
            let rest = text.get(end..).unwrap_or_default();
            for edit in self.redactor.edits(rest, Edge::default(), 0, &mut self.scratch) {
                edits.push(Edit { start: edit.start + end, end: edit.end + end, ..edit });
            }
            return edits;
        }
        let body = body_start(text)
            .filter(|start| self.key != Key::Maybe || is_full_line(text.get(*start..).unwrap_or_default()));
        match body {
            Some(start) => {
                self.key = match lines {
                    0 | 1 => Key::Outside,
                    _ => Key::Inside { lines: lines - 1, others: KEY_OTHERS_MAX },
                };
                vec![mark(start, text.len())]
            }
            None => {
                self.key = match others {
                    0 => Key::Outside,
                    _ => Key::Inside { lines, others: others - 1 },
                };
                let edits = self.redactor.edits(text, Edge::default(), 0, &mut self.scratch);
                self.note_opened(text, &edits);
                edits
            }
        }
    }

    /// A piece of a long line.
    fn edits_of_piece(&mut self, text: &[u8], number: u32, goes_on: bool) -> Vec<Edit> {
        if number == 1 {
            self.tail.clear();
            self.carried = None;
        }
        let before = self.tail.len();
        let mut whole = std::mem::take(&mut self.tail);
        whole.extend_from_slice(text);
        let mut spans = self.redactor.spans(&whole, Edge { open_end: goes_on }, &mut self.scratch);
        spans.retain(|span| span.end > before);
        let leading = self.carried.map_or(0, |_| {
            let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'');
            text.iter().position(ends).unwrap_or(text.len())
        });
        if let Some(kind) = self.carried.filter(|_| leading > 0) {
            spans.retain(|span| span.end > before + leading);
            for span in &mut spans {
                span.start = span.start.max(before + leading);
            }
            spans.insert(0, super::Span { start: before, end: before + leading, kind });
        }
        let keep = if goes_on { TAIL_BYTES.min(whole.len()) } else { 0 };
        let reaching = spans.last().filter(|span| goes_on && span.end == whole.len());
        // One that begins within the tail is found again, with what follows.
        self.carried = reaching.filter(|span| span.start < whole.len() - keep).map(|span| span.kind);
        let edits = spans
            .iter()
            .map(|span| Edit {
                start: span.start.max(before) - before,
                end: span.end - before,
                with: self.redactor.marker(span.kind),
            })
            .collect();
        whole.drain(..whole.len() - keep);
        self.tail = whole;
        edits
    }
}

/// Where the line of a key begins in a record that is one: the whole of it, or its last word behind those of a logger.
fn body_start(text: &[u8]) -> Option<usize> {
    let line = text.trim_ascii_end();
    if line.starts_with(b"Proc-Type:") || line.starts_with(b"DEK-Info:") {
        return Some(0);
    }
    let start = line.iter().rposition(u8::is_ascii_whitespace).map_or(0, |blank| blank + 1);
    let word = line.get(start..)?;
    let is_base64 = word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
    let has = |is: fn(&u8) -> bool| word.iter().any(is);
    // A sentence ends in a short word; the last line of a key may be one.
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_uppercase);
    let short = word.len().is_multiple_of(4) && !word.is_empty() && (start == 0 || mixed || word.ends_with(b"="));
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
