//! Lines of Rust's panics.

use super::looks::{is_indented, looks_logged};
use super::step::{HELD_MAX_LINES, Inside, So, Step};
use crate::ingest::parse::traceback::panics::{begins_rust, ends_rust_message, is_note, is_told_below};

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest::framing) enum Place {
    /// Behind `thread 'main' panicked at src/main.rs:3:5:`.
    Head,
    /// Within the message.
    Message,
    /// Within the backtrace.
    Stack,
    /// Behind the note, which is the last.
    Noted,
}

fn join(place: Place) -> Step {
    Step::Join(Inside::Rust(place))
}

impl Place {
    /// Behind the first line.
    pub(super) fn of_head(text: &[u8]) -> Place {
        if is_told_below(text) { Place::Head } else { Place::Message }
    }

    pub(super) fn step(self, text: &[u8], so: So) -> Step {
        match self {
            Place::Noted => Step::Leave,
            _ if is_note(text) => join(Place::Noted),
            Place::Head | Place::Message if ends_rust_message(text) => join(Place::Stack),
            Place::Stack if is_indented(text) => join(Place::Stack),
            Place::Stack => Step::Leave,
            _ if looks_logged(text) || begins_rust(text) || so.held >= HELD_MAX_LINES => Step::Leave,
            Place::Head if !text.is_empty() => join(Place::Message),
            Place::Message if is_indented(text) && so.held == 0 => join(Place::Message),
            // A message of several lines: so it is if what ends it follows.
            Place::Head | Place::Message => Step::Hold(Inside::Rust(Place::Message)),
        }
    }
}
