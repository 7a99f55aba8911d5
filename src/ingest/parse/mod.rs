//! From the text of a line to what it says: pure functions over borrowed bytes.

pub mod json;
pub mod level;
pub mod python;
pub mod timestamp;
pub mod traceback;

use crate::record::Nanos;

/// What a line of text says; everything borrows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text<'a> {
    pub time: Option<Nanos>,
    pub logger: Option<&'a [u8]>,
    /// As the contract spells levels; a program's own one as it stands.
    pub level: Option<&'a [u8]>,
    pub message: &'a [u8],
}

impl<'a> Text<'a> {
    /// A line that is its own message.
    pub fn raw(line: &'a [u8]) -> Self {
        Text { message: line, ..Text::default() }
    }
}
