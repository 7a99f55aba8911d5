//! The figures of a running pipeline, as Prometheus reads them. It counts nothing: sums, handles and watches do.
//!
//! What was read and what became of it add up at any quiet moment, since the process started:
//! - `read_lines_total` = `lines_total`, over its outcomes;
//! - for each sink: what was routed to it, with what an earlier process had left to it = `sink_records_total`, over its
//!   outcomes, and `sink_lag_records`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;

use super::ages::Age;
use super::drain::Drainer;
use super::lag::{Lag, routed};
use super::report::format_figures;
use crate::buffer::Sums;
use crate::delivery::Handle;
use crate::ingest::metric::{self, Figure, OVERFLOW, Shown};
use crate::ingest::rules;
use crate::manifest;
use crate::record::histogram::SECONDS;
use crate::record::{Counters, time};
use crate::telemetry::exposition::{Exposition, Kind, Labels};

/// Longest that a look at the disk for the age of a record may take.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Help of a metric of the user's that has none.
const OWN_HELP: &str = "Counted out of records by [[record.metric]].";

impl Drainer {
    /// Writes all figures, those of the user's own metrics last.
    pub async fn metrics(&self, page: &mut Exposition) {
        let labels: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
        page.family("logferry_build_info", Kind::Gauge, "Which logferry this is.").sample(labels, 1);
        let sums = self.sums.get();
        read(page, &sums);
        self.records(page, &sums);
        let ages = join_all(self.sinks.iter().map(|sink| self.lag_time(sink))).await;
        self.buffer(page, &ages);
        self.sinks(page, &sums, &ages).await;
        self.others(page);
        own(page, &self.metrics.shown());
    }

    /// Records, and what each rule left out of them.
    fn records(&self, page: &mut Exposition, sums: &Sums) {
        let left_out = |is_meant: fn(rules::Kind) -> bool| {
            let counts = self.left_out.iter().filter(|count| is_meant(count.kind));
            counts.map(|count| count.records()).sum::<u64>()
        };
        let help = "Records by what became of them; one may have many lines, and a long one has parts.";
        let mut family = page.family("logferry_records_total", Kind::Counter, help);
        family.sample(&[("outcome", "recorded")], of_sources(sums).map(|(_, sum)| sum.records).sum::<u64>());
        family.sample(&[("outcome", "filtered")], left_out(|kind| kind == rules::Kind::Drop));
        family.sample(&[("outcome", "sampled")], left_out(|kind| kind != rules::Kind::Drop));
        let help = "Lines of a source by the format that they were taken for; plain is what nothing was read out of.";
        let mut family = page.family("logferry_source_format_lines_total", Kind::Counter, help);
        for (source, _) in of_sources(sums) {
            for (format, lines) in format_figures(&self.formats, source) {
                family.sample(&[("source", source), ("format", format)], lines);
            }
        }
        if self.left_out.is_empty() {
            return;
        }
        let help = "Lines that each rule, and the rate limit of each source, left out.";
        let mut family = page.family("logferry_left_out_lines_total", Kind::Counter, help);
        for count in self.left_out.iter() {
            family.sample(&[("kind", count.kind.word()), ("name", &count.name)], count.lines());
        }
    }

    /// `ages`: for how long the buffer has held what each sink lacks.
    fn buffer(&self, page: &mut Exposition, ages: &[Option<Duration>]) {
        let mut gauge = |name: &str, help: &str, value: u64| page.family(name, Kind::Gauge, help).sample(&[], value);
        gauge("logferry_buffer_bytes", "Bytes of the buffer on disk.", self.usage.used_bytes());
        gauge("logferry_buffer_max_bytes", "Most bytes that the buffer may take.", self.usage.max_bytes());
        let full = u64::from(self.usage.disk_full());
        gauge("logferry_buffer_disk_full", "1 where the disk has no room for the buffer: reading waits.", full);
        let help = "For how long the buffer has held the oldest record that a sink lacks.";
        let mut family = page.family("logferry_buffer_oldest_seconds", Kind::Gauge, help);
        let oldest = ages.iter().try_fold(Duration::ZERO, |oldest, age| Some(oldest.max((*age)?)));
        if let Some(oldest) = oldest {
            family.sample(&[], oldest.as_secs_f64());
        }
    }

    /// For how long the buffer has held the first record that a sink lacks.
    async fn lag_time(&self, sink: &Handle) -> Option<Duration> {
        let (from, end) = (*sink.progress.borrow(), self.usage.appended());
        if from >= end {
            return Some(Duration::ZERO);
        }
        match self.rates.age(from) {
            Age::Known(age) => Some(age),
            Age::Older => {
                let written = tokio::time::timeout(LOOK_MAX, sink.oldest(end)).await.ok()?;
                let since = written.map(|written| time::now().saturating_sub(written));
                Some(Duration::from_nanos(since.and_then(|since| u64::try_from(since).ok()).unwrap_or(0)))
            }
        }
    }

