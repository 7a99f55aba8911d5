//! What a line looks like at its front, as far as more than one family asks.

use crate::ingest::parse::{container, level};

/// Whether a line goes on with what stands before it.
pub(super) fn is_indented(text: &[u8]) -> bool {
    matches!(text.first(), Some(b' ' | b'\t'))
}

/// Whether a line begins as only loggers' lines do: an object, a date (in brackets too), a level in capitals.
pub(super) fn looks_logged(text: &[u8]) -> bool {
    match text.first() {
        Some(b'{') => true,
        Some(b'0'..=b'9') => is_date(text),
        Some(b'[') => text.get(1..).is_some_and(is_date),
        Some(b'A'..=b'Z') => {
            let len = text.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
            len >= 3 && level::known(&text[..len]).is_some()
        }
        _ => false,
    }
}

/// What begins a line in the files of Docker, and what stands behind the words of the program.
const DOCKER: &[u8] = b"{\"log\":\"";
const DOCKER_STREAM: &[u8] = b"\"stream\":\"std";

/// Whether a container runtime has wrapped a line.
pub(super) fn is_wrapped(text: &[u8]) -> bool {
    match text.first() {
        Some(b'{') => text.starts_with(DOCKER) && memchr::memmem::rfind(text, DOCKER_STREAM).is_some(),
        Some(b'0'..=b'9') => container::cri(text).is_some(),
        _ => false,
    }
}

fn is_date(text: &[u8]) -> bool {
    text.get(..8).is_some_and(|head| {
        head[..4].iter().all(u8::is_ascii_digit) && matches!(head[4], b'-' | b'/') && head[5].is_ascii_digit()
    })
}
