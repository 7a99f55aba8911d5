//! Bytes of segments and frames: encoding and checked decoding, no I/O. The format is described in [`crate::buffer`].

use crate::record::{Counters, OriginId};

pub const SEGMENT_HEADER_BYTES: usize = 64;
pub const FRAME_HEADER_BYTES: usize = 40;
pub const VERSION: u32 = 1;

const SEGMENT_MAGIC: &[u8; 8] = b"LFRYSEG\x01";
pub const FRAME_MAGIC: &[u8; 4] = b"LFRM";
/// Frames begin at multiples of this, so that a search for the next one is cheap.
pub const FRAME_ALIGN: usize = 8;

/// Decoded header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub segment: u64,
    pub created: i64,
    /// The same for all segments of one log.
    pub log_id: [u8; 16],
}

/// Why bytes are no segment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// Too short, wrong magic or checksum.
    NotWhole,
    /// Whole, but written by a later logferry.
    Version(u32),
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0u8; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.segment.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.created.to_le_bytes());
        bytes[32..48].copy_from_slice(&self.log_id);
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let mut take = Take(bytes);
        let parse = |take: &mut Take<'_>| {
            let magic = take.bytes(8)?;
            let version = take.u32()?;
            take.u32()?;
            let header = SegmentHeader { segment: take.u64()?, created: take.u64()? as i64, log_id: take.array()? };
            take.bytes(12)?;
            let crc = take.u32()?;
            (magic == SEGMENT_MAGIC && crc == crc32c::crc32c(&bytes[..60])).then_some((version, header))
        };
        match parse(&mut take) {
            None => Err(HeaderFault::NotWhole),
            Some((VERSION, header)) => Ok(header),
            Some((version, _)) => Err(HeaderFault::Version(version)),
        }
    }
}

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Table,
    Data,
}

/// Decoded header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub kind: FrameKind,
    pub segment: u64,
    pub sequence: u64,
    pub synced: u64,
    /// Bytes of the payload.
    pub len: usize,
    crc: u32,
}

impl FrameHeader {
    /// Bytes of the whole frame with its padding.
    pub fn frame_bytes(&self) -> usize {
        padded(FRAME_HEADER_BYTES + self.len)
    }

    /// Reads a header; `None` where there is none. The checksum is checked by [`FrameHeader::holds`].
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut take = Take(bytes);
        if take.bytes(4)? != FRAME_MAGIC {
            return None;
        }
        let crc = take.u32()?;
        let len = take.u32()? as usize;
        let kind = match take.u16()? {
            1 => FrameKind::Table,
            2 => FrameKind::Data,
            _ => return None,
        };
        take.u16()?;
        Some(FrameHeader { kind, segment: take.u64()?, sequence: take.u64()?, synced: take.u64()?, len, crc })
    }

    /// Whether `frame`, from its header to the end of its payload, is what was written.
    pub fn holds(&self, frame: &[u8]) -> bool {
        frame.len() >= FRAME_HEADER_BYTES + self.len
            && crc32c::crc32c(&frame[8..FRAME_HEADER_BYTES + self.len]) == self.crc
    }
}

fn padded(len: usize) -> usize {
    len.div_ceil(FRAME_ALIGN) * FRAME_ALIGN
}

/// Begins a frame in an empty buffer; the payload is appended behind.
pub fn begin_frame(out: &mut Vec<u8>) {
    out.clear();
    out.resize(FRAME_HEADER_BYTES, 0);
}

/// Fills in the header of a frame begun by [`begin_frame`], and pads it.
pub fn finish_frame(out: &mut Vec<u8>, kind: FrameKind, segment: u64, sequence: u64, synced: u64) {
    let len = out.len() - FRAME_HEADER_BYTES;
    out[..4].copy_from_slice(FRAME_MAGIC);
    out[8..12].copy_from_slice(&(len as u32).to_le_bytes());
    let kind: u16 = match kind {
        FrameKind::Table => 1,
        FrameKind::Data => 2,
    };
    out[12..14].copy_from_slice(&kind.to_le_bytes());
    out[16..24].copy_from_slice(&segment.to_le_bytes());
    out[24..32].copy_from_slice(&sequence.to_le_bytes());
    out[32..40].copy_from_slice(&synced.to_le_bytes());
    let crc = crc32c::crc32c(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out.resize(padded(out.len()), 0);
}

/// Checked reading from the front of bytes.
#[derive(Clone, Copy, Debug)]
pub struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[b]| b)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes behind their length.
    pub fn blob(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()? as usize;
        self.bytes(len)
    }
}