    async fn sinks(&self, page: &mut Exposition, sums: &Sums, ages: &[Option<Duration>]) {
        let help = "Records that a sink is done with, by what became of them.";
        let mut family = page.family("logferry_sink_records_total", Kind::Counter, help);
        for sink in &self.sinks {
            let stats = &sink.stats;
            let outcomes = [
                ("delivered", &stats.accepted),
                ("dead_lettered", &stats.dead_lettered),
                ("evicted", &stats.evicted_for_good),
            ];
            for (outcome, count) in outcomes {
                family.sample(&[("sink", &sink.name), ("outcome", outcome)], count.load(Ordering::Relaxed));
            }
        }
        let help = "Records that were routed to a sink, its share of manifests among them.";
        let mut family = page.family("logferry_sink_routed_records_total", Kind::Counter, help);
        for (bit, sink) in self.sinks.iter().enumerate() {
            family.sample(&[("sink", &sink.name)], routed(sums, bit));
        }
        let lags = join_all(self.lags.iter().map(Lag::records)).await;
        let help = "Records in the buffer that a sink lacks; not there while they are being counted after a start.";
        let mut family = page.family("logferry_sink_lag_records", Kind::Gauge, help);
        for (sink, lag) in self.sinks.iter().zip(lags) {
            if let Some(records) = lag {
                family.sample(&[("sink", &sink.name)], records);
            }
        }
        let help = "For how long the buffer has held the first record that a sink lacks.";
        let mut family = page.family("logferry_sink_lag_seconds", Kind::Gauge, help);
        for (sink, age) in self.sinks.iter().zip(ages) {
            if let Some(age) = age {
                family.sample(&[("sink", &sink.name)], age.as_secs_f64());
            }
        }
        self.requests(page);
    }

    fn requests(&self, page: &mut Exposition) {
        let ended: Vec<_> = self.sinks.iter().map(|sink| (&sink.name, sink.stats.ended_requests.now())).collect();
        let help = "Requests to a sink, by the status of the answer: ok of what is no server, unknown without a usable \
                    answer, not_sent where nothing was sent.";
        let mut family = page.family("logferry_sink_requests_total", Kind::Counter, help);
        for (sink, counted) in &ended {
            for (status, count) in &counted.by_status {
                family.sample(&[("sink", sink), ("status", status)], *count);
            }
        }
        let help = "Seconds from a request to a sink to its answer.";
        let mut family = page.family("logferry_sink_request_seconds", Kind::Histogram, help);
        for (sink, counted) in &ended {
            family.histogram(&[("sink", sink)], counted.seconds.cumulative(SECONDS), counted.seconds.sum());
        }
        let help = "1 where a sink accepts, as far as is known; 0 where it does not.";
        let mut family = page.family("logferry_sink_up", Kind::Gauge, help);
        for sink in &self.sinks {
            family.sample(&[("sink", &sink.name)], u64::from(sink.stats.fault().is_none()));
        }
        let help = "Records sent again although nobody can tell whether the sink has them.";
        let mut family = page.family("logferry_sink_possible_doubles_total", Kind::Counter, help);
        for sink in &self.sinks {
            family.sample(&[("sink", &sink.name)], sink.stats.possible_doubles.load(Ordering::Relaxed));
        }
        let help = "Bytes of the buffer that were damaged: a sink skipped them.";
        let mut family = page.family("logferry_sink_damaged_bytes_total", Kind::Counter, help);
        for sink in &self.sinks {
            family.sample(&[("sink", &sink.name)], sink.stats.damaged_bytes.load(Ordering::Relaxed));
        }
        let help = "Bytes of the dead letters of a sink on disk.";
        let mut family = page.family("logferry_sink_dead_letter_bytes", Kind::Gauge, help);
        for sink in &self.sinks {
            family.sample(&[("sink", &sink.name)], sink.dead_letter_bytes());
        }
    }

