//! Azure Monitor's Logs Ingestion API: bodies of JSON arrays, one attempt to post one, what the answer means.
//! It neither retries nor splits, and cannot be asked which records of a call it took: Azure Monitor answers 204 and no
//! more. What has come through to the workspace is read back minutes later, by [`Reader`].
//!
//! # What the service does that nobody is told, and why it costs nothing here
//!
//! - **A call may have 1,048,576 bytes on the wire, brackets and commas included.** The body before compression stays under
//!   a million, framing counted: what gzip saves is luck. What is larger is refused before it is sent.
//! - **204 is "accepted", not "stored".** What inflates to over 50 MiB is dropped behind it: no body comes near. What a
//!   transformation drops shows when `verify` reads back what is there.
//! - **Columns that no stream declares vanish without an error.** `setup azure` makes them from the table that records are
//!   made of.
//! - **A value over 64 KB is cut in silence.** Records keep theirs under [`crate::record::STRING_MAX_BYTES`], in UTF-8; a
//!   longer message comes in parts.
//! - **`TimeGenerated` older than two days, or a day ahead, is replaced by the time of receipt.** `EventTime` carries the same
//!   time where nobody touches it.
//! - **A table of the Auxiliary plan wants six decimals and half an hour a call.** It gets the one; a call that spans more is
//!   refused with 400, and halves of it get ever shorter.
//! - **One bad record has its whole call refused, and 400 does not say which.** A call that is refused with 400 or 413 is
//!   never sent again as it was, but in halves, until the record stands alone and is a dead letter ([`crate::delivery`]).
//! - **A role takes up to half an hour to be known, a rule that is not there yet answers 404.** Both keep everything and are
//!   tried again, slowly and without end.
//! - **What got no answer may be stored, and the service knows no ids.** It is sent again with the same EventID.
//! - **A token stays refused.** After a 401 the cached one is thrown away, see [`AzureMonitor::forget_credentials`].
//! - **12,000 requests and 2 GB a minute are shared by all machines of a rule.** A trickle is gathered
//!   ([`crate::delivery`], `pace`), a `Retry-After` holds for all requests of the sink, and every wait has jitter.
//! - **The API before this one took 30 MB, with a shared key.** None of its limits, headers or names is used.

mod answer;
mod encode;
mod kql;
mod reader;
mod workspace;

use std::convert::Infallible;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use url::Url;

use crate::azure::credential::{self, Api, Cloud, Credentials, Transport};
use crate::sink::http::{self, Secret};
use crate::sink::{Batch, SendOutcome};
use answer::Target;
pub use encode::{encode, encode_document};
pub use kql::is_table_name;
pub use reader::Reader;

/// Version of the Logs Ingestion API.
const API_VERSION: &str = "2023-01-01";

/// Largest body that is posted, before compression, in bytes, brackets and commas included.
const CALL_MAX_BYTES: usize = 999_999;

/// Most encoded bytes of a batch: each record ends in a comma, the last of which gives way to a bracket.
pub const BODY_MAX_BYTES: usize = CALL_MAX_BYTES - 1;

/// Options of one Azure Monitor sink.
#[derive(Clone, Debug)]
pub struct Options {
    /// `https://NAME.REGION-1.ingest.monitor.azure.com`; plain http to loopback only.
    pub endpoint: Url,
    /// Immutable id of the data collection rule: `dcr-` and 32 hexadecimal digits.
    pub dcr_id: String,
    /// Starts with `Custom-`.
    pub stream: String,
    /// Customer id of the Log Analytics workspace behind the rule: a GUID. Only for reading back.
    pub workspace_id: Option<String>,
    /// The table that the rule writes the stream to; `None`: named as the stream, without `Custom-`.
    pub table: Option<String>,
    /// `https://api.loganalytics.io` or that of another cloud; `None`: by the cloud of `endpoint`.
    pub query_endpoint: Option<Url>,
    pub credential: credential::Options,
    pub http: http::Options,
    pub compression: http::Compression,
}

