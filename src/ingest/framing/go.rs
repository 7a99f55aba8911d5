//! Lines of Go's panics and of the stacks of its goroutines.

use super::looks::{is_indented, looks_logged};
use super::step::{HELD_MAX_LINES, Inside, Sight, So, Step};
use crate::ingest::parse::traceback::Family;
use crate::ingest::parse::traceback::panics::{begins_rust, is_go_panic, is_goroutine};

/// Where a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ingest::framing) enum Place {
    /// Behind `panic: …`; only a goroutine makes it one of Go.
    Panic,
    /// Behind `goroutine 1 [running]:`.
    Goroutine,
    /// Behind a line that may name a function.
    Function,
    /// Behind the place of a function.
    Frame,
    /// Behind a blank line there.
    Blank,
    /// Among the registers.
    Registers,
    /// Behind `exit status 2`.
    Over,
}

fn join(place: Place) -> Step {
    Step::Join(Inside::Go(place))
}

fn hold(place: Place) -> Step {
    Step::Hold(Inside::Go(place))
}

impl Place {
    pub(super) fn sight(self) -> Sight {
        match self {
            Place::Panic => Sight::May,
            _ => Sight::Sure(Family::Go),
        }
    }

    pub(super) fn step(self, text: &[u8], so: So) -> Step {
        match self {
            Place::Panic => panic(text, so),
            Place::Goroutine | Place::Frame if is_function(text) => hold(Place::Function),
            Place::Goroutine | Place::Function | Place::Frame if is_indented(text) => join(Place::Frame),
            Place::Frame if text.starts_with(b"...") => join(Place::Frame),
            Place::Goroutine if text.starts_with(b"goroutine running on ") => join(Place::Frame),
            Place::Goroutine | Place::Frame if text.is_empty() => hold(Place::Blank),
            Place::Frame | Place::Blank if is_goroutine(text) => join(Place::Goroutine),
            Place::Blank | Place::Registers if is_register(text) => join(Place::Registers),
            Place::Frame | Place::Blank | Place::Registers if text.starts_with(b"exit status ") => join(Place::Over),
            _ => Step::Leave,
        }
    }
}

/// Behind the line of a panic, before its goroutines.
fn panic(text: &[u8], so: So) -> Step {
    if is_goroutine(text) {
        return join(Place::Goroutine);
    }
    if so.held == 0 && (is_indented(text) || text.starts_with(b"[signal ")) {
        return join(Place::Panic);
    }
    // A message of several lines: so it is if a goroutine follows.
    let ends = so.held >= HELD_MAX_LINES || looks_logged(text) || is_go_panic(text) || begins_rust(text);
    if ends { Step::Leave } else { hold(Place::Panic) }
}

/// Whether a line may name the function of a frame: `main.(*T).run(0x0, {…})`, `created by main.main in goroutine 1`.
fn is_function(text: &[u8]) -> bool {
    if text.starts_with(b"created by ") {
        return true;
    }
    let name = text.iter().take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'(').count();
    name > 0 && text.get(name) == Some(&b'(') && text.ends_with(b")")
}

/// Whether a line shows a register: `rip    0x4a80d3`.
fn is_register(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    (2..=6).contains(&name) && text.get(name..).is_some_and(|rest| rest.trim_ascii_start().starts_with(b"0x"))
}
