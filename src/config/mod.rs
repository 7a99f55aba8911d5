//! Configuration: text to validated options of every stage. No stage imports this module.
//!
//! ```text
//! file ── document ──┐                                                  ┌─ unknown ─┐
//!                    ├─ layers ─▶ tree ─ interpolate ─▶ + defaults ─▶ ──┤           ├─▶ sections, sources, sinks ─▶ Config
//! LOGFERRY__… ─ environment                             (keys)          └─ later ───┘
//! ```
//! - **Invariant: all mistakes in one go.** Every step notes what is wrong and goes on; nothing is used unless all is
//!   right.
//! - **Invariant: no secret in a message.** The value of an unknown key, of a secret or of a URL's user is never
//!   quoted.
//! - **Invariant: a value knows where it comes from**: the line of the file, or the variable that overrides it.
//!
//! `keys` is the one table of names and defaults, `later` the one of what is not built yet; types and bounds stand
//! where a key is read. Only `layers` knows the `config` crate.

mod column;
mod document;
mod environment;
mod interpolate;
mod keys;
mod later;
mod layers;
mod matches;
mod metrics;
mod mistake;
mod node;
mod parsed_columns;
pub mod quantity;
mod record;
mod rules;
mod sections;
mod show;
mod sinks;
mod sources;
mod table;
mod teardown;
mod transport;
mod trials;
mod unknown;
mod url;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::azure::whereabouts;
use crate::ingest::OwnColumns;
use crate::ingest::metric::Metrics;
use crate::ingest::redact::Redactor;
use crate::ingest::rules::{Counts, Rules};
use crate::record::Rule;
use crate::{buffer, sink, source, trial};

pub use environment::{PREFIX, SOURCES_MAX, Variables};
pub use mistake::{Mistake, Mistakes, Place};
pub use show::show;
pub use teardown::{Approve, ScheduledEvents, Teardown};

use mistake::Report;
use node::{Node, Origin, Value};
use table::Table;

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/logferry/logferry.toml";

/// The variable that names the file where `-c` does not.
pub const PATH_VARIABLE: &str = "LOGFERRY_CONFIG";

/// What to do where there is no file.
const CREATE: &str =
    "\n    logferry config example > FILE makes one to start from; -c or LOGFERRY_CONFIG names another";

/// Largest configuration file, in bytes.
pub const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// Where the text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file that `-c` or `LOGFERRY_CONFIG` names.
    Named(PathBuf),
    /// [`DEFAULT_PATH`].
    Default,
    /// A text that logferry brings along, and its name in messages.
    Text { name: String, text: String },
}

impl Source {
    /// The file of `-c`, else `$LOGFERRY_CONFIG` (where not empty), else [`DEFAULT_PATH`].
    pub fn find(argument: Option<PathBuf>, variables: &Variables) -> Self {
        let variable = variables.get(PATH_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        argument.or(variable).map_or(Source::Default, Source::Named)
    }

    /// The file; `None` for a text.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Source::Named(path) => Some(path),
            Source::Default => Some(Path::new(DEFAULT_PATH)),
            Source::Text { .. } => None,
        }
    }

    fn name(&self) -> String {
        match self {
            Source::Text { name, .. } => name.clone(),
            Source::Named(_) | Source::Default => {
                self.path().map(|path| path.display().to_string()).unwrap_or_default()
            }
        }
    }
}

/// What the configuration is for, so far as that decides what must be in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `run`, `check` and `ship` of what is configured: at least one source and one sink.
    Pipeline,
    /// `ship PATH`: at least one sink.
    Sinks,
    /// `drain`, `status`, `config show`: whatever is there.
    Any,
    /// `try`, `ship --dry-run`: nothing is sent, so nothing is needed that says who we are to a sink.
    Records,
}

/// Everything that loading depends on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub source: &'a Source,
    pub variables: &'a Variables,
    pub purpose: Purpose,
    /// Whether the console sink may use colours: standard output is a terminal.
    pub colour: bool,
}

