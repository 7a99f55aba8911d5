//! The servers of one sink, used in turn, and one request to them. Knows HTTP and which server answers;
//! what an answer means is for the callers.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, StatusCode, header};
use tokio::time::Instant;
use url::Url;

use super::Options;
use crate::sink::{SendOutcome, http};

/// How long a server that did not answer is passed over while another one is there. One dead server of two then
/// costs a failed connection every ten seconds, and one that came back is used again as soon.
pub const ENDPOINT_PAUSE: Duration = Duration::from_secs(10);

/// Largest answer that is read, in bytes: 26,000 items of a full batch, each with a long reason. What is over it
/// counts as no answer.
pub const RESPONSE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Most that is read of an answer that is no success, in bytes: its beginning stands in messages.
pub const FAULT_MAX_BYTES: usize = 64 * 1024;

/// One request, to be sent to whichever server answers.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub method: Method,
    /// Segments of the path below the endpoint's own.
    pub path: &'a [&'a str],
    pub query: &'a str,
    pub body: Option<Body>,
    pub effect: Effect,
}

/// What a second request could do that the first one did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: any server may be asked again.
    Repeatable,
    /// Store records twice: a server that may have got it must not be followed by another one.
    Once,
}

#[derive(Clone, Debug)]
pub(super) struct Body {
    pub bytes: Bytes,
    pub content_type: &'static str,
    pub gzip: bool,
}

impl Body {
    pub fn json(value: &serde_json::Value) -> Self {
        Body { bytes: value.to_string().into(), content_type: "application/json", gzip: false }
    }
}

/// A request that got no whole answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No server got it.
    NotSent(String),
    /// A server may have got it.
    Unknown(String),
}

impl Failure {
    pub fn into_outcome(self) -> SendOutcome {
        match self {
            Failure::NotSent(reason) => SendOutcome::NotSent { reason },
            Failure::Unknown(reason) => SendOutcome::Unknown { reason },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::NotSent(reason) | Failure::Unknown(reason) => f.write_str(reason),
        }
    }
}

/// A whole answer; of one that is no success only the beginning of its body.
#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: header::HeaderMap,
    pub body: Vec<u8>,
    /// Name of the server for messages.
    pub endpoint: String,
}

impl Reply {
    /// `http://es:9200 answered 503: no master`, in one line.
    pub fn describe(&self) -> String {
        let mut text = format!("{} answered {}", self.endpoint, self.status.as_u16());
        if self.status.is_redirection() {
            let to = self.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(shown_location);
            text.push_str(&format!(", a redirect to {}: name the server itself", to.as_deref().unwrap_or("nowhere")));
        }
        let excerpt = http::excerpt(&self.body);
        if !excerpt.is_empty() {
            text.push_str(": ");
            text.push_str(&excerpt);
        }
        text
    }

    /// The whole call was refused: nothing was stored.
    pub fn refused(&self) -> SendOutcome {
        SendOutcome::Refused {
            status: self.status.as_u16(),
            retry_after: http::retry_after(&self.headers),
            reason: self.describe(),
        }
    }
}

/// Without what may be secret in it.
fn shown_location(text: &str) -> String {
    Url::parse(text).map_or_else(|_| "another path".to_owned(), |url| shown(&url))
}

/// Scheme, host, port and path of a URL: no credentials, no query.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = url.path().trim_end_matches('/');
    format!("{}://{}{port}{path}", url.scheme(), url.host_str().unwrap_or_default())
}

#[derive(Debug)]
struct Endpoint {
    url: Url,
    shown: String,
    /// Not used before this moment while another server is there.
    paused_until: Mutex<Option<Instant>>,
}

impl Endpoint {
    fn is_paused(&self, now: Instant) -> bool {
        let until = self.paused_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        until.is_some_and(|until| now < until)
    }

    fn set_pause(&self, until: Option<Instant>) {
        *self.paused_until.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = until;
    }
}

/// The servers of one sink.
pub(super) struct Endpoints {
    client: reqwest::Client,
    auth: http::Auth,
    list: Vec<Endpoint>,
    next: AtomicUsize,
}

