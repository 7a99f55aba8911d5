//! Elasticsearch and OpenSearch by `_bulk` create: exactly once by `_id`. One attempt a call; no retries, no backoff.
//!
//! An id that a plain index holds already is refused with 409, so sending again is harmless there. A data stream (or
//! an alias) refuses ids of its newest backing index only: see `held.rs` for how a rollover between a lost answer and
//! the next attempt is seen through.
//!
//! **Invariant: after a request that may have arrived, nothing is sent within the same attempt.** The next endpoint is
//! tried only where no byte of the call has reached a server.

mod answer;
mod document;
mod endpoints;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod held;
mod index;
mod probe;
mod search;
mod template;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use url::Url;

use self::endpoints::{Body, Effect, Endpoints, Reply, Request};
use crate::record::EventId;
use crate::sink::{Asked, Batch, RecordView, SendOutcome, http};

pub use document::{is_document, write_document};
pub use endpoints::{ENDPOINT_PAUSE, RESPONSE_MAX_BYTES};
pub use index::{INDEX_MAX_BYTES, IndexName};
pub use search::{Reader, Search};

/// Options of one Elasticsearch sink.
#[derive(Clone)]
pub struct Options {
    /// At least one; used in turn, one that does not answer is skipped for [`ENDPOINT_PAUSE`].
    pub endpoints: Vec<Url>,
    pub index: IndexName,
    pub auth: http::Auth,
    pub http: http::Options,
    pub compression: http::Compression,
}

/// A URL may hold a password: endpoints are shown by name.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.endpoints.iter().map(endpoints::shown).collect();
        f.debug_struct("Options")
            .field("endpoints", &names)
            .field("index", &self.index)
            .field("auth", &self.auth)
            .field("http", &self.http)
            .field("compression", &self.compression)
            .finish()
    }
}

/// The Elasticsearch sink.
#[derive(Debug)]
pub struct Elasticsearch {
    endpoints: Endpoints,
    index: IndexName,
    compression: http::Compression,
    /// Set once the index template is there, or once it is known that we cannot see to that.
    template: tokio::sync::OnceCell<()>,
    /// It was said that we cannot.
    template_refused: AtomicBool,
    /// The concrete index behind a fixed name that last took a record, as far as is known. It may have been rolled
    /// over since: an older one is still right as a note, the search only begins earlier.
    write_index: Mutex<Option<Arc<str>>>,
}

impl Elasticsearch {
    /// Builds the client; opens nothing on the network.
    ///
    /// # Errors
    /// A CA file, certificate, key, header or credential that cannot be used.
    pub fn new(options: Options, user_agent: &str) -> Result<Self, http::BuildError> {
        Ok(Elasticsearch {
            endpoints: Endpoints::new(&options, user_agent)?,
            index: options.index,
            compression: options.compression,
            template: tokio::sync::OnceCell::new(),
            template_refused: AtomicBool::new(false),
            write_index: Mutex::new(None),
        })
    }

    /// Appends the action line and the document line of one record.
    pub fn encode(&self, record: &RecordView<'_>, body: &mut Vec<u8>) {
        document::write_operation(&self.index, record, body);
    }

    /// Appends the two lines that store a document which [`Self::encode`] made before, in the index that is configured
    /// now; false, and nothing, where it made no such document.
    pub fn encode_document(&self, event_id: EventId, run_id: &str, document: &[u8], body: &mut Vec<u8>) -> bool {
        document::write_stored(&self.index, event_id, run_id, document, body)
    }

