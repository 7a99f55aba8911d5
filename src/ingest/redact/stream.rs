//! Redaction of one stream, record after record: what a cut has separated.

use std::sync::Arc;

use super::kind::Kind;
use super::private_key::{self, Key};
use super::text::Edge;
use super::{Edit, Redactor, apply};

/// Bytes before a piece of a long line that it is looked at together with.
pub const TAIL_BYTES: usize = 8 * 1024;

/// Most bytes that the copy for searching keeps between records.
const SCRATCH_MAX_BYTES: usize = 64 * 1024;

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
        let key = if resumed && redactor.is_on(Kind::PrivateKey) { Key::MAYBE } else { Key::Outside };
        Redaction { redactor, scratch: Vec::new(), key, tail: Vec::new(), carried: None }
    }

    /// The text of the next record without secrets; `None`: it is as it may be.
    pub fn clean(&mut self, text: &[u8], piece: Piece) -> Option<Clean> {
        if self.redactor.is_off() {
            return None;
        }
        let edits = match piece {
            Piece::None => private_key::edits(&self.redactor, &mut self.key, text, &mut self.scratch),
            Piece::Of { number, goes_on } => self.edits_of_piece(text, number, goes_on),
        };
        if self.scratch.capacity() > SCRATCH_MAX_BYTES {
            self.scratch = Vec::new();
        }
        (!edits.is_empty()).then(|| Clean { text: apply(text, &edits), edits })
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
