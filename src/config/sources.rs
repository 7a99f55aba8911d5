//! `[[sources.file]]` and `[[sources.docker]]`.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::column;
use super::environment::{SOURCES_MAX, Variables};
use super::mistake::{Report, nearest};
use super::node::{Node, Origin, quoted};
use super::rules;
use super::table::{Given, Table, shown};
use crate::ingest::metric::Metrics;
use crate::ingest::redact::Redactor;
use crate::ingest::rules::Rules;
use crate::ingest::{self, Ansi, Multiline, OwnColumns, Parser, Zone};
use crate::record::Rule;
use crate::source::docker;
use crate::source::docker::{Address, ColumnFrom, Host, Select};
use crate::source::file::{self, StartAt, pattern::Pattern};

/// Bounds of `max_line`, in bytes: shorter pieces are no lines any more, longer ones would stand in memory whole.
pub const MAX_LINE_MIN_BYTES: u64 = 64;
pub const MAX_LINE_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Longest name of a source or sink, in bytes.
pub const NAME_MAX_BYTES: usize = 64;

/// Longest `ignore_older` that is not a mistyped one.
pub const IGNORE_OLDER_MAX: Duration = Duration::from_secs(3650 * 24 * 3600);

/// Names of sources that were read so far: column Source tells them apart.
#[derive(Debug, Default)]
pub struct Names(Vec<String>);

impl Names {
    fn take(&mut self, table: &Table<'_>) -> Arc<str> {
        let expected = "a name for the column Source, such as \"agent\"";
        let Some(given) = table.required("name", expected) else { return "".into() };
        if !well_formed_name(&given.text) {
            given.mistake("is no name", None, NAME_RULE);
        } else if self.0.contains(&given.text) {
            table.mistake(
                "name",
                format!("{} is the name of another source too", quoted(&given.text)),
                "a name of its own",
            );
        }
        self.0.push(given.text.clone());
        given.text.into()
    }
}

/// What a name must be, for messages.
pub const NAME_RULE: &str = "1 to 64 letters, digits, _ or -";

/// Whether a source or sink may have this name; it becomes a file name and a label of metrics.
pub fn well_formed_name(name: &str) -> bool {
    (1..=NAME_MAX_BYTES).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// What is the same for the lines of all sources.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    pub routes: &'a Arc<[Option<Rule>]>,
    pub columns: &'a Arc<OwnColumns>,
    pub redactor: &'a Arc<Redactor>,
    pub metrics: &'a Arc<Metrics>,
    pub rules: &'a Arc<Rules>,
}

/// All `[[sources.file]]`.
pub fn files(sources: &Table<'_>, names: &mut Names, common: Common<'_>) -> Vec<file::Options> {
    const STARTS: [(&str, StartAt); 2] = [("beginning", StartAt::Beginning), ("end", StartAt::End)];
    let files = sources.entries("file", |table| {
        let name = names.take(&table);
        file::Options {
            ingest: lines(&table, &name, common),
            name,
            include: include(&table),
            exclude: exclude(&table),
            start_at: table.choice("start_at", &STARTS).unwrap_or(StartAt::Beginning),
            ignore_older: ignore_older(&table),
        }
    });
    check_count(sources, "file", files.len());
    files
}

fn check_count(sources: &Table<'_>, key: &str, count: usize) {
    if count > SOURCES_MAX {
        sources.mistake(key, format!("has {count} entries"), format!("at most {SOURCES_MAX}"));
    }
}

const PATHS: &str = "absolute paths with globs in quotes, such as [\"/home/agent/*.log\", \"/runs/{RunID}/*.log\"]";

