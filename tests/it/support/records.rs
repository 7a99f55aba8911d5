//! Records for sinks, each with an id that no other test and no earlier run has used.

use std::sync::Arc;

use logferry::record::{EventId, Nanos, OriginId, time};
use logferry::sink::elasticsearch::Elasticsearch;
use logferry::sink::{Batch, RecordView};

/// Records of one new origin.
pub struct Origin {
    pub id: OriginId,
    pub constants: String,
    pub run_id: String,
    pub time: Nanos,
}

impl Origin {
    pub fn new(run_id: &str) -> Self {
        let id = OriginId::random().expect("random bits");
        let constants = format!(r#""RunID":"{run_id}","VMName":"vm-7","Origin":"{id}""#);
        Origin { id, constants, run_id: run_id.to_owned(), time: time::now() }
    }

    /// A batch with one record for each text of JSON members.
    pub fn batch(&self, sink: &Elasticsearch, members: &[&str]) -> Arc<Batch> {
        let mut batch = Batch::default();
        for (n, members) in members.iter().enumerate() {
            let n = n as u64;
            let event_id = EventId::new(self.id, n, n + 1, 0);
            let record = RecordView {
                time: self.time + n as i64,
                event_id,
                seq: n + 1,
                run_id: &self.run_id,
                constants: self.constants.as_bytes(),
                members: members.as_bytes(),
            };
            sink.encode(&record, &mut batch.body);
            batch.ends.push(batch.body.len());
            batch.ids.push(event_id);
        }
        Arc::new(batch)
    }

    /// A batch of `count` plain records.
    pub fn plain(&self, sink: &Elasticsearch, count: usize) -> Arc<Batch> {
        self.batch(sink, &vec![r#""Level":"INFO","LoggerName":"app","Message":"hello there""#; count])
    }

    /// The query that finds the records of this origin.
    pub fn query(&self) -> serde_json::Value {
        serde_json::json!({"term": {"Origin": self.id.to_string()}})
    }
}
