//! Calls to the engine: version, list, inspect, events, the raw log stream and attach, by bollard. Nothing here retries or
//! waits.
//!
//! bollard's own `logs` is not used: it takes `since` in whole seconds, reads a terminal's bytes 0 to 2 as frame headers
//! and hides the engine's in-stream errors among the text. [`super::frame`] decodes instead.

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerInspectResponse, ContainerSummary, EventMessage};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use thiserror::Error;

use super::frame;
use super::options::Host;
use super::timestamp;
use crate::record::Nanos;

/// Longest wait for the answer to a call, streams aside.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for the head of the answer of a stream that follows: old engines send it with the first line only.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(365 * 24 * 3600);

const DEFAULT_ADDRESS: &str = "unix:///var/run/docker.sock";

/// What happens to containers and is of interest; Podman says `died` and `remove`.
const ACTIONS: [&str; 7] = ["create", "start", "oom", "die", "died", "destroy", "remove"];

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

/// An address that no engine can have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("docker host \"{0}\" is not supported: use unix:///PATH, tcp://HOST:PORT or http://HOST:PORT")]
pub struct AddressError(pub String);

/// The address that `host` stands for; `env` is the value of `DOCKER_HOST`.
///
/// # Errors
/// [`AddressError`] for a form that is not supported.
pub fn address(host: &Host, env: Option<&str>) -> Result<String, AddressError> {
    let address = match host {
        Host::Address(address) => address.as_str(),
        Host::Auto => env.filter(|value| !value.is_empty()).unwrap_or(DEFAULT_ADDRESS),
    };
    let rest = ["unix://", "tcp://", "http://"].iter().find_map(|scheme| address.strip_prefix(scheme));
    match rest {
        Some(rest) if !rest.is_empty() => Ok(address.to_owned()),
        _ => Err(AddressError(address.to_owned())),
    }
}

/// Body of a log stream as it comes, and of events.
pub type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, EngineError>> + Send>>;

/// A client of one engine. Each call opens a connection of its own, so it stays valid while the engine restarts.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
    address: Arc<str>,
}

impl Engine {
    /// `address` as [`address`] gives it. Connects to nothing yet.
    ///
    /// # Errors
    /// [`EngineError::Unreachable`] where there is no such socket.
    pub fn new(address: &str) -> Result<Engine, EngineError> {
        let docker = Docker::connect_with_host(address).map_err(|error| failure(address, error))?;
        Ok(Engine { docker: docker.with_timeout(REQUEST_TIMEOUT), address: address.into() })
    }

    /// Name and version of the engine, for people.
    ///
    /// # Errors
    /// [`EngineError`], as for all calls.
    pub async fn version(&self) -> Result<String, EngineError> {
        let version = self.docker.version().await.map_err(|error| failure(&self.address, error))?;
        let name = version.platform.map(|platform| platform.name).unwrap_or_default();
        let part = |text: Option<String>| text.unwrap_or_default();
        Ok(format!("{name} {} (API {})", part(version.version), part(version.api_version)).trim().to_owned())
    }

