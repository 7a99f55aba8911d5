//! Where records go. A sink encodes records into a body and makes one attempt to send it;
//! it never retries, never parses a record and knows nothing of the buffer.

pub mod azure_monitor;
pub mod console;
pub mod elasticsearch;
pub mod file;
pub mod stored;
pub mod tally;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use crate::http;
use crate::record::{EventId, Nanos, Rule};

/// What every sink is told, whatever its type.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of its table in the configuration: cursor, metrics and reports use it.
    pub name: Arc<str>,
    /// Which records it gets; `None`: all.
    pub when: Option<Rule>,
    /// Most bytes of a body, before compression.
    pub batch_bytes: usize,
    /// Requests under way at once, at least one.
    pub in_flight: usize,
    /// A batch that is not full waits no longer than this for more records while another request is under way.
    pub max_age: Duration,
    pub kind: Kind,
}

/// The closed set of sinks, with what each needs.
#[derive(Clone, Debug)]
pub enum Kind {
    Elasticsearch(elasticsearch::Options),
    AzureMonitor(Box<azure_monitor::Options>),
    File(file::Options),
    Console(console::Options),
    /// No sink of a configuration: a dry run.
    Tally(tally::Options),
}

/// A record as a sink sees it: already encoded, to be spliced.
#[derive(Clone, Copy, Debug)]
pub struct RecordView<'a> {
    pub time: Nanos,
    pub event_id: EventId,
    /// Counts from 1 within the origin.
    pub seq: u64,
    /// RunID of the origin, for index names; empty where it has none.
    pub run_id: &'a str,
    /// JSON members of the origin (`"RunID":"42",…`), no braces; may be empty.
    pub constants: &'a [u8],
    /// JSON members of the line (`"Level":"INFO",…`), no braces; may be empty.
    pub members: &'a [u8],
}

/// Encoded records of one request, cut out of the buffer in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Everything that [`Sink::encode`] appended, record after record.
    pub body: Vec<u8>,
    /// End of each record in `body`.
    pub ends: Vec<usize>,
    /// EventID of each record.
    pub ids: Vec<EventId>,
}

/// A body that requests share.
struct SharedBody(Arc<Batch>);

impl AsRef<[u8]> for SharedBody {
    fn as_ref(&self) -> &[u8] {
        &self.0.body
    }
}

impl Batch {
    /// The encoded bytes of the records `range`, shared and not copied.
    pub fn shared(self: &Arc<Self>, range: &Range<usize>) -> bytes::Bytes {
        let end = self.slice(&(0..range.end)).len();
        bytes::Bytes::from_owner(SharedBody(Arc::clone(self))).slice(end - self.slice(range).len()..end)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The encoded bytes of the records `range`.
    pub fn slice(&self, range: &Range<usize>) -> &[u8] {
        let start = if range.start == 0 { 0 } else { self.ends[range.start - 1] };
        let end = if range.end == 0 { 0 } else { self.ends[range.end - 1] };
        &self.body[start..end]
    }

    /// Keeps the first `records`.
    pub fn truncate(&mut self, records: usize) {
        let end = self.slice(&(0..records.min(self.len()))).len();
        self.body.truncate(end);
        self.ends.truncate(records);
        self.ids.truncate(records);
    }
}

/// What came of one attempt. Facts only: what to do about them is decided in `delivery::decision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// Every record was accepted.
    Accepted,
    /// One answer for each record that was sent, in order.
    Items(Vec<ItemAnswer>),
    /// The sink answered the whole call with a status that is no success; nothing was stored.
    Refused { status: u16, retry_after: Option<Duration>, reason: String },
    /// The request may have arrived, its answer did not, or makes no sense: some, all or none may be stored.
    Unknown { reason: String },
    /// Nothing was sent: no address, no connection, no TLS, no token, no file.
    NotSent { reason: String },
}

/// What a request that got no usable answer means: sent or not.
pub fn failed(error: reqwest::Error) -> SendOutcome {
    let connecting = error.is_connect() || error.is_builder();
    // The URL may hold credentials; the caller names the endpoint itself.
    let reason = http::plain_reason(&error.without_url());
    if connecting { SendOutcome::NotSent { reason } } else { SendOutcome::Unknown { reason } }
}

/// How a sink answered for one record of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemAnswer {
    pub status: u16,
    /// The sink's own name of the fault (`document_parsing_exception`); empty on success.
    pub kind: String,
    /// The sink's own words; empty on success. Holds no secret of ours, may quote the record.
    pub reason: String,
}

/// Result of asking a sink which records it already holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Sending again cannot double anything: an id that is there is refused.
    SafeToSend,
    /// For each record of the range whether the sink holds it already.
    Holds(Vec<bool>),
    /// The sink cannot tell (by its nature, or no right to read): sending again may double records.
    CannotTell { reason: String },
    /// It did not answer; ask again later.
    Failed { reason: String },
}

/// A sink that is ready to encode and send.
#[derive(Debug)]
pub enum Sink {
    Elasticsearch(elasticsearch::Elasticsearch),
    AzureMonitor(azure_monitor::AzureMonitor),
    File(file::FileSink),
    Console(console::ConsoleSink),
    Tally(tally::TallySink),
}