/// Validated options of every stage.
#[derive(Clone, Debug)]
pub struct Config {
    pub run: Run,
    /// Absolute.
    pub state_dir: PathBuf,
    pub buffer: buffer::Options,
    /// Names are unique over `files` and `docker`.
    pub files: Vec<source::file::Options>,
    pub docker: Vec<source::docker::Options>,
    /// At most [`crate::record::SINKS_MAX`]; the index of each is its route bit.
    pub sinks: Vec<sink::Options>,
    /// `record.columns`; those of every source.
    pub columns: Arc<OwnColumns>,
    /// What becomes of secrets; that of every source.
    pub redactor: Arc<Redactor>,
    /// What is counted out of records; that of every source.
    pub metrics: Arc<Metrics>,
    /// What is left out of every source, besides the rate limits in their options.
    pub rules: Arc<Rules>,
    /// How much each of these rules and rate limits has left out.
    pub left_out: Counts,
    pub teardown: Teardown,
    /// `None`: switched off.
    pub http_listen: Option<SocketAddr>,
    pub log: Log,
    /// What `check` proves; nobody else reads them.
    pub tests: Vec<trial::expect::Test>,
}

/// `[run]`: constant columns; empty ones are left out of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub run_id: whereabouts::Value,
    pub task_id: whereabouts::Value,
    pub benchmark: whereabouts::Value,
    pub vm_name: VmName,
    /// The user's own, in the order of the file.
    pub fields: Vec<(String, whereabouts::Value)>,
}

/// Column VMName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmName {
    /// What the platform says, else the host name.
    Auto,
    Given(whereabouts::Value),
}

/// `[log]`: logferry's own log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// trace, debug, info, warn or error.
    pub level: String,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// A configuration without mistakes, and all of its values with where they come from.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// Name of the file, for messages.
    pub file: String,
    effective: Node,
}

/// The tree of values holds secrets as text: it is left out.
impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("file", &self.file).field("config", &self.config).finish_non_exhaustive()
    }
}

/// The annotated example: every key with its default, those of later stages and optional ones as comments.
pub fn example() -> &'static str {
    include_str!("../../config/logferry.toml")
}

/// Reads the file and the environment.
///
/// # Errors
/// Every mistake of both, with file, line, key and what is expected; nothing of the configuration may be used then.
pub fn load(request: Request<'_>) -> Result<Loaded, Mistakes> {
    let file = request.source.name();
    let report = Report::default();
    let loaded = read(request.source, &report).and_then(|text| build(&text, request, &report));
    match loaded {
        Some((config, effective)) if report.is_empty() => Ok(Loaded { config, file, effective }),
        _ => Err(report.finish(&file)),
    }
}

/// The text of the file; `None` after a mistake.
fn read(source: &Source, report: &Report) -> Option<String> {
    let path = match source {
        Source::Text { text, .. } => return Some(text.clone()),
        Source::Named(path) => path.as_path(),
        Source::Default => Path::new(DEFAULT_PATH),
    };
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        let (create, expected) = match error.kind() {
            std::io::ErrorKind::NotFound => (CREATE, ""),
            _ => ("", "a file that the user of logferry can read"),
        };
        report.add(&Origin::Default, "", format!("cannot be read: {error}{create}"), expected);
        return None;
    }
    if bytes.len() as u64 > FILE_MAX_BYTES {
        report.add(&Origin::Default, "", format!("has more than {FILE_MAX_BYTES} bytes"), "a configuration file");
        return None;
    }
    match String::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) => {
            let offset = error.utf8_error().valid_up_to();
            let line = error.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
            report.add(&Origin::File { offset, line }, "", "is not UTF-8 here", "text in UTF-8");
            None
        }
    }
}

