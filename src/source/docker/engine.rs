//! Calls to the engine: version, list, inspect, events, the raw log stream and attach, by bollard. Nothing here retries or
//! waits.
//!
//! bollard's own `logs` is not used: it takes `since` in whole seconds, reads a terminal's bytes 0 to 2 as frame headers
//! and hides the engine's in-stream errors among the text. [`super::frame`] decodes instead. Nor are its `inspect_container`
//! and `list_containers`, which log whole answers and fail on words that they do not know: see [`super::answer`].
//!
//! bollard asks for paths without a version, which an engine answers as its newest API says. Here each connection settles
//! on a version first: the newest that both sides know.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage, SystemVersion};
use bollard::query_parameters::{AttachContainerOptionsBuilder, EventsOptionsBuilder};
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use hyper::Uri;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use thiserror::Error;

use super::address::Address;
use super::{answer, frame, socket, timestamp, tls};
use crate::record::Nanos;

/// Longest wait for the answer to a call, streams aside.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the head of the answer of a stream that follows: old engines send it with the first line only.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Largest answer to a call, streams aside, in bytes: a list of all containers that are known at a time stays below it.
const ANSWER_MAX_BYTES: usize = 256 * 1024 * 1024;

/// What happens to containers and is of interest; Podman says `died` and `remove`.
const ACTIONS: [&str; 7] = ["create", "start", "oom", "die", "died", "destroy", "remove"];

/// Podman's words for a container that it has not.
const NO_SUCH: &str = "no such container";

/// A call that gave no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EngineError {
    /// The engine answered, and refused.
    #[error("{message} (status {status})")]
    Refused { status: u16, message: String },
    /// No answer, or one that broke off.
    #[error("{0}")]
    Unreachable(String),
}

impl EngineError {
    /// The same, with the name of the call where that was refused: a proxy may let through others.
    fn of(self, call: &str) -> EngineError {
        match self {
            EngineError::Refused { status, message } => {
                EngineError::Refused { status, message: format!("{call}: {message}") }
            }
            other => other,
        }
    }
}

/// Body of a log stream as it comes, and of events.
pub type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, EngineError>> + Send>>;

/// A client of one engine. Each call opens a connection of its own, so it stays valid while the engine restarts.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    address: Arc<Address>,
    /// Names of the variables that are kept of a container's environment.
    variables: Arc<[String]>,
    /// Minor number of the API's version that was settled on; 0: none yet.
    api: Arc<AtomicU32>,
    podman: Arc<AtomicBool>,
}

impl Engine {
    /// Connects to nothing yet. `variables`: those of a container's environment that [`Engine::inspect`] tells.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] where there is no such socket, or certificates cannot be used.
    pub fn new(address: &Address, variables: Arc<[String]>) -> Result<Engine, EngineError> {
        let docker = client(address).map_err(EngineError::Unreachable)?.with_timeout(REQUEST_TIMEOUT);
        Ok(Engine {
            docker,
            address: Arc::new(address.clone()),
            variables,
            api: Arc::default(),
            podman: Arc::default(),
        })
    }

    /// Name and version of the engine, for people. Settles on the version of the API that all further calls are made by.
    ///
    /// # Errors
    /// [`EngineError`], as for all calls.
    pub async fn version(&self) -> Result<String, EngineError> {
        let version = self.docker.version().await;
        let version = version.map_err(|error| failure(&self.address, error).of("GET /version"))?;
        self.api.store(settled(&version), Ordering::Relaxed);
        let SystemVersion { platform, components, version, api_version, .. } = version;
        let names = platform.map(|platform| platform.name).into_iter();
        let mut names = names.chain(components.into_iter().flatten().map(|component| component.name));
        // Podman gives its platform where Docker gives its name.
        let name = names.find(|name| !name.is_empty() && !name.contains('/')).unwrap_or_default();
        self.podman.store(name.starts_with("Podman"), Ordering::Relaxed);
        let part = |text: Option<String>| text.unwrap_or_default();
        Ok(format!("{name} {} (API {})", part(version), part(api_version)).trim().to_owned())
    }

    /// Whether it is Podman, as its [version](Engine::version) said.
    pub fn is_podman(&self) -> bool {
        self.podman.load(Ordering::Relaxed)
    }

