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
mod start;
mod stop;
mod tap;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::buffer;
use crate::delivery::{DeliveryError, Handle};
use crate::ingest;
use crate::ingest::metric::Metrics;
use crate::ingest::redact::Redactor;
use crate::ingest::rules::Counts;
use crate::lifecycle::{StateDir, StateError, identity};
use crate::sink;
use crate::source::file::archive;
use crate::source::{Control, docker, file};

use inputs::{Ends, Inputs, Stops};
use manifests::Manifests;
use stop::{delivered, keep_share, sleep_until};

pub use announced::Options as Announced;
pub use drain::{Drainer, Step, Stop};
pub use replay::Replays;
pub use report::Watched;
pub use start::run_columns;
pub use tap::{LAG_MAX_BYTES, QUEUE_MAX_BYTES, TAPS_MAX, Tap, Tapped};

/// How often the thread of the file source is looked after.
const THREAD_LOOK: Duration = Duration::from_secs(1);

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
}
