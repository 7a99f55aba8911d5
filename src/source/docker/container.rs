//! What is known of a container: whether it is ours to read, and the columns and names that come of it. Pure.

use std::collections::HashMap;
use std::path::PathBuf;

use bollard::models::{ContainerInspectResponse, ContainerSummary};

use super::driver::Driver;
use super::frame::Stream;
use super::options::{ColumnFrom, Options, Select};
use super::timestamp;
use crate::record::rule::glob_matches;
use crate::record::{Constants, Nanos, OriginId};
use crate::source::RunColumns;

/// What selection looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    pub id: String,
    /// Without the leading slash.
    pub name: String,
    /// As it was asked for.
    pub image: String,
    pub labels: HashMap<String, String>,
}

/// A container that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Container {
    pub candidate: Candidate,
    /// Names and values of the variables that columns ask for; nothing else of its environment is ever here.
    env: Vec<(String, String)>,
    /// It has a TTY: one stream, without frames.
    pub terminal: bool,
    /// The engine removes it, and its log, when it ends.
    pub auto_remove: bool,
    /// Where its log lies in the engine's data folder, as one JSON value a line; known once it was started.
    pub log_path: Option<PathBuf>,
    pub driver: Driver,
    pub life: Life,
}

/// Whether it runs, and which of its runs that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    pub running: bool,
    /// The engine's words for the start of the present or last run.
    pub started_at: String,
    /// How that run ended; `None` while it goes on, or where there was none.
    pub exit: Option<Exit>,
}

/// Labels of what Compose started: Docker's, and podman-compose's own.
const COMPOSE_PROJECT: &[&str] = &["com.docker.compose.project", "io.podman.compose.project"];
const COMPOSE_SERVICE: &[&str] = &["com.docker.compose.service", "io.podman.compose.service"];

/// How a run of a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    /// The engine's words for its start; empty where that is unknown.
    pub started_at: String,
    /// When it ended; `None` where the engine's words cannot be read.
    pub ended: Option<Nanos>,
    /// `None` where the engine did not say.
    pub code: Option<i64>,
    pub oom_killed: bool,
}

/// The engine's words for the time of what has not happened begin so.
const NEVER: &str = "0001-01-01";

/// Log driver whose files are one JSON value a line.
const JSON_FILE: &str = "json-file";

fn bare_name(name: &str) -> String {
    name.strip_prefix('/').unwrap_or(name).to_owned()
}

impl Candidate {
    /// Out of a list; `None` without an id. The image may be an id there where its tag has moved on.
    pub fn of_summary(summary: ContainerSummary) -> Option<Candidate> {
        let names = summary.names.unwrap_or_default();
        // Links add names with a second slash.
        let name = names.iter().find(|name| !name.trim_start_matches('/').contains('/')).or(names.first());
        Some(Candidate {
            id: summary.id?,
            name: name.map(|name| bare_name(name)).unwrap_or_default(),
            image: summary.image.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
        })
    }

    /// Out of the actor of an event, whose attributes are the labels with a few more.
    pub fn of_event(id: String, attributes: HashMap<String, String>) -> Candidate {
        let get = |key: &str| attributes.get(key).cloned().unwrap_or_default();
        Candidate { id, name: get("name"), image: get("image"), labels: attributes }
    }

    /// Whether every non-empty list of `include` has a match and no list of `exclude` has one.
    pub fn is_selected(&self, options: &Options) -> bool {
        let Select { names, images, labels } = &options.include;
        let included = (names.is_empty() || self.name_matches(names))
            && (images.is_empty() || self.image_matches(images))
            && (labels.is_empty() || self.label_matches(labels));
        let Select { names, images, labels } = &options.exclude;
        included && !self.name_matches(names) && !self.image_matches(images) && !self.label_matches(labels)
    }

    fn name_matches(&self, globs: &[String]) -> bool {
        globs.iter().any(|glob| glob_matches(glob.as_bytes(), self.name.as_bytes()))
    }

    fn image_matches(&self, globs: &[String]) -> bool {
        globs.iter().any(|glob| glob_matches(glob.as_bytes(), self.image.as_bytes()))
    }

    fn label_matches(&self, globs: &[String]) -> bool {
        globs.iter().any(|glob| match glob.split_once('=') {
            None => self.labels.keys().any(|label| glob_matches(glob.as_bytes(), label.as_bytes())),
            Some((label_glob, value_glob)) => self.labels.iter().any(|(label, value)| {
                glob_matches(label_glob.as_bytes(), label.as_bytes())
                    && glob_matches(value_glob.as_bytes(), value.as_bytes())
            }),
        })
    }
}

impl Life {
    /// Out of the answer to inspect. A container between two runs of its restart policy counts as running.
    pub fn of_inspect(inspected: &ContainerInspectResponse) -> Life {
        let Some(state) = inspected.state.as_ref() else { return Life::default() };
        let started_at = state.started_at.as_ref().map(ToString::to_string).unwrap_or_default();
        let running = state.running == Some(true) || state.restarting == Some(true);
        let exit = Exit {
            started_at: started_at.clone(),
            ended: state.finished_at.as_ref().and_then(|at| timestamp::parse_alone(&at.to_string())),
            code: state.exit_code,
            oom_killed: state.oom_killed.unwrap_or(false),
        };
        let has_run = !started_at.is_empty() && !is_unborn(&started_at);
        Life { running, exit: (!running && has_run).then_some(exit), started_at }
    }
}

/// Whether a container with these words of the engine for its start was never started.
pub fn is_unborn(started_at: &str) -> bool {
    started_at.starts_with(NEVER)
}