    /// All containers, running or not; what [`answer::listed`] keeps of them.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn list(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        answer::listed(self.ask("/containers/json?all=true").await?).map_err(not_understood)
    }

    /// One container, what [`answer::inspected`] keeps of it; `None` where the engine has none of that id.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        match self.ask(&format!("/containers/{id}/json")).await {
            Ok(found) => answer::inspected(found, &self.variables).map(Some).map_err(not_understood),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            // Podman, while it removes it.
            Err(EngineError::Refused { status: 500, message }) if message.contains(NO_SUCH) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the engine lets us read the log of this container at all.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn try_logs(&self, id: &str) -> Result<(), EngineError> {
        let path = format!("/containers/{id}/logs");
        let first = self.get(format!("{path}?stdout=1&stderr=1&tail=0"), REQUEST_TIMEOUT).next().await;
        first.transpose().map(drop).map_err(|error| error.of(&format!("GET {path}")))
    }

    /// The answer to a GET, whole.
    async fn ask(&self, path: &str) -> Result<Value, EngineError> {
        let mut body = self.get(path.to_owned(), REQUEST_TIMEOUT);
        let whole = async {
            let mut bytes = Vec::new();
            while let Some(chunk) = body.next().await {
                let call = || format!("GET {}", path.split('?').next().unwrap_or_default());
                bytes.extend_from_slice(&chunk.map_err(|error| error.of(&call()))?);
                if bytes.len() > ANSWER_MAX_BYTES {
                    return Err(EngineError::Unreachable(format!(
                        "its answer is longer than {ANSWER_MAX_BYTES} bytes"
                    )));
                }
            }
            serde_json::from_slice(&bytes).map_err(not_understood)
        };
        let late = |_| EngineError::Unreachable(format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()));
        tokio::time::timeout(REQUEST_TIMEOUT, whole).await.map_err(late)?
    }

    /// The body of the answer to a GET as it comes. `timeout`: for its head.
    ///
    /// bollard gives raw bytes for `export` only, so the path of that request is replaced before it is sent.
    fn get(&self, path: String, timeout: Duration) -> Streamed<Bytes> {
        let docker = self.versioned(timeout, Some(path));
        let address = Arc::clone(&self.address);
        Box::pin(docker.export_container("").map(move |chunk| chunk.map_err(|error| failure(&address, error))))
    }

    /// A client whose requests ask for the version that was settled on, and for `path` where there is one.
    fn versioned(&self, timeout: Duration, path: Option<String>) -> Docker {
        let prefix = match self.api.load(Ordering::Relaxed) {
            0 => String::new(),
            minor => format!("/v{API_MAJOR}.{minor}"),
        };
        self.docker.clone().with_timeout(timeout).with_request_modifier(move |mut request| {
            let asked = path.as_deref().or(request.uri().path_and_query().map(|path| path.as_str()));
            // Where that is no path, nothing is asked for: the default is no address.
            let uri = asked.and_then(|path| with_path(request.uri(), &format!("{prefix}{path}")));
            *request.uri_mut() = uri.unwrap_or_default();
            request
        })
    }

    /// Whether the engine runs on this machine: its files and its clock are ours.
    pub fn is_local(&self) -> bool {
        matches!(*self.address, Address::Unix(_))
    }

    /// Whether attaching to a container proves anything, and changes nothing: see [`super::opening`].
    pub fn may_attach(&self) -> bool {
        self.is_local() && !self.is_podman()
    }

    /// The folder in which the engine keeps its data, as it names it; `None` where it does not say.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn data_folder(&self) -> Result<Option<PathBuf>, EngineError> {
        let info = self.ask("/info").await?;
        let folder = info.get("DockerRootDir").and_then(Value::as_str).filter(|folder| !folder.is_empty());
        Ok(folder.map(PathBuf::from))
    }

    /// What happens to containers, from `since` on without an end.
    pub fn events(&self, since: Nanos) -> Streamed<EventMessage> {
        let filters = HashMap::from([("type", vec!["container"]), ("event", ACTIONS.to_vec())]);
        let options = EventsOptionsBuilder::default().since(&timestamp::since_text(since)).filters(&filters).build();
        let docker = self.versioned(FOLLOW_TIMEOUT, None);
        let address = Arc::clone(&self.address);
        let said = move |error| failure(&address, error).of("GET /events");
        Box::pin(docker.events(Some(options)).map(move |event| event.map_err(&said)))
    }

    /// Both streams of a container's log with timestamps, as raw bytes for [`super::frame::Decoder`].
    pub fn logs(&self, id: &str, since: Option<Nanos>, follow: bool) -> Streamed<Bytes> {
        self.log(id, since, None, follow)
    }

    /// The same, of what the log holds now: its last `entries`, or all of it.
    pub fn retained(&self, id: &str, since: Option<Nanos>, entries: Option<u64>) -> Streamed<Bytes> {
        self.log(id, since, entries, false)
    }

    fn log(&self, id: &str, since: Option<Nanos>, tail: Option<u64>, follow: bool) -> Streamed<Bytes> {
        let mut path = format!("/containers/{id}/logs?stdout=1&stderr=1&timestamps=1");
        if follow {
            path.push_str("&follow=1");
        }
        if let Some(since) = since {
            path.push_str("&since=");
            path.push_str(&timestamp::since_text(since));
        }
        if let Some(tail) = tail {
            path.push_str(&format!("&tail={tail}"));
        }
        self.get(path, if follow { FOLLOW_TIMEOUT } else { REQUEST_TIMEOUT })
    }
}

/// Major number of the API that all engines have.
const API_MAJOR: usize = 1;

