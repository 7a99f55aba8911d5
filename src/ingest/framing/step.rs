//! What the next line does to an open group, and what a line opens: decided by first bytes. Each family decides about its own
//! lines.

use std::borrow::Cow;

use super::looks::{is_indented, looks_logged};
use super::{frames, go, node, object, python, rust};
use crate::ingest::parse::traceback::{Family, frames as throwable, panics, python as raised};
use crate::ingest::parse::{ansi, java};

/// Most lines that are held back for a line that decides about them.
pub(super) const HELD_MAX_LINES: u32 = 16;

/// Where an open group stands, which decides what may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Inside {
    /// A line and its indented continuation.
    #[default]
    Plain,
    /// Behind what asyncio says of a task, with no line of its logger before it: as plain, but for more of that.
    Told,
    /// Behind the first of the two lines of java.util.logging.
    Headed,
    Python(python::Place),
    Frames(frames::Place),
    Node(node::Place),
    Go(go::Place),
    Rust(rust::Place),
    Ruby,
    Object(object::Kind),
}

/// What a line does to the open group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the group, which stands so now.
    Join(Inside),
    /// It belongs to the group and is its last.
    Last,
    /// It belongs to the group only if a line that follows soon joins it.
    Hold(Inside),
    /// It begins a group of its own.
    Leave,
}

/// What is known of the exception in an open group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    None,
    /// It may begin at the line.
    May,
    Sure(Family),
}

/// How far the group is.
#[derive(Clone, Copy, Debug)]
pub(super) struct So {
    /// Lines of the group.
    pub(super) lines: u32,
    /// Lines behind them that are held back.
    pub(super) held: u32,
}

/// What a line opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// A group of one line.
    Whole,
    Group(Inside),
}

impl Opening {
    /// How a group stands behind the line where more follows whatever it is.
    pub(super) fn inside(self) -> Inside {
        match self {
            Opening::Group(inside) => inside,
            Opening::Whole => Inside::Plain,
        }
    }
}

impl Inside {
    pub(super) fn sight(self) -> Sight {
        match self {
            Inside::Plain | Inside::Told | Inside::Headed | Inside::Object(_) => Sight::None,
            Inside::Python(place) => place.sight(),
            Inside::Frames(place) => place.sight(),
            Inside::Node(place) => place.sight(),
            Inside::Go(place) => place.sight(),
            Inside::Rust(_) => Sight::Sure(Family::Rust),
            Inside::Ruby => Sight::Sure(Family::Ruby),
        }
    }

    /// What a line does to a group that stands so.
    pub(super) fn step(self, text: &[u8], so: So) -> Step {
        let text = uncoloured(self, text);
        let text = &*text;
        match self {
            Inside::Plain => plain(text, so),
            Inside::Told if python::is_context(text) => Step::Leave,
            Inside::Told => plain(text, so),
            Inside::Headed => match java::is_second_of_two(text) {
                true => Step::Join(Inside::Plain),
                false => Step::Leave,
            },
            Inside::Python(place) => place.step(text, so),
            Inside::Frames(place) => place.step(text, so),
            Inside::Node(place) => place.step(text, so),
            Inside::Go(place) => place.step(text, so),
            Inside::Rust(place) => place.step(text, so),
            Inside::Ruby => match is_indented(text) {
                true => Step::Join(Inside::Ruby),
                false => Step::Leave,
            },
            Inside::Object(kind) => kind.step(text),
        }
    }
}

/// A line as the decisions see it. An ordinary one may begin with a colour; one of a stack may have them anywhere.
fn uncoloured(inside: Inside, text: &[u8]) -> Cow<'_, [u8]> {
    match (text.first(), inside) {
        (Some(&ansi::ESCAPE), Inside::Plain | Inside::Told) => Cow::Borrowed(ansi::behind(text)),
        (Some(&ansi::ESCAPE), _) => ansi::strip(text),
        _ => Cow::Borrowed(text),
    }
}

