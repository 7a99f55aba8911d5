//! `logferry run`: the daemon.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::http::{self, Life};
use super::{announced, control, find_source, load, pipeline_setup, runtime, start_log};
use crate::config::Purpose;
use crate::control::Server;
use crate::lifecycle::report::EXIT_LEFT;
use crate::lifecycle::{Signals, service};
use crate::pipeline::{Pipeline, Setup, Stop};
use crate::telemetry::process::Process;

/// On a stop, an unterminated last line is taken once it is unchanged for this long.
const SETTLE: Duration = Duration::from_secs(1);

/// Follows until a signal, then drains within `teardown.deadline`.
pub fn run(config: Option<PathBuf>) -> anyhow::Result<u8> {
    let process = Process::begin();
    let loaded = load(&find_source(config), Purpose::Pipeline)?;
    start_log(&loaded.config);
    let runtime = runtime()?;
    let code = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let config = &loaded.config;
        let life = watch::Sender::new(Life::Starting);
        // Held until the process has drained.
        let _listening = match config.http_listen {
            Some(address) => Some(http::listen(address, life.subscribe(), process).await),
            None => None,
        };
        let setup = Setup { announced: announced(config), ..pipeline_setup(config) };
        // What was asked of it before it had begun is done once it has: what an earlier process left is to be delivered.
        let mut early = None;
        let mut pipeline = Pipeline::start(setup, async { early = Some(signals.stop().await) }).await?;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            config = loaded.file,
            file_sources = config.files.len(),
            docker_sources = config.docker.len(),
            sinks = config.sinks.len(),
            "started"
        );
        let (asked, requests) = mpsc::channel(control::ASKED_QUEUE);
        tokio::spawn(control::answer(pipeline.drainer(), requests, config.teardown.deadline));
        // Without its socket the daemon does its work all the same.
        let server = Server::start(&config.state_dir, asked)
            .inspect_err(|error| tracing::error!(%error, "no control socket: `drain` and `status` find no daemon"));
        life.send_replace(Life::Running(pipeline.drainer()));
        service::notify("READY=1");
        let signal = match early {
            Some(signal) => signal,
            None => tokio::select! {
                signal = signals.stop() => signal,
                error = pipeline.broke_off() => return Err(error.into()),
            },
        };
        // What Azure has announced may leave less time.
        let until = pipeline.drainer().announced_deadline();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let deadline = left.map_or(config.teardown.deadline, |left| left.min(config.teardown.deadline));
        tracing::info!(signal, deadline_s = deadline.as_secs_f64(), "draining; a second signal stops at once");
        life.send_replace(Life::Stopping(pipeline.drainer()));
        service::notify("STOPPING=1");
        let wait_containers = config.teardown.wait_containers;
        let stop = Stop { settle: SETTLE, deadline: Some(Instant::now() + deadline), wait_containers };
        let watched = pipeline.watch();
        let stopping = pipeline.stop(stop, async {
            signals.stop().await;
        });
        let report = tokio::select! {
            report = stopping => report?,
            never = service::extend_while_moving(wait_containers, || watched.figures(), service::notify) => match never {},
        };
        if let Ok(server) = server {
            server.end().await;
        }
        eprint!("{}", report.text());
        Ok::<u8, anyhow::Error>(report.exit_code())
    });
    // Reads from standard input or a name look-up may still block a thread: the process does not wait for them.
    runtime.shutdown_timeout(Duration::from_millis(100));
    if matches!(code, Ok(EXIT_LEFT)) {
        tracing::warn!("records are left in the buffer");
    }
    code
}
