//! Stands in for a sink: takes every record and keeps figures only, how many and how large they would be. Opens nothing,
//! writes nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;

use super::{RecordView, azure_monitor, file};

/// Most groups of records that are counted apart; what comes later is counted as [`Tally::other`].
pub const GROUPS_MAX: usize = 50_000;

/// Options of one such sink.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its figures go.
    pub counts: Counts,
    /// Whether records are also counted by source, logger and level.
    pub by_logger: bool,
}

/// Figures that the sink and whoever reads them share.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Mutex<Tally>>);

impl Counts {
    pub fn get(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    pub records: u64,
    /// As the documents that Elasticsearch and files get, uncompressed.
    pub bytes: u64,
    /// As the objects that Azure Monitor gets, uncompressed.
    pub azure_bytes: u64,
}

impl Count {
    pub fn add(&mut self, other: Count) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.azure_bytes += other.azure_bytes;
    }
}

/// What records have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    pub source: String,
    pub logger: String,
    pub level: String,
}

/// What was taken so far.
#[derive(Debug, Default)]
pub struct Tally {
    pub all: Count,
    groups: HashMap<Vec<u8>, Count>,
    /// Of more groups than are counted apart.
    pub other: Count,
    /// Columns of the origin of the last record, and its source.
    constants: Vec<u8>,
    source: String,
    scratch: Vec<u8>,
    key: Vec<u8>,
}

/// Longest name in a key, in bytes: names that begin with the same count together.
const NAME_MAX_BYTES: usize = 256;

/// Parts the names in a key: it stands in no name, as JSON escapes it.
const PART: u8 = 0;

impl Tally {
    /// Records by source, logger and level, in no order.
    pub fn groups(&self) -> Vec<(Group, Count)> {
        let group = |(key, count): (&Vec<u8>, &Count)| {
            let mut parts = key.split(|byte| *byte == PART).map(|part| String::from_utf8_lossy(part).into_owned());
            let mut next = || parts.next().unwrap_or_default();
            (Group { source: next(), logger: next(), level: next() }, *count)
        };
        self.groups.iter().map(group).collect()
    }

    fn add(&mut self, record: &RecordView<'_>, bytes: u64, by_logger: bool) {
        self.scratch.clear();
        azure_monitor::encode(record, &mut self.scratch);
        let count = Count { records: 1, bytes, azure_bytes: self.scratch.len() as u64 };
        self.all.add(count);
        if !by_logger {
            return;
        }
        if self.constants != record.constants {
            self.constants.clear();
            self.constants.extend_from_slice(record.constants);
            self.source = named(record.constants, &mut self.scratch).source.unwrap_or_default().into_owned();
        }
        let names = named(record.members, &mut self.scratch);
        self.key.clear();
        self.key.extend_from_slice(self.source.as_bytes());
        for name in [&names.logger, &names.level] {
            self.key.push(PART);
            let shown = name.as_deref().map(shortened).unwrap_or_default();
            self.key.extend(shown.bytes().filter(|byte| *byte != PART));
        }
        let has_room = self.groups.len() < GROUPS_MAX;
        match self.groups.get_mut(&self.key) {
            Some(group) => group.add(count),
            None if has_room => _ = self.groups.insert(self.key.clone(), count),
            None => self.other.add(count),
        }
    }
}

fn shortened(name: &str) -> &str {
    let end = (0..=NAME_MAX_BYTES.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// The columns that tell groups apart.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Named<'a> {
    #[serde(borrow, rename = "Source")]
    source: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "LoggerName")]
    logger: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "Level")]
    level: Option<Cow<'a, str>>,
}

/// Reads them out of JSON members; `scratch` holds what they borrow from.
fn named<'s>(members: &[u8], scratch: &'s mut Vec<u8>) -> Named<'s> {
    scratch.clear();
    scratch.push(b'{');
    scratch.extend_from_slice(members);
    scratch.push(b'}');
    // Members are what ingest encoded: they read back.
    serde_json::from_slice(scratch).unwrap_or_default()
}

/// The sink itself.
#[derive(Debug)]
pub struct TallySink {
    options: Options,
}

impl TallySink {
    pub fn new(options: Options) -> Self {
        TallySink { options }
    }

    /// Counts one record, which is encoded as a file would get it. A record is encoded once.
    pub fn encode(&self, record: &RecordView<'_>, body: &mut Vec<u8>) {
        let start = body.len();
        file::encode_ndjson(record, body);
        let bytes = (body.len() - start) as u64;
        self.options.counts.get().add(record, bytes, self.options.by_logger);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventId;

    fn record<'a>(constants: &'a [u8], members: &'a [u8]) -> RecordView<'a> {
        RecordView { time: 0, event_id: EventId([0; 16]), seq: 1, run_id: "", constants, members }
    }

    #[test]
    fn records_are_counted_by_source_logger_and_level_with_their_bytes() {
        let counts = Counts::default();
        let sink = TallySink::new(Options { counts: counts.clone(), by_logger: true });
        let mut body = Vec::new();
        for (constants, members) in [
            (r#""Source":"a""#, r#""LoggerName":"x\"y","Level":"INFO","Message":"1""#),
            (r#""Source":"a""#, r#""LoggerName":"x\"y","Level":"INFO","Message":"22""#),
            (r#""Source":"b""#, r#""Message":"LoggerName""#),
            (r#""Source":"a""#, r#""Level":"ERROR","Fields":{"Level":"no"}"#),
        ] {
            sink.encode(&record(constants.as_bytes(), members.as_bytes()), &mut body);
        }
        let tally = counts.get();
        assert_eq!((tally.all.records, tally.all.bytes), (4, body.len() as u64));
        assert!(tally.all.azure_bytes > tally.all.bytes, "two times instead of one: {:?}", tally.all);
        let mut groups = tally.groups();
        groups.sort();
        let shown: Vec<(&str, &str, &str, u64)> =
            groups.iter().map(|(g, n)| (&*g.source, &*g.logger, &*g.level, n.records)).collect();
        assert_eq!(shown, [("a", "", "ERROR", 1), ("a", "x\"y", "INFO", 2), ("b", "", "", 1)]);
        assert_eq!(groups.iter().map(|(_, count)| count.bytes).sum::<u64>(), tally.all.bytes);
    }

    #[test]
    fn more_groups_than_are_counted_apart_are_counted_together() {
        let counts = Counts::default();
        let sink = TallySink::new(Options { counts: counts.clone(), by_logger: true });
        for n in 0..GROUPS_MAX + 5 {
            let members = format!(r#""LoggerName":"{n}""#);
            sink.encode(&record(b"", members.as_bytes()), &mut Vec::new());
        }
        let tally = counts.get();
        assert_eq!((tally.groups().len(), tally.other.records), (GROUPS_MAX, 5));
    }
}
