//! A section: what one read of one origin gave, on its way into a frame.

use std::sync::Arc;

use crate::record::{Counters, EventId, Nanos, OriginId, RouteBits};

/// Fixed part of a stored record, in bytes: see the format in [`crate::buffer`].
pub const RECORD_HEADER_BYTES: usize = 40;

/// A section is closed when its records have this many bytes; one more record may pass it.
pub const SECTION_TARGET_BYTES: usize = 1024 * 1024;

/// What is known of an origin and does not change with its position.
#[derive(Debug, PartialEq, Eq)]
pub struct OriginInfo {
    pub id: OriginId,
    /// The source's own words about the origin (which source, which path or container): opaque to the buffer.
    pub descriptor: Vec<u8>,
    /// Its constant columns as JSON members, see [`crate::record::Constants::members`].
    pub constants: Vec<u8>,
}

/// Records of one origin with the position after them and its running counters.
#[derive(Debug)]
pub struct Section {
    pub origin: Arc<OriginInfo>,
    /// Where the source goes on after this section: opaque to the buffer.
    pub position: Vec<u8>,
    /// Totals of the origin after this section.
    pub counters: Counters,
    /// The origin has ended and all of it is in the log.
    pub ended: bool,
    /// Seq of the first record.
    pub first_seq: u64,
    /// Stream position that the extents of the records are relative to.
    pub base: u64,
    pub records: Records,
}

impl Section {
    /// Bytes that the section holds in memory, about.
    pub fn weight(&self) -> usize {
        self.records.bytes.len() + self.position.len() + 256
    }
}

/// Encoded records, one after the other.
#[derive(Debug, Default)]
pub struct Records {
    pub count: u32,
    pub bytes: Vec<u8>,
}

/// The fixed part of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub time: Nanos,
    pub event_id: EventId,
    /// First byte of the record's extent, relative to the section's base.
    pub begin: u32,
    /// Bytes of the stream that the record covers.
    pub extent: u32,
    pub route: RouteBits,
}

impl Records {
    /// Appends one record; `encode` appends its JSON members to the buffer it is given.
    pub fn push(&mut self, header: &RecordHeader, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&header.time.to_le_bytes());
        self.bytes.extend_from_slice(&header.event_id.0);
        self.bytes.extend_from_slice(&header.begin.to_le_bytes());
        self.bytes.extend_from_slice(&header.extent.to_le_bytes());
        self.bytes.extend_from_slice(&header.route.to_le_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        encode(&mut self.bytes);
        let len = (self.bytes.len() - start - RECORD_HEADER_BYTES) as u32;
        self.bytes[start + RECORD_HEADER_BYTES - 4..start + RECORD_HEADER_BYTES].copy_from_slice(&len.to_le_bytes());
        self.count += 1;
    }
}

/// One record read back: its fixed part and its JSON members.
pub type StoredRecord<'a> = (RecordHeader, &'a [u8]);

/// Reads the first record of `bytes` and what follows it; `None` where there is none, or it does not fit.
pub fn split_record(bytes: &[u8]) -> Option<(StoredRecord<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(RECORD_HEADER_BYTES)?;
    let word = |at: usize| -> Option<u32> { Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?)) };
    let header = RecordHeader {
        time: Nanos::from_le_bytes(head.get(..8)?.try_into().ok()?),
        event_id: EventId(head.get(8..24)?.try_into().ok()?),
        begin: word(24)?,
        extent: word(28)?,
        route: word(32)?,
    };
    let (members, rest) = rest.split_at_checked(word(36)? as usize)?;
    Some(((header, members), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_as_they_were_pushed() {
        let mut records = Records::default();
        let header = |n: u8| RecordHeader {
            time: i64::from(n) * -7,
            event_id: EventId([n; 16]),
            begin: u32::from(n),
            extent: 9,
            route: 5,
        };
        records.push(&header(1), |out| out.extend_from_slice(b"\"a\":1"));
        records.push(&header(2), |_| {});
        let ((first, members), rest) = split_record(&records.bytes).expect("first");
        assert_eq!((first, members), (header(1), b"\"a\":1".as_slice()));
        let ((second, members), rest) = split_record(rest).expect("second");
        assert_eq!((second, members.len(), rest.len()), (header(2), 0, 0));
        assert!(split_record(rest).is_none());
        for cut in 0..RECORD_HEADER_BYTES + 4 {
            assert!(split_record(&records.bytes[..cut]).is_none(), "{cut}");
        }
    }
}
