//! `logferry ship --dry-run`: what a first `ship` would deliver, in figures. The same pipeline with a state folder that goes
//! with the process, and in the place of each sink one that only counts: nothing is sent, no position is kept.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::ship::{Arguments, Shipped, TemporaryState, embedded, is_without_config, read_paths, ship};
use super::{Usage, find_source, load, pipeline_setup, runtime, start_log};
use crate::config::{Config, Purpose};
use crate::lifecycle::Report;
use crate::lifecycle::report::LeftOut;
use crate::pipeline::{Setup, Watched};
use crate::record::{Rule, SINKS_MAX};
use crate::sink::tally::{self, Count, Counts, Group};
use crate::sink::{self, Kind};
use crate::source::file::archive::Which;
use crate::telemetry::log;

/// Rows of the table that stand for themselves; the others are summed.
const ROWS_MAX: usize = 20;

/// Most bytes of the temporary buffer: reading waits for the counting, which never waits.
const BUFFER_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// A body of the counting sink; what it holds is thrown away.
const BATCH_BYTES: usize = 1024 * 1024;

/// Name of the sink that counts everything; no sink of a configuration can have a blank in its name.
const EVERYTHING: &str = "dry run";

/// A gigabyte as Azure bills it.
const GB: f64 = 1e9;

/// Which sink is counted where.
struct Counted {
    /// What every record comes to, by logger.
    everything: Counts,
    sinks: Vec<CountedSink>,
}

/// A sink of the configuration and what it would get.
struct CountedSink {
    name: Arc<str>,
    kind: &'static str,
    counts: Counts,
}

/// Reads everything, reports on standard output.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let Arguments { config, paths, json, .. } = arguments;
    let given = find_source(config.config);
    let without_config = is_without_config(&given);
    let source = if without_config { embedded() } else { given };
    let loaded = load(&source, Purpose::Records)?;
    let config = &loaded.config;
    if paths.is_empty() && config.files.is_empty() && config.docker.is_empty() {
        let hint = "nothing to read: name files (or - for standard input), or give a configuration with sources";
        return Err(Usage(hint.to_owned()).into());
    }
    if without_config {
        log::start("warn", log::Format::Text);
    } else {
        start_log(config);
    }
    let temporary = TemporaryState::new()?;
    let mut setup = pipeline_setup(config);
    if !paths.is_empty() {
        read_paths(&mut setup, &paths, config)?;
    }
    let counted = count_instead(&mut setup, config)?;
    setup.archives = Some(if paths.is_empty() { Which::Unread } else { Which::All });
    setup.state_dir = temporary.path();
    setup.buffer.max_bytes = setup.buffer.max_bytes.min(BUFFER_MAX_BYTES);
    // Waiting for room, not leaving out: the figures are to be whole.
    setup.buffer.when_full = Default::default();
    setup.manifests = false;
    let runtime = runtime()?;
    let everything = counted.everything.clone();
    let said = move |watched: &Watched| {
        format!("{} lines read, {} records counted", watched.figures().0, everything.get().all.records)
    };
    let shipped = runtime.block_on(ship(setup, config.teardown.deadline, said));
    runtime.shutdown_timeout(Duration::from_millis(100));
    let Shipped { report, .. } = shipped?;
    let figures = Figures::new(&counted, &report);
    match json {
        true => println!("{}", figures.json()),
        false => print!("{}", figures.text()),
    }
    for line in &report.gaps {
        eprintln!("gap: {line}");
    }
    for line in &report.unreadable {
        eprintln!("not read: {line}");
    }
    Ok(report.exit_code())
}

