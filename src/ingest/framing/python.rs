//! Lines of Python's tracebacks.

use super::looks::{is_indented, looks_logged};
use super::step::{HELD_MAX_LINES, Inside, Sight, So, Step};
use crate::ingest::parse::traceback::Family;
use crate::ingest::parse::traceback::python::{
    FRAME, GROUP, STACK_INFO, TRACEBACK, begins_box, begins_unparsed, is_chain, name,
};

/// Where a group stands within a traceback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest::framing) enum Place {
    /// Behind `Traceback (most recent call last):`.
    Head,
    /// Behind a blank line there, as loguru writes one.
    HeadBlank,
    /// Within the frames.
    Stack,
    /// Within the frames of loguru, which have blank lines between them.
    Spaced,
    SpacedBlank,
    /// Behind the line that names the exception.
    Raised,
    /// Behind a further line that may be of its message.
    Message,
    /// Behind a blank line there.
    Blank,
    /// Behind the line of an exception of pydantic, which lists fields.
    Listing,
    /// Behind a line there that may be the name of a field.
    Field,
    /// Behind `During handling of the above exception …`.
    Chained,
    /// Within what says that a file does not parse, before its last line.
    Unparsed,
    /// Within the box that rich draws.
    Box,
    /// Behind it.
    Boxed,
    /// Behind the name of what another process raised, before its traceback in quotes.
    Remote,
    /// Behind what asyncio says of a task below the line of its logger.
    Context,
    /// Behind `Fatal Python error: …`.
    Dying,
    DyingBlank,
}

/// A frame of loguru where the exception was caught.
const CAUGHT_FRAME: &[u8] = b"> File \"";
/// Edges of the box that rich draws.
const EDGE: &[u8] = "│".as_bytes();
const LOWER_CORNER: &[u8] = "╰".as_bytes();
/// What the interpreter writes behind a blank line when it dies.
const DYING: [&[u8]; 4] = [b"Current thread ", b"Thread 0x", b"Extension modules: ", b"Python runtime state: "];
const UNPARSED: [&[u8]; 3] = [b"SyntaxError", b"IndentationError", b"TabError"];
/// What pydantic's exceptions say before the fields.
const LISTING: &[u8] = b" validation error";

/// What stands around the traceback of another process.
const QUOTES: &[u8] = b"\"\"\"";
const REMOTE: &[u8] = b"RemoteTraceback:";
/// What asyncio says of a task before its traceback.
const CONTEXTS: [&[u8]; 5] = [b"future: <", b"task: <", b"handle: <", b"protocol: <", b"transport: <"];

/// Whether a line names what another process raised: `multiprocessing.pool.RemoteTraceback: `.
pub(super) fn begins_remote(text: &[u8]) -> bool {
    text.trim_ascii_end().ends_with(REMOTE)
}

/// Whether a line is one that asyncio writes between that of its logger and a traceback.
pub(super) fn is_context(text: &[u8]) -> bool {
    CONTEXTS.iter().any(|context| text.starts_with(context))
}

/// What an indented line begins.
pub(super) fn indented(text: &[u8]) -> Option<Inside> {
    if text.starts_with(GROUP) {
        return Some(Inside::Python(Place::Raised));
    }
    begins_unparsed(text).then_some(Inside::Python(Place::Unparsed))
}

/// Where a group stands behind the line that names the exception; `None`: the line does not.
fn raised(text: &[u8]) -> Option<Place> {
    name(text)?;
    Some(match memchr::memmem::find(text, LISTING).is_some() {
        true => Place::Listing,
        false => Place::Raised,
    })
}

fn join(place: Place) -> Step {
    Step::Join(Inside::Python(place))
}

fn hold(place: Place) -> Step {
    Step::Hold(Inside::Python(place))
}

impl Place {
    pub(super) fn sight(self) -> Sight {
        match self {
            Place::Unparsed | Place::Remote => Sight::May,
            Place::Context => Sight::None,
            _ => Sight::Sure(Family::Python),
        }
    }

