//! The files of the log as they lie there: names, headers, whole frames, and what is put aside of them. It knows no sink and
//! no origin.

use std::io;
use std::path::Path;

use super::format::{
    FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use super::storage::{Storage, StorageFile, read_full};

/// How many bytes a search for the next whole frame looks at in one go.
const SEARCH_BYTES: usize = 1024 * 1024;

/// Name of the file of a segment.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:020}.seg")
}

/// A whole frame with its padding, or the memory back.
pub(super) type ReadFrame = Result<(FrameHeader, Vec<u8>), Vec<u8>>;

/// Reads the frame at `offset` with its padding; the memory back where there is no whole one before `limit`.
pub(super) fn read_frame(
    file: &dyn StorageFile,
    segment: u64,
    offset: u64,
    limit: u64,
    memory: Vec<u8>,
) -> io::Result<ReadFrame> {
    let mut memory = memory;
    memory.resize(FRAME_HEADER_BYTES, 0);
    if read_full(file, &mut memory, offset)? < FRAME_HEADER_BYTES {
        return Ok(Err(memory));
    }
    let Some(header) = FrameHeader::decode(&memory) else { return Ok(Err(memory)) };
    if header.segment != segment || offset + header.frame_bytes() as u64 > limit {
        return Ok(Err(memory));
    }
    memory.resize(header.frame_bytes(), 0);
    let rest = memory.len() - FRAME_HEADER_BYTES;
    let read = read_full(file, &mut memory[FRAME_HEADER_BYTES..], offset + FRAME_HEADER_BYTES as u64)?;
    if read < rest || !header.holds(&memory) {
        return Ok(Err(memory));
    }
    Ok(Ok((header, memory)))
}

/// Offset of the first whole frame at or after `from`.
pub(super) fn find_frame(file: &dyn StorageFile, segment: u64, from: u64, limit: u64) -> io::Result<Option<u64>> {
    let align = FRAME_ALIGN as u64;
    let mut at = from.div_ceil(align) * align;
    let mut chunk = vec![0; SEARCH_BYTES];
    let mut memory = Vec::new();
    while at < limit {
        let read = read_full(file, &mut chunk, at)?;
        if read == 0 {
            break;
        }
        for candidate in (0..read).step_by(FRAME_ALIGN) {
            if chunk[candidate..read].starts_with(FRAME_MAGIC) {
                match read_frame(file, segment, at + candidate as u64, limit, memory)? {
                    Ok(_) => return Ok(Some(at + candidate as u64)),
                    Err(back) => memory = back,
                }
            }
        }
        at += read.div_ceil(FRAME_ALIGN) as u64 * align;
    }
    Ok(None)
}

/// Offset of the first whole frame at or after `from` whose header is as `is_wanted` says.
pub(super) fn find_frame_where(
    file: &dyn StorageFile,
    segment: u64,
    from: u64,
    limit: u64,
    is_wanted: impl Fn(&FrameHeader) -> bool,
) -> io::Result<Option<u64>> {
    let mut at = find_frame(file, segment, from, limit)?;
    while let Some(offset) = at {
        match read_frame(file, segment, offset, limit, Vec::new())? {
            Ok((header, _)) if is_wanted(&header) => return Ok(at),
            Ok((header, _)) => at = find_frame(file, segment, offset + header.frame_bytes() as u64, limit)?,
            Err(_) => at = find_frame(file, segment, offset + 1, limit)?,
        }
    }
    Ok(None)
}

/// Numbers of the segments in a folder, ascending.
pub(super) fn segments(storage: &dyn Storage, dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers: Vec<u64> = storage
        .list(dir)?
        .iter()
        .filter_map(|name| name.strip_suffix(".seg")?.parse().ok())
        .filter(|&number| number > 0)
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads and checks the header of a segment.
pub(super) fn read_header(file: &dyn StorageFile) -> io::Result<Result<SegmentHeader, HeaderFault>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let read = read_full(file, &mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read]))
}

/// Moves a damaged piece of the log out of the way, for people to look at.
pub(super) fn set_aside(storage: &dyn Storage, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let quarantine = dir.join("quarantine");
    storage.create_dir_all(&quarantine)?;
    let path = quarantine.join(name);
    match storage.remove(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = storage.create(&path, 0)?;
    file.write_all_at(bytes, 0)?;
    file.sync()?;
    storage.sync_dir(&quarantine)
}