/// Where the log lies in the engine's data folder, as one JSON value a line.
pub fn log_path(inspected: &ContainerInspectResponse) -> Option<PathBuf> {
    let config = inspected.host_config.as_ref().and_then(|host| host.log_config.as_ref());
    let is_json_file = config.and_then(|log| log.typ.as_deref()).is_none_or(|driver| driver == JSON_FILE);
    let path = inspected.log_path.as_deref().filter(|path| is_json_file && !path.is_empty());
    path.map(PathBuf::from)
}

impl Container {
    /// Out of the answer to inspect.
    pub fn of_inspect(id: &str, inspected: ContainerInspectResponse) -> Container {
        let life = Life::of_inspect(&inspected);
        let log_path = log_path(&inspected);
        let driver = Driver::of(inspected.host_config.as_ref().and_then(|host| host.log_config.as_ref()));
        let host = inspected.host_config.unwrap_or_default();
        let config = inspected.config.unwrap_or_default();
        let env = config.env.unwrap_or_default();
        let pair = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Container {
            candidate: Candidate {
                id: inspected.id.unwrap_or_else(|| id.to_owned()),
                name: bare_name(&inspected.name.unwrap_or_default()),
                image: config.image.unwrap_or_default(),
                labels: config.labels.unwrap_or_default(),
            },
            env: env.iter().filter_map(pair).collect(),
            terminal: config.tty.unwrap_or(false),
            auto_remove: host.auto_remove.unwrap_or(false),
            log_path,
            driver,
            life,
        }
    }

    /// One of which no more is known than a list or an event says.
    pub fn of_candidate(candidate: Candidate) -> Container {
        Container { candidate, ..Container::default() }
    }

    fn column(&self, from: &ColumnFrom) -> String {
        let Candidate { id, name, image, .. } = &self.candidate;
        match from {
            ColumnFrom::Label(label) => self.label(&[label]),
            ColumnFrom::Env(name) => {
                self.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap_or_default()
            }
            ColumnFrom::ComposeProject => self.label(COMPOSE_PROJECT),
            ColumnFrom::ComposeService => self.label(COMPOSE_SERVICE),
            ColumnFrom::Name => name.clone(),
            ColumnFrom::Id => id.clone(),
            ColumnFrom::Image => image.clone(),
        }
    }

    /// Value of the first of these labels that it has.
    fn label(&self, names: &[&str]) -> String {
        names.iter().find_map(|name| self.candidate.labels.get(*name)).cloned().unwrap_or_default()
    }

    /// The constant columns of one of its streams: the source's own, then those of `[run]`, then where it comes from.
    ///
    /// `stream`: `None` for what is said of the container itself.
    pub fn constants(
        &self,
        options: &Options,
        run: &RunColumns,
        stream: Option<Stream>,
        origin: OriginId,
    ) -> Constants {
        let own = options.columns.iter().map(|(name, from)| (name.clone(), bounded(name, self.column(from))));
        let place = [
            ("Source", options.name.to_string()),
            ("Container", self.candidate.name.clone()),
            ("ContainerID", self.candidate.id.clone()),
            ("Image", self.candidate.image.clone()),
            ("Stream", stream.map(Stream::name).unwrap_or_default().to_owned()),
            ("Origin", origin.to_string()),
        ];
        let place = place.into_iter().map(|(name, value)| (name.to_owned(), value));
        options.ingest.redactor.columns(own.chain(run.0.iter().cloned()).chain(place))
    }

    /// LoggerName of lines that have none.
    pub fn logger(&self) -> String {
        format!("docker.{}", self.candidate.name)
    }
}

/// Longest value of a column that a label or a variable gives, in bytes: it stands in every record of the container.
const COLUMN_MAX_BYTES: usize = 4_096;

fn bounded(name: &str, value: String) -> String {
    if value.len() <= COLUMN_MAX_BYTES {
        return value;
    }
    let end = (0..=COLUMN_MAX_BYTES).rev().find(|&end| value.is_char_boundary(end)).unwrap_or(0);
    tracing::warn!(column = name, bytes = value.len(), kept = end, "a label or variable is too long for a column");
    value[..end].to_owned()
}

/// Which stream of which container an origin is; what its `descriptor` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Name of the source.
    pub source: String,
    pub container: String,
    /// `None`: what is said of the container itself.
    pub stream: Option<Stream>,
}

/// Stands in a descriptor for the container itself.
const ITSELF: &str = "container";

/// First byte sequence of every descriptor of this source; the digit is its version.
const MAGIC: &[u8] = b"docker1\0";

impl Descriptor {
    /// `docker1`, source, container id and stream, separated by NUL.
    pub fn encode(&self) -> Vec<u8> {
        let fields =
            [self.source.as_bytes(), self.container.as_bytes(), self.stream.map_or(ITSELF, Stream::name).as_bytes()];
        [MAGIC, &fields.join(&0)].concat()
    }

    /// `None` for what this source did not write.
    pub fn decode(bytes: &[u8]) -> Option<Descriptor> {
        let mut fields = std::str::from_utf8(bytes.strip_prefix(MAGIC)?).ok()?.rsplitn(3, '\0');
        let stream = match fields.next()? {
            "stdout" => Some(Stream::Stdout),
            "stderr" => Some(Stream::Stderr),
            ITSELF => None,
            _ => return None,
        };
        let container = fields.next()?.to_owned();
        Some(Descriptor { source: fields.next()?.to_owned(), container, stream })
    }
}

#[cfg(test)]
#[path = "container_tests.rs"]
mod tests;