/// Minor number of the newest version of the API that both sides know, but none older than the engine still speaks;
/// 0 where it names none of ours.
fn settled(version: &SystemVersion) -> u32 {
    let minor = |text: &Option<String>| {
        let (major, minor) = text.as_deref()?.split_once('.')?;
        (major.parse() == Ok(API_MAJOR)).then(|| minor.parse::<u32>().ok())?
    };
    let ours = u32::try_from(API_DEFAULT_VERSION.minor_version).unwrap_or(u32::MAX);
    let newest = minor(&version.api_version).unwrap_or(0);
    newest.min(ours.max(minor(&version.min_api_version).unwrap_or(0)))
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// A client for this address; connects to nothing.
fn client(address: &Address) -> Result<Docker, String> {
    let seconds = REQUEST_TIMEOUT.as_secs();
    let docker = match address {
        Address::Unix(path) => {
            if let Some(fault) = socket::fault(path) {
                return Err(fault);
            }
            Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
        }
        Address::Plain(authority) => Docker::connect_with_http(authority, seconds, API_DEFAULT_VERSION),
        Address::Tls(authority, folder) => {
            let tls = tls::client(folder.as_deref()).map_err(|error| error.to_string())?;
            let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1().build();
            let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
            let send = move |request: BollardRequest| {
                let answer = client.request(request);
                async move { answer.await.map_err(bollard::errors::Error::from) }
            };
            let address = Some(format!("https://{authority}"));
            Docker::connect_with_custom_transport(send, address, seconds, API_DEFAULT_VERSION)
        }
    };
    docker.map_err(|error| error.to_string())
}

fn not_understood(error: serde_json::Error) -> EngineError {
    EngineError::Unreachable(format!("its answer is not understood: {error}"))
}

/// Why the connection to this address failed, where that shows.
fn remedy(address: &Address, error: &io::Error) -> Option<String> {
    match address {
        Address::Unix(path) if error.kind() == io::ErrorKind::PermissionDenied => Some(socket::denied(path)),
        _ => None,
    }
}

impl Engine {
    /// What a container without a terminal prints from now on, as it comes: pieces of a stream, no lines and no times. Given
    /// once the engine has joined us to it; a container that is not started yet is joined from its first byte on.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn attach(&self, id: &str) -> Result<Streamed<(frame::Stream, Bytes)>, EngineError> {
        let options = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
        let attached = self.versioned(REQUEST_TIMEOUT, None).attach_container(id, Some(options)).await;
        let attached = attached.map_err(|error| failure(&self.address, error))?;
        let address = Arc::clone(&self.address);
        Ok(Box::pin(attached.output.filter_map(move |piece| {
            let piece = match piece {
                Ok(LogOutput::StdOut { message }) => Some(Ok((frame::Stream::Stdout, message))),
                Ok(LogOutput::StdErr { message }) => Some(Ok((frame::Stream::Stderr, message))),
                Ok(LogOutput::StdIn { .. }) => None,
                Ok(LogOutput::Console { .. }) => {
                    Some(Err(EngineError::Unreachable("the attached stream has no frames".to_owned())))
                }
                Err(error) => Some(Err(failure(&address, error))),
            };
            std::future::ready(piece)
        })))
    }
}

/// bollard's error as one of ours; `address` where the connection itself is at fault.
fn failure(address: &Address, error: bollard::errors::Error) -> EngineError {
    use bollard::errors::Error;
    if let Error::DockerResponseServerError { status_code, message } = error {
        return EngineError::Refused { status: status_code, message: message.trim().to_owned() };
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(remedy) = cause.downcast_ref::<io::Error>().and_then(|error| remedy(address, error)) {
            return EngineError::Unreachable(remedy);
        }
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    if let Address::Tls(_, Some(folder)) = address {
        text.push_str(&format!(" (certificates of {}{})", folder.display(), tls::unshown(folder)));
    }
    EngineError::Unreachable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let address = Address::Unix("/nowhere/docker.sock".into());
        let error = Engine::new(&address, Arc::default()).expect_err("no socket");
        assert!(error.to_string().contains("/nowhere/docker.sock"), "{error}");
    }

    #[test]
    fn the_newest_version_that_both_sides_know_is_settled_on() {
        let check = |newest: Option<&str>, oldest: Option<&str>, expected: u32| {
            let text = |text: Option<&str>| text.map(str::to_owned);
            let (api_version, min_api_version) = (text(newest), text(oldest));
            let version = SystemVersion { api_version, min_api_version, ..SystemVersion::default() };
            assert_eq!(settled(&version), expected, "{newest:?} {oldest:?}");
        };
        check(Some("1.41"), Some("1.12"), 41);
        check(Some("1.53"), None, 53);
        check(Some("1.70"), Some("1.44"), 53);
        check(Some("1.70"), Some("1.60"), 60);
        check(Some("2.0"), Some("1.60"), 0);
        check(Some("new"), None, 0);
        check(None, None, 0);
    }
}
