//! The instance metadata service of Azure (IMDS): what this VM is, what is announced to it, and the approval of that.
//! It knows no record and keeps no state but when events were last answered; when to ask is its caller's affair.
//!
//! What stands in the way at this address, and why it cannot do harm here:
//! - other clouds, captive portals and proxies answer there too: what counts is a document that can be read, never an
//!   address that answers, and redirects are not followed;
//! - elsewhere packets to it vanish: [`CONNECT_TIMEOUT`] bounds that, and [`chassis_is_azure`] tells without a packet;
//! - a proxy of the environment would see the request and add `X-Forwarded-For`, which IMDS refuses: none is ever used;
//! - the first call for events may take two minutes, as it switches them on: it has a limit of its own
//!   ([`FIRST_EVENTS_TIMEOUT`]), so nothing that cannot wait may wait for it.

mod document;
pub mod property;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use crate::http;
pub use document::{Event, EventKind, EventStatus, Instance, ScheduledEvents, Tag};

/// Where IMDS is on every Azure VM.
pub const ADDRESS: &str = "http://169.254.169.254";

/// [`ADDRESS`] as a URL.
pub fn address() -> Url {
    Url::parse(ADDRESS).expect("the constant is a URL")
}

/// Where Linux shows the asset tag of the chassis, to every user.
pub const CHASSIS_ASSET_TAG_PATH: &str = "/sys/class/dmi/id/chassis_asset_tag";

/// The tag of every Azure VM; cloud-init goes by it too. Hyper-V elsewhere has another one, with the same vendor.
pub const AZURE_CHASSIS_ASSET_TAG: &str = "7783-7084-3265-9085-8269-3286-77";

/// Most time for a connection: the service is on the host of this VM.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Most time for one request, but for the first one for events.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Most time for the first request for events; documented are up to two minutes.
pub const FIRST_EVENTS_TIMEOUT: Duration = Duration::from_secs(130);

/// Events are switched off again after so long without a request; the next one is a first one. As documented.
const EVENTS_OFF_AFTER: Duration = Duration::from_secs(24 * 3600);

/// How long the instance document is asked for while IMDS says that it will have it; 410 lasts up to 70 s, as documented.
/// The last request may begin so late.
pub const INSTANCE_RETRY_FOR: Duration = Duration::from_secs(80);

/// How long a question is asked again. The last request may begin so late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// While IMDS says that it will have an answer.
    pub refused: Duration,
    /// While nothing answers at its address; zero asks once.
    pub unreachable: Duration,
}

impl Patience {
    /// Nothing that cannot be reached is asked again: here it does not exist, or the network is not up yet, which the
    /// caller knows better.
    const fn with_refusals(refused: Duration) -> Self {
        Patience { refused, unreachable: Duration::ZERO }
    }
}

/// How long an approval is sent again; it is worth less with every second.
pub const APPROVE_RETRY_FOR: Duration = Duration::from_secs(10);

/// First wait before a request is sent again; doubled each time. 5 requests a second are allowed, documented is ≥ 1 s.
const RETRY_WAIT_FIRST: Duration = Duration::from_secs(1);

/// Longest wait before a request is sent again, unless the service asks for a longer one.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(8);

/// Most bytes that are read of an answer. A VM has up to 50 tags of 768 characters; an event names up to a thousand VMs.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;

/// Oldest versions that have all that is read here; IMDS keeps old versions.
const INSTANCE: &str = "/metadata/instance?api-version=2021-02-01";
const EVENTS: &str = "/metadata/scheduledevents?api-version=2020-07-01";

/// A question to IMDS that had no good answer. `address`: the one that was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImdsError {
    /// No connection, or no whole answer in time.
    #[error("IMDS at {address} does not answer: {reason}")]
    Unreachable { address: String, reason: String },
    /// Azure's own refusal; `retry_after`: the wait that it asked for.
    #[error("IMDS at {address} answered {status}: {reason}")]
    Refused { address: String, status: u16, reason: String, retry_after: Option<Duration> },
    /// Another cloud, a captive portal, a proxy.
    #[error("what answers at {address} is not Azure's IMDS: {reason}")]
    NotAzure { address: String, reason: String },
}

