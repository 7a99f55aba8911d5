//! What a pipeline says of itself: figures while it runs, and the lines of its report.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::inputs::{self, Stops};
use crate::buffer;
use crate::delivery::Handle;
use crate::ingest::rules::{Count, Counts};
use crate::ingest::{self, Formats};
use crate::lifecycle::report::{LeftOut, SinkReport};
use crate::record;
use crate::sink::console;
use crate::source::{docker, file};

/// What can be seen of a pipeline from outside.
pub struct Watched {
    pub(super) sums: buffer::SumsWatch,
    pub(super) sinks: Vec<Handle>,
    pub(super) end_inputs: Stops,
}

impl Watched {
    /// How many lines were taken up, and how many records each sink is done with.
    pub fn figures(&self) -> (u64, Vec<(Arc<str>, u64)>) {
        let lines = self.sums.get().values().map(|sum| sum.lines).sum();
        let done = |sink: &Handle| {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (Arc::clone(&sink.name), load(&sink.stats.accepted) + load(&sink.stats.dead_lettered))
        };
        (lines, self.sinks.iter().map(done).collect())
    }

    /// What is read once is taken as ended, standard input and compressed files: what was read of it is delivered.
    pub fn end_input(&self) {
        self.end_inputs.set();
    }

    /// Standard output was closed by whoever read it: there is nobody to write for.
    pub fn output_is_gone(&self) -> bool {
        self.sinks.iter().any(|sink| sink.stats.fault().is_some_and(|fault| fault.contains(console::CLOSED)))
    }
}

pub(super) fn sink_report(sink: &Handle, unfinished: bool, left: u64) -> SinkReport {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    SinkReport {
        name: sink.name.to_string(),
        accepted: load(&sink.stats.accepted),
        dead_lettered: load(&sink.stats.dead_lettered),
        without_document: load(&sink.stats.without_document),
        no_letters_left: sink.dead_letter_bytes() == 0,
        evicted: load(&sink.stats.evicted),
        damaged_bytes: load(&sink.stats.damaged_bytes),
        possible_doubles: load(&sink.stats.possible_doubles),
        left,
        unfinished,
        fault: sink.stats.fault(),
    }
}

/// Each source and its lines by format.
pub(super) type FormatsBySource = Arc<[(String, Arc<Formats>)]>;

pub(super) fn formats_by_source(
    files: &[file::Options],
    docker: &[docker::Options],
    stdin: Option<&(String, Arc<ingest::Options>)>,
) -> FormatsBySource {
    let files = files.iter().map(|source| (source.name.to_string(), &source.ingest));
    let docker = docker.iter().map(|source| (source.name.to_string(), &source.ingest));
    let stdin = stdin.map(|(name, options)| (name.clone(), &**options));
    let mut all: Vec<(String, Arc<Formats>)> = Vec::new();
    for (name, options) in files.chain(docker).chain(stdin) {
        // Paths of the command line make several sources of one.
        if !all.iter().any(|(known, formats)| *known == name && Arc::ptr_eq(formats, &options.formats)) {
            all.push((name, Arc::clone(&options.formats)));
        }
    }
    all.into()
}

/// Lines of a source by what they were taken for.
pub(super) fn format_figures(formats: &FormatsBySource, source: &str) -> BTreeMap<&'static str, u64> {
    let mut figures = BTreeMap::new();
    for (_, formats) in formats.iter().filter(|(name, _)| name == source) {
        formats.counts().into_iter().for_each(|(format, lines)| *figures.entry(format.word()).or_default() += lines);
    }
    figures
}

/// How much each rule and rate limit has left out since the start.
pub(super) fn left_out(counts: &Counts) -> Vec<LeftOut> {
    let one =
        |count: &Arc<Count>| LeftOut { rule: format!("{} {}", count.kind.word(), count.name), lines: count.lines() };
    counts.iter().map(one).collect()
}

/// The same for `logferry status --json`.
pub(super) fn left_out_json(counts: &Counts) -> Vec<Value> {
    let one = |count: &Arc<Count>| {
        json!({
            "kind": count.kind.word(),
            "name": count.name,
            "lines": count.lines(),
            "records": count.records(),
        })
    };
    counts.iter().map(one).collect()
}

pub(super) fn file_gap_lines(stats: &file::Stats) -> Vec<String> {
    let mut lines = Vec::new();
    let (unread, missed) = (stats.unread_bytes.get(), stats.missed_files.get());
    if unread > 0 {
        lines.push(format!("{unread} bytes were truncated, overwritten or deleted in files before they were read"));
    }
    if missed > 0 {
        lines.push(format!("{missed} files were gone before they could be opened"));
    }
    lines.extend(inputs::utf_16(stats));
    lines
}

pub(super) fn gap_lines(stats: &docker::Stats) -> Vec<String> {
    let (total, gaps) = stats.gaps();
    let mut lines: Vec<String> = gaps
        .iter()
        .map(|gap| {
            let why = match gap.reason {
                docker::GapReason::Rotated => "the engine had rotated its log away",
                docker::GapReason::Gone => "the container was removed before its log was read to the end",
                docker::GapReason::Unreadable => "the engine does not hand out its log",
                docker::GapReason::BrokenOff => "the engine broke the log off",
                docker::GapReason::Skipped => "the engine skipped lines while its log was followed",
                docker::GapReason::Unproven => "the engine rotated its log too fast to tell whether it skipped lines",
                docker::GapReason::Lossy => "its log driver may drop lines without a word",
            };
            let after = gap.after.map(|after| format!(" after {}", record::time::rfc3339(after))).unwrap_or_default();
            format!("container {}{after}: {why}", gap.name)
        })
        .collect();
    if total > lines.len() as u64 {
        lines.push(format!("and {} more", total - lines.len() as u64));
    }
    lines
}