/// Appends bytes behind their length.
pub fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub fn put_counters(out: &mut Vec<u8>, counters: &Counters) {
    let Counters { lines, bytes, recorded_lines, filtered_lines, sampled_lines, records, .. } = counters;
    for value in [lines, bytes, recorded_lines, filtered_lines, sampled_lines, records] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    let Counters { gaps, gap_bytes, gap_kinds, routed, .. } = counters;
    for value in [gaps, gap_bytes] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out.extend_from_slice(&gap_kinds.to_le_bytes());
    let untold = counters.untold_lines;
    out.push(routed.len() as u8 | if untold > 0 { HAS_UNTOLD } else { 0 });
    for value in routed.iter().chain((untold > 0).then_some(&untold)) {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Beside the number of counts by route bit: behind them stands how many lines are untold.
const HAS_UNTOLD: u8 = 0x80;

/// One count for each sink, by route bit.
fn put_counts(out: &mut Vec<u8>, counts: &[u64]) {
    out.push(counts.len() as u8);
    for value in counts {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn take_counts(take: &mut Take<'_>) -> Option<Vec<u64>> {
    (0..take.u8()?).map(|_| take.u64()).collect()
}

fn put_removed(out: &mut Vec<u8>, removed: &[RemovedSink]) {
    out.extend_from_slice(&(removed.len() as u32).to_le_bytes());
    for RemovedSink { name, routed, dead_lettered, evicted, abandoned } in removed {
        put_blob(out, name.as_bytes());
        for value in [routed, dead_lettered, evicted, abandoned] {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

fn take_removed(take: &mut Take<'_>) -> Option<Vec<RemovedSink>> {
    let one = |take: &mut Take<'_>| {
        Some(RemovedSink {
            name: String::from_utf8(take.blob()?.to_vec()).ok()?,
            routed: take.u64()?,
            dead_lettered: take.u64()?,
            evicted: take.u64()?,
            abandoned: take.u64()?,
        })
    };
    (0..take.u32()?).map(|_| one(take)).collect()
}

pub fn take_counters(take: &mut Take<'_>) -> Option<Counters> {
    let mut counters = Counters {
        lines: take.u64()?,
        bytes: take.u64()?,
        recorded_lines: take.u64()?,
        filtered_lines: take.u64()?,
        sampled_lines: take.u64()?,
        records: take.u64()?,
        gaps: take.u64()?,
        gap_bytes: take.u64()?,
        gap_kinds: take.u32()?,
        ..Counters::default()
    };
    let head = take.u8()?;
    counters.routed = (0..head & !HAS_UNTOLD).map(|_| take.u64()).collect::<Option<_>>()?;
    counters.untold_lines = if head & HAS_UNTOLD == 0 { 0 } else { take.u64()? };
    Some(counters)
}

/// What became of records in a sink that is not configured any more: all counts are final.
/// `routed = delivered + dead_lettered + evicted + abandoned`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedSink {
    pub name: String,
    pub routed: u64,
    pub dead_lettered: u64,
    pub evicted: u64,
    /// Records that it had not accepted when it was taken out of the configuration.
    pub abandoned: u64,
}

impl RemovedSink {
    /// Adds counts to those of the sink of the same name.
    pub fn add_to(self, sums: &mut Vec<RemovedSink>) {
        match sums.iter_mut().find(|sum| sum.name == self.name) {
            Some(sum) => {
                sum.routed += self.routed;
                sum.dead_lettered += self.dead_lettered;
                sum.evicted += self.evicted;
                sum.abandoned += self.abandoned;
            }
            None => sums.push(self),
        }
    }
}

/// A live origin as the table of a segment has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableOrigin {
    pub id: OriginId,
    pub descriptor: Vec<u8>,
    pub constants: Vec<u8>,
    pub position: Vec<u8>,
    pub counters: Counters,
    pub ended: bool,
    pub removed: Vec<RemovedSink>,
}

/// Sums of the origins of one run that have retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetiredSum {
    pub run_id: String,
    pub origins: u64,
    pub counters: Counters,
    /// Records of them that went to the dead letters of each sink, by route bit.
    pub dead_lettered: Vec<u64>,
    /// Records of them that were dropped before each sink had them, by route bit.
    pub evicted: Vec<u64>,
    pub removed: Vec<RemovedSink>,
}

/// The first frame of a segment: all that a start needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sinks by route bit. An empty name is a free bit.
    pub sinks: Vec<String>,
    pub retired: Vec<RetiredSum>,
    /// The position in the list is the origin's index.
    pub origins: Vec<TableOrigin>,
}

impl Table {
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.sinks.len() as u16).to_le_bytes());
        for name in &self.sinks {
            put_blob(out, name.as_bytes());
        }
        out.extend_from_slice(&(self.retired.len() as u32).to_le_bytes());
        for sum in &self.retired {
            put_blob(out, sum.run_id.as_bytes());
            out.extend_from_slice(&sum.origins.to_le_bytes());
            put_counters(out, &sum.counters);
            put_counts(out, &sum.dead_lettered);
            put_counts(out, &sum.evicted);
            put_removed(out, &sum.removed);
        }
        out.extend_from_slice(&(self.origins.len() as u32).to_le_bytes());
        for origin in &self.origins {
            out.extend_from_slice(&origin.id.0);
            put_blob(out, &origin.descriptor);
            put_blob(out, &origin.constants);
            put_blob(out, &origin.position);
            put_counters(out, &origin.counters);
            out.push(u8::from(origin.ended));
            put_removed(out, &origin.removed);
        }
    }

    pub fn decode(payload: &[u8]) -> Option<Self> {
        let mut take = Take(payload);
        let mut table = Table::default();
        for _ in 0..take.u16()? {
            table.sinks.push(String::from_utf8(take.blob()?.to_vec()).ok()?);
        }
        for _ in 0..take.u32()? {
            let run_id = String::from_utf8(take.blob()?.to_vec()).ok()?;
            table.retired.push(RetiredSum {
                run_id,
                origins: take.u64()?,
                counters: take_counters(&mut take)?,
                dead_lettered: take_counts(&mut take)?,
                evicted: take_counts(&mut take)?,
                removed: take_removed(&mut take)?,
            });
        }
        for _ in 0..take.u32()? {
            table.origins.push(TableOrigin {
                id: OriginId(take.array()?),
                descriptor: take.blob()?.to_vec(),
                constants: take.blob()?.to_vec(),
                position: take.blob()?.to_vec(),
                counters: take_counters(&mut take)?,
                ended: take.u8()? != 0,
                removed: take_removed(&mut take)?,
            });
        }
        take.0.is_empty().then_some(table)
    }
}

