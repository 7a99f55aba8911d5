//! What a container runtime puts around a line that it keeps: the lines of containerd and CRI-O.

use super::timestamp;
use crate::ingest::options::Zone;
use crate::record::Nanos;

/// `2026-11-20T23:00:33.123456789Z stdout F message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrapped<'a> {
    pub time: Nanos,
    pub stream: &'static str,
    /// The runtime cut the line here.
    pub is_partial: bool,
    pub line: &'a [u8],
}

/// Reads such a line.
pub fn cri(line: &[u8]) -> Option<Wrapped<'_>> {
    // Most lines are told apart by this one byte.
    if *line.get(10)? != b'T' {
        return None;
    }
    let (time, end) = timestamp::leading(line, &Zone::Utc)?;
    let rest = line[end..].strip_prefix(b" std")?;
    let (stream, rest) = match rest.strip_prefix(b"out ") {
        Some(rest) => ("stdout", rest),
        None => ("stderr", rest.strip_prefix(b"err ")?),
    };
    let (tag, rest) = rest.split_at_checked(1)?;
    let is_partial = match tag {
        b"F" => false,
        b"P" => true,
        _ => return None,
    };
    let line = if rest.is_empty() { rest } else { rest.strip_prefix(b" ")? };
    Some(Wrapped { time, stream, is_partial, line })
}