    /// One attempt to send the records `range` of `batch`.
    pub async fn send(&self, batch: &Arc<Batch>, range: Range<usize>) -> SendOutcome {
        if range.is_empty() {
            return SendOutcome::Accepted;
        }
        if let Err(outcome) = template::ensure(self).await {
            return outcome;
        }
        let sent = range.len();
        let body = match self.compression {
            http::Compression::None => Ok(batch.shared(&range)),
            http::Compression::Gzip => {
                http::compress(batch.slice(&range), self.compression).await.map(bytes::Bytes::from)
            }
        };
        let body = match body {
            Ok(body) => body,
            Err(error) => return SendOutcome::NotSent { reason: format!("the body cannot be compressed: {error}") },
        };
        match self.bulk(body).await {
            Ok(reply) if reply.status.is_success() => match read_answer(&reply.body, sent) {
                Ok(answer) => {
                    // An index is named only where a record is there.
                    if answer.index.is_some() {
                        template::settle(self);
                    }
                    self.learn(answer.index.as_deref());
                    answer::outcome(answer)
                }
                Err(reason) => SendOutcome::Unknown { reason: format!("{}: {reason}", reply.endpoint) },
            },
            Ok(reply) if may_have_arrived(reply.status.as_u16(), &reply.body) => {
                SendOutcome::Unknown { reason: reply.describe() }
            }
            Ok(reply) => reply.refused(),
            Err(failure) => failure.into_outcome(),
        }
    }

    /// Which records of `range` the sink holds, after an attempt whose outcome is unknown; `held.rs` says how.
    pub async fn ask(&self, batch: &Batch, range: Range<usize>, note: &[u8]) -> Asked {
        held::ask(self, batch.ids.get(range).unwrap_or_default(), note).await
    }

    /// The concrete index behind the name, to be remembered before records are first sent; empty where there is
    /// none yet, where the name depends on the record, or where reading is not allowed. Costs a request only until
    /// the first answer to a bulk call has named it.
    ///
    /// # Errors
    /// As an attempt that was not sent or was refused: nothing may be sent before this is known.
    pub async fn note(&self) -> Result<Vec<u8>, SendOutcome> {
        held::note(self).await
    }

    /// Proves that records would be accepted, and stores none. Installs the index template and may create an empty
    /// data stream or index.
    ///
    /// # Errors
    /// What, where and what to do, in one line.
    pub async fn probe(&self) -> Result<String, String> {
        probe::probe(self).await
    }

    async fn bulk(&self, body: bytes::Bytes) -> Result<Reply, endpoints::Failure> {
        let body = Body {
            bytes: body,
            content_type: "application/x-ndjson",
            gzip: self.compression == http::Compression::Gzip,
        };
        let with_index;
        let path: &[&str] = match self.index.fixed() {
            Some(name) => {
                with_index = [name, "_bulk"];
                &with_index
            }
            None => &["_bulk"],
        };
        let request =
            Request { method: Method::POST, path, query: answer::FILTER, body: Some(body), effect: Effect::Once };
        self.endpoints.call(&request).await
    }

    /// True the first time: then it is to be said that templates cannot be seen to.
    fn says_template_refused(&self) -> bool {
        !self.template_refused.swap(true, Ordering::Relaxed)
    }

    fn learn(&self, index: Option<&str>) {
        let (Some(index), true) = (index, self.index.fixed().is_some()) else { return };
        let mut known = self.write_index.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if known.as_deref() != Some(index) {
            *known = Some(index.into());
        }
    }

    fn known_write_index(&self) -> Option<Arc<str>> {
        self.write_index.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

fn read_answer(body: &[u8], sent: usize) -> Result<answer::Answer, String> {
    answer::read_all_stored(body, sent).map_or_else(|| answer::read(body, sent), Ok)
}

/// Whether a failed call may have been carried out all the same: a gateway gives 502 or 504 where the server behind it
/// did not answer in time, 500 can come after half of the work. 503 means that nobody took it only where the engine says
/// so itself: a proxy says it as well where its server broke off behind the body.
fn may_have_arrived(status: u16, body: &[u8]) -> bool {
    match status {
        503 => !is_engine_error(body),
        _ => status >= 500,
    }
}

/// `{"error":…}`, as the engines write it.
fn is_engine_error(body: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body)
        .is_ok_and(|answer| answer.contains_key("error"))
}
