//! The bytes that the buffer keeps for a file: what it is (descriptor) and how far it was read (position).
//!
//! A position is little endian: version (1 byte), generation (4), offset (8), unread (8), inode (8), device (8), boot (8),
//! birth (8, [`NO_BIRTH`] where there is none), head (2 + 8), before (2 + 8), then the path to the end.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::identity::{Key, MARK_BYTES, Mark};
use crate::record::Nanos;

/// Version that is written; others are not read.
const VERSION: u8 = 1;

/// Stands for "the file system keeps no birth time".
const NO_BIRTH: Nanos = Nanos::MIN;

const KIND: &str = "file";

/// Which file an origin is: fixed when it is first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Name of the source that found it.
    pub source: String,
    /// Path at discovery: column FilePath.
    pub path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct DescriptorText<'a> {
    kind: &'a str,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    path: std::borrow::Cow<'a, str>,
}

impl Descriptor {
    /// The descriptor as the buffer keeps it: a JSON object.
    pub fn encode(&self) -> Vec<u8> {
        let text =
            DescriptorText { kind: KIND, source: self.source.as_str().into(), path: self.path.to_string_lossy() };
        serde_json::to_vec(&text).unwrap_or_default()
    }

    /// Reads a descriptor; `None` where it is not one of a file.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text: DescriptorText<'_> = serde_json::from_slice(bytes).ok()?;
        (text.kind == KIND)
            .then(|| Descriptor { source: text.source.into_owned(), path: PathBuf::from(text.path.into_owned()) })
    }
}

/// How far a file was taken up, and how to know it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which generation of this inode the origin is: of two that both fit, the higher is the one.
    pub generation: u32,
    /// Bytes of the file that are taken up.
    pub offset: u64,
    /// Bytes that are known to have been there and could not be read: the file was truncated or rewritten.
    pub unread: u64,
    pub key: Key,
    /// Boot within which `key.dev` is to be trusted.
    pub boot: u64,
    pub birth: Option<Nanos>,
    /// Of the first bytes of the file.
    pub head: Mark,
    /// Of the bytes before `offset`.
    pub before: Mark,
    /// Where the file was last seen.
    pub path: PathBuf,
}

impl Position {
    /// The position as the buffer keeps it.
    pub fn encode(&self) -> Vec<u8> {
        let path = self.path.as_os_str().as_bytes();
        let mut out = Vec::with_capacity(80 + path.len());
        out.push(VERSION);
        out.extend_from_slice(&self.generation.to_le_bytes());
        for word in [self.offset, self.unread, self.key.ino, self.key.dev, self.boot] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.birth.unwrap_or(NO_BIRTH).to_le_bytes());
        for mark in [self.head, self.before] {
            out.extend_from_slice(&mark.len.to_le_bytes());
            out.extend_from_slice(&mark.hash.to_le_bytes());
        }
        out.extend_from_slice(path);
        out
    }

    /// Reads a position; `None` where it is damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let [version] = take::<1>(&mut rest)?;
        if version != VERSION {
            return None;
        }
        let generation = u32::from_le_bytes(take(&mut rest)?);
        let mut word = || Some(u64::from_le_bytes(take(&mut rest)?));
        let (offset, unread, ino, dev, boot) = (word()?, word()?, word()?, word()?, word()?);
        let birth = Nanos::from_le_bytes(take(&mut rest)?);
        let mut mark = || {
            let len = u16::from_le_bytes(take(&mut rest)?);
            let hash = u64::from_le_bytes(take(&mut rest)?);
            (usize::from(len) <= MARK_BYTES).then_some(Mark { len, hash })
        };
        let (head, before) = (mark()?, mark()?);
        let whole = u64::from(before.len) == offset.min(MARK_BYTES as u64);
        whole.then(|| Position {
            generation,
            offset,
            unread,
            key: Key { dev, ino },
            boot,
            birth: (birth != NO_BIRTH).then_some(birth),
            head,
            before,
            path: Path::new(OsStr::from_bytes(rest)).to_path_buf(),
        })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        Position {
            generation: 3,
            offset: 70_000,
            unread: 9,
            key: Key { dev: 1, ino: 2 },
            boot: 77,
            birth: Some(-5),
            head: Mark { len: 1024, hash: 5 },
            before: Mark { len: 1024, hash: 6 },
            path: PathBuf::from(OsStr::from_bytes(b"/logs/\xffa.log")),
        }
    }

    #[test]
    fn a_position_reads_back_as_it_was_written() {
        for position in [
            position(),
            Position { birth: None, ..position() },
            Position { offset: 0, before: Mark::EMPTY, head: Mark::EMPTY, path: PathBuf::new(), ..position() },
        ] {
            assert_eq!(Position::decode(&position.encode()), Some(position));
        }
    }

    #[test]
    fn a_damaged_position_is_refused() {
        let good = position().encode();
        for cut in 0..good.len() - position().path.as_os_str().len() {
            assert_eq!(Position::decode(&good[..cut]), None, "{cut}");
        }
        let other_version = [&[9], &good[1..]].concat();
        assert_eq!(Position::decode(&other_version), None);
        let mark_too_short = Position { before: Mark { len: 3, hash: 6 }, ..position() };
        assert_eq!(Position::decode(&mark_too_short.encode()), None);
    }

    #[test]
    fn a_descriptor_is_a_json_object_of_kind_file() {
        let descriptor = Descriptor { source: "a\"b".into(), path: "/logs/x.log".into() };
        assert_eq!(descriptor.encode(), br#"{"kind":"file","source":"a\"b","path":"/logs/x.log"}"#);
        assert_eq!(Descriptor::decode(&descriptor.encode()), Some(descriptor));
        assert_eq!(Descriptor::decode(br#"{"kind":"docker","source":"a","path":"b"}"#), None);
        assert_eq!(Descriptor::decode(b"\xff"), None);
    }
}
