//! Lines of what Node writes when it stops: the place, the code there, a caret, the exception.

use super::frames::{self, is_node_version};
use super::looks::{is_indented, looks_logged};
use super::step::{HELD_MAX_LINES, Inside, Sight, So, Step};
use crate::ingest::parse::traceback::Family;
use crate::ingest::parse::traceback::frames::{is_caret, is_frame};

/// Where a group stands before the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest::framing) enum Place {
    /// Behind `/a.js:3`.
    Source,
    /// Behind the code.
    Code,
    /// Behind the caret below it.
    Caret,
    /// Behind a line that may be what was thrown.
    Threw,
    /// Behind the line of the exception.
    Raised,
}

/// What Node says where no stack is known.
const NO_STACK: &[u8] = b"(Use `node --trace-uncaught";

fn join(place: Place) -> Step {
    Step::Join(Inside::Node(place))
}

fn hold(place: Place) -> Step {
    Step::Hold(Inside::Node(place))
}

impl Place {
    pub(super) fn sight(self) -> Sight {
        match self {
            Place::Source | Place::Code => Sight::May,
            _ => Sight::Sure(Family::Frames),
        }
    }

    pub(super) fn step(self, text: &[u8], so: So) -> Step {
        if looks_logged(text) || so.held >= HELD_MAX_LINES {
            return Step::Leave;
        }
        match self {
            Place::Source if text.is_empty() => Step::Leave,
            Place::Source => hold(Place::Code),
            Place::Code if is_caret(text) => join(Place::Caret),
            Place::Code => Step::Leave,
            Place::Caret if text.is_empty() && so.held == 0 => hold(Place::Caret),
            Place::Caret if so.held == 1 => join(Place::Raised),
            Place::Caret if is_indented(text) => join(Place::Caret),
            Place::Caret => hold(Place::Threw),
            Place::Threw if text.starts_with(NO_STACK) => join(Place::Raised),
            Place::Threw => Step::Leave,
            Place::Raised => raised(text, so),
        }
    }
}

/// Behind the line of the exception: its message may go on, up to frames or the version.
fn raised(text: &[u8], so: So) -> Step {
    let word = text.trim_ascii_start();
    if is_indented(text) && is_frame(word) {
        return Step::Join(Inside::Frames(frames::Place::of_frame(word)));
    }
    if is_node_version(text) {
        return Step::Join(Inside::Frames(frames::Place::Over));
    }
    let goes_on = is_indented(text) || text == b"}" || text.starts_with(NO_STACK);
    if goes_on && so.held == 0 { join(Place::Raised) } else { hold(Place::Raised) }
}