/// Puts counting sinks in the place of those of the configuration; the rules of these stay.
fn count_instead(setup: &mut Setup, config: &Config) -> Result<Counted, Usage> {
    let mut counted = Counted { everything: Counts::default(), sinks: Vec::new() };
    let mut sinks: Vec<sink::Options> = Vec::new();
    for options in &config.sinks {
        let counts = Counts::default();
        sinks.push(stand_in(Arc::clone(&options.name), options.when.clone(), counts.clone(), false));
        counted.sinks.push(CountedSink { name: Arc::clone(&options.name), kind: word(&options.kind), counts });
    }
    let of_all = config.sinks.iter().position(|sink| sink.when.is_none());
    match of_all {
        Some(at) => {
            if let (Some(options), Some(sink)) = (sinks.get_mut(at), counted.sinks.get(at)) {
                counted.everything = sink.counts.clone();
                options.kind = Kind::Tally(tally::Options { counts: sink.counts.clone(), by_logger: true });
            }
        }
        None if sinks.len() < SINKS_MAX => {
            sinks.push(stand_in(EVERYTHING.into(), None, counted.everything.clone(), true));
        }
        None => {
            let most = SINKS_MAX - 1;
            return Err(Usage(format!(
                "a dry run counts at most {most} sinks with `when`: take one out of the configuration"
            )));
        }
    }
    let routes: Arc<[Option<Rule>]> = sinks.iter().map(|sink| sink.when.clone()).collect();
    setup.files.iter_mut().for_each(|source| source.ingest.routes = Arc::clone(&routes));
    setup.docker.iter_mut().for_each(|source| source.ingest.routes = Arc::clone(&routes));
    if let Some((_, options)) = &mut setup.stdin {
        Arc::make_mut(options).routes = Arc::clone(&routes);
    }
    // What a `ship` leaves alone.
    setup.unread = vec![config.state_dir.clone()];
    setup.unread.extend(config.sinks.iter().filter_map(|sink| match &sink.kind {
        Kind::File(options) => Some(options.path.clone()),
        _ => None,
    }));
    setup.sinks = sinks;
    Ok(counted)
}

fn stand_in(name: Arc<str>, when: Option<Rule>, counts: Counts, by_logger: bool) -> sink::Options {
    let kind = Kind::Tally(tally::Options { counts, by_logger });
    sink::Options { name, when, batch_bytes: BATCH_BYTES, in_flight: 1, max_age: Duration::from_millis(1), kind }
}

fn word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Elasticsearch(_) => "elasticsearch",
        Kind::AzureMonitor(_) => "azure_monitor",
        Kind::File(_) => "file",
        Kind::Console(_) => "console",
        Kind::Tally(_) => "none",
    }
}