fn include(table: &Table<'_>) -> Vec<Pattern> {
    if !table.has("include") {
        table.mistake("include", "is missing", PATHS);
        return Vec::new();
    }
    let given = table.list("include", PATHS);
    if given.is_empty() && table.is_empty_list("include") {
        table.mistake("include", "names no path", PATHS);
    }
    let parsed: Vec<(Given<'_>, Pattern)> = given.into_iter().filter_map(pattern).collect();
    for (given, pattern) in &parsed {
        // A name that only looks like one of ours would become a column beside it.
        pattern.names().for_each(|name| _ = column::check_source_column(name, given));
    }
    parsed.into_iter().map(|(_, pattern)| pattern).collect()
}

fn exclude(table: &Table<'_>) -> Vec<Pattern> {
    table.list("exclude", PATHS).into_iter().filter_map(pattern).map(|(_, pattern)| pattern).collect()
}

/// An absolute pattern: a relative one would depend on where logferry is started.
fn pattern(given: Given<'_>) -> Option<(Given<'_>, Pattern)> {
    if !given.text.starts_with('/') {
        given.mistake("is not an absolute path", None, PATHS);
        return None;
    }
    match Pattern::parse(&given.text) {
        Ok(pattern) => Some((given, pattern)),
        // It names the text itself, or the part of it that is wrong.
        Err(what) => {
            let near = column::near_capture(&given.text).map(|name| format!("{{{name}}}"));
            given.mistake_unseen(&what, near, PATHS);
            None
        }
    }
}

fn ignore_older(table: &Table<'_>) -> Option<Duration> {
    table.filled("ignore_older")?;
    Some(table.duration("ignore_older", Duration::from_secs(1)..=IGNORE_OLDER_MAX))
}

/// All `[[sources.docker]]`.
pub fn docker(sources: &Table<'_>, names: &mut Names, common: Common<'_>) -> Vec<docker::Options> {
    let engines = sources.entries("docker", |table| {
        let name = names.take(&table);
        docker::Options {
            ingest: lines(&table, &name, common),
            name,
            host: host(&table),
            include: table.table("include", select),
            exclude: table.table("exclude", select),
            columns: columns(&table),
        }
    });
    check_count(sources, "docker", engines.len());
    engines
}

fn select(table: Table<'_>) -> Select {
    let globs = |key| {
        let given = table.list(key, "globs in quotes, such as [\"bench-*\"]");
        given.into_iter().map(|given| given.text).collect()
    };
    Select { names: globs("names"), images: globs("images"), labels: globs("labels") }
}

fn host(table: &Table<'_>) -> Host {
    let expected = "\"auto\", \"unix:///var/run/docker.sock\", or HOST:PORT after tcp://, http:// or https://";
    let Some(given) = table.required("host", expected) else { return Host::Auto };
    if given.text == "auto" {
        return Host::Auto;
    }
    if !Address::is_well_formed(&given.text) {
        given.mistake("is no address of a Docker engine", None, expected);
    }
    Host::Address(given.text)
}

/// `DOCKER_HOST` names the engine of a source that names none.
pub fn check_docker_host(sources: &[docker::Options], variables: &Variables, report: &Report) {
    const NAME: &str = "DOCKER_HOST";
    let given = variables.get(NAME).filter(|text| !text.is_empty() && !Address::is_well_formed(text));
    if let Some(text) = given.filter(|_| sources.iter().any(|source| source.host == Host::Auto)) {
        let what = format!("{} is no address of a Docker engine", shown(text));
        report.add(&Origin::Variable(NAME.to_owned()), "sources.docker", what, Address::FORMS);
    }
}

fn columns(table: &Table<'_>) -> Vec<(String, ColumnFrom)> {
    let mut columns = Vec::new();
    for (name, given) in table.map("columns", ColumnFrom::FORMS) {
        if !column::check_source_column(&name, &given) {
            continue;
        }
        match ColumnFrom::parse(&given.text) {
            Some(from) => columns.push((name, from)),
            None => given.mistake("is nothing of a container that a column may hold", None, ColumnFrom::FORMS),
        }
    }
    columns
}

/// What ingest is told about a source's lines.
fn lines(table: &Table<'_>, name: &str, common: Common<'_>) -> ingest::Options {
    ingest::Options {
        formats: Arc::default(),
        parser: parser(table),
        ansi: table.choice("ansi", &[("strip", Ansi::Strip), ("keep", Ansi::Keep)]).unwrap_or(Ansi::Strip),
        multiline: table
            .choice("multiline", &[("auto", Multiline::Auto), ("none", Multiline::None)])
            .unwrap_or(Multiline::Auto),
        zone: zone(table),
        max_line: usize::try_from(table.size("max_line", MAX_LINE_MIN_BYTES..=MAX_LINE_MAX_BYTES))
            .unwrap_or(usize::MAX),
        routes: Arc::clone(common.routes),
        columns: Arc::clone(common.columns),
        redactor: Arc::clone(common.redactor),
        metrics: Arc::clone(common.metrics),
        filter: rules::filter(table, name, common.rules),
    }
}

fn parser(table: &Table<'_>) -> Parser {
    type Make = fn(Option<ingest::Pattern>) -> Parser;
    const PARSERS: [(&str, Make); 7] = [
        ("auto", |_| Parser::Auto),
        ("json", |_| Parser::Json),
        ("python", |_| Parser::Python),
        ("logfmt", |_| Parser::Logfmt),
        ("syslog", |_| Parser::Syslog),
        ("regex", |pattern| pattern.map_or(Parser::Raw, Parser::Regex)),
        ("raw", |_| Parser::Raw),
    ];
    const EXPECTED: &str = "a regular expression with named groups, such as '^(?<level>[A-Z]+) (?<message>.*)$'";
    let given = table.filled("pattern");
    let pattern = given.as_ref().and_then(|given| match ingest::Pattern::new(&given.text) {
        Ok(pattern) => Some(pattern),
        Err(what) => {
            given.mistake(&what, None, EXPECTED);
            None
        }
    });
    let Some(parser) = table.choice("parser", &PARSERS) else { return Parser::Auto };
    let is_regex = table.filled("parser").is_some_and(|given| given.text == "regex");
    match &given {
        None if is_regex => table.mistake("pattern", "is missing: parser = \"regex\" reads lines by it", EXPECTED),
        Some(given) if !is_regex => given.mistake_unseen("is without effect", None, "parser = \"regex\" beside it"),
        _ => {}
    }
    parser(pattern)
}

fn zone(table: &Table<'_>) -> Zone {
    let expected = "\"UTC\", \"local\" or a name of the time zone database, such as \"Europe/Berlin\"";
    let Some(given) = table.required("timezone", expected) else { return Zone::Utc };
    match given.text.as_str() {
        "UTC" | "utc" => Zone::Utc,
        "local" => Zone::Named(TimeZone::system()),
        name => match TimeZone::get(name) {
            Ok(zone) => Zone::Named(zone),
            Err(_) => {
                let known: Vec<String> = jiff::tz::db().available().map(|name| name.as_str().to_owned()).collect();
                let near = nearest(name, known.iter().map(String::as_str)).map(quoted);
                let what = match known.is_empty() {
                    true => "cannot be looked up: this machine has no time zone database (package tzdata)",
                    false => "is no time zone of this machine",
                };
                given.mistake(what, near, expected);
                Zone::Utc
            }
        },
    }
}

/// Columns that sources give (captures and docker columns), for the rules of sinks. `sources`: that section.
pub fn own_columns(sources: &Node) -> Vec<String> {
    // What is wrong with these values is noted where the sources themselves are read.
    let unheard = Report::default();
    let sources = Table::new(sources, "sources", &unheard);
    let captured = sources.entries("file", |table| {
        let paths = table.list("include", PATHS);
        let patterns = paths.iter().filter_map(|path| Pattern::parse(&path.text).ok());
        patterns.flat_map(|pattern| pattern.names().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    });
    let columns = sources
        .entries("docker", |table| table.map("columns", "text").into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    captured.into_iter().chain(columns).flatten().collect()
}