/// One stream of one data collection rule.
#[derive(Debug)]
pub struct AzureMonitor {
    client: reqwest::Client,
    url: Url,
    target: Target,
    compression: http::Compression,
    credentials: Credentials,
    /// The token that the service refused last, until [`Self::forget_credentials`].
    refused: Mutex<Option<Secret>>,
}

impl AzureMonitor {
    /// Opens nothing on the network. Token requests go where [`credential::AUTHORITY_VARIABLE`] says, if it is set.
    ///
    /// # Errors
    /// An endpoint that a token must not be sent to, a CA file, certificate or proxy that cannot be used.
    pub fn new(options: Options, user_agent: &str) -> Result<Self, http::BuildError> {
        Self::with_authority(options, user_agent, credential::authority_from_environment()?)
    }

    /// The same, with an imitation of Entra and IMDS at a loopback URL.
    ///
    /// # Errors
    /// As [`Self::new`]; also where `authority` is no loopback URL.
    pub fn with_authority(
        options: Options,
        user_agent: &str,
        authority: Option<Url>,
    ) -> Result<Self, http::BuildError> {
        let url = post_url(&options)?;
        let cloud = Cloud::of_host(options.endpoint.host_str().unwrap_or_default());
        let transport = Transport::new(&options.http, user_agent, authority)?;
        Ok(AzureMonitor {
            client: http::client(&options.http, user_agent)?,
            target: Target {
                host: options.endpoint.host_str().unwrap_or_default().to_owned(),
                dcr_id: options.dcr_id,
                stream: options.stream,
                audience: cloud.audience(Api::LogsIngestion),
            },
            url,
            compression: options.compression,
            credentials: Credentials::new(&options.credential, cloud, Api::LogsIngestion, transport),
            refused: Mutex::default(),
        })
    }

    /// One attempt to post the records `range` of `batch`.
    pub async fn send(&self, batch: &Batch, range: Range<usize>) -> SendOutcome {
        let records = batch.slice(&range);
        let Some((_, records)) = records.split_last() else { return SendOutcome::Accepted };
        let mut body = Vec::with_capacity(records.len() + 2);
        body.push(b'[');
        body.extend_from_slice(records);
        body.push(b']');
        if body.len() > CALL_MAX_BYTES {
            // As the service would, so that the caller splits; what gzip saves here is luck.
            let reason = format!("a body of {} bytes is over our own limit of {CALL_MAX_BYTES}", body.len());
            return SendOutcome::Refused { status: 413, retry_after: None, reason };
        }
        self.post(body).await
    }

    /// Has a token at hand from now on, before the first record and while there is none. Never ends.
    pub async fn keep_ready(&self) -> Infallible {
        self.credentials.keep().await
    }

    /// The token that was refused last is not used again.
    pub async fn forget_credentials(&self) {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(token) = refused {
            self.credentials.forget(&token).await;
        }
    }

    /// Gets a token and posts an empty array, which stores nothing.
    ///
    /// # Errors
    /// What answered, what it means and what to do, in one line.
    pub async fn probe(&self) -> Result<String, String> {
        let Target { host, dcr_id, stream, .. } = &self.target;
        match self.post(b"[]".to_vec()).await {
            SendOutcome::Accepted => {
                let identity = self.credentials.identity();
                Ok(format!("{host} accepts records for stream {stream} of rule {dcr_id} ({identity})"))
            }
            SendOutcome::Refused { status, reason, .. } => Err(format!("{host} answered {status}: {reason}")),
            SendOutcome::NotSent { reason } | SendOutcome::Unknown { reason } => Err(reason),
            SendOutcome::Items(_) => Err(format!("{host} answered for single records, which it never does")),
        }
    }