/// What is reported.
struct Figures {
    /// Lines that were read.
    lines: u64,
    /// All of it was read.
    whole: bool,
    all: Count,
    /// The largest first.
    groups: Vec<(Group, Count)>,
    /// Of more groups than are counted apart.
    other: Count,
    sinks: Vec<(String, &'static str, Count)>,
    redactions: Vec<(String, u64)>,
    /// What rules and rate limits left out.
    left_out: Vec<LeftOut>,
}

impl Figures {
    fn new(counted: &Counted, report: &Report) -> Self {
        let everything = counted.everything.get();
        let mut groups = everything.groups();
        groups.sort_by(|(a, many), (b, few)| few.bytes.cmp(&many.bytes).then_with(|| a.cmp(b)));
        let (all, other) = (everything.all, everything.other);
        drop(everything);
        Figures {
            lines: report.sources.values().map(|sum| sum.lines).sum(),
            whole: report.left_bytes == 0
                && !report.source_unfinished
                && report.unreadable.is_empty()
                && report.sinks.iter().all(|sink| !sink.unfinished),
            all,
            groups,
            other,
            sinks: counted.sinks.iter().map(|s| (s.name.to_string(), s.kind, s.counts.get().all)).collect(),
            redactions: report.redactions.clone(),
            left_out: report.left_out.iter().filter(|rule| rule.lines > 0).cloned().collect(),
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string does not fail.
        let _ =
            writeln!(out, "What a first `ship` would deliver, all read from its start; nothing was sent or kept.\n");
        self.put_groups(&mut out);
        self.put_sinks(&mut out);
        let Count { bytes, azure_bytes, .. } = self.all;
        let _ = writeln!(
            out,
            "\nEverything in Azure Monitor: at most {} GB billed (10^9 bytes), {azure_bytes} bytes of JSON. Azure bills the text \
             of the columns that it stores, which is less than this JSON.",
            gb(azure_bytes)
        );
        let _ = writeln!(
            out,
            "Everything in Elasticsearch: {bytes} bytes of JSON; what an index takes on disk depends on its mapping."
        );
        if !self.redactions.is_empty() {
            let kinds: Vec<String> = self.redactions.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let _ = writeln!(out, "redacted: {}", kinds.join(", "));
        }
        for LeftOut { rule, lines } in &self.left_out {
            let _ = writeln!(out, "left out by {rule}: {lines} lines");
        }
        if !self.whole {
            let _ = writeln!(
                out,
                "NOT ALL WAS READ AND COUNTED: a signal came before the end, or a file could not be read."
            );
        }
        out
    }

    fn put_groups(&self, out: &mut String) {
        let rows = self.groups.iter().take(ROWS_MAX);
        let widest = |of: fn(&Group) -> &str, name: &str| {
            rows.clone().map(|(group, _)| shown(of(group)).chars().count()).chain([name.len()]).max().unwrap_or(0)
        };
        let source = widest(|group| &group.source, "source");
        let logger = widest(|group| &group.logger, "(all others)");
        let level = widest(|group| &group.level, "level");
        let _ = writeln!(
            out,
            "{:<source$}  {:<logger$}  {:<level$}  {:>12}  {:>16}  {:>7}",
            "source", "logger", "level", "records", "bytes", "share"
        );
        let mut row = |names: [&str; 3], count: Count| {
            let share = count.bytes as f64 * 100.0 / self.all.bytes.max(1) as f64;
            let [a, b, c] = names;
            let Count { records, bytes, .. } = count;
            let _ =
                writeln!(out, "{a:<source$}  {b:<logger$}  {c:<level$}  {records:>12}  {bytes:>16}  {share:>5.1} %");
        };
        for (group, count) in rows.clone() {
            row([&shown(&group.source), &shown(&group.logger), &shown(&group.level)], *count);
        }
        let mut rest = self.other;
        self.groups.iter().skip(ROWS_MAX).for_each(|(_, count)| rest.add(*count));
        if rest.records > 0 {
            row(["", "(all others)", ""], rest);
        }
        row(["all", "", ""], self.all);
    }

    fn put_sinks(&self, out: &mut String) {
        let width = self.sinks.iter().map(|(name, ..)| name.len()).chain(["sink".len()]).max().unwrap_or(0);
        let _ = writeln!(out, "\n{:<width$}  {:>12}  {:>12}  {:>16}", "sink", "records", "filtered", "bytes");
        for (name, kind, count) in &self.sinks {
            let (records, filtered) = (count.records, self.all.records.saturating_sub(count.records));
            let (bytes, billed) = match *kind {
                "azure_monitor" => (count.azure_bytes, format!("  at most {} GB billed", gb(count.azure_bytes))),
                _ => (count.bytes, String::new()),
            };
            let _ = writeln!(out, "{name:<width$}  {records:>12}  {filtered:>12}  {bytes:>16}{billed}");
        }
    }

    fn json(&self) -> Value {
        let groups = self.groups.iter().map(|(group, count)| {
            let Group { source, logger, level } = group;
            let Count { records, bytes, azure_bytes } = count;
            json!({"source": source, "logger": logger, "level": level, "records": records, "bytes": bytes, "azure_bytes": azure_bytes})
        });
        let sinks = self.sinks.iter().map(|(name, kind, count)| {
            let filtered = self.all.records.saturating_sub(count.records);
            let bytes = if *kind == "azure_monitor" { count.azure_bytes } else { count.bytes };
            json!({"name": name, "type": kind, "records": count.records, "filtered": filtered, "bytes": bytes})
        });
        json!({
            "complete": self.whole,
            "lines": self.lines,
            "records": self.all.records,
            "bytes": self.all.bytes,
            "azure_bytes": self.all.azure_bytes,
            "azure_gb_at_most": self.all.azure_bytes as f64 / GB,
            "loggers": groups.collect::<Vec<_>>(),
            "other": {"records": self.other.records, "bytes": self.other.bytes, "azure_bytes": self.other.azure_bytes},
            "sinks": sinks.collect::<Vec<_>>(),
            "left_out": self.left_out.iter().map(|left| json!({"rule": left.rule, "lines": left.lines})).collect::<Vec<_>>(),
            "redactions": self.redactions.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }
}

/// Gigabytes with as many digits as a small run needs.
fn gb(bytes: u64) -> String {
    format!("{:.6}", bytes as f64 / GB)
}

/// A name without what a terminal would obey; one that is not there as a sign.
fn shown(name: &str) -> String {
    match name {
        "" => "-".to_owned(),
        name => name.chars().map(|c| if c.is_control() { '?' } else { c }).collect(),
    }
}