impl ImdsError {
    /// Whether the same question can have a good answer later, without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            ImdsError::Unreachable { .. } => true,
            ImdsError::Refused { status, .. } => passes(*status),
            ImdsError::NotAzure { .. } => false,
        }
    }

    /// The wait that the service has asked for before the next request.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ImdsError::Refused { retry_after, .. } => *retry_after,
            ImdsError::Unreachable { .. } | ImdsError::NotAzure { .. } => None,
        }
    }
}

/// Statuses of a service that is starting (404 in its own words), updating, busy or ill.
fn passes(status: u16) -> bool {
    matches!(status, 404 | 410 | 429 | 500 | 502 | 503 | 504)
}

/// Whether this machine is an Azure VM, by the file at `path` ([`CHASSIS_ASSET_TAG_PATH`]). No file: no.
pub fn chassis_is_azure(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|tag| tag.trim() == AZURE_CHASSIS_ASSET_TAG)
}

/// Asks IMDS.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// When a request for events was last answered with a document.
    events_answered: Mutex<Option<Instant>>,
}

/// An answer of status 2xx.
struct Answer {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

impl Client {
    /// Opens nothing on the network. Of `base` ([`ADDRESS`]) scheme, host and port count.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(base: Url, user_agent: &str) -> Result<Self, http::BuildError> {
        let http = reqwest::Client::builder()
            .user_agent(user_agent)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .build()
            .map_err(|e| http::BuildError::Value { what: "client", reason: http::plain_reason(&e) })?;
        Ok(Client { http, base, events_answered: Mutex::new(None) })
    }

    /// What this VM is. Takes up to [`INSTANCE_RETRY_FOR`] and a request on Azure while IMDS is not ready, and one
    /// request (so [`CONNECT_TIMEOUT`] where there is nothing) elsewhere.
    ///
    /// # Errors
    /// IMDS is not reached or not ready, or it is not Azure's.
    pub async fn instance(&self) -> Result<Instance, ImdsError> {
        self.instance_within(Patience::with_refusals(INSTANCE_RETRY_FOR)).await
    }

    /// The same with other limits.
    ///
    /// # Errors
    /// IMDS is not reached or not ready, or it is not Azure's.
    pub async fn instance_within(&self, patience: Patience) -> Result<Instance, ImdsError> {
        let mut again = Again::within(patience);
        loop {
            let asked = async {
                let answer = self.exchange(self.request(reqwest::Method::GET, INSTANCE)?, REQUEST_TIMEOUT).await?;
                Instance::parse(&answer.body).map_err(|reason| self.unread(&answer, &reason))
            };
            if let Some(done) = again.after(asked.await).await {
                return done;
            }
        }
    }

    /// What is announced now: one request, as asking again is the poll itself (once a second is recommended). The first
    /// one switches events on for this VM and has [`FIRST_EVENTS_TIMEOUT`]; dropping it half-way is no harm.
    ///
    /// # Errors
    /// IMDS is not reached or not ready, or it is not Azure's.
    pub async fn scheduled_events(&self) -> Result<ScheduledEvents, ImdsError> {
        let answered = *self.events_answered.lock().unwrap_or_else(PoisonError::into_inner);
        let are_on = answered.is_some_and(|at| at.elapsed() < EVENTS_OFF_AFTER);
        let limit = if are_on { REQUEST_TIMEOUT } else { FIRST_EVENTS_TIMEOUT };
        let answer = self.exchange(self.request(reqwest::Method::GET, EVENTS)?, limit).await?;
        let events = ScheduledEvents::parse(&answer.body).map_err(|reason| self.unread(&answer, &reason))?;
        *self.events_answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(events)
    }

    /// Lets these events begin now instead of at their time: for every VM that they name, so the caller must know that
    /// it is this one alone. Sent again for [`APPROVE_RETRY_FOR`]; no event is no request.
    ///
    /// # Errors
    /// IMDS is not reached or refuses; the events then begin at their time.
    pub async fn approve(&self, event_ids: &[String]) -> Result<(), ImdsError> {
        if event_ids.is_empty() {
            return Ok(());
        }
        let requests: Vec<Value> = event_ids.iter().map(|id| json!({"EventId": id})).collect();
        let body = json!({"StartRequests": requests}).to_string();
        let mut again = Again::within(Patience::with_refusals(APPROVE_RETRY_FOR));
        loop {
            let asked = async {
                let request = self.request(reqwest::Method::POST, EVENTS)?;
                let request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
                self.exchange(request, REQUEST_TIMEOUT).await.map(|_| ())
            };
            if let Some(done) = again.after(asked.await).await {
                return done;
            }
        }
    }