fn build(text: &str, request: Request<'_>, report: &Report) -> Option<(Config, Node)> {
    let mut file = match document::parse(text) {
        Ok(tree) => tree,
        Err(error) => {
            let expected = "TOML: one key = value a line, text in quotes, sections in brackets";
            report.add(&error.at, "", format!("is not TOML here: {}", error.reason), expected);
            return None;
        }
    };
    keys::number_entries(&mut file, keys::ROOT);
    let environment = environment::layer(request.variables, &file, report);
    let mut given = layers::merge(&[&file, &environment]);
    if request.purpose == Purpose::Records {
        transport::forget(&mut given);
    }
    interpolate::resolve(&mut given, "", request.variables, report);
    unknown::refuse(&mut given, keys::ROOT, "", report);
    let mut defaults = keys::defaults(keys::ROOT, Some(&given));
    interpolate::resolve(&mut defaults, "", request.variables, report);
    let mut tree = layers::merge(&[&defaults, &given]);
    later::refuse(&mut tree, report);
    let config = config(&tree, request, report);
    Some((config, tree))
}

fn config(tree: &Node, request: Request<'_>, report: &Report) -> Config {
    let root = Table::new(tree, "", report);
    let run = root.table("run", sections::run);
    let mut own: Vec<String> = run.fields.iter().map(|(name, _)| name.clone()).collect();
    own.extend(tree.get("sources").map(sources::own_columns).unwrap_or_default());
    let columns = Arc::new(root.table("record", |table| parsed_columns::columns(&table, &run.fields)));
    own.extend(columns.names().map(str::to_owned));
    let sinks = sinks::sinks(&root, tree.get("sinks"), &own, request.colour);
    let routes: Arc<[Option<Rule>]> = sinks.iter().map(|sink| sink.when.clone()).collect();
    let redactor = Arc::new(root.table("record", record::redactor));
    let metrics = Arc::new(root.table("record", |table| metrics::metrics(&table, &own)));
    let mut names = sources::Names::default();
    let rules = Arc::new(root.table("record", |record| rules::rules(&record, &own)));
    let common =
        sources::Common { routes: &routes, columns: &columns, redactor: &redactor, metrics: &metrics, rules: &rules };
    let (files, docker) = root.table("sources", |table| {
        (sources::files(&table, &mut names, common), sources::docker(&table, &mut names, common))
    });
    let filters = files.iter().map(|source| &source.ingest.filter);
    let left_out = rules::counts(&rules, filters.chain(docker.iter().map(|source| &source.ingest.filter)));
    sources::check_docker_host(&docker, request.variables, report);
    sinks::check_loops(&root, &sinks, &files);
    let names = files.iter().map(|source| &source.name).chain(docker.iter().map(|source| &source.name));
    let known = trials::Known {
        sources: names.map(|name| &**name).collect(),
        sinks: sinks.iter().map(|sink| &*sink.name).collect(),
        own: &own,
    };
    let tests = trials::tests(&root, &known);
    check_purpose(tree, request.purpose, report);
    Config {
        run,
        state_dir: root.table("state", sections::state_dir),
        buffer: root.table("buffer", sections::buffer),
        files,
        docker,
        sinks,
        columns,
        redactor,
        metrics,
        rules,
        left_out,
        teardown: root.table("teardown", teardown::teardown),
        http_listen: root.table("http", sections::http_listen),
        log: root.table("log", sections::log),
        tests,
    }
}

/// What is there, mistakes and all, must be enough for what is to be done.
fn check_purpose(tree: &Node, purpose: Purpose, report: &Report) {
    // What is no table has a mistake of its own already.
    let empty = |node: &Node| matches!(&node.value, Value::Table(table) if table.is_empty());
    let none = |node: Option<&Node>| node.is_none_or(empty);
    let no_source = tree.get("sources").is_none_or(|sources| {
        matches!(sources.value, Value::Table(_)) && none(sources.get("file")) && none(sources.get("docker"))
    });
    if purpose == Purpose::Pipeline && no_source {
        let expected = "[[sources.file]] with include = [\"/path/*.log\"], or [[sources.docker]]";
        report.add(&Origin::Default, "sources", "there is none, so nothing would be read", expected);
    }
    if matches!(purpose, Purpose::Pipeline | Purpose::Sinks) && none(tree.get("sinks")) {
        let expected = "[sinks.elasticsearch], [sinks.azure_monitor], [sinks.file] or [sinks.console]";
        report.add(&Origin::Default, "sinks", "there is none, so nothing would be delivered", expected);
    }
}
