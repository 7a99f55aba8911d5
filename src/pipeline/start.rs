//! Opens the state, builds every stage from its options, and starts them.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::inputs::Inputs;
use super::manifests::Manifests;
use super::{Announced, DockerRunning, Error, Following, Pipeline, Setup, announced, lag, rates, report, tap};
use crate::azure::imds::Client;
use crate::buffer::storage::Disk;
use crate::buffer::{self, Appender, LiveOrigin, OriginInfo, Section};
use crate::delivery::Delivery;
use crate::ingest::redact::Redactor;
use crate::lifecycle::StateDir;
use crate::record::OriginId;
use crate::sink::http::USER_AGENT;
use crate::sink::{self, Sink};
use crate::source::file::archive;
use crate::source::{RunColumns, docker, file};
use crate::{ingest, manifest, source};

/// Messages to one Docker source that wait to be taken; who sends waits.
const CONTROL_QUEUE: usize = 4;

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
