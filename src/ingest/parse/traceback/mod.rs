//! What an exception or a panic says of itself: its type, its message and how grave it is. Where its lines begin and end is
//! for framing.
//!
//! The type is what the language calls it: of Python's the exception that was raised last, of Java, Node and .NET the
//! outermost, `panic` (or `fatal error`) of Go and Rust.

pub mod frames;
pub mod panics;
pub mod python;

/// Kinds of stacks that are written alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Python,
    /// Java, Node and .NET: the exception, then lines that begin with `at`.
    Frames,
    Ruby,
    Go,
    Rust,
}

/// Where the lines of an exception begin, and how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Offset of the line that begins it.
    pub at: usize,
    pub family: Family,
}

/// Level of an exception that no line of a logger introduces.
pub const RAISED_LEVEL: &[u8] = b"ERROR";
/// Level of what ended its process or thread: a panic.
pub const PANIC_LEVEL: &[u8] = b"CRITICAL";

/// What an exception says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised<'t> {
    /// Empty where it was cut off.
    pub kind: &'t [u8],
    pub message: &'t [u8],
    /// The line that says most, with those that its message goes on over.
    pub said: &'t [u8],
    /// Where it begins in the text: later than at its start where a logger wrote before it on the same line.
    pub at: usize,
    pub level: &'static [u8],
}

/// Reads an exception; `text` begins with the line at which its stack was found. `None` where it is none after all.
pub fn read(family: Family, text: &[u8]) -> Option<Raised<'_>> {
    match family {
        Family::Python => Some(python::read(text)),
        Family::Frames => Some(frames::read(text)),
        Family::Ruby => frames::ruby(text),
        Family::Go => Some(panics::go(text)),
        Family::Rust => Some(panics::rust(text)),
    }
}

/// Type and message of an exception that stands in a string; `None` where its language is not known or it was cut off.
pub fn raised(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let found = match text.first()? {
        _ if text.starts_with(python::TRACEBACK) || text.starts_with(python::GROUP) => python::read(text),
        b'p' | b'f' | b'g' if panics::begins_go(text) => panics::go(text),
        b't' if panics::begins_rust(text) => panics::rust(text),
        _ if frames::name(first_line(text)).is_some() => frames::read(text),
        _ => python::read(text),
    };
    (!found.kind.is_empty()).then_some((found.kind, found.message))
}

/// A line at the front, without its end.
fn first_line(text: &[u8]) -> &[u8] {
    let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
    let line = text.get(..end).unwrap_or(text);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The lines of a text with where each begins, without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
        let at = from;
        from += memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        Some((at, first_line(rest)))
    })
}

/// What stands from one place up to another, without blanks around it.
fn between(text: &[u8], from: usize, to: usize) -> &[u8] {
    text.get(from..to.max(from)).unwrap_or_default().trim_ascii()
}

#[cfg(test)]
mod tests;
