//! A batch on its way: the sink's encoded records, and what delivery needs to know of each.

use std::sync::Arc;

use crate::buffer::{Cursor, ReadOrigin, ReadRecord};
use crate::record::{EventId, OriginId};
use crate::sink::{Batch, RecordView, Sink};

/// A record of the log as a sink sees it.
pub fn view<'a>(record: &ReadRecord<'a>) -> RecordView<'a> {
    RecordView {
        time: record.header.time,
        event_id: record.header.event_id,
        seq: record.seq,
        run_id: &record.origin.run_id,
        constants: &record.origin.constants,
        members: record.members,
    }
}

/// Room of a body beyond its bound, in bytes, so that the record that passes it does not move the whole.
pub const BODY_SLACK_BYTES: usize = 64 * 1024;

/// Records of one request, in the order of the log.
#[derive(Debug, Default)]
pub struct Load {
    pub batch: Batch,
    origins: Origins,
}

/// Origin of each run of records, and where it ends.
#[derive(Debug, Default)]
struct Origins(Vec<(usize, Arc<ReadOrigin>)>);

impl Origins {
    fn of(&self, number: usize) -> Option<&Arc<ReadOrigin>> {
        let at = self.0.partition_point(|(end, _)| *end <= number);
        self.0.get(at).map(|(_, origin)| origin)
    }

    /// The records up to `end` that have none yet are of this one.
    fn extend(&mut self, end: usize, origin: &Arc<ReadOrigin>) {
        match self.0.last_mut() {
            Some((last_end, last)) if Arc::ptr_eq(last, origin) => *last_end = end,
            _ => self.0.push((end, Arc::clone(origin))),
        }
    }

    fn truncate(&mut self, end: usize) {
        let keep = self.0.partition_point(|(run_end, _)| *run_end <= end);
        if let Some((run_end, _)) = self.0.get_mut(keep) {
            *run_end = end;
        }
        let starts_before = keep == 0 || self.0.get(keep - 1).is_some_and(|(run_end, _)| *run_end < end);
        self.0.truncate(if starts_before && end > 0 { keep + 1 } else { keep });
    }
}

impl Load {
    /// With the memory of a batch that is delivered.
    pub fn reuse(batch: Batch) -> Load {
        Load { batch, origins: Origins::default() }
    }

    /// Encodes one more record behind the others.
    pub fn push(&mut self, sink: &Sink, record: &RecordView<'_>, origin: &Arc<ReadOrigin>) {
        sink.encode(record, &mut self.batch.body);
        self.batch.ends.push(self.batch.body.len());
        self.batch.ids.push(record.event_id);
        self.origins.extend(self.batch.len(), origin);
    }

    /// Adds a record that was encoded before, as its document; false where the sink has no use for it.
    pub fn push_document(&mut self, sink: &Sink, id: EventId, document: &[u8], origin: &Arc<ReadOrigin>) -> bool {
        if !sink.encode_document(id, &origin.run_id, document, &mut self.batch.body) {
            return false;
        }
        self.batch.ends.push(self.batch.body.len());
        self.batch.ids.push(id);
        self.origins.extend(self.batch.len(), origin);
        true
    }