    fn request(&self, method: reqwest::Method, target: &str) -> Result<reqwest::RequestBuilder, ImdsError> {
        let url = self.base.join(target).map_err(|error| self.unreachable(error.to_string()))?;
        Ok(self.http.request(method, url).header("Metadata", "true"))
    }

    /// Sends a request and takes its answer whole, within `limit`.
    async fn exchange(&self, request: reqwest::RequestBuilder, limit: Duration) -> Result<Answer, ImdsError> {
        let taken = async {
            let sent = request.send().await;
            let mut response = sent.map_err(|error| self.unreachable(http::plain_reason(&error.without_url())))?;
            let (body, whole) = http::read_body(&mut response, ANSWER_MAX_BYTES).await;
            Ok((response, body, whole))
        };
        let late = |_| self.unreachable(format!("no whole answer within {} s", limit.as_secs()));
        let (response, body, whole) = tokio::time::timeout(limit, taken).await.map_err(late)??;
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        if status.is_redirection() {
            let reason = format!("it answered {}, a redirect to {:?}", status.as_u16(), header(LOCATION).unwrap_or(""));
            return Err(self.not_azure(reason));
        }
        let kind = header(CONTENT_TYPE).unwrap_or("no content type").to_owned();
        let answer = Answer { status: status.as_u16(), kind, body };
        if !status.is_success() {
            return Err(self.refused(&answer, http::retry_after(response.headers())));
        }
        match whole {
            Ok(()) => Ok(answer),
            // A body that broke off is a fault of the way, one without an end is no document.
            Err(reason) if answer.body.len() < ANSWER_MAX_BYTES => {
                Err(self.unreachable(format!("its answer {reason}")))
            }
            Err(reason) => Err(self.not_azure(format!("its answer {reason}"))),
        }
    }

    fn refused(&self, answer: &Answer, retry_after: Option<Duration>) -> ImdsError {
        let document: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let in_azures_words = document.get("error").is_some();
        let status = answer.status;
        // 404 without a word of Azure is what other clouds say of a path that they do not know.
        if in_azures_words || (passes(status) && status != 404) {
            let reason = http::excerpt(&answer.body);
            let reason = if reason.is_empty() { "without a word".to_owned() } else { reason };
            return ImdsError::Refused { address: self.address(), status, reason, retry_after };
        }
        self.not_azure(format!("it answered {status} with {}", answer.kind))
    }

    fn unread(&self, answer: &Answer, reason: &str) -> ImdsError {
        self.not_azure(format!("it answered {} with {}, which {reason}", answer.status, answer.kind))
    }

    fn unreachable(&self, reason: String) -> ImdsError {
        ImdsError::Unreachable { address: self.address(), reason }
    }

    fn not_azure(&self, reason: String) -> ImdsError {
        ImdsError::NotAzure { address: self.address(), reason }
    }

    fn address(&self) -> String {
        self.base.origin().ascii_serialization()
    }
}

/// Asking again, with growing waits, until there is an answer, an error that does not pass, or no more patience.
struct Again {
    begun: Instant,
    patience: Patience,
    wait: Duration,
}

impl Again {
    fn within(patience: Patience) -> Self {
        Again { begun: Instant::now(), patience, wait: RETRY_WAIT_FIRST }
    }

