//! What ingest is told about one source.

use std::sync::Arc;

use super::metric::Metrics;
use super::redact::Redactor;
use super::rules::Filter;
use super::seen::Formats;
use crate::record::Rule;

pub use super::framing::Start;
pub use super::parse::columns::OwnColumns;
pub use super::parse::regex::Pattern;

/// How a line becomes columns. A line that the parser does not fit is its own message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parser {
    /// Decided line by line: every format that is known, where a line surely has it.
    Auto,
    Json,
    Python,
    /// `key=value` from end to end.
    Logfmt,
    Syslog,
    Regex(Pattern),
    /// Nothing is read out of a line, nothing taken out of it.
    Raw,
}

/// What becomes of the escape sequences that colour a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ansi {
    Strip,
    Keep,
}

/// Which lines belong to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Multiline {
    /// Stacks of exceptions and panics, indented lines and objects over several lines are one record.
    Auto,
    /// Each line is one.
    None,
    /// A record begins where a line matches.
    Start(Start),
}

/// Zone of timestamps that carry none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zone {
    Utc,
    Named(jiff::tz::TimeZone),
}

/// Longest line, in bytes, where nobody says otherwise.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;

/// Options of ingest for one source.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the lines of the source are counted by format.
    pub formats: Arc<Formats>,
    pub parser: Parser,
    pub ansi: Ansi,
    pub multiline: Multiline,
    pub zone: Zone,
    /// Longest line in bytes; a longer one becomes pieces of this length.
    pub max_line: usize,
    /// For each sink, in the order of its route bit: which records it gets (`None`: all).
    pub routes: Arc<[Option<Rule>]>,
    /// `record.columns`; one for all sources.
    pub columns: Arc<OwnColumns>,
    /// What becomes of secrets; one for all sources.
    pub redactor: Arc<Redactor>,
    /// What is counted out of records; one for all sources.
    pub metrics: Arc<Metrics>,
    /// What is left out.
    pub filter: Filter,
}

impl Default for Options {
    /// Those of a source of which nothing is configured, with one sink that gets everything.
    fn default() -> Self {
        Options {
            formats: Arc::default(),
            parser: Parser::Auto,
            ansi: Ansi::Strip,
            multiline: Multiline::Auto,
            zone: Zone::Utc,
            max_line: MAX_LINE_BYTES,
            routes: Arc::new([None]),
            columns: Arc::default(),
            redactor: Arc::default(),
            metrics: Arc::default(),
            filter: Filter::default(),
        }
    }
}
