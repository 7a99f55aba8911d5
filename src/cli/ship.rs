//! `logferry ship`: once, to the end, with a report.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{Usage, find_source, load, pipeline_setup, runtime, start_log};
use crate::config::{Config, Purpose, Source};
use crate::ingest;
use crate::lifecycle::{Report, Signals};
use crate::pipeline::{Pipeline, Setup, Stop};
use crate::source::file;
use crate::source::file::{Pattern, StartAt};
use crate::telemetry::log;

/// How often the progress line is drawn anew.
const DRAW: Duration = Duration::from_millis(100);

/// The configuration that stands in where there is none: records as NDJSON on standard output.
const EMBEDDED: &str = "[sinks.console]\nformat = \"ndjson\"\n[log]\nlevel = \"warn\"\n";

/// Standard input, as a path.
const STANDARD_INPUT: &str = "-";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: super::ConfigArgument,
    /// Files or folders to read instead of the configured files; `-` is standard input
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Reads everything to its end, delivers, reports on standard error.
pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let given = find_source(arguments.config.config);
    let without_config = given == Source::Default && !Path::new(crate::config::DEFAULT_PATH).exists();
    if without_config && arguments.paths.is_empty() {
        let hint = "nothing to ship: name files (or - for standard input), or give a configuration with -c";
        return Err(Usage(hint.to_owned()).into());
    }
    let source = if without_config {
        Source::Text { name: "the built-in configuration".to_owned(), text: EMBEDDED.to_owned() }
    } else {
        given
    };
    let purpose = if arguments.paths.is_empty() { Purpose::Pipeline } else { Purpose::Sinks };
    let loaded = load(&source, purpose)?;
    if without_config {
        log::start("warn", log::Format::Text);
    } else {
        start_log(&loaded.config);
    }
    let temporary = if without_config { Some(TemporaryState::new()?) } else { None };
    let mut setup = pipeline_setup(&loaded.config);
    if let Some(state) = &temporary {
        setup.state_dir = state.0.clone();
    }
    if !arguments.paths.is_empty() {
        read_paths(&mut setup, &arguments.paths, &loaded.config)?;
    }
    let runtime = runtime()?;
    let report = runtime.block_on(ship(setup, loaded.config.teardown.deadline));
    runtime.shutdown_timeout(Duration::from_millis(100));
    let report = report?;
    eprint!("{}", report.text());
    Ok(report.exit_code())
}

async fn ship(setup: Setup, deadline: Duration) -> anyhow::Result<Report> {
    let mut signals = Signals::new()?;
    let pipeline = Pipeline::start(setup)?;
    let watched = pipeline.watch();
    let bar = progress_bar();
    let give_up = async {
        let mut draw = tokio::time::interval(DRAW);
        let mut until: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = draw.tick() => {
                    let (lines, sinks) = watched.figures();
                    let sinks: Vec<String> = sinks.iter().map(|(name, n)| format!("{name} {n}")).collect();
                    bar.set_message(format!("{lines} lines read, delivered: {}", sinks.join(", ")));
                    if watched.output_is_gone() || until.is_some_and(|until| Instant::now() >= until) {
                        return;
                    }
                }
                signal = signals.stop() => {
                    if until.is_some() {
                        return;
                    }
                    tracing::warn!(signal, deadline_s = deadline.as_secs_f64(), "finishing; a second signal stops at once");
                    until = Some(Instant::now() + deadline);
                }
            }
        }
    };
    let report = pipeline.stop(Stop { settle: Duration::ZERO, deadline: None }, give_up).await;
    bar.finish_and_clear();
    Ok(report?)
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
fn read_paths(setup: &mut Setup, paths: &[PathBuf], config: &Config) -> Result<(), Usage> {
    let ingest = config.files.first().map_or_else(|| default_ingest(config), |files| files.ingest.clone());
    let name = config.files.first().map_or_else(|| Arc::from("files"), |files| Arc::clone(&files.name));
    let mut include = Vec::new();
    for path in paths {
        if path.as_os_str() == STANDARD_INPUT {
            setup.stdin = Some(("stdin".to_owned(), Arc::new(ingest.clone())));
            continue;
        }
        let there = std::fs::canonicalize(path).map_err(|error| Usage(format!("{}: {error}", path.display())))?;
        let pattern = Pattern::literal(&there, there.is_dir());
        include.push(pattern.map_err(|reason| Usage(format!("{}: {reason}", path.display())))?);
    }
    setup.files = Vec::new();
    if !include.is_empty() {
        let options = file::Options {
            name,
            include,
            exclude: Vec::new(),
            start_at: StartAt::Beginning,
            ignore_older: None,
            ingest,
        };
        setup.files.push(options);
    }
    Ok(())
}

fn default_ingest(config: &Config) -> ingest::Options {
    ingest::Options {
        parser: ingest::Parser::Auto,
        multiline: ingest::Multiline::Auto,
        zone: ingest::Zone::Utc,
        max_line: ingest::MAX_LINE_BYTES,
        routes: config.sinks.iter().map(|sink| sink.when.clone()).collect(),
    }
}

/// A state folder that goes with the process.
struct TemporaryState(PathBuf);

impl TemporaryState {
    fn new() -> std::io::Result<Self> {
        let id = crate::record::OriginId::random()?;
        Ok(TemporaryState(std::env::temp_dir().join(format!("logferry-ship-{id}"))))
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
