//! Lines of an object or a list that is written over several lines, up to the bracket that closes it at the margin.

use super::looks::is_indented;
use super::step::{Inside, Opening, Step};

/// What is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest::framing) enum Kind {
    Object,
    List,
}

/// What a line opens that begins with a bracket.
pub(super) fn opened(text: &[u8]) -> Opening {
    match text.trim_ascii_end() {
        b"{" => Opening::Group(Inside::Object(Kind::Object)),
        b"[" => Opening::Group(Inside::Object(Kind::List)),
        // The object of a line is whole; nothing waits for what follows.
        [b'{', .., b'}'] => Opening::Whole,
        _ => Opening::Group(Inside::Plain),
    }
}

impl Kind {
    pub(super) fn step(self, text: &[u8]) -> Step {
        if is_indented(text) {
            return Step::Join(Inside::Object(self));
        }
        let bracket = if self == Kind::Object { b'}' } else { b']' };
        match text.split_first() {
            Some((first, rest)) if *first == bracket && matches!(rest.trim_ascii_end(), b"" | b"," | b";") => {
                Step::Last
            }
            _ => Step::Leave,
        }
    }
}
