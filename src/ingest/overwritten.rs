//! Lines that a program wrote over: a progress bar sends a carriage return and its next state. Only the last one says how
//! it ended.

use super::parse::traceback::Stack;

const RETURN: u8 = b'\r';

/// The last state of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Last<'t> {
    pub(super) text: &'t [u8],
    /// States before it that were not empty.
    pub(super) before: u32,
}

/// Lines of which only the last state is left.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) text: Vec<u8>,
    /// The exception in it.
    pub(super) stack: Option<Stack>,
    /// States that were left out.
    pub(super) before: u32,
}

fn states(line: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    line.split(|byte| *byte == RETURN).filter(|state| !state.trim_ascii().is_empty())
}

/// What stands before the first carriage return, or behind those at the front; `None` where there is none.
pub(super) fn first(line: &[u8]) -> Option<&[u8]> {
    memchr::memchr(RETURN, line)?;
    states(line).next()
}

/// The last state; `None` where there is no carriage return, or nothing besides.
pub(super) fn last(line: &[u8]) -> Option<Last<'_>> {
    memchr::memchr(RETURN, line)?;
    let mut states = states(line);
    let text = states.next_back()?;
    Some(Last { text, before: u32::try_from(states.count()).unwrap_or(u32::MAX) })
}

/// Lines without what was written over; `None` where nothing was.
pub(super) fn without(text: &[u8], stack: Option<Stack>) -> Option<Left> {
    memchr::memchr(RETURN, text)?;
    let mut left = Left { text: Vec::with_capacity(text.len()), stack: None, before: 0 };
    let mut is_same = true;
    let mut from = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if let Some(stack) = stack.filter(|stack| stack.at == from) {
            left.stack = Some(Stack { at: left.text.len(), ..stack });
        }
        from += line.len();
        let body = super::lines::without_line_end(line);
        let end = line.get(body.len()..).unwrap_or_default();
        match last(body) {
            Some(last) => {
                left.text.extend_from_slice(last.text);
                left.before = left.before.saturating_add(last.before);
                is_same = false;
            }
            None => left.text.extend_from_slice(body),
        }
        left.text.extend_from_slice(end);
    }
    (!is_same).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::parse::traceback::Family;

    #[test]
    fn of_what_was_written_over_the_last_state_is_left() {
        let check = |text: &str, expected: Option<(&str, u32)>| {
            let left = without(text.as_bytes(), None);
            let left = left.map(|left| (String::from_utf8(left.text).expect("text"), left.before));
            assert_eq!(left.as_ref().map(|(text, before)| (text.as_str(), *before)), expected, "{text:?}");
        };
        check("10%\r20%\r100%", Some(("100%", 2)));
        check("\r100%", Some(("100%", 0)));
        check("10%\r        \r", Some(("10%", 0)));
        check("a\r\n  1%\r  2%\r\n  b", Some(("a\r\n  2%\r\n  b", 1)));
        check("a\r\n  b", None);
        check("\r\r", None);
        check("plain", None);
        assert_eq!(first(b"\r1%\r2%"), Some(&b"1%"[..]));
        assert_eq!(first(b"1%"), None);
    }

    #[test]
    fn an_exception_below_is_where_it_is_now() {
        let stack = Stack { at: 8, family: Family::Python };
        let left = without(b"10%\r20%\nTraceback", Some(stack)).expect("something was left out");
        assert_eq!((left.text.as_slice(), left.stack.map(|stack| stack.at)), (&b"20%\nTraceback"[..], Some(4)));
    }
}
