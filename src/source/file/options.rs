//! What the file source is told.

use std::sync::Arc;
use std::time::Duration;

use crate::ingest;
use crate::source::file::pattern::Pattern;

/// Where reading begins in files that were there before logferry first saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Beginning,
    End,
}

/// Options of one `[[sources.file]]`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Column Source.
    pub name: Arc<str>,
    /// At least one.
    pub include: Vec<Pattern>,
    pub exclude: Vec<Pattern>,
    pub start_at: StartAt,
    /// Files that were last written longer ago are left alone until they change.
    pub ignore_older: Option<Duration>,
    pub ingest: ingest::Options,
}
