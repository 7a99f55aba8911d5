//! The only wiring: opens the state, builds every stage from its options, owns the queues between them, and takes it all
//! down in order: sources to their target, the buffer to the disk, the sinks to the end of the log.

mod ages;
mod announced;
mod drain;
mod inputs;
mod lag;
mod manifests;
mod metrics;
mod rates;
mod replay;
mod report;
mod tap;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::azure::imds::Client;
use crate::buffer::storage::Disk;
use crate::buffer::{self, Appender, LiveOrigin, LogPosition, OriginInfo, Section};
use crate::delivery::{Delivery, DeliveryError, Handle};
use crate::ingest::metric::Metrics;
use crate::ingest::redact::Redactor;
use crate::ingest::rules::Counts;
use crate::lifecycle::{Report, StateDir, StateError, identity};
use crate::manifest;
use crate::record::OriginId;
use crate::sink::http::USER_AGENT;
use crate::sink::{self, Sink};
use crate::source::file::archive;
use crate::source::{Control, RunColumns, docker, file};
use crate::{ingest, source};

use inputs::{Ends, Inputs, Stops};
use manifests::Manifests;
use report::sink_report;

pub use announced::Options as Announced;
pub use drain::{Drainer, Step, Stop};
pub use replay::Replays;
pub use report::Watched;
pub use tap::{LAG_MAX_BYTES, QUEUE_MAX_BYTES, TAPS_MAX, Tap, Tapped};

/// Messages to one Docker source that wait to be taken; who sends waits.
const CONTROL_QUEUE: usize = 4;

/// How often the thread of the file source is looked after.
const THREAD_LOOK: Duration = Duration::from_secs(1);

/// Longest that a stop waits for deliveries to notice that they are over.
const END_MAX: Duration = Duration::from_secs(5);

/// Share of the time left that is kept for the manifest's own delivery, and its bounds.
const MANIFEST_SHARE: u32 = 10;
const MANIFEST_SHARE_MAX: Duration = Duration::from_secs(2);

/// Everything that a pipeline is made of.
#[derive(Debug)]
pub struct Setup {
    /// Columns that are the same for every record; settled with the state.
    pub identity: identity::Wanted,
    pub state_dir: PathBuf,
    pub buffer: buffer::Options,
    pub files: Vec<file::Options>,
    pub docker: Vec<docker::Options>,
    /// Standard input as a source of this name.
    pub stdin: Option<(String, Arc<ingest::Options>)>,
    /// Which compressed files are read, once; `None`: they are left alone.
    pub archives: Option<archive::Which>,
    pub sinks: Vec<sink::Options>,
    /// Paths that are never read, besides the state folder and what file sinks write.
    pub unread: Vec<PathBuf>,
    /// What becomes of secrets, in the columns of the run and in the lines of all sources.
    pub redactor: Arc<Redactor>,
    /// What is counted out of the lines of all sources.
    pub metrics: Arc<Metrics>,
    /// How much each rule and rate limit of these sources has left out.
    pub left_out: Counts,
    /// Whether manifests are written: a state folder that goes with the process proves nothing.
    pub manifests: bool,
    /// What Azure announces is followed like this; `None`: nobody is asked.
    pub announced: Option<Announced>,
}

/// Why a pipeline cannot start, or broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Buffer(#[from] buffer::OpenError),
    #[error(transparent)]
    Fatal(#[from] buffer::Fatal),
    #[error("sink {name}: {source}")]
    Sink { name: Arc<str>, source: sink::http::BuildError },
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    #[error("the file source cannot start: {0}")]
    Files(std::io::Error),
    #[error("the file source broke off: {0}")]
    FilesEnded(String),
    #[error("Docker source {name}: {source}")]
    Docker { name: Arc<str>, source: docker::Error },
    #[error("standard input cannot be read: {0}")]
    Stdin(String),
    #[error("IMDS cannot be asked: {0}")]
    Imds(crate::http::BuildError),
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
}

