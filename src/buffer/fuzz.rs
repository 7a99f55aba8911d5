//! What must hold of any bytes that stand where a segment should.

use super::format::{FrameHeader, SectionRef, SegmentHeader, Table, Take, take_section};
use super::section::split_record;

/// Headers, tables and sections are read or refused, and a table that is read is written as it was.
pub fn frames(data: &[u8]) {
    // A header is refused or holds what it says.
    if let Ok(header) = SegmentHeader::decode(data) {
        assert_eq!(SegmentHeader::decode(&header.encode()), Ok(header));
    }
    if let Some(header) = FrameHeader::decode(data)
        && header.holds(data)
    {
        assert!(header.frame_bytes() >= header.len);
    }
    if let Some(table) = Table::decode(data) {
        let mut again = Vec::new();
        table.encode(&mut again);
        assert_eq!(Table::decode(&again), Some(table));
    }
    let mut take = Take(data);
    while let Some(section) = take_section(&mut take) {
        if let SectionRef::Data(data) = section {
            let mut rest = data.records;
            while let Some((_, after)) = split_record(rest) {
                assert!(after.len() < rest.len());
                rest = after;
            }
        }
    }
}