/// What a line opens that goes on with nothing.
pub(super) fn opened(text: &[u8]) -> Opening {
    let text = if text.first() == Some(&ansi::ESCAPE) { ansi::behind(text) } else { text };
    let inside = match text.first() {
        Some(b'0'..=b'9') => Inside::Plain,
        Some(b'{' | b'[') => return object::opened(text),
        Some(b'T') if text.starts_with(raised::TRACEBACK) => Inside::Python(python::Place::Head),
        Some(b'F') if text.starts_with(raised::FATAL) => Inside::Python(python::Place::Dying),
        Some(b' ') => python::indented(text).unwrap_or_default(),
        Some(b'g') if panics::is_goroutine(text) => Inside::Go(go::Place::Goroutine),
        Some(b'p' | b'f') if panics::is_go_panic(text) => Inside::Go(go::Place::Panic),
        // Held back behind another of its kind, each would be looked at many times where no stack follows.
        Some(b'f' | b't' | b'h' | b'p') if python::is_context(text) => Inside::Told,
        Some(b't') if panics::begins_rust(text) => Inside::Rust(rust::Place::of_head(text)),
        Some(b'/' | b'n' | b'f') if throwable::is_place(text) => Inside::Node(node::Place::Source),
        Some(b'A'..=b'Z') if java::is_first_of_two(text) => Inside::Headed,
        Some(b'A'..=b'Z' | b'a'..=b'z') if throwable::name(text).is_some() => match python::begins_remote(text) {
            true => Inside::Python(python::Place::Remote),
            false => Inside::Frames(frames::Place::Thrown),
        },
        Some(0xe2) if raised::begins_box(text) => Inside::Python(python::Place::Box),
        _ => Inside::Plain,
    };
    Opening::Group(inside)
}

/// Whether a line begins what stands for itself whatever stands before it.
pub(super) fn begins_anew(text: &[u8]) -> bool {
    looks_logged(text)
        || match text.first() {
            Some(b'T') => text.starts_with(raised::TRACEBACK),
            Some(b'p') => panics::is_go_panic(text),
            Some(b't') => panics::begins_rust(text),
            Some(b'A'..=b'Z' | b'a'..=b'z') => throwable::name(text).is_some(),
            _ => false,
        }
}

/// A line behind an ordinary one, or behind its continuation.
fn plain(text: &[u8], so: So) -> Step {
    match text.first() {
        None | Some(b'0'..=b'9' | b'{') => Step::Leave,
        Some(b' ' | b'\t') => Step::Join(indented(text)),
        Some(b'T') if text.starts_with(raised::TRACEBACK) => Step::Join(Inside::Python(python::Place::Head)),
        Some(b'S') if text.starts_with(raised::STACK_INFO) => Step::Join(Inside::Plain),
        Some(b'C') if so.lines > 1 && text.starts_with(frames::CAUSED_BY) => Step::Join(Inside::Plain),
        Some(b'g') if panics::is_goroutine(text) => Step::Join(Inside::Go(go::Place::Goroutine)),
        Some(0xe2) if raised::begins_box(text) => Step::Join(Inside::Python(python::Place::Box)),
        Some(b'f' | b't' | b'h' | b'p') if python::is_context(text) => {
            Step::Hold(Inside::Python(python::Place::Context))
        }
        // Where a stack follows, a logger wrote it below its own line; what nobody caught is no logger's.
        Some(b'A'..=b'Z' | b'a'..=b'z') if throwable::name(text).is_some_and(|name| name.start == 0) => {
            Step::Hold(match python::begins_remote(text) {
                true => Inside::Python(python::Place::Remote),
                false => Inside::Frames(frames::Place::Thrown),
            })
        }
        _ => Step::Leave,
    }
}

/// What an indented line makes of a group that has no stack yet.
fn indented(text: &[u8]) -> Inside {
    let word = text.trim_ascii_start();
    match word.first() {
        Some(b'a') if throwable::is_frame(word) => Inside::Frames(frames::Place::of_frame(word)),
        Some(b'f') if throwable::is_ruby_frame(word) => Inside::Ruby,
        Some(b'+' | b'F') => python::indented(text).unwrap_or_default(),
        _ => Inside::Plain,
    }
}