    async fn post(&self, body: Vec<u8>) -> SendOutcome {
        let token = match self.credentials.token().await {
            Ok(token) => token,
            Err(error) => return SendOutcome::NotSent { reason: error.to_string() },
        };
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some(id) = request_id() {
            tracing::debug!(request_id = id, bytes = body.len(), "posting to Azure Monitor");
            request = request.header("x-ms-client-request-id", id);
        }
        request = match self.compression {
            http::Compression::None => request.body(body),
            http::Compression::Gzip => match http::gzip(&body) {
                Ok(body) => request.header(CONTENT_ENCODING, "gzip").body(body),
                Err(error) => return SendOutcome::NotSent { reason: format!("gzip: {error}") },
            },
        };
        let sent = http::authenticate(request, &http::Auth::Bearer(token.clone())).send().await;
        let outcome = match sent {
            Ok(answer) => answer::read(answer, &self.target).await,
            Err(error) => self.target.at_host(crate::sink::failed(error)),
        };
        if matches!(outcome, SendOutcome::Refused { status: 401, .. }) {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(token);
        }
        outcome
    }
}

/// `{endpoint}/dataCollectionRules/{dcr}/streams/{stream}?api-version=…`, whether or not the endpoint ends in a slash.
fn post_url(options: &Options) -> Result<Url, http::BuildError> {
    let path = ["dataCollectionRules", &options.dcr_id, "streams", &options.stream];
    let mut url = url_below(&options.endpoint, "endpoint", &path)?;
    url.query_pairs_mut().clear().append_pair("api-version", API_VERSION);
    Ok(url)
}

/// `base` with a path behind it and no query. `what`: the key that `base` comes from.
fn url_below(base: &Url, what: &'static str, path: &[&str]) -> Result<Url, http::BuildError> {
    let bad = |reason: &str| http::BuildError::Value { what, reason: format!("{base}: {reason}") };
    let mut url = base.clone();
    if url.scheme() != "https" && !(url.scheme() == "http" && credential::is_loopback(&url)) {
        return Err(bad("must be https, so that nobody on the way sees the token"));
    }
    url.set_fragment(None);
    url.set_query(None);
    url.path_segments_mut().map_err(|()| bad("has no path"))?.pop_if_empty().extend(path);
    Ok(url)
}

/// A GUID for one attempt, by which Microsoft's support finds it; `None` where there is no randomness.
fn request_id() -> Option<String> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    let random = u128::from_le_bytes(bytes);
    // Version 4, variant 1.
    let id = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{id:032x}");
    let part = |range: Range<usize>| hex.get(range).unwrap_or_default();
    Some(format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn options(endpoint: &str) -> Options {
        Options {
            endpoint: Url::parse(endpoint).expect("URL"),
            dcr_id: "dcr-0123456789abcdef0123456789abcdef".into(),
            stream: "Custom-Logs_CL".into(),
            workspace_id: None,
            table: None,
            query_endpoint: None,
            credential: credential::Options::AUTO,
            http: http::Options {
                timeout: Duration::from_secs(5),
                proxy: None,
                headers: Vec::new(),
                ca_file: None,
                client_cert_file: None,
            },
            compression: http::Compression::Gzip,
        }
    }

    #[test]
    fn the_url_has_no_double_slash_and_one_api_version() {
        let check = |endpoint: &str, expected: &str| {
            let expected = format!(
                "{expected}/dataCollectionRules/dcr-0123456789abcdef0123456789abcdef/streams/Custom-Logs_CL?api-version=2023-01-01"
            );
            assert_eq!(post_url(&options(endpoint)).expect(endpoint).as_str(), expected);
        };
        check("https://x.ingest.monitor.azure.com", "https://x.ingest.monitor.azure.com");
        check("https://x.ingest.monitor.azure.com/?api-version=1#a", "https://x.ingest.monitor.azure.com");
        check("https://gateway.example/azure/", "https://gateway.example/azure");
        check("http://127.0.0.1:8080/", "http://127.0.0.1:8080");
    }

    #[test]
    fn a_token_is_never_sent_in_the_clear() {
        for endpoint in ["http://x.ingest.monitor.azure.com", "http://10.0.0.1", "ftp://127.0.0.1"] {
            let error = AzureMonitor::with_authority(options(endpoint), "test", None).expect_err(endpoint).to_string();
            assert!(error.contains("must be https"), "{error}");
        }
    }

    #[test]
    fn request_ids_are_guids_of_version_four_and_differ() {
        let (a, b) = (request_id().expect("random"), request_id().expect("random"));
        assert_ne!(a, b);
        for id in [a, b] {
            let lengths: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
            assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        }
    }
}
