//! A batch on its way: the sink's encoded records, and what delivery needs to know of each.

use std::sync::Arc;

use crate::buffer::{Cursor, ReadOrigin};
use crate::sink::{Batch, RecordView, Sink};

/// Records of one request, in the order of the log.
#[derive(Debug, Default)]
pub struct Load {
    pub batch: Batch,
    /// Origin of each record.
    pub origins: Vec<Arc<ReadOrigin>>,
}

impl Load {
    /// Encodes one more record behind the others.
    pub fn push(&mut self, sink: &Sink, record: &RecordView<'_>, origin: &Arc<ReadOrigin>) {
        sink.encode(record, &mut self.batch.body);
        self.batch.ends.push(self.batch.body.len());
        self.batch.ids.push(record.event_id);
        self.origins.push(Arc::clone(origin));
    }

    /// Takes the last record out again, into a load of its own.
    pub fn split_last(&mut self) -> Load {
        let mut last = Load::default();
        let (Some(_), Some(id), Some(origin)) = (self.batch.ends.pop(), self.batch.ids.pop(), self.origins.pop())
        else {
            return last;
        };
        let start = self.batch.ends.last().copied().unwrap_or(0);
        last.batch.body = self.batch.body.split_off(start);
        last.batch.ends.push(last.batch.body.len());
        last.batch.ids.push(id);
        last.origins.push(origin);
        last
    }

    /// Puts another load's records behind these.
    pub fn append(&mut self, other: Load) {
        let start = self.batch.body.len();
        self.batch.body.extend_from_slice(&other.batch.body);
        self.batch.ends.extend(other.batch.ends.iter().map(|end| start + end));
        self.batch.ids.extend(other.batch.ids);
        self.origins.extend(other.origins);
    }

    /// The records with these numbers, ascending, as a load of their own.
    pub fn select(&self, numbers: impl IntoIterator<Item = usize>) -> Load {
        let mut load = Load::default();
        for number in numbers {
            load.batch.body.extend_from_slice(self.batch.slice(&(number..number + 1)));
            load.batch.ends.push(load.batch.body.len());
            load.batch.ids.push(self.batch.ids[number]);
            load.origins.push(Arc::clone(&self.origins[number]));
        }
        load
    }

    pub fn len(&self) -> usize {
        self.batch.len()
    }
}

/// A load that is being filled, and where in the log it ends.
#[derive(Debug)]
pub struct Filling {
    pub load: Load,
    /// The place after its last record.
    pub end: Cursor,
    pub since: tokio::time::Instant,
}
