//! The text of a group as whatever comes behind may see it: without what colours a terminal, and without secrets.

use std::borrow::Cow;

use super::framing::Group;
use super::parse::ansi;
use super::redact::{Piece, Redaction};

/// A text that has been cleaned.
pub(super) struct Clean<'t> {
    pub(super) text: Cow<'t, [u8]>,
    /// Where the stack of an exception begins in it.
    pub(super) stack: Option<usize>,
}

/// Colours go first: one within a secret must not hide it. Where they are to be kept, a text without secrets has them
/// still. Pieces of a line that is too long keep them.
pub(super) fn clean<'t>(
    redaction: &mut Redaction,
    text: &'t [u8],
    stack: Option<usize>,
    piece: Piece,
    keeps_colours: bool,
) -> Clean<'t> {
    let plain = match piece {
        Piece::None => without_colours(text, stack),
        Piece::Of { .. } => Clean { text: Cow::Borrowed(text), stack },
    };
    match redaction.clean(&plain.text, piece) {
        Some(clean) => {
            // The stack stands further on or back now.
            let stack = plain.stack.and_then(|at| clean.place(at));
            Clean { text: Cow::Owned(clean.text), stack }
        }
        None if keeps_colours => Clean { text: Cow::Borrowed(text), stack },
        None => plain,
    }
}

fn without_colours(text: &[u8], stack: Option<usize>) -> Clean<'_> {
    let (before, after) = text.split_at(stack.unwrap_or(0).min(text.len()));
    match (ansi::strip(before), ansi::strip(after)) {
        (Cow::Borrowed(_), Cow::Borrowed(_)) => Clean { text: Cow::Borrowed(text), stack },
        (before, after) => Clean { text: Cow::Owned([&*before, &*after].concat()), stack: stack.map(|_| before.len()) },
    }
}

/// Which piece of a line a group is; the last one has the line's end, or the stream's.
pub(super) fn piece_of(group: &Group, bytes: &[u8]) -> Piece {
    match group.piece {
        Some(number) => Piece::Of { number, goes_on: !bytes.ends_with(b"\n") },
        None => Piece::None,
    }
}