impl Sink {
    /// Builds clients and opens nothing on the network.
    ///
    /// # Errors
    /// A CA file, certificate or key that cannot be used; says which and why.
    pub fn new(options: &Options, user_agent: &str) -> Result<Self, http::BuildError> {
        Ok(match &options.kind {
            Kind::Elasticsearch(o) => Sink::Elasticsearch(elasticsearch::Elasticsearch::new(o.clone(), user_agent)?),
            Kind::AzureMonitor(o) => Sink::AzureMonitor(azure_monitor::AzureMonitor::new((**o).clone(), user_agent)?),
            Kind::File(o) => Sink::File(file::FileSink::new(o.clone())),
            Kind::Console(o) => Sink::Console(console::ConsoleSink::new(o.clone())),
            Kind::Tally(o) => Sink::Tally(tally::TallySink::new(o.clone())),
        })
    }

    /// Most bytes that the sink's protocol allows in a body, before compression.
    pub fn body_max_bytes(&self) -> usize {
        match self {
            Sink::AzureMonitor(_) => azure_monitor::BODY_MAX_BYTES,
            _ => usize::MAX,
        }
    }

    /// Appends one record to a body.
    pub fn encode(&self, record: &RecordView<'_>, body: &mut Vec<u8>) {
        match self {
            Sink::Elasticsearch(sink) => sink.encode(record, body),
            Sink::AzureMonitor(_) => azure_monitor::encode(record, body),
            Sink::File(_) => file::encode_ndjson(record, body),
            Sink::Console(sink) => sink.encode(record, body),
            Sink::Tally(sink) => sink.encode(record, body),
        }
    }

    /// The record itself within what [`Sink::encode`] made of it: a JSON object (a line of text on the terminal).
    pub fn document<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        let encoded = encoded.strip_suffix(b"\n").unwrap_or(encoded);
        match self {
            // Behind the line with the action.
            Sink::Elasticsearch(_) => encoded.splitn(2, |&byte| byte == b'\n').nth(1).unwrap_or(encoded),
            Sink::AzureMonitor(_) => encoded.strip_suffix(b",").unwrap_or(encoded),
            Sink::File(_) | Sink::Console(_) | Sink::Tally(_) => encoded,
        }
    }

    /// Appends a record that is there as its document, as [`Sink::encode`] made it and [`Sink::document`] gave it.
    /// `run_id`: RunID of its origin. False, and nothing is appended, where it is no document of such a sink.
    pub fn encode_document(&self, event_id: EventId, run_id: &str, document: &[u8], body: &mut Vec<u8>) -> bool {
        match self {
            Sink::Elasticsearch(sink) => sink.encode_document(event_id, run_id, document, body),
            Sink::AzureMonitor(_) => azure_monitor::encode_document(document, body),
            Sink::File(_) => file::encode_document(document, body),
            Sink::Console(sink) => sink.encode_document(document, body),
            // It refuses nothing, so it has no dead letters.
            Sink::Tally(_) => false,
        }
    }

    /// One attempt to send the records `range` of `batch`.
    pub async fn send(&self, batch: &Arc<Batch>, range: Range<usize>) -> SendOutcome {
        match self {
            Sink::Elasticsearch(sink) => sink.send(batch, range).await,
            Sink::AzureMonitor(sink) => sink.send(batch, range).await,
            Sink::File(sink) => sink.send(batch, range).await,
            Sink::Console(sink) => sink.send(batch, range).await,
            Sink::Tally(_) => SendOutcome::Accepted,
        }
    }

    /// Which records of `range` the sink holds, after an attempt whose outcome is unknown.
    pub async fn ask(&self, batch: &Batch, range: Range<usize>, note: &[u8]) -> Asked {
        match self {
            Sink::Elasticsearch(sink) => sink.ask(batch, range, note).await,
            Sink::AzureMonitor(_) => {
                Asked::CannotTell { reason: "Azure Monitor cannot be asked which records it has".to_owned() }
            }
            Sink::File(_) | Sink::Console(_) | Sink::Tally(_) => {
                Asked::CannotTell { reason: "a stream cannot be asked which records it has".to_owned() }
            }
        }
    }

    /// What must be remembered, durably, before records are first sent, so that [`Sink::ask`] can tell later;
    /// empty where there is nothing. Elasticsearch: the write index of a data stream.
    pub async fn note(&self) -> Result<Vec<u8>, SendOutcome> {
        match self {
            Sink::Elasticsearch(sink) => sink.note().await,
            _ => Ok(Vec::new()),
        }
    }

    /// Keeps at hand what an attempt needs of others, so that the last one of a VM does not have to wait for them. Never
    /// ends; may be dropped at any time.
    pub async fn keep_ready(&self) -> std::convert::Infallible {
        match self {
            Sink::AzureMonitor(sink) => sink.keep_ready().await,
            Sink::Elasticsearch(_) | Sink::File(_) | Sink::Console(_) | Sink::Tally(_) => std::future::pending().await,
        }
    }

    /// The next attempt uses new credentials; what is cached was refused.
    pub async fn forget_credentials(&self) {
        if let Sink::AzureMonitor(sink) = self {
            sink.forget_credentials().await;
        }
    }

    /// Proves that the sink accepts, without storing a record.
    ///
    /// # Errors
    /// What, where and what to do, in one line.
    pub async fn probe(&self) -> Result<String, String> {
        match self {
            Sink::Elasticsearch(sink) => sink.probe().await,
            Sink::AzureMonitor(sink) => sink.probe().await,
            Sink::File(sink) => sink.probe().await,
            Sink::Console(_) | Sink::Tally(_) => Ok("standard output".to_owned()),
        }
    }
}