const SECTION_DEFINE: u8 = 1;
const SECTION_DATA: u8 = 2;
const SECTION_RETIRE: u8 = 3;
const FLAG_ENDED: u8 = 1;

pub fn put_define(out: &mut Vec<u8>, index: u32, id: OriginId, descriptor: &[u8], constants: &[u8]) {
    out.push(SECTION_DEFINE);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&id.0);
    put_blob(out, descriptor);
    put_blob(out, constants);
}

pub fn put_data(out: &mut Vec<u8>, index: u32, section: &super::Section) {
    out.push(SECTION_DATA);
    out.extend_from_slice(&index.to_le_bytes());
    out.push(if section.ended { FLAG_ENDED } else { 0 });
    put_blob(out, &section.position);
    put_counters(out, &section.counters);
    out.extend_from_slice(&section.first_seq.to_le_bytes());
    out.extend_from_slice(&section.base.to_le_bytes());
    out.extend_from_slice(&section.records.count.to_le_bytes());
    put_blob(out, &section.records.bytes);
}

/// `dead_lettered`, `evicted`: its records in the dead letters of each sink and dropped for it, by route bit.
pub fn put_retire(out: &mut Vec<u8>, index: u32, dead_lettered: &[u64], evicted: &[u64]) {
    out.push(SECTION_RETIRE);
    out.extend_from_slice(&index.to_le_bytes());
    put_counts(out, dead_lettered);
    put_counts(out, evicted);
}

