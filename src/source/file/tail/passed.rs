//! Bytes of a file that are passed over without a line: holes, where nothing was ever written, and text in an encoding
//! that is not read. What was passed over counts as read; the latter is a gap.

use std::fs::File;
use std::io;
use std::time::Instant;

use rustix::fs::SeekFrom;

use crate::source::intake::{is_utf_16, leading_zeros};

use super::{Desk, Fault, Flush, Flushed, GapKind, MARK_BYTES, Mark, ReadOutcome, Tail, read_at};

/// Holes begin and end between blocks of at least this size, in bytes.
const BLOCK_BYTES: u64 = 4096;

/// What stands behind an offset where nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// The file goes on here.
    To(u64),
    /// It reaches to the end of the file: there is nothing to read, and whoever made room may still write there.
    ToTheEnd,
}

/// The hole at an offset behind which `zeros` zero bytes were read; `None` where there is none or nobody can tell.
fn hole_at(file: &File, offset: u64, zeros: u64) -> io::Result<Option<Hole>> {
    let block = offset.next_multiple_of(BLOCK_BYTES);
    if block - offset > zeros {
        return Ok(None);
    }
    let data = match rustix::fs::seek(file, SeekFrom::Data(block)) {
        Ok(data) if data > block => data,
        Err(rustix::io::Errno::NXIO) => return Ok(Some(Hole::ToTheEnd)),
        // Data, or a file system that does not tell.
        Ok(_) | Err(_) => return Ok(None),
    };
    // The first block with data begins with zeros where the writer began within it.
    let mut first = [0; BLOCK_BYTES as usize];
    let read = read_at(file, &mut first, data)?;
    Ok(Some(Hole::To(data + leading_zeros(&first[..read]))))
}

/// The first hole among bytes that were read at an offset, and where in them it begins.
fn first_hole(file: &File, bytes: &[u8], offset: u64) -> io::Result<Option<(usize, Hole)>> {
    let mut from = 0;
    while let Some(at) = memchr::memchr(0, &bytes[from..]) {
        let start = from + at;
        let zeros = leading_zeros(&bytes[start..]);
        if let Some(hole) = hole_at(file, offset + start as u64, zeros)? {
            return Ok(Some((start, hole)));
        }
        from = start + zeros as usize;
    }
    Ok(None)
}

impl Tail {
    /// Whether all that stands behind what was read is a hole.
    pub fn is_hollow(&self) -> bool {
        self.hollow
    }

    /// How far the file reaches, as long as what was a hole at its end is still one.
    pub(super) fn end_of(&mut self, size: u64) -> io::Result<u64> {
        let Some(handle) = self.handle.as_ref().filter(|_| self.hollow) else { return Ok(size) };
        let mut next = [0; BLOCK_BYTES as usize];
        let read = read_at(handle, &mut next, self.read)?;
        let zeros = leading_zeros(&next[..read]);
        self.hollow = hole_at(handle, self.read, zeros)? == Some(Hole::ToTheEnd);
        Ok(if self.hollow { self.read } else { size })
    }

    /// The first hole among bytes that were just read, and where in them it begins. Zeros before the first line are one,
    /// too: a hole smaller than a block leaves them, and a copy that was made of a hole.
    pub(super) fn first_hole(&self, bytes: &[u8]) -> io::Result<Option<(usize, Hole)>> {
        let Some(handle) = &self.handle else { return Ok(None) };
        let found = first_hole(handle, bytes, self.read)?;
        let zeros = leading_zeros(bytes);
        let before_all = zeros > 0 && self.held_back() == 0 && self.stream.as_ref().is_some_and(|s| s.ingest.is_new());
        Ok(match found {
            Some((0, _)) => found,
            _ if before_all => Some((0, Hole::To(self.read + zeros))),
            _ => found,
        })
    }

    /// Whether the first bytes say that the file is in UTF-16: it is not read, as its lines would be garbled.
    pub(super) fn begins_as_utf_16(&self) -> io::Result<bool> {
        let Some(handle) = &self.handle else { return Ok(false) };
        let mut head = [0; 2];
        let read = read_at(handle, &mut head, 0)?;
        Ok(is_utf_16(&head[..read]))
    }