    /// What came of it in the end; `None` after a wait: it is to be asked again.
    async fn after<T>(&mut self, answer: Result<T, ImdsError>) -> Option<Result<T, ImdsError>> {
        let error = match answer {
            Err(error) if error.may_pass() => error,
            done => return Some(done),
        };
        let limit = match &error {
            ImdsError::Refused { .. } => self.patience.refused,
            ImdsError::Unreachable { .. } | ImdsError::NotAzure { .. } => self.patience.unreachable,
        };
        let pause = error.retry_after().map_or(self.wait, |asked| asked.max(self.wait));
        if self.begun.elapsed().saturating_add(pause) > limit {
            return Some(Err(error));
        }
        tokio::time::sleep(pause).await;
        self.wait = (self.wait * 2).min(RETRY_WAIT_MAX);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_is_known_by_the_tag_of_the_chassis_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tag");
        let check = |content: Option<&[u8]>, expected: bool| {
            if let Some(content) = content {
                std::fs::write(&path, content).expect("a file");
            }
            assert_eq!(chassis_is_azure(&path), expected, "{content:?}");
        };
        check(None, false);
        check(Some(b"7783-7084-3265-9085-8269-3286-77\n"), true);
        check(Some(b"7783-7084-3265-9085-8269-3286-77"), true);
        check(Some(b"8269-3286-77\n"), false);
        check(Some(b"Amazon EC2\n"), false);
        check(Some(b""), false);
        check(Some(&[0xff, 0xfe]), false);
    }

    #[test]
    fn a_refusal_passes_only_where_azure_says_so() {
        let client = Client::new(Url::parse(ADDRESS).expect("URL"), "logferry-test").expect("a client");
        let check = |status: u16, body: &str, expected: Option<bool>| {
            let answer = Answer { status, kind: "text/plain".into(), body: body.into() };
            let error = client.refused(&answer, None);
            let may_pass = matches!(error, ImdsError::Refused { .. }).then(|| error.may_pass());
            assert_eq!(may_pass, expected, "{status} {body}: {error}");
        };
        let azure = r#"{"error":"Bad request"}"#;
        check(410, "", Some(true));
        check(429, "<html>", Some(true));
        check(500, azure, Some(true));
        check(503, "", Some(true));
        check(404, azure, Some(true));
        check(400, azure, Some(false));
        check(404, "<html>", None);
        check(401, "", None);
        check(403, "Missing Metadata-Flavor:Google header", None);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_to_their_bound_and_outlast_the_seventy_seconds_of_an_update() {
        let gone =
            |retry_after| ImdsError::Refused { address: "a".into(), status: 410, reason: "b".into(), retry_after };
        let refusals = Patience::with_refusals;
        let story = async |patience: Patience, ask: &dyn Fn(Duration) -> Result<(), ImdsError>| {
            let begun = Instant::now();
            let mut again = Again::within(patience);
            let mut times = Vec::new();
            loop {
                times.push(begun.elapsed().as_secs());
                if let Some(done) = again.after(ask(begun.elapsed())).await {
                    return (done, times);
                }
            }
        };
        let update = |at: Duration| if at < Duration::from_secs(70) { Err(gone(None)) } else { Ok(()) };
        let expected = vec![0, 1, 3, 7, 15, 23, 31, 39, 47, 55, 63, 71];
        assert_eq!(story(refusals(INSTANCE_RETRY_FOR), &update).await, (Ok(()), expected));
        assert_eq!(story(refusals(APPROVE_RETRY_FOR), &|_| Err(gone(None))).await, (Err(gone(None)), vec![0, 1, 3, 7]));
        let asked_wait = Some(Duration::from_secs(60));
        let asked = story(refusals(INSTANCE_RETRY_FOR), &|_| Err(gone(asked_wait))).await;
        assert_eq!(asked, (Err(gone(asked_wait)), vec![0, 60]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_cannot_be_reached_is_asked_again_only_where_that_is_wanted() {
        let unreachable = || ImdsError::Unreachable { address: "a".into(), reason: "b".into() };
        let not_azure = || ImdsError::NotAzure { address: "a".into(), reason: "b".into() };
        let check = async |error: ImdsError, unreachable: u64, expected_s: u64| {
            let patience = Patience { refused: INSTANCE_RETRY_FOR, unreachable: Duration::from_secs(unreachable) };
            let begun = Instant::now();
            // Each question takes the two seconds of a connection that nobody takes.
            let mut again = Again::within(patience);
            let asked: Result<(), _> = loop {
                tokio::time::sleep(CONNECT_TIMEOUT).await;
                if let Some(done) = again.after(Err(error.clone())).await {
                    break done;
                }
            };
            assert_eq!((asked, begun.elapsed()), (Err(error.clone()), Duration::from_secs(expected_s)));
        };
        check(unreachable(), 0, 2).await;
        check(unreachable(), 5, 5).await;
        check(not_azure(), 5, 2).await;
    }
}