    /// Moves the last record into a load of its own, which takes the memory of `spare`.
    pub fn split_last(&mut self, spare: Batch) -> Load {
        let mut last = Load::reuse(spare);
        if let Some(number) = self.batch.len().checked_sub(1) {
            copy_record(&self.batch, &self.origins, number, &mut last);
            self.batch.truncate(number);
            self.origins.truncate(number);
        }
        last
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// How many records are of which origin; one may stand there several times.
    pub fn counts(&self) -> Vec<(OriginId, u64)> {
        let mut begin = 0;
        let count =
            |(end, origin): &(usize, Arc<ReadOrigin>)| (origin.id, (end - std::mem::replace(&mut begin, *end)) as u64);
        self.origins.0.iter().map(count).collect()
    }

    /// A load that is sent: it can be shared, and changes no more.
    pub fn seal(self) -> Sealed {
        Sealed { batch: Arc::new(self.batch), origins: self.origins }
    }
}

fn copy_record(batch: &Batch, origins: &Origins, number: usize, to: &mut Load) {
    let (Some(id), Some(origin)) = (batch.ids.get(number), origins.of(number)) else { return };
    to.batch.body.extend_from_slice(batch.slice(&(number..number + 1)));
    to.batch.ends.push(to.batch.body.len());
    to.batch.ids.push(*id);
    to.origins.extend(to.batch.len(), origin);
}

/// A load on its way.
#[derive(Debug)]
pub struct Sealed {
    pub batch: Arc<Batch>,
    origins: Origins,
}

impl Sealed {
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Origin of a record.
    pub fn origin(&self, number: usize) -> Option<&Arc<ReadOrigin>> {
        self.origins.of(number)
    }

    /// The records with these numbers, ascending, as a load of their own.
    pub fn select(&self, numbers: impl IntoIterator<Item = usize>) -> Sealed {
        let mut load = Load::default();
        for number in numbers {
            copy_record(&self.batch, &self.origins, number, &mut load);
        }
        load.seal()
    }
}

/// A load that is being filled, and where in the log it ends.
#[derive(Debug)]
pub struct Filling {
    pub load: Load,
    /// The place after its last record.
    pub end: Cursor,
    /// The one segment that its records stand in.
    pub segment: u64,
    pub since: tokio::time::Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(n: u8) -> Arc<ReadOrigin> {
        Arc::new(ReadOrigin { id: OriginId([n; 16]), constants: Vec::new(), run_id: String::new() })
    }

    /// A load whose records say of which origin they are.
    fn load(origins: &[u8]) -> Load {
        let known: Vec<Arc<ReadOrigin>> = (0..10).map(origin).collect();
        let mut load = Load::default();
        for (n, of) in origins.iter().enumerate() {
            load.batch.body.extend_from_slice(format!("{n}:{of};").as_bytes());
            load.batch.ends.push(load.batch.body.len());
            load.batch.ids.push(EventId([*of; 16]));
            load.origins.extend(n + 1, &known[usize::from(*of)]);
        }
        load
    }

    fn said(sealed: &Sealed) -> Vec<(String, u8)> {
        let text = |n: usize| String::from_utf8(sealed.batch.slice(&(n..n + 1)).to_vec()).expect("text");
        (0..sealed.len()).map(|n| (text(n), sealed.origin(n).expect("an origin").id.0[0])).collect()
    }

    #[test]
    fn each_record_keeps_its_origin_through_splits_and_selections() {
        let of = [1, 1, 2, 3, 3, 3, 1];
        let expected = |numbers: &[usize]| -> Vec<(String, u8)> {
            numbers.iter().map(|&n| (format!("{n}:{};", of[n]), of[n])).collect()
        };
        assert_eq!(said(&load(&of).seal()), expected(&[0, 1, 2, 3, 4, 5, 6]));
        let counts = load(&of).counts().into_iter().map(|(id, count)| (id.0[0], count));
        assert_eq!(counts.collect::<Vec<_>>(), [(1, 2), (2, 1), (3, 3), (1, 1)]);
        assert_eq!(said(&load(&of).seal().select([1, 2, 4, 6])), expected(&[1, 2, 4, 6]));
        for len in 1..=of.len() {
            let mut front = load(&of[..len]);
            let last = front.split_last(Batch::default());
            let numbers: Vec<usize> = (0..len).collect();
            assert_eq!(said(&last.seal()), expected(&numbers[len - 1..]), "the last of {len}");
            assert_eq!(said(&front.seal()), expected(&numbers[..len - 1]), "all but the last of {len}");
        }
        assert_eq!(Load::default().split_last(Batch::default()).len(), 0);
    }
}
