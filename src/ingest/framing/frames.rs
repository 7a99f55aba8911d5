//! Lines of exceptions whose frames begin with `at`: Java, .NET, and Node behind the place where it stopped.

use super::looks::is_indented;
use super::python;
use super::step::{HELD_MAX_LINES, Inside, Sight, So, Step, begins_anew};
use crate::ingest::parse::traceback::Family;
use crate::ingest::parse::traceback::frames::is_frame;
use crate::ingest::parse::traceback::python::TRACEBACK;

pub(super) const CAUSED_BY: &[u8] = b"Caused by: ";
/// The same where the cause comes first, as Logback can be told to write it.
const WRAPPED_BY: &[u8] = b"Wrapped by: ";
/// What Node writes behind an exception that nobody caught.
const NODE: &[u8] = b"Node.js v";

/// Where a group stands within such an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest::framing) enum Place {
    /// Behind a line that looks like that of an exception; only frames make it one.
    Thrown,
    /// Behind `Caused by: …` and further lines of its message.
    Caused,
    /// Within the frames; `open`: a brace stands open behind them.
    Stack { open: bool },
    /// Behind a blank line there.
    Blank,
    /// Behind the version of Node.
    Over,
}

fn join(place: Place) -> Step {
    Step::Join(Inside::Frames(place))
}

fn hold(place: Place) -> Step {
    Step::Hold(Inside::Frames(place))
}

impl Place {
    /// Behind a frame, which Node ends in a brace where members of the exception follow.
    pub(super) fn of_frame(text: &[u8]) -> Place {
        Place::Stack { open: text.ends_with(b"{") }
    }

    pub(super) fn sight(self) -> Sight {
        match self {
            Place::Thrown => Sight::May,
            _ => Sight::Sure(Family::Frames),
        }
    }

    pub(super) fn step(self, text: &[u8], so: So) -> Step {
        match self {
            Place::Thrown | Place::Caused => self.message(text, so),
            Place::Stack { open } if is_indented(text) => {
                join(Place::Stack { open: open || text.ends_with(b"{") && is_frame(text.trim_ascii_start()) })
            }
            Place::Stack { open: true } if text == b"}" => join(Place::Stack { open: false }),
            Place::Stack { .. } if is_cause(text) => join(Place::Caused),
            Place::Stack { .. } if text.is_empty() => hold(Place::Blank),
            Place::Stack { .. } | Place::Blank if text.starts_with(NODE) => join(Place::Over),
            Place::Stack { .. } | Place::Blank | Place::Over => Step::Leave,
        }
    }

    /// Behind the line of an exception, before its frames.
    fn message(self, text: &[u8], so: So) -> Step {
        let word = text.trim_ascii_start();
        if is_indented(text) && is_frame(word) {
            return join(Place::of_frame(word));
        }
        if is_cause(text) {
            return join(Place::Caused);
        }
        if is_indented(text) && so.held == 0 {
            return join(self);
        }
        // Words that a program printed before a traceback of Python.
        if so.held == 0 && self == Place::Thrown && text.starts_with(TRACEBACK) {
            return Step::Join(Inside::Python(python::Place::Head));
        }
        // A message of several lines: so it is if frames follow.
        match so.held >= HELD_MAX_LINES || begins_anew(text) {
            true => Step::Leave,
            false => hold(self),
        }
    }
}

fn is_cause(text: &[u8]) -> bool {
    text.starts_with(CAUSED_BY) || text.starts_with(WRAPPED_BY)
}

pub(super) fn is_node_version(text: &[u8]) -> bool {
    text.starts_with(NODE)
}