    /// Whether a file of which less than a byte order mark had been read turns out to be in UTF-16. `bytes` is all that was
    /// read of it.
    pub(super) fn turns_out_as_utf_16(&mut self, bytes: &[u8]) -> bool {
        let is_new = self.read < 2 && self.taken() == 0;
        let Some(stream) = self.stream.as_mut().filter(|_| is_new && is_utf_16(bytes)) else { return false };
        stream.ingest.rewind();
        stream.ingest.count_gap(GapKind::Unreadable, 0);
        (self.read, self.before, self.carry) = (0, Mark::EMPTY, Vec::new());
        self.unreadable = true;
        true
    }

    /// Passes over what stands in a file that is not read.
    pub(super) fn pass_over_unreadable(&mut self, desk: &Desk) -> Result<ReadOutcome, Fault> {
        if let Some(handle) = &self.handle
            && Mark::read_before(handle, self.read)? != Some(self.before())
        {
            return Ok(ReadOutcome::Rewritten);
        }
        if !std::mem::replace(&mut self.said_unreadable, true) {
            desk.stats.utf16_files.add(1);
            tracing::error!(
                path = %self.path.display(), bytes = self.size.saturating_sub(self.read),
                "file is in UTF-16 and is not read: have it written in UTF-8, or convert it (iconv -f UTF-16 -t UTF-8)"
            );
        }
        self.pass_over(self.size, Some(GapKind::Unreadable), desk)
    }

    /// Passes over a hole that begins where the file was read to; what was held back ends there.
    pub(super) fn pass_over_hole(&mut self, hole: Hole, desk: &Desk) -> Result<ReadOutcome, Fault> {
        match hole {
            Hole::ToTheEnd => {
                self.hollow = true;
                self.size = self.read;
                Ok(ReadOutcome::Took(0))
            }
            Hole::To(data) => {
                let bytes = data - self.read;
                tracing::info!(path = %self.path.display(), offset = self.read, bytes, "zeros are passed over: nothing was ever written there");
                self.flush(Flush::All, desk)?;
                self.pass_over(data, None, desk)
            }
        }
    }

    fn pass_over(&mut self, to: u64, gap: Option<GapKind>, desk: &Desk) -> Result<ReadOutcome, Fault> {
        let Some(handle) = &self.handle else { return Ok(ReadOutcome::Took(0)) };
        let head = Mark::read(handle, 0, to.min(MARK_BYTES as u64) as u16)?;
        let (Some(head), Some(before)) = (head, Mark::read_before(handle, to)?) else {
            return Ok(ReadOutcome::Rewritten);
        };
        let Some(stream) = &mut self.stream else { return Ok(ReadOutcome::Took(0)) };
        let bytes = to.saturating_sub(self.read);
        stream.ingest.pass_over(bytes, gap);
        if let Some(figures) = desk.stats.sources.get(self.source) {
            figures.bytes.add(bytes);
        }
        (self.read, self.before, self.carry) = (to, before, Vec::new());
        self.size = self.size.max(to);
        if usize::from(self.head.len) < MARK_BYTES {
            self.head = head;
        }
        (self.grown, self.flushed) = (Instant::now(), Flushed::Nothing);
        let position = self.position_at(desk.boot, to, before).encode();
        if let Some(section) = self.stream.as_mut().and_then(|stream| stream.ingest.section(position, false)) {
            desk.appender.append_blocking(section)?;
        }
        Ok(ReadOutcome::Took(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, Write as _};

    use super::*;

    #[test]
    fn a_hole_reaches_to_the_first_byte_that_was_written() {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"text\n").expect("write");
        file.seek(io::SeekFrom::Start(1_000_100)).expect("seek");
        file.write_all(b"more\n").expect("write");
        assert_eq!(hole_at(&file, 5, 4091).expect("seek"), Some(Hole::To(1_000_100)));
        assert_eq!(hole_at(&file, 5, 4090).expect("seek"), None, "no block of zeros was seen");
        assert_eq!(hole_at(&file, 8192, 10).expect("seek"), Some(Hole::To(1_000_100)));
        assert_eq!(hole_at(&file, 1_000_105, 0).expect("seek"), None);
        let mut bytes = vec![0; 9000];
        bytes[..5].copy_from_slice(b"a\0b\0\n");
        assert_eq!(first_hole(&file, &bytes, 0).expect("seek"), Some((5, Hole::To(1_000_100))));
        assert_eq!(first_hole(&file, &bytes[..4095], 0).expect("seek"), None);
        file.set_len(3_000_000).expect("longer");
        assert_eq!(hole_at(&file, 1_000_105, 4096).expect("seek"), Some(Hole::ToTheEnd));
    }
}