    pub(super) fn step(self, text: &[u8], so: So) -> Step {
        match self {
            Place::Head | Place::Stack | Place::HeadBlank | Place::Spaced | Place::SpacedBlank => self.stack(text),
            Place::Raised | Place::Listing => self.raised(text),
            Place::Message | Place::Blank | Place::Field => self.held(text, so),
            Place::Chained if text.is_empty() => join(Place::Chained),
            Place::Chained if text.starts_with(TRACEBACK) => join(Place::Head),
            Place::Chained if begins_box(text) => join(Place::Box),
            Place::Chained if text.starts_with(GROUP) => join(Place::Raised),
            Place::Chained if looks_logged(text) => Step::Leave,
            // One that was never raised has no traceback.
            Place::Chained => raised(text).map_or(Step::Leave, join),
            Place::Unparsed if is_indented(text) => join(Place::Unparsed),
            Place::Unparsed if UNPARSED.iter().any(|name| text.starts_with(name)) => join(Place::Raised),
            Place::Unparsed => Step::Leave,
            Place::Box if text.starts_with(EDGE) => join(Place::Box),
            Place::Box if text.starts_with(LOWER_CORNER) => join(Place::Boxed),
            Place::Box => Step::Leave,
            Place::Boxed if looks_logged(text) => Step::Leave,
            Place::Boxed => raised(text).map_or(Step::Leave, join),
            Place::Remote | Place::Context if text.starts_with(TRACEBACK) => join(Place::Head),
            Place::Remote if text == QUOTES && so.held == 0 => hold(Place::Remote),
            Place::Context if is_context(text) && so.held < HELD_MAX_LINES => hold(Place::Context),
            Place::Remote | Place::Context => Step::Leave,
            Place::Dying if text.is_empty() => hold(Place::DyingBlank),
            Place::Dying | Place::DyingBlank if DYING.iter().any(|line| text.starts_with(line)) => join(Place::Dying),
            Place::Dying if is_indented(text) => join(Place::Dying),
            Place::Dying | Place::DyingBlank => Step::Leave,
        }
    }

    /// Within the frames.
    fn stack(self, text: &[u8]) -> Step {
        let is_frame = text.starts_with(FRAME) || text.starts_with(CAUGHT_FRAME);
        match self {
            Place::Head if text.is_empty() => hold(Place::HeadBlank),
            Place::Spaced if text.is_empty() => hold(Place::SpacedBlank),
            Place::HeadBlank | Place::SpacedBlank if is_frame => join(Place::Spaced),
            Place::Spaced if is_frame => join(Place::Spaced),
            Place::HeadBlank => Step::Leave,
            // A traceback that was cut short ends in a blank line or in one of a logger.
            _ if text.is_empty() || looks_logged(text) => Step::Leave,
            Place::Head | Place::Stack if is_indented(text) => join(Place::Stack),
            Place::Spaced if is_indented(text) => join(Place::Spaced),
            _ => raised(text).map_or(Step::Leave, join),
        }
    }

    /// Behind the line that names the exception.
    fn raised(self, text: &[u8]) -> Step {
        if text.is_empty() {
            return hold(Place::Blank);
        }
        if is_indented(text) {
            return join(self);
        }
        if text.starts_with(STACK_INFO) {
            return Step::Join(Inside::Plain);
        }
        if looks_logged(text) || text.starts_with(TRACEBACK) {
            return Step::Leave;
        }
        match self {
            Place::Listing if !text.contains(&b' ') => hold(Place::Field),
            // Its message goes on if what parts a chain comes yet.
            _ => hold(Place::Message),
        }
    }

    /// Behind lines that belong to the traceback only if it goes on.
    fn held(self, text: &[u8], so: So) -> Step {
        if looks_logged(text) || text.starts_with(TRACEBACK) || so.held >= HELD_MAX_LINES {
            return Step::Leave;
        }
        match self {
            Place::Blank if is_chain(text) => join(Place::Chained),
            // A blank line right behind the exception: nothing but a chain goes on there.
            Place::Blank if so.held == 1 => Step::Leave,
            Place::Field if is_indented(text) => join(Place::Listing),
            _ if text.is_empty() => hold(Place::Blank),
            _ => hold(Place::Message),
        }
    }
}
