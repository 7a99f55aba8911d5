//! A drain of the running pipeline: all that was written until now is delivered, and reading goes on. Also what can be
//! seen of the pipeline at any time. It starts and ends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::announced::Board;
use super::lag::Lag;
use super::rates::Rates;
use super::report::{FormatsBySource, file_gap_lines, format_figures, gap_lines, left_out, left_out_json, sink_report};
use super::tap::{Tap, Taps};
use super::{Gone, delivered, keep_share, sleep_until};
use crate::buffer::{self, LogPosition, OriginsWatch, Snapshot};
use crate::delivery::{Handle, Hurry, Standing};
use crate::ingest::metric::Metrics;
use crate::ingest::redact::Redactor;
use crate::ingest::rules::Counts;
use crate::lifecycle::Report;
use crate::manifest::{self, Keeper};
use crate::source::{Control, Drained, docker, file};

/// Share of a deadline that is kept for delivery when sources take long, and its bounds.
const DELIVERY_SHARE: u32 = 5;
const DELIVERY_SHARE_MAX: Duration = Duration::from_secs(30);

/// Share of a deadline that is kept for reading and delivery while containers are waited for, and its bound.
const WAIT_SHARE: u32 = 2;
const WAIT_SHARE_MAX: Duration = Duration::from_secs(60);

/// Most containers that a manifest names as running.
const RUNNING_NAMED_MAX: usize = 100;

/// Longest that writing a manifest into a log may take that may be full.
const MANIFEST_WRITE_MAX: Duration = Duration::from_secs(3);

/// How a drain is to end.
#[derive(Clone, Copy, Debug)]
pub struct Stop {
    /// An unterminated last line is taken once it is unchanged for this long.
    pub settle: Duration,
    /// When all must be over; `None`: when it is done.
    pub deadline: Option<Instant>,
    /// Longest wait for running containers to end, at a stop.
    pub wait_containers: Duration,
}

/// Handles on every stage; cheap to clone.
#[derive(Clone)]
pub struct Drainer {
    pub(super) files: Option<(file::FileControl, Arc<file::Stats>)>,
    pub(super) docker: Vec<(mpsc::Sender<Control>, Arc<docker::Stats>)>,
    pub(super) flusher: buffer::Flusher,
    pub(super) sums: buffer::SumsWatch,
    pub(super) usage: buffer::UsageWatch,
    pub(super) sinks: Vec<Handle>,
    pub(super) manifests: Option<(Arc<Mutex<Keeper>>, OriginsWatch)>,
    pub(super) origins: OriginsWatch,
    pub(super) started: Instant,
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) taps: Taps,
    pub(super) rates: Rates,
    /// Of each sink, in their order.
    pub(super) lags: Vec<Arc<Lag>>,
    pub(super) announced: Option<Arc<Board>>,
    pub(super) redactor: Arc<Redactor>,
    pub(super) formats: FormatsBySource,
    pub(super) metrics: Arc<Metrics>,
    pub(super) left_out: Counts,
}

/// How far a drain is.
#[derive(Clone, Debug)]
pub enum Step {
    Reading,
    /// Sinks are on their way to this place in the log.
    Delivering(LogPosition),
}

/// Where the sources have come to.
pub(super) struct Taken {
    /// The place in the log behind all that they gave, and the origins as of then.
    pub target: LogPosition,
    pub snapshot: Snapshot,
    pub drained: Drained,
}