/// A running pipeline.
pub struct Pipeline {
    started: Instant,
    state: StateDir,
    control: buffer::Control,
    files: Option<file::Running>,
    docker: Vec<DockerRunning>,
    docker_tasks: JoinSet<Result<(), Error>>,
    inputs: Inputs,
    end_inputs: Stops,
    /// All is read once, to its end: what is left alone is a fault.
    once: Option<archive::Which>,
    /// Inputs that are read once and could not be, or not to their end: which and why.
    unreadable: Vec<String>,
    sinks: Vec<Handle>,
    deliveries: JoinSet<Result<(usize, u64), DeliveryError>>,
    stop_deliveries: watch::Sender<bool>,
    manifests: Option<Manifests>,
    /// Sources are told to end: that one has is no fault any more.
    stopping: watch::Sender<bool>,
    taps: tap::Taps,
    rates: rates::Rates,
    lags: Vec<Arc<lag::Lag>>,
    announced: Option<Following>,
    redactor: Arc<Redactor>,
    formats: report::FormatsBySource,
    metrics: Arc<Metrics>,
    left_out: Counts,
}

/// What Azure announces is followed for as long as this value lives.
struct Following {
    board: Arc<announced::Board>,
    tasks: [tokio::task::AbortHandle; 2],
}

impl Drop for Following {
    fn drop(&mut self) {
        self.tasks.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

struct DockerRunning {
    control: mpsc::Sender<Control>,
    stats: Arc<docker::Stats>,
}

/// Where the sources have come to.
struct Reached {
    taken: drain::Taken,
    inputs: Ends,
}

/// A source, or the buffer, is gone and gives no answer.
struct Gone;

impl Pipeline {
    /// Opens the state, settles what this machine is, and starts every stage. On Azure that waits for IMDS, until `give_up`
    /// at the latest.
    ///
    /// # Errors
    /// [`Error`]; then nothing runs.
    pub async fn start(setup: Setup, give_up: impl Future<Output = ()>) -> Result<Self, Error> {
        let Setup {
            identity,
            state_dir,
            buffer,
            files,
            docker,
            stdin,
            archives,
            sinks,
            unread,
            redactor,
            metrics,
            left_out,
            manifests,
            announced,
        } = setup;
        let mut state = StateDir::open(&state_dir)?;
        let settled = state.settle(&identity, USER_AGENT, give_up).await?;
        let run = run_columns(settled.columns, &settled.vm_name, &redactor);
        let mut built = Vec::new();
        for options in &sinks {
            let sink = Sink::new(options, USER_AGENT)
                .map_err(|source| Error::Sink { name: Arc::clone(&options.name), source })?;
            built.push(sink);
        }
        let names = sinks.iter().map(|sink| sink.name.to_string()).collect();
        let setup = buffer::Setup { dir: state.buffer(), cursor_dir: state.cursors(), options: buffer, sinks: names };
        let (buffer, cursors) = buffer::open(&setup, Arc::new(Disk))?;
        let recovered = buffer.recovered;
        if recovered.torn_bytes > 0 || recovered.damaged_bytes > 0 {
            tracing::warn!(
                torn_bytes = recovered.torn_bytes,
                damaged_bytes = recovered.damaged_bytes,
                "the buffer was not closed in order; what was torn is read again from its source"
            );
        }
        let log = buffer.readers.first().map(buffer::Reader::behind);
        let taps = tap::Taps::new(log, sinks.iter().map(|sink| Arc::clone(&sink.name)).collect());
        let (stop_deliveries, stop) = watch::channel(false);
        let mut deliveries = JoinSet::new();
        let mut handles = Vec::new();
        let parts = sinks.iter().zip(built).zip(buffer.readers).zip(cursors).enumerate();
        for (bit, (((options, sink), reader), cursor)) in parts {
            let delivery = Delivery::new(options, sink, reader, cursor, &state.dead_letters());
            handles.push(delivery.handle());
            let stop = stop.clone();
            deliveries.spawn(async move { delivery.run(stop).await.map(|left| (bit, left)) });
        }
        let live = if settled.cloned {
            tracing::warn!("state.dir was copied from another machine: its origins are closed, files are read anew");
            close_origins(&buffer.appender, recovered.origins);
            Vec::new()
        } else {
            recovered.origins
        };
        let manifests = manifests.then(|| {
            let is_ours = |origin: &&LiveOrigin| manifest::owns(&origin.info.descriptor);
            Manifests::start(manifest::Setup {
                appender: buffer.appender.clone(),
                origins: buffer.control.watch_origins(),
                sinks: handles.clone(),
                run: run.0.clone(),
                dir: state.manifests(),
                quarantine: state.buffer().join("quarantine"),
                live: live.iter().filter(is_ours).cloned().collect(),
            })
        });
        let mut own_paths = own_paths(&sinks, &state_dir);
        own_paths.extend(unread);
        let formats = report::formats_by_source(&files, &docker, stdin.as_ref());
        let inputs = Inputs::default();
        let (sums, usage) = (buffer.control.watch_sums(), buffer.control.watch_usage());
        let lags = handles.iter().cloned().enumerate();
        let lags = lags.map(|(bit, sink)| Arc::new(lag::Lag::new(sink, bit, sums.clone(), usage.clone()))).collect();
        let rates = rates::Rates::start(sums, usage, handles.clone());
        let mut pipeline = Pipeline {
            started: Instant::now(),
            state,
            control: buffer.control,
            files: None,
            docker: Vec::new(),
            docker_tasks: JoinSet::new(),
            end_inputs: inputs.stops(),
            inputs,
            once: archives,
            unreadable: Vec::new(),
            sinks: handles,
            deliveries,
            stop_deliveries,
            manifests,
            stopping: watch::Sender::new(false),
            taps,
            rates,
            lags,
            redactor: Arc::clone(&redactor),
            formats,
            metrics: Arc::clone(&metrics),
            left_out,
            announced: None,
        };
        let files = match archives {
            Some(which) => pipeline.inputs.start_archives(archive::Setup {
                sources: files,
                which,
                run: run.clone(),
                appender: buffer.appender.clone(),
                live: live.clone(),
                own_paths: own_paths.clone(),
            }),
            None => Ok(files),
        };
        let files = files.map_err(Error::Files)?;
        let routes = sinks.iter().map(|sink| sink.when.clone()).collect();
        let (records_run, appender) = (run.clone(), buffer.appender.clone());
        let records =
            source::announced::Setup { run: records_run, routes, redactor, metrics, appender, live: live.clone() };
        pipeline.start_sources(files, docker, stdin, own_paths, run, buffer.appender, live)?;
        // A drain for an event needs the handles on all sources.
        if let Some(options) = announced {
            pipeline.follow_announced(options, settled.event_names, records)?;
        }
        Ok(pipeline)
    }

    #[allow(clippy::too_many_arguments, reason = "called once; the parts have no meaning of their own together")]
    fn start_sources(
        &mut self,
        files: Vec<file::Options>,
        docker: Vec<docker::Options>,
        stdin: Option<(String, Arc<ingest::Options>)>,
        own_paths: Vec<PathBuf>,
        run: RunColumns,
        appender: Appender,
        live: Vec<LiveOrigin>,
    ) -> Result<(), Error> {
        let of_files = |origin: &&LiveOrigin| file::owns(&origin.info.descriptor);
        if !files.is_empty() {
            let setup = file::Setup {
                sources: files,
                run: run.clone(),
                appender: appender.clone(),
                live: live.iter().filter(of_files).cloned().collect(),
                own_paths,
                timing: file::Timing::default(),
            };
            self.files = Some(file::FileSource::start(setup, OriginId::random).map_err(Error::Files)?);
        }
        for options in docker {
            let name = Arc::clone(&options.name);
            let (control, receiver) = mpsc::channel(CONTROL_QUEUE);
            let stats = Arc::new(docker::Stats::default());
            let owned = |origin: &&LiveOrigin| {
                docker::owner(&origin.info.descriptor).is_some_and(|owner| *owner == *options.name)
            };
            let setup = docker::Setup {
                live: live.iter().filter(owned).cloned().collect(),
                run: run.clone(),
                appender: appender.clone(),
                control: receiver,
                stats: Arc::clone(&stats),
                memory: Some(self.state.docker(&options.name)),
                options: options.clone(),
            };
            self.docker.push(DockerRunning { control, stats });
            self.docker_tasks
                .spawn(async move { docker::run(setup).await.map_err(|source| Error::Docker { name, source }) });
        }
        if let Some(stdin) = stdin {
            self.inputs.start_stdin(stdin, run, appender).map_err(|error| Error::Stdin(error.to_string()))?;
        }
        Ok(())
    }

    fn follow_announced(
        &mut self,
        options: Announced,
        names: Vec<String>,
        records: source::announced::Setup,
    ) -> Result<(), Error> {
        let client = Arc::new(Client::new(options.imds.clone(), USER_AGENT).map_err(Error::Imds)?);
        let board = Arc::new(announced::Board::default());
        let (told, said) = mpsc::channel(announced::TOLD_QUEUE);
        let setup =
            announced::Setup { options, names, client, drainer: self.drainer(), board: Arc::clone(&board), told };
        let records = tokio::spawn(source::announced::run(records, said)).abort_handle();
        let follower = tokio::spawn(announced::run(setup)).abort_handle();
        self.announced = Some(Following { board, tasks: [records, follower] });
        Ok(())
    }

    /// Resolves when a stage has failed, or ended before it was told to.
    pub async fn broke_off(&mut self) -> Error {
        let mut look = tokio::time::interval(THREAD_LOOK);
        loop {
            let failed = self.control.failed();
            tokio::select! {
                biased;
                fatal = failed => return fatal.into(),
                _ = look.tick() => {
                    if !*self.stopping.borrow() && self.files.as_ref().is_some_and(|files| files.thread.is_finished()) {
                        return self.why_a_source_ended().await;
                    }
                }
                Some(ended) = self.deliveries.join_next() => return match ended {
                    Ok(Err(error)) => error.into(),
                    _ => Error::Ended("delivery"),
                },
                Some(ended) = self.docker_tasks.join_next() => match ended {
                    Ok(Err(error)) => return error,
                    Ok(Ok(())) if *self.stopping.borrow() => {}
                    _ => return Error::Ended("a Docker source"),
                },
            }
        }
    }

    /// Handles to drain the pipeline, and to look at it, while it runs.
    pub fn drainer(&self) -> Drainer {
        Drainer {
            files: self.files.as_ref().map(|files| (files.control.clone(), Arc::clone(&files.stats))),
            docker: self.docker.iter().map(|source| (source.control.clone(), Arc::clone(&source.stats))).collect(),
            flusher: self.control.flusher(),
            sums: self.control.watch_sums(),
            usage: self.control.watch_usage(),
            sinks: self.sinks.clone(),
            manifests: self.manifests.as_ref().map(|m| (Arc::clone(&m.keeper), m.origins.clone())),
            origins: self.control.watch_origins(),
            started: self.started,
            stopping: self.stopping.subscribe(),
            taps: self.taps.clone(),
            rates: self.rates.clone(),
            lags: self.lags.clone(),
            announced: self.announced.as_ref().map(|following| Arc::clone(&following.board)),
            redactor: Arc::clone(&self.redactor),
            formats: Arc::clone(&self.formats),
            metrics: Arc::clone(&self.metrics),
            left_out: Arc::clone(&self.left_out),
        }
    }

    /// A view of the running pipeline that outlives it.
    pub fn watch(&self) -> Watched {
        Watched { sums: self.control.watch_sums(), sinks: self.sinks.clone(), end_inputs: self.end_inputs.clone() }
    }

    /// Takes the pipeline down in order. `give_up` ends the wait early: then the rest stays in the buffer.
    ///
    /// # Errors
    /// A stage that failed on the way. Records that are left are no error, see [`Report::exit_code`].
    pub async fn stop(mut self, stop: Stop, give_up: impl Future<Output = ()>) -> Result<Report, Error> {
        self.stopping.send_replace(true);
        let drainer = self.drainer();
        let mut report = Report::default();
        let deadline = stop.deadline;
        let given_up = std::cell::Cell::new(false);
        let give_up = async {
            give_up.await;
            given_up.set(true);
        };
        tokio::pin!(give_up);
        // Some of the time is kept for the manifest.
        let for_records = deadline.map(|at| keep_share(at, MANIFEST_SHARE, MANIFEST_SHARE_MAX));
        // A sink that waits holds the log, a full log holds the sources: no wait is longer than a drain bears.
        for sink in &self.sinks {
            sink.begin_drain();
        }
        let draining = self.drain_sources(stop);
        let reached = tokio::select! {
            biased;
            result = draining => match result {
                Ok(reached) => Some(reached),
                Err(Gone) => return Err(self.why_a_source_ended().await),
            },
            error = self.broke_off() => return Err(error),
            () = sleep_until(for_records) => None,
            () = &mut give_up => None,
        };
        let Some(Reached { taken: drain::Taken { target, snapshot, drained }, inputs }) = reached else {
            report.source_unfinished = true;
            drainer.write_manifests(None, &mut report).await;
            return self.end(report, None).await;
        };
        report.left_bytes = drained.left_bytes;
        report.source_unfinished = inputs.cut;
        self.unreadable = inputs.unreadable;
        let sinks = self.sinks.clone();
        tokio::select! {
            biased;
            () = delivered(&sinks, target) => {}
            error = self.broke_off() => return Err(error),
            () = sleep_until(for_records) => {}
            () = &mut give_up, if !given_up.get() => {}
        }
        // A sink that is behind gets the manifest after its records; the others have it soon.
        let through: Vec<Handle> = sinks.into_iter().filter(|sink| *sink.progress.borrow() >= target).collect();
        let target = drainer.write_manifests(Some(snapshot), &mut report).await.unwrap_or(target);
        tokio::select! {
            biased;
            () = delivered(&through, target) => {}
            error = self.broke_off() => return Err(error),
            () = sleep_until(deadline) => {}
            () = &mut give_up, if !given_up.get() => {}
            () = std::future::ready(()), if given_up.get() => {}
        }
        let report = self.end(report, Some(target)).await?;
        // What was read before the fault is delivered by now.
        match inputs.fault {
            Some(reason) => Err(Error::Stdin(reason)),
            None => Ok(report),
        }
    }

    /// Sends every source to its target, and the buffer's queue to the log. It holds nothing of `self`, so that the stages
    /// can be watched meanwhile.
    fn drain_sources(&mut self, stop: Stop) -> impl Future<Output = Result<Reached, Gone>> + use<> {
        let drainer = self.drainer();
        let inputs = std::mem::take(&mut self.inputs);
        async move {
            drainer.containers_ended(stop).await;
            let mut taken = drainer.take_up(stop, true).await?;
            let inputs = inputs.ends().await?;
            if inputs.is_some() {
                (taken.target, taken.snapshot) = drainer.flush().await?;
            }
            Ok(Reached { taken, inputs: inputs.unwrap_or_default() })
        }
    }

    async fn why_a_source_ended(&mut self) -> Error {
        if let Some(fatal) = self.control.failure() {
            return fatal.into();
        }
        while let Some(ended) = self.docker_tasks.join_next().await {
            if let Ok(Err(error)) = ended {
                return error;
            }
        }
        let Some(files) = self.files.take() else { return Error::Ended("a source") };
        match tokio::task::spawn_blocking(move || files.thread.join()).await {
            Ok(Ok(Err(error))) => Error::FilesEnded(error.to_string()),
            _ => Error::Ended("the file source"),
        }
    }

    async fn end(mut self, mut report: Report, target: Option<LogPosition>) -> Result<Report, Error> {
        // The progress of this moment decides: what is accepted while stopping is a gift.
        let unfinished: Vec<bool> =
            self.sinks.iter().map(|sink| target.is_none_or(|target| *sink.progress.borrow() < target)).collect();
        self.stop_deliveries.send_replace(true);
        let mut left = vec![0; self.sinks.len()];
        let joined = async {
            while let Some(ended) = self.deliveries.join_next().await {
                match ended {
                    Ok(Ok((bit, records))) => left[bit] = records,
                    Ok(Err(error)) => tracing::error!(%error, "delivery ended badly"),
                    Err(error) => tracing::error!(%error, "delivery broke off"),
                }
            }
        };
        if tokio::time::timeout(END_MAX, joined).await.is_err() {
            tracing::warn!("a sink does not end: it is left alone, what it had not accepted is in the buffer");
            self.deliveries.abort_all();
        }
        report.sources = self.control.sums();
        report.redactions = drain::redactions(&self.redactor);
        report.left_out = report::left_out(&self.left_out);
        report.gaps = self.drainer().gaps();
        report.unreadable = self.unreadable;
        if let (Some(files), Some(which)) = (&self.files, self.once) {
            let left_alone = inputs::left_alone(&files.stats, which);
            report.gaps.retain(|line| !left_alone.contains(line));
            report.unreadable.extend(left_alone);
        }
        let fatal = self.control.failure();
        let control = self.control;
        // Its threads sync before they end: not on a thread of the runtime.
        let closing = tokio::task::spawn_blocking(move || control.close(true));
        if let Err(error) = closing.await {
            tracing::error!(%error, "the buffer was not closed in order");
        }
        if let Some(fatal) = fatal {
            return Err(fatal.into());
        }
        report.sinks =
            self.sinks.iter().zip(unfinished).zip(left).map(|((sink, u), l)| sink_report(sink, u, l)).collect();
        report.took = self.started.elapsed();
        Ok(report)
    }
}

/// Waits until every sink has passed `target`.
async fn delivered(sinks: &[Handle], target: LogPosition) {
    for sink in sinks {
        let mut progress = sink.progress.clone();
        // A sink whose loop is gone never gets there: the caller sees that it broke off.
        if progress.wait_for(|at| *at >= target).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A deadline that leaves a share of the time until `at`, but no more than `most`.
fn keep_share(at: Instant, share: u32, most: Duration) -> Instant {
    let left = at.saturating_duration_since(Instant::now());
    at - (left / share).min(most)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The columns of a run, VMName among them. Everything in it passed the redactor: it stands in records, in manifests and in
/// names of their files.
pub fn run_columns(columns: Vec<(String, String)>, vm_name: &str, redactor: &Redactor) -> RunColumns {
    let mut out = columns;
    // Behind RunID, TaskID and Benchmark, before the user's own.
    let at = out
        .iter()
        .position(|(name, _)| !matches!(name.as_str(), "RunID" | "TaskID" | "Benchmark"))
        .unwrap_or(out.len());
    if !vm_name.is_empty() {
        out.insert(at, ("VMName".to_owned(), vm_name.to_owned()));
    }
    for (name, value) in &mut out {
        *value = redactor.column(name, std::mem::take(value));
    }
    RunColumns(out)
}

fn own_paths(sinks: &[sink::Options], state_dir: &std::path::Path) -> Vec<PathBuf> {
    let mut paths = vec![state_dir.to_owned()];
    paths.extend(sinks.iter().filter_map(|sink| match &sink.kind {
        sink::Kind::File(options) => Some(options.path.clone()),
        _ => None,
    }));
    paths
}

/// Ends the origins of another machine: what they gave is delivered, and nothing goes on in their name.
fn close_origins(appender: &Appender, origins: Vec<LiveOrigin>) {
    for origin in origins.into_iter().filter(|origin| !origin.ended) {
        let info: Arc<OriginInfo> = origin.info;
        let first_seq = origin.counters.records + 1;
        let section = Section {
            origin: info,
            position: origin.position,
            counters: origin.counters,
            ended: true,
            first_seq,
            base: 0,
            records: buffer::Records::default(),
        };
        // The queue is bounded in bytes and these have almost none; a buffer that has stopped says so elsewhere.
        let _ = appender.append_blocking(section);
    }
}
