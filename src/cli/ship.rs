//! `logferry ship`: once, to the end, with a report.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{Usage, control, dry_run, find_source, load, named, pipeline_setup, runtime, start_log};
use crate::config::{Config, Purpose, Source};
use crate::lifecycle::report::EXIT_FAILED;
use crate::lifecycle::{Report, Signals, StateError};
use crate::pipeline::{self, Pipeline, Setup, Stop, Watched};
use crate::source::file::archive::Which;
use crate::telemetry::log;

/// How often the progress line is drawn anew.
const DRAW: Duration = Duration::from_millis(100);

/// The configuration that stands in where there is none: records as NDJSON on standard output.
const EMBEDDED: &str = "[sinks.console]\nformat = \"ndjson\"\n[log]\nlevel = \"warn\"\n";

/// `ship` takes the time that it takes: the daemon that does its work is given ten years, in ms.
const FOREVER_MS: u64 = 10 * 365 * 24 * 3600 * 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) config: super::ConfigArgument,
    /// Files or folders to read instead of the configured files; `-` is standard input
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Only the report: records and bytes by source, logger and level, and what they come to in Azure and Elasticsearch.
    /// All is read as if for the first time; no sink is asked, no position is kept
    #[arg(long)]
    dry_run: bool,
    /// With --dry-run: the report as JSON
    #[arg(long, requires = "dry_run")]
    pub(super) json: bool,
}

/// How it went.
pub(super) struct Shipped {
    pub(super) report: Report,
    /// It ended early because nobody takes what is written to standard output.
    output_is_gone: bool,
}

/// The configuration that is built in.
pub(super) fn embedded() -> Source {
    Source::Text { name: "the built-in configuration".to_owned(), text: EMBEDDED.to_owned() }
}

/// Whether there is none but what is built in.
pub(super) fn is_without_config(given: &Source) -> bool {
    *given == Source::Default && !Path::new(crate::config::DEFAULT_PATH).exists()
}

/// Reads everything to its end, delivers, reports on standard error.
pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    if arguments.dry_run {
        return dry_run::run(arguments);
    }
    let given = find_source(arguments.config.config);
    let without_config = is_without_config(&given);
    if without_config && arguments.paths.is_empty() {
        let hint = "nothing to ship: name files (or - for standard input), or give a configuration with -c";
        return Err(Usage(hint.to_owned()).into());
    }
    let source = if without_config { embedded() } else { given };
    let purpose = if arguments.paths.is_empty() { Purpose::Pipeline } else { Purpose::Sinks };
    let loaded = load(&source, purpose)?;
    if without_config {
        log::start("warn", log::Format::Text);
    } else {
        start_log(&loaded.config);
    }
    let temporary = if without_config { Some(TemporaryState::new()?) } else { None };
    let mut setup = pipeline_setup(&loaded.config);
    setup.archives = Some(if arguments.paths.is_empty() { Which::Unread } else { Which::All });
    if let Some(state) = &temporary {
        setup.state_dir = state.0.clone();
        // Who reads standard output wants the records; the report says what there is to prove.
        setup.manifests = false;
    }
    if !arguments.paths.is_empty() {
        read_paths(&mut setup, &arguments.paths, &loaded.config)?;
    }
    let runtime = runtime()?;
    let state_dir = setup.state_dir.clone();
    let shipped = runtime.block_on(ship(setup, loaded.config.teardown.deadline, delivered));
    if let Err(error) = &shipped
        && let Some(pipeline::Error::State(StateError::Held { .. })) = error.downcast_ref()
    {
        if arguments.paths.is_empty() {
            // The daemon reads the same files and containers: it delivers them, however long that takes.
            eprintln!("a daemon runs on {}: it is asked to drain", state_dir.display());
            return control::drain_daemon(&state_dir, Some(FOREVER_MS));
        }
        eprintln!(
            "logferry: paths are read by a process that has the state folder to itself; `logferry drain` asks the daemon"
        );
    }
    runtime.shutdown_timeout(Duration::from_millis(100));
    let Shipped { report, output_is_gone } = shipped?;
    let report = Report { temporary: without_config, ..report };
    eprint!("{}", report.text());
    // Nothing stays behind that a later start could deliver.
    let failed = without_config && output_is_gone;
    Ok(if failed { EXIT_FAILED } else { report.exit_code() })
}

/// How far it has come.
fn delivered(watched: &Watched) -> String {
    let (lines, sinks) = watched.figures();
    let sinks: Vec<String> = sinks.iter().map(|(name, n)| format!("{name} {n}")).collect();
    format!("{lines} lines read, delivered: {}", sinks.join(", "))
}

/// Reads everything to its end and hands it to the sinks; `said`: what the progress line says.
pub(super) async fn ship(
    setup: Setup,
    deadline: Duration,
    said: impl Fn(&Watched) -> String,
) -> anyhow::Result<Shipped> {
    let mut signals = Signals::new()?;
    let mut early = None;
    let pipeline = Pipeline::start(setup, async { early = Some(signals.stop().await) }).await?;
    let watched = pipeline.watch();
    let bar = progress_bar();
    let output_is_gone = Cell::new(false);
    let give_up = async {
        let mut draw = tokio::time::interval(DRAW);
        let mut until: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = draw.tick() => {
                    bar.set_message(said(&watched));
                    output_is_gone.set(watched.output_is_gone());
                    if output_is_gone.get() || until.is_some_and(|until| Instant::now() >= until) {
                        return;
                    }
                }
                signal = async { match early.take() { Some(signal) => signal, None => signals.stop().await } } => {
                    if until.is_some() {
                        return;
                    }
                    tracing::warn!(signal, deadline_s = deadline.as_secs_f64(), "finishing; a second signal stops at once");
                    watched.end_input();
                    until = Some(Instant::now() + deadline);
                }
            }
        }
    };
    let report =
        pipeline.stop(Stop { settle: Duration::ZERO, deadline: None, wait_containers: Duration::ZERO }, give_up).await;
    bar.finish_and_clear();
    Ok(Shipped { report: report?, output_is_gone: output_is_gone.get() })
}

/// A line that moves on a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
    ProgressBar::new_spinner().with_style(style)
}

/// Puts the paths of the command line in the place of the configured files.
pub(super) fn read_paths(setup: &mut Setup, paths: &[PathBuf], config: &Config) -> Result<(), Usage> {
    let is_stdin = |path: &&PathBuf| path.as_os_str() == named::STANDARD_INPUT;
    if paths.iter().any(|path| is_stdin(&path)) {
        setup.stdin = Some(("stdin".to_owned(), Arc::new(named::ingest_options(config))));
    }
    let files: Vec<&Path> = paths.iter().filter(|path| !is_stdin(path)).map(PathBuf::as_path).collect();
    setup.files = named::sources(&files, config)?;
    Ok(())
}

/// A state folder that goes with the process.
pub(super) struct TemporaryState(PathBuf);

impl TemporaryState {
    pub(super) fn new() -> std::io::Result<Self> {
        let id = crate::record::OriginId::random()?;
        Ok(TemporaryState(std::env::temp_dir().join(format!("logferry-ship-{id}"))))
    }

    pub(super) fn path(&self) -> PathBuf {
        self.0.clone()
    }
}

impl Drop for TemporaryState {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            // There is no caller left to tell.
            let _ = writeln!(std::io::stderr(), "logferry: {} stays behind: {error}", self.0.display());
        }
    }
}
