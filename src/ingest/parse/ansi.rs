//! What colours a terminal: escape sequences that are no part of the text.

use std::borrow::Cow;

/// What every sequence begins with.
pub const ESCAPE: u8 = 0x1b;

/// Longest sequence that is taken out, in bytes; what is longer is no colour.
const SEQUENCE_MAX_BYTES: usize = 64;

/// A text without its control sequences (`ESC [ … m` and the like, and the choice of a character set); borrowed where
/// there are none. Any other escape stays: it may be what the line is about.
pub fn strip(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(ESCAPE, text) else { return Cow::Borrowed(text) };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while !rest.is_empty() {
        let len = sequence_len(rest);
        // An escape that begins no sequence is kept with what follows it.
        let from = if len > 0 { len } else { 1 };
        let end = memchr::memchr(ESCAPE, &rest[from..]).map_or(rest.len(), |at| from + at);
        out.extend_from_slice(&rest[len..end]);
        rest = &rest[end..];
    }
    Cow::Owned(out)
}

/// What stands behind the control sequences at the front.
pub fn behind(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        match sequence_len(rest) {
            0 => return rest,
            len => rest = rest.get(len..).unwrap_or_default(),
        }
    }
}

/// Where the byte stands in a text that is at `at` without its control sequences; those right before it are behind that.
pub fn place(text: &[u8], at: usize) -> usize {
    let (mut place, mut plain) = (0, 0);
    while plain < at && place < text.len() {
        match sequence_len(text.get(place..).unwrap_or_default()) {
            0 => (place, plain) = (place + 1, plain + 1),
            len => place += len,
        }
    }
    place
}

/// Length of the sequence at the front; 0 where there is none.
fn sequence_len(text: &[u8]) -> usize {
    match text {
        [ESCAPE, b'[', after @ ..] => {
            let inside = |byte: &&u8| (0x20..0x40).contains(*byte);
            let len = after.iter().take(SEQUENCE_MAX_BYTES).take_while(inside).count();
            if after.get(len).is_some_and(|byte| (0x40..0x7f).contains(byte)) { len + 3 } else { 0 }
        }
        [ESCAPE, b'(' | b')', b'0' | b'A' | b'B', ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_go_and_all_else_stays() {
        let check = |text: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&strip(text.as_bytes())), expected, "{text:?}");
        };
        check("plain", "plain");
        check("\x1b[32mINFO\x1b[0m: up", "INFO: up");
        check("\x1b[1;38;5;196mred\x1b[m", "red");
        check("a\x1b[Kb\x1b[2K", "ab");
        check("bold\x1b(B\x1b[m", "bold");
        check("cut \x1b[3", "cut \x1b[3");
        check("\x1b", "\x1b");
        check("\x1b\x1b[0mx", "\x1bx");
        check("link \x1b]8;;http://a\x1b\\x", "link \x1b]8;;http://a\x1b\\x");
        check("no \x1b[\u{e9}", "no \x1b[\u{e9}");
        assert!(matches!(strip(b"plain"), Cow::Borrowed(_)));
        check(&format!("\x1b[{}m", "1;".repeat(100)), &format!("\x1b[{}m", "1;".repeat(100)));
    }

    #[test]
    fn a_place_in_the_text_without_colours_is_found_in_it() {
        let text = b"\x1b[31mab\x1b[0mc\x1b[1md";
        let places = [0, 1, 2, 3, 4, 5].map(|at| place(text, at));
        assert_eq!(places, [0, 6, 7, 12, 17, 17]);
        assert!((0..4).all(|at| strip(&text[place(text, at)..])[..] == strip(text)[at..]));
        assert_eq!(place(b"\x1bab", 2), 2);
    }
}