    /// All containers, running or not.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn list(&self) -> Result<Vec<ContainerSummary>, EngineError> {
        let options = ListContainersOptionsBuilder::default().all(true).build();
        self.docker.list_containers(Some(options)).await.map_err(|error| failure(&self.address, error))
    }

    /// One container; `None` where the engine has none of that id.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        match self.docker.inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(found) => Ok(Some(found)),
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(failure(&self.address, error)),
        }
    }

    /// Whether the engine runs on this machine: its files and its clock are ours.
    pub fn is_local(&self) -> bool {
        self.address.starts_with("unix://")
    }

    /// The folder in which the engine keeps its data, as it names it; `None` where it does not say.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn data_folder(&self) -> Result<Option<PathBuf>, EngineError> {
        let info = self.docker.info().await.map_err(|error| failure(&self.address, error))?;
        Ok(info.docker_root_dir.filter(|folder| !folder.is_empty()).map(PathBuf::from))
    }

    /// What happens to containers, from `since` on without an end.
    pub fn events(&self, since: Nanos) -> Streamed<EventMessage> {
        let filters = HashMap::from([("type", vec!["container"]), ("event", ACTIONS.to_vec())]);
        let options = EventsOptionsBuilder::default().since(&timestamp::since_text(since)).filters(&filters).build();
        let docker = self.docker.clone().with_timeout(FOLLOW_TIMEOUT);
        let address = Arc::clone(&self.address);
        Box::pin(docker.events(Some(options)).map(move |event| event.map_err(|error| failure(&address, error))))
    }

    /// Both streams of a container's log with timestamps, as raw bytes for [`super::frame::Decoder`].
    ///
    /// bollard gives raw bytes for `export` only, so the path of that request is replaced before it is sent.
    pub fn logs(&self, id: &str, since: Option<Nanos>, follow: bool) -> Streamed<Bytes> {
        self.log(id, since, None, follow)
    }

    /// The same, of what the log holds now of the time `since` or later: its last `entries`, or all of it.
    pub fn retained(&self, id: &str, since: Nanos, entries: Option<u64>) -> Streamed<Bytes> {
        self.log(id, Some(since), entries, false)
    }

    fn log(&self, id: &str, since: Option<Nanos>, tail: Option<u64>, follow: bool) -> Streamed<Bytes> {
        let mut query = "/logs?stdout=1&stderr=1&timestamps=1".to_owned();
        if follow {
            query.push_str("&follow=1");
        }
        if let Some(since) = since {
            query.push_str("&since=");
            query.push_str(&timestamp::since_text(since));
        }
        if let Some(tail) = tail {
            query.push_str(&format!("&tail={tail}"));
        }
        let timeout = if follow { FOLLOW_TIMEOUT } else { REQUEST_TIMEOUT };
        let docker = self.docker.clone().with_timeout(timeout).with_request_modifier(move |mut request| {
            let path = request.uri().to_string();
            // Where that is not the request it has to be, nothing is asked for: the default is no address.
            let logs = path.strip_suffix("/export").map(|container| format!("{container}{query}"));
            *request.uri_mut() = logs.and_then(|uri| uri.parse().ok()).unwrap_or_default();
            request
        });
        let address = Arc::clone(&self.address);
        Box::pin(docker.export_container(id).map(move |chunk| chunk.map_err(|error| failure(&address, error))))
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
        let attached = self.docker.attach_container(id, Some(options)).await;
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
fn failure(address: &str, error: bollard::errors::Error) -> EngineError {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            EngineError::Refused { status: status_code, message: message.trim().to_owned() }
        }
        Error::SocketNotFoundError(path) => {
            EngineError::Unreachable(format!("there is no socket {path}: is the engine installed and running?"))
        }
        error => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                if cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied) {
                    return EngineError::Unreachable(format!(
                        "no right to use the engine's socket {address}: run as a member of its group (often `docker`; \
                         in a container, group_add), or as root"
                    ));
                }
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text.push_str(": ");
                    text.push_str(&cause_text);
                }
                source = cause.source();
            }
            EngineError::Unreachable(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |host: Host, env: Option<&str>, expected: Result<&str, &str>| {
            let expected = expected.map(str::to_owned).map_err(|text| AddressError(text.to_owned()));
            assert_eq!(address(&host, env), expected);
        };
        let named = |text: &str| Host::Address(text.to_owned());
        check(Host::Auto, None, Ok("unix:///var/run/docker.sock"));
        check(Host::Auto, Some(""), Ok("unix:///var/run/docker.sock"));
        check(Host::Auto, Some("tcp://10.0.0.1:2375"), Ok("tcp://10.0.0.1:2375"));
        check(named("unix:///run/podman.sock"), Some("tcp://10.0.0.1:2375"), Ok("unix:///run/podman.sock"));
        check(named("http://engine:2375"), None, Ok("http://engine:2375"));
        for bad in ["", "unix://", "/var/run/docker.sock", "ssh://host", "https://host:2376"] {
            check(named(bad), None, Err(bad));
        }
    }

    #[test]
    fn a_socket_that_is_not_there_is_named() {
        let error = Engine::new("unix:///nowhere/docker.sock").expect_err("no socket");
        assert!(error.to_string().contains("/nowhere/docker.sock"), "{error}");
    }
}
