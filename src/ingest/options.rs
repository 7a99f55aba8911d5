//! What ingest is told about one source.

use std::sync::Arc;

use super::redact::Redactor;
use crate::record::Rule;

/// How a line becomes columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parser {
    /// Decided line by line: JSON where it begins with a brace, Python's formats where they fit, else raw.
    Auto,
    Json,
    Python,
    Raw,
}

/// Which lines belong to one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Multiline {
    /// Tracebacks and indented lines join the record before them.
    Auto,
    None,
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
    pub parser: Parser,
    pub multiline: Multiline,
    pub zone: Zone,
    /// Longest line in bytes; a longer one becomes pieces of this length.
    pub max_line: usize,
    /// For each sink, in the order of its route bit: which records it gets (`None`: all).
    pub routes: Arc<[Option<Rule>]>,
    /// What becomes of secrets; one for all sources.
    pub redactor: Arc<Redactor>,
}