/// A section read back; slices borrow from the frame.
#[derive(Debug)]
pub enum SectionRef<'a> {
    Define { index: u32, id: OriginId, descriptor: &'a [u8], constants: &'a [u8] },
    Data(DataRef<'a>),
    Retire { index: u32, dead_lettered: Vec<u64>, evicted: Vec<u64> },
}

/// Records of one origin, read back.
#[derive(Debug)]
pub struct DataRef<'a> {
    pub index: u32,
    pub ended: bool,
    pub position: &'a [u8],
    pub counters: Counters,
    pub first_seq: u64,
    pub count: u32,
    pub records: &'a [u8],
}

/// Reads the next section of a data frame's payload; `None` where it does not fit, which a whole frame never is.
pub fn take_section<'a>(take: &mut Take<'a>) -> Option<SectionRef<'a>> {
    Some(match take.u8()? {
        SECTION_DEFINE => SectionRef::Define {
            index: take.u32()?,
            id: OriginId(take.array()?),
            descriptor: take.blob()?,
            constants: take.blob()?,
        },
        SECTION_DATA => {
            let (index, flags) = (take.u32()?, take.u8()?);
            let position = take.blob()?;
            let counters = take_counters(take)?;
            let first_seq = take.u64()?;
            // The base of the extents: for whoever looks for a line, no sink needs it.
            take.u64()?;
            let (count, records) = (take.u32()?, take.blob()?);
            SectionRef::Data(DataRef {
                index,
                ended: flags & FLAG_ENDED != 0,
                position,
                counters,
                first_seq,
                count,
                records,
            })
        }
        SECTION_RETIRE => {
            SectionRef::Retire { index: take.u32()?, dead_lettered: take_counts(take)?, evicted: take_counts(take)? }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let removed = |n| {
            vec![RemovedSink { name: "old".into(), routed: n, dead_lettered: n + 1, evicted: n + 2, abandoned: n + 3 }]
        };
        let counters = Counters { lines: 5, routed: vec![1, 2], untold_lines: 3, ..Counters::default() };
        Table {
            sinks: vec!["a".into(), String::new()],
            retired: vec![RetiredSum {
                run_id: "42".into(),
                origins: 3,
                counters: counters.clone(),
                dead_lettered: vec![4],
                evicted: vec![0, 6],
                removed: removed(20),
            }],
            origins: vec![TableOrigin {
                id: OriginId([7; 16]),
                descriptor: b"d".to_vec(),
                constants: b"\"A\":1".to_vec(),
                position: vec![1, 2, 3],
                counters,
                ended: true,
                removed: removed(10),
            }],
        }
    }

    #[test]
    fn a_table_reads_back_and_no_cut_of_it_does() {
        let mut bytes = Vec::new();
        table().encode(&mut bytes);
        assert_eq!(Table::decode(&bytes), Some(table()));
        for cut in 0..bytes.len() {
            assert_eq!(Table::decode(&bytes[..cut]), None, "{cut}");
        }
    }

    #[test]
    fn one_changed_bit_anywhere_in_a_frame_is_seen() {
        let mut frame = Vec::new();
        begin_frame(&mut frame);
        table().encode(&mut frame);
        finish_frame(&mut frame, FrameKind::Table, 3, 9, 8);
        let header = FrameHeader::decode(&frame).expect("header");
        assert!(header.holds(&frame));
        assert_eq!((header.segment, header.sequence, header.synced), (3, 9, 8));
        assert_eq!(header.frame_bytes(), frame.len());
        let used = FRAME_HEADER_BYTES + header.len;
        for bit in 0..used * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let intact = FrameHeader::decode(&damaged).is_some_and(|h| h.holds(&damaged));
            assert!(!intact, "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_tells_damage_from_a_newer_version() {
        let header = SegmentHeader { segment: 4, created: -1, log_id: [9; 16] };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        let mut damaged = bytes;
        damaged[20] ^= 1;
        assert_eq!(SegmentHeader::decode(&damaged), Err(HeaderFault::NotWhole));
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&newer), Err(HeaderFault::Version(2)));
        assert_eq!(SegmentHeader::decode(&bytes[..63]), Err(HeaderFault::NotWhole));
    }
}