    fn others(&self, page: &mut Exposition) {
        if let Some((_, stats)) = &self.files {
            // A source that was told apart by what was named stands there more than once.
            let mut lags: BTreeMap<&str, u64> = BTreeMap::new();
            for source in &stats.sources {
                *lags.entry(&source.name).or_default() += source.lag_bytes.get();
            }
            let help = "Bytes that stand in the files of a source and are not read yet.";
            let mut family = page.family("logferry_source_lag_bytes", Kind::Gauge, help);
            for (source, bytes) in lags {
                family.sample(&[("source", source)], bytes);
            }
        }
        let dead: u64 = self.sinks.iter().map(|sink| sink.stats.dead_lettered.load(Ordering::Relaxed)).sum();
        let help = "Records that sinks refused for good: they stand in the dead letters.";
        page.family("logferry_dead_letters_total", Kind::Counter, help).sample(&[], dead);
        let help = "Secrets that were redacted, by their kind.";
        let mut family = page.family("logferry_redactions_total", Kind::Counter, help);
        for (kind, count) in self.redactor.all_counts() {
            family.sample(&[("kind", kind)], count);
        }
        if let Some(board) = &self.announced {
            let help = "Scheduled events that Azure announced of this VM, by their type.";
            let mut family = page.family("logferry_events_total", Kind::Counter, help);
            for (kind, count) in board.counts() {
                family.sample(&[("type", kind)], count);
            }
        }
    }
}

/// One figure of what was read.
type Counted = fn(&Counters) -> u64;

/// The sums of what was read: manifests are made by logferry itself.
fn of_sources(sums: &Sums) -> impl Iterator<Item = (&String, &Counters)> {
    sums.iter().filter(|(name, _)| *name != manifest::SOURCE)
}

/// What sources read, and what became of its lines.
fn read(page: &mut Exposition, sums: &Sums) {
    let total = |figure: Counted| of_sources(sums).map(|(_, sum)| figure(sum)).sum::<u64>();
    let mut counter = |name: &str, help: &str, value: u64| page.family(name, Kind::Counter, help).sample(&[], value);
    let lines = total(|sum| sum.lines);
    counter("logferry_read_lines_total", "Lines that were read; a piece of a line over max_line is one.", lines);
    counter("logferry_read_bytes_total", "Bytes of these lines, line ends included.", total(|sum| sum.bytes));
    let help = "Lines by what became of them: all of read_lines_total.";
    let mut family = page.family("logferry_lines_total", Kind::Counter, help);
    let outcomes = [
        ("recorded", total(|sum| sum.recorded_lines)),
        ("filtered", total(|sum| sum.filtered_lines)),
        ("sampled", total(|sum| sum.sampled_lines)),
    ];
    for (outcome, lines) in outcomes {
        family.sample(&[("outcome", outcome)], lines);
    }
    let by_source: [(&str, &str, Counted); 4] = [
        ("logferry_source_lines_total", "Lines that were read of a source.", |sum| sum.lines),
        ("logferry_source_bytes_total", "Bytes of these lines.", |sum| sum.bytes),
        ("logferry_source_gaps_total", "Times that lines of a source are known to be missing.", |sum| sum.gaps),
        ("logferry_source_gap_bytes_total", "Bytes known to be missing.", |sum| sum.gap_bytes),
    ];
    for (name, help, figure) in by_source {
        let mut family = page.family(name, Kind::Counter, help);
        for (source, sum) in of_sources(sums) {
            family.sample(&[("source", source)], figure(sum));
        }
    }
}

/// The metrics that the user makes out of records.
fn own(page: &mut Exposition, shown: &[Shown<'_>]) {
    if shown.is_empty() {
        return;
    }
    let help = "Records that a metric is about and that changed nothing: their value is missing, or unfit.";
    let mut family = page.family("logferry_metric_skipped_total", Kind::Counter, help);
    for one in shown {
        let name = one.family.name.as_str();
        family.sample(&[("metric", name), ("reason", "missing")], one.skipped.missing);
        family.sample(&[("metric", name), ("reason", "unfit")], one.skipped.unfit);
    }
    for one in shown {
        let metric::Family { name, help, kind, labels } = one.family;
        let (kind, bounds): (Kind, &[f64]) = match kind {
            metric::Kind::Counter => (Kind::Counter, &[]),
            metric::Kind::Gauge => (Kind::Gauge, &[]),
            metric::Kind::Histogram(bounds) => (Kind::Histogram, bounds),
        };
        let mut family = page.family(name, kind, if help.is_empty() { OWN_HELP } else { help });
        let mut sample = |labels: Labels<'_>, figure: &Figure| match figure {
            Figure::Number(number) => family.sample(labels, *number),
            Figure::Histogram(figure) => family.histogram(labels, figure.cumulative(bounds), figure.sum()),
        };
        for (values, figure) in &one.series {
            let labels: Vec<(&str, &str)> =
                labels.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
            sample(&labels, figure);
        }
        if let Some(figure) = &one.overflow {
            sample(&[(OVERFLOW, "true")], figure);
        }
    }
}