/// Names only: a URL may hold a password.
impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl Endpoints {
    pub fn new(options: &Options, user_agent: &str) -> Result<Self, http::BuildError> {
        http::check_auth(&options.auth)?;
        if options.endpoints.is_empty() {
            return Err(http::BuildError::Value { what: "endpoints", reason: "at least one is needed".to_owned() });
        }
        let list = options.endpoints.iter().map(|url| Endpoint {
            url: url.clone(),
            shown: shown(url),
            paused_until: Mutex::new(None),
        });
        Ok(Endpoints {
            client: http::client(&options.http, user_agent)?,
            auth: options.auth.clone(),
            list: list.collect(),
            next: AtomicUsize::new(0),
        })
    }

    /// Name of each server, for messages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|endpoint| endpoint.shown.as_str())
    }

    /// Sends a request to the next server that answers.
    pub async fn call(&self, request: &Request<'_>) -> Result<Reply, Failure> {
        let mut reasons: Vec<String> = Vec::new();
        for endpoint in self.in_turn(Instant::now()) {
            match self.call_one(endpoint, request).await {
                Ok(reply) => {
                    endpoint.set_pause(None);
                    return Ok(reply);
                }
                Err(failure) => {
                    endpoint.set_pause(Some(Instant::now() + ENDPOINT_PAUSE));
                    if matches!((&failure, request.effect), (Failure::Unknown(_), Effect::Once)) {
                        return Err(failure);
                    }
                    reasons.push(failure.to_string());
                }
            }
        }
        Err(Failure::NotSent(reasons.join("; ")))
    }

    /// Sends a request to the server at this place of the list, whatever came of earlier ones.
    pub async fn call_at(&self, place: usize, request: &Request<'_>) -> Result<Reply, Failure> {
        match self.list.get(place) {
            Some(endpoint) => self.call_one(endpoint, request).await,
            None => Err(Failure::NotSent("there is no such endpoint".to_owned())),
        }
    }

    /// Every server once, the next one first, those that did not answer lately last.
    fn in_turn(&self, now: Instant) -> Vec<&Endpoint> {
        let start = self.next.fetch_add(1, Ordering::Relaxed) % self.list.len().max(1);
        let (before, from) = self.list.split_at(start);
        let mut order: Vec<&Endpoint> = from.iter().chain(before).collect();
        order.sort_by_key(|endpoint| endpoint.is_paused(now));
        order
    }

    async fn call_one(&self, endpoint: &Endpoint, request: &Request<'_>) -> Result<Reply, Failure> {
        let mut url = endpoint.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(request.path);
        }
        url.set_query((!request.query.is_empty()).then_some(request.query));
        let mut builder = http::authenticate(self.client.request(request.method.clone(), url), &self.auth);
        if let Some(body) = &request.body {
            builder = builder.header(header::CONTENT_TYPE, body.content_type).body(body.bytes.clone());
            if body.gzip {
                builder = builder.header(header::CONTENT_ENCODING, "gzip");
            }
        }
        let mut response = builder.send().await.map_err(|error| failure(&endpoint.shown, error))?;
        let status = response.status();
        let max = if status.is_success() { RESPONSE_MAX_BYTES } else { FAULT_MAX_BYTES };
        let (body, end) = http::read_body(&mut response, max).await;
        if status.is_success()
            && let Err(reason) = end
        {
            return Err(Failure::Unknown(format!("{}: the answer {reason}", endpoint.shown)));
        }
        let headers = std::mem::take(response.headers_mut());
        Ok(Reply { status, headers, body, endpoint: endpoint.shown.clone() })
    }
}

fn failure(endpoint: &str, error: reqwest::Error) -> Failure {
    match crate::sink::failed(error) {
        SendOutcome::NotSent { reason } => Failure::NotSent(format!("{endpoint}: {reason}")),
        SendOutcome::Unknown { reason } => Failure::Unknown(format!("{endpoint}: {reason}")),
        other => Failure::Unknown(format!("{endpoint}: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::elasticsearch::IndexName;

    fn endpoints(urls: &[&str]) -> Endpoints {
        let options = Options {
            endpoints: urls.iter().map(|url| Url::parse(url).expect("a URL")).collect(),
            index: IndexName::parse("x").expect("a name"),
            auth: http::Auth::None,
            http: http::Options {
                timeout: Duration::from_secs(5),
                proxy: None,
                headers: Vec::new(),
                ca_file: None,
                client_cert_file: None,
            },
            compression: http::Compression::None,
        };
        Endpoints::new(&options, "test").expect("endpoints")
    }

    #[test]
    fn servers_take_turns_and_one_that_did_not_answer_comes_last_until_its_pause_is_over() {
        let three = endpoints(&["http://a", "http://b", "http://c"]);
        let now = Instant::now();
        let order = |now| -> String { three.in_turn(now).iter().map(|e| &e.shown["http://".len()..]).collect() };
        assert_eq!(["abc", "bca", "cab", "abc"].map(str::to_owned), [order(now), order(now), order(now), order(now)]);
        three.list[1].set_pause(Some(now + ENDPOINT_PAUSE));
        assert_eq!(["cab", "cab", "acb"].map(str::to_owned), [order(now), order(now), order(now)]);
        assert_eq!(order(now + ENDPOINT_PAUSE), "bca", "after its pause it takes its turn again");
    }

    #[test]
    fn names_show_neither_credentials_nor_queries() {
        let check = |url: &str, expected: &str| assert_eq!(shown(&Url::parse(url).expect(url)), expected);
        check("http://user:pass@es:9200/", "http://es:9200");
        check("https://es.example/prefix/?key=secret", "https://es.example/prefix");
        let debug = format!("{:?}", endpoints(&["http://user:hunter2@es:9200/"]));
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
