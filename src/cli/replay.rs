//! `logferry replay`: dead letters are sent again, by the running daemon where there is one.

use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{ConfigArgument, Usage, control, find_source, load, pipeline_setup, runtime, start_log};
use crate::config::Purpose;
use crate::control::{Outcome, Progress, Request};
use crate::lifecycle::{ReplayReport, Signals, StateError};
use crate::pipeline::{Drainer, Error, Replays, Setup};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Most time that it may take, such as 90s or 4m [default: teardown.deadline]
    #[arg(long, value_name = "TIME", value_parser = control::deadline)]
    deadline: Option<Duration>,
    /// Only the dead letters of this sink; may be given again
    #[arg(long = "sink", value_name = "NAME")]
    sinks: Vec<String>,
}

/// Sends the dead letters again; the report goes to standard error.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let loaded = load(&find_source(arguments.config.config), Purpose::Sinks)?;
    start_log(&loaded.config);
    let config = &loaded.config;
    if let Some(unknown) = arguments.sinks.iter().find(|name| config.sinks.iter().all(|sink| *sink.name != ***name)) {
        let known: Vec<&str> = config.sinks.iter().map(|sink| &*sink.name).collect();
        return Err(Usage(format!("there is no sink {unknown}; there are: {}", known.join(", "))).into());
    }
    let setup = pipeline_setup(config);
    let deadline = arguments.deadline.unwrap_or(config.teardown.deadline);
    let runtime = runtime()?;
    let report = runtime.block_on(alone(&setup, &arguments.sinks, deadline));
    // A look-up of a name may still block a thread: the process does not wait for it.
    runtime.shutdown_timeout(Duration::from_millis(100));
    match report {
        Ok(report) => {
            eprint!("{}", report.text());
            Ok(report.exit_code())
        }
        Err(error) if matches!(error.downcast_ref(), Some(Error::State(StateError::Held { .. }))) => {
            ask(&setup.state_dir, arguments.deadline, arguments.sinks)
        }
        Err(error) => Err(error),
    }
}

async fn alone(setup: &Setup, sinks: &[String], deadline: Duration) -> anyhow::Result<ReplayReport> {
    let mut signals = Signals::new()?;
    let replays = Replays::alone(setup, sinks)?;
    let bar = control::progress_bar();
    let mut most = 0;
    let interrupted = async {
        signals.stop().await;
    };
    let report = tokio::select! {
        report = replays.run(Instant::now().checked_add(deadline), interrupted) => report,
        never = watch(&replays, |left_bytes| control::draw(&bar, &mut most, Progress { reading: false, left_bytes })) => match never {},
    };
    bar.finish_and_clear();
    Ok(report)
}

/// The daemon that holds the state folder does it.
fn ask(state_dir: &Path, deadline: Option<Duration>, sinks: Vec<String>) -> anyhow::Result<u8> {
    eprintln!("a daemon runs on {}: it sends them", state_dir.display());
    let deadline_ms = deadline.map(|deadline| deadline.as_millis() as u64);
    control::ask_and_follow(state_dir, &Request::Replay { deadline_ms, sinks })
}

/// The daemon's side: its own delivery goes on meanwhile.
pub(super) async fn serve(
    drainer: &Drainer,
    sinks: &[String],
    deadline: Duration,
    progress: &mpsc::Sender<Progress>,
) -> Outcome {
    tracing::info!(deadline_s = deadline.as_secs_f64(), "a replay of dead letters was asked for");
    let replays = drainer.replays(sinks);
    let tell = |left_bytes| {
        // A client that does not listen is not waited for.
        let _ = progress.try_send(Progress { reading: false, left_bytes });
    };
    let report = tokio::select! {
        report = replays.run(Instant::now().checked_add(deadline), drainer.stopped()) => report,
        never = watch(&replays, tell) => match never {},
    };
    Outcome { exit_code: report.exit_code(), report: report.text() }
}

/// Shows again and again how much is left.
async fn watch(replays: &Replays, mut show: impl FnMut(u64)) -> std::convert::Infallible {
    loop {
        show(replays.left_bytes());
        tokio::time::sleep(control::LOOK).await;
    }
}