impl Drainer {
    /// Delivers all that was written until now, and writes the manifest of that. Reading goes on meanwhile and
    /// afterwards.
    ///
    /// # Errors
    /// The pipeline is stopping, or broke off.
    pub async fn drain(&self, stop: Stop, steps: watch::Sender<Step>) -> Result<Report, String> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => Err("the daemon is stopping".to_owned()),
            report = self.drained(stop, steps) => report.map_err(|Gone| "the daemon broke off".to_owned()),
        }
    }

    /// When what Azure announces wants all to be delivered, where that is still to come.
    pub fn announced_deadline(&self) -> Option<Instant> {
        self.announced.as_ref()?.deadline().filter(|at| *at > Instant::now())
    }

    /// Resolves when the pipeline is stopping.
    pub async fn stopped(&self) {
        // A sender that is gone means the same.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }

    async fn drained(&self, stop: Stop, steps: watch::Sender<Step>) -> Result<Report, Gone> {
        let started = Instant::now();
        let mut report = Report::default();
        let hurried = self.hurry();
        let taken = tokio::select! {
            biased;
            taken = self.take_up(stop, false) => Some(taken?),
            () = sleep_until(stop.deadline) => None,
        };
        report.source_unfinished = taken.is_none();
        let target = taken.as_ref().map(|taken| taken.target);
        let mut through = Vec::new();
        let mut snapshot = None;
        if let Some(taken) = taken {
            steps.send_replace(Step::Delivering(taken.target));
            report.left_bytes = taken.drained.left_bytes;
            tokio::select! {
                biased;
                () = delivered(&self.sinks, taken.target) => {}
                () = sleep_until(stop.deadline) => {}
            }
            through = self.sinks.iter().filter(|sink| *sink.progress.borrow() >= taken.target).cloned().collect();
            snapshot = Some(taken.snapshot);
        }
        let end = self.write_manifests(snapshot, &mut report).await;
        if let Some(end) = end {
            // A sink that is behind gets the manifest after its records; the others have it soon.
            tokio::select! {
                biased;
                () = delivered(&through, end) => {}
                () = sleep_until(stop.deadline) => {}
            }
        }
        drop(hurried);
        let wanted = if target.is_some() { end.or(target) } else { None };
        for sink in &self.sinks {
            let is_behind = wanted.is_none_or(|wanted| *sink.progress.borrow() < wanted);
            let left = match wanted.filter(|_| is_behind) {
                Some(wanted) => sink.standing(wanted).await.buffered.values().sum(),
                None => 0,
            };
            report.sinks.push(sink_report(sink, is_behind, left));
        }
        report.sources = self.sums.get();
        report.redactions = redactions(&self.redactor);
        report.left_out = left_out(&self.left_out);
        report.gaps = self.gaps();
        report.took = started.elapsed();
        Ok(report)
    }

    /// Waits until no selected container runs, for as long as `stop` allows; reading goes on.
    pub(super) async fn containers_ended(&self, stop: Stop) {
        let running = self.running();
        if running.is_empty() || stop.wait_containers.is_zero() {
            return;
        }
        let until = Instant::now() + stop.wait_containers;
        let until = stop.deadline.map_or(until, |at| until.min(Self::wait_until(at)));
        tracing::info!(
            containers = running.len(),
            first = running[0],
            for_s = until.saturating_duration_since(Instant::now()).as_secs_f64(),
            "waiting for running containers to end"
        );
        let all_ended = async {
            for (_, stats) in &self.docker {
                stats.idle().await;
            }
        };
        if tokio::time::timeout_at(until, all_ended).await.is_err() {
            tracing::warn!(containers = self.running().len(), "containers still run: they are read up to now");
        } else if !self.running().is_empty() {
            tracing::info!(
                "the Docker engine is gone, nobody tells what became of its containers: they are read up to now"
            );
        }
    }

    /// Resolves when every engine has said which containers it has, and no selected one runs.
    pub(super) async fn idle(&self) {
        while !self.is_idle() {
            for (_, stats) in &self.docker {
                stats.listed().await;
                stats.idle().await;
            }
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.docker.iter().all(|(_, stats)| stats.is_listed()) && self.running().is_empty()
    }

    /// Until when containers may be waited for: reading to the end and delivery need some of the time as well.
    pub(super) fn wait_until(deadline: Instant) -> Instant {
        keep_share(deadline, WAIT_SHARE, WAIT_SHARE_MAX)
    }

    /// Attempts of every sink that wait are made now, and wait less, until the value is dropped.
    pub(super) fn hurry(&self) -> Vec<Hurry> {
        self.sinks.iter().map(Handle::hurry).collect()
    }

    /// Names of the selected containers that run.
    pub(super) fn running(&self) -> Vec<String> {
        self.docker.iter().flat_map(|(_, stats)| stats.running()).collect()
    }

    /// Sends every source to its target, and the buffer's queue to the log; `end`: the sources end there.
    pub(super) async fn take_up(&self, stop: Stop, end: bool) -> Result<Taken, Gone> {
        // Delivery needs some of the time as well.
        let deadline = stop.deadline.map(|at| keep_share(at, DELIVERY_SHARE, DELIVERY_SHARE_MAX));
        let settle = stop.settle;
        let message = |done| match end {
            true => Control::Stop { settle, deadline, done },
            false => Control::Drain { settle, deadline, done },
        };
        let mut answers = Vec::new();
        if let Some((files, _)) = &self.files {
            let (done, answer) = oneshot::channel();
            // A thread that has ended drops the message, and with it the sender.
            let _ = files.send(message(done));
            answers.push(answer);
        }
        for (source, _) in &self.docker {
            let (done, answer) = oneshot::channel();
            let _ = source.send(message(done)).await;
            answers.push(answer);
        }
        let mut drained = Drained::default();
        for answer in answers {
            let one = answer.await.map_err(|_| Gone)?;
            drained.origins += one.origins;
            drained.left_bytes += one.left_bytes;
        }
        let (target, snapshot) = self.flush().await?;
        Ok(Taken { target, snapshot, drained })
    }

    /// Brings what waits to the log; its end, and the origins as of then.
    pub(super) async fn flush(&self) -> Result<(LogPosition, Snapshot), Gone> {
        let target = self.flusher.flush().await.map_err(|_| Gone)?;
        let snapshot = self.origins.snapshot().await.map_err(|_| Gone)?;
        Ok((target.max(snapshot.at), snapshot))
    }

    /// Writes the manifests of what lies before `snapshot`, or, where the sources did not get to their target, of what
    /// there is now. Returns the end of the log behind their records; `None`: they could not be written.
    pub(super) async fn write_manifests(&self, snapshot: Option<Snapshot>, report: &mut Report) -> Option<LogPosition> {
        let (keeper, origins) = self.manifests.as_ref()?;
        let written = async {
            let mut target = manifest::Target::default();
            if report.source_unfinished || snapshot.is_none() {
                target.faults.push("the sources were not read to their end".to_owned());
            }
            if report.left_bytes > 0 {
                target.faults.push(format!("{} bytes of files were not read in time", report.left_bytes));
            }
            target.faults.extend(self.missed());
            for (_, stats) in &self.docker {
                target.notes.extend(still_running(&stats.running(), stats.listening()));
            }
            target.snapshot = match snapshot {
                Some(snapshot) => snapshot,
                None => origins.snapshot().await?,
            };
            let written = keeper.lock().await.write(target).await?;
            Ok::<_, buffer::Closed>((written, self.flusher.flush().await?))
        };
        match tokio::time::timeout(MANIFEST_WRITE_MAX, written).await {
            Ok(Ok((written, end))) => {
                report.manifests = written.iter().map(|one| one.message.clone()).collect();
                Some(end)
            }
            Ok(Err(buffer::Closed)) | Err(_) => {
                tracing::warn!("the manifest could not be written to the buffer in time");
                None
            }
        }
    }

    /// What was missed of which no origin can tell.
    fn missed(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let files = self.files.as_ref().map_or(0, |(_, stats)| stats.missed_files.get());
        if files > 0 {
            faults.push(format!("{files} files were gone before they could be opened"));
        }
        faults
    }

    /// Lines that are known to be missing since the start, in words.
    pub(super) fn gaps(&self) -> Vec<String> {
        let mut gaps: Vec<String> = self.docker.iter().flat_map(|(_, stats)| gap_lines(stats)).collect();
        if let Some((_, stats)) = &self.files {
            gaps.extend(file_gap_lines(stats));
        }
        gaps
    }

    /// Bytes of the log up to `target` that a sink has not passed, about: of the sink that has most of them.
    pub fn left_bytes(&self, target: LogPosition) -> u64 {
        self.sinks.iter().map(|sink| bytes_between(*sink.progress.borrow(), target)).max().unwrap_or(0)
    }

    /// Live records of what one sink gets from now on, or of what any gets.
    ///
    /// # Errors
    /// What is wrong and what to do, in one line.
    pub async fn tap(&self, sink: Option<String>) -> Result<Tap, String> {
        self.taps.start(sink).await
    }

    /// Why the pipeline is not in order, in one line; `None`: sources run and every sink accepts.
    pub fn not_ready(&self) -> Option<String> {
        if *self.stopping.borrow() {
            return Some("stopping".to_owned());
        }
        if self.usage.disk_full() {
            return Some("the disk is full, reading waits".to_owned());
        }
        self.sinks.iter().find_map(|sink| {
            let fault = sink.stats.fault()?;
            Some(format!("sink {} does not accept: {fault}", sink.name))
        })
    }

    /// The state of every stage, as `logferry status --json` prints it.
    pub async fn status(&self) -> Value {
        let target = self.usage.appended();
        let rates = self.rates.now();
        let mut sinks = serde_json::Map::new();
        for sink in &self.sinks {
            let Standing { buffered, counted, .. } = sink.standing(target).await;
            let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
            let stats = &sink.stats;
            let figures = json!({
                "delivered": load(&stats.accepted),
                "records_per_second": rates.of_sink(&sink.name),
                "dead_lettered": load(&stats.dead_lettered),
                "dead_lettered_without_document": load(&stats.without_document),
                "dead_letter_bytes": sink.dead_letter_bytes(),
                "evicted": load(&stats.evicted),
                "possible_doubles": load(&stats.possible_doubles),
                "lag_records": buffered.values().sum::<u64>(),
                "lag_counted": counted,
                "requests": load(&stats.requests),
                "failed_requests": load(&stats.failed_requests),
                "damaged_bytes": load(&stats.damaged_bytes),
                "fault": stats.fault(),
            });
            sinks.insert(sink.name.to_string(), figures);
        }
        let sources: serde_json::Map<String, Value> = self
            .sums
            .get()
            .into_iter()
            .filter(|(name, _)| name != manifest::SOURCE)
            .map(|(name, sum)| {
                let per_second = rates.of_source(&name);
                let figures = json!({
                    "lines": sum.lines,
                    "bytes": sum.bytes,
                    "records": sum.records,
                    "gaps": sum.gaps,
                    "lines_per_second": per_second,
                    "formats": format_figures(&self.formats, &name),
                });
                (name, figures)
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "sources": sources,
            "buffer": {
                "used_bytes": self.usage.used_bytes(),
                "max_bytes": self.usage.max_bytes(),
                "disk_full": self.usage.disk_full(),
            },
            "sinks": sinks,
            "left_out": left_out_json(&self.left_out),
            "redactions": redactions(&self.redactor).into_iter().collect::<BTreeMap<_, _>>(),
            "gaps": self.gaps(),
            "scheduled_events": self.announced.as_ref().map(|board| board.status()),
        })
    }
}

/// How many secrets of each kind were redacted since the start.
pub(super) fn redactions(redactor: &Redactor) -> Vec<(String, u64)> {
    redactor.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}

/// Bytes of the log between two places; a segment that was closed early counts whole.
fn bytes_between(from: LogPosition, to: LogPosition) -> u64 {
    let at = |position: LogPosition| position.segment * buffer::SEGMENT_BYTES + position.offset;
    at(to).saturating_sub(at(from))
}

/// What a manifest says of containers that run on: it holds what they printed until then. `listening`: the engine is there.
fn still_running(names: &[String], listening: bool) -> Vec<String> {
    let when = if listening { "" } else { " when the engine was last heard" };
    let mut notes: Vec<String> =
        names.iter().take(RUNNING_NAMED_MAX).map(|name| format!("container {name} still ran{when}")).collect();
    if names.len() > notes.len() {
        notes.push(format!("{} more containers still ran{when}", names.len() - notes.len()));
    }
    notes
}
