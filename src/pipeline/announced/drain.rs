//! The drain for an announced event: it waits for containers, and goes on past its deadline. It knows no event.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::lifecycle::report::{EXIT_DEAD_LETTERS, EXIT_LEFT};
use crate::pipeline::drain::{Drainer, Step, Stop};
use crate::source::announced::Told;

/// In a drain, an unterminated last line is taken once it is unchanged for this long.
const SETTLE: Duration = Duration::from_secs(1);

/// Pauses before a drain that was not whole is tried again: the first, doubled up to the longest. Each writes a manifest.
const AGAIN_PAUSE_FIRST: Duration = Duration::from_secs(1);
const AGAIN_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The same where dead letters are what keeps it from being whole.
const DEAD_LETTERS_PAUSE: Duration = Duration::from_secs(10);

/// Longest that a drain waits for the records of what it is for: the buffer may be full.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// How often it is looked whether a container was started, while an approval is sent.
const BUSY_LOOK: Duration = Duration::from_millis(200);

/// Waits until the records of what was said are on their way, so that they come before the target of a drain.
pub(super) async fn settle(told: &mpsc::Sender<Told>) {
    let (done, settled) = oneshot::channel();
    let asked = async {
        if told.send(Told::Settle(done)).await.is_ok() {
            // A source that has ended settles nothing any more.
            let _ = settled.await;
        }
    };
    if timeout(SETTLE_MAX, asked).await.is_err() {
        tracing::debug!("the buffer is full: records of announced events come later");
    }
}

/// Resolves when no selected container runs and all up to then is delivered, with the manifest of that. Where that is not
/// so in time, a manifest is written before the deadline, and it goes on without one. What a sink refused is not delivered:
/// it is on a disk that is about to go.
pub(super) async fn drain(drainer: &Drainer, deadline: Instant) {
    let _hurried = drainer.hurry();
    let mut deadline = Some(deadline);
    let mut pause = AGAIN_PAUSE_FIRST;
    loop {
        wait_for_containers(drainer, deadline).await;
        let stop = Stop { settle: SETTLE, deadline, wait_containers: Duration::ZERO };
        let steps = watch::Sender::new(Step::Reading);
        let report = match drainer.drain(stop, steps).await {
            Ok(report) => report,
            Err(reason) => {
                tracing::debug!(reason, "the drain is not ended");
                return std::future::pending().await;
            }
        };
        let is_whole = report.exit_code() != EXIT_LEFT;
        let has_dead_letters = report.exit_code() == EXIT_DEAD_LETTERS;
        for manifest in &report.manifests {
            tracing::info!(manifest, took_s = report.took.as_secs_f64(), "drained");
        }
        if is_whole && !has_dead_letters && drainer.is_idle() {
            return;
        }
        if !is_whole {
            tracing::warn!("not everything is delivered in time for what Azure announces; delivery goes on");
        }
        if has_dead_letters {
            tracing::warn!(
                "nothing is approved: dead letters are on the disk of this VM only, `logferry replay` sends them again"
            );
            // A replay is what they wait for, and that is done by hand.
            pause = DEAD_LETTERS_PAUSE;
        }
        deadline = None;
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN_PAUSE_MAX);
    }
}

/// Waits until no selected container runs, for as long as the deadline allows.
async fn wait_for_containers(drainer: &Drainer, deadline: Option<Instant>) {
    if drainer.is_idle() {
        return;
    }
    let running = drainer.running();
    tracing::info!(
        containers = running.len(),
        first = running.first(),
        "waiting for running containers to end, or for an engine to say which run"
    );
    match deadline {
        None => drainer.idle().await,
        Some(deadline) => {
            if timeout_at(Drainer::wait_until(deadline), drainer.idle()).await.is_err() {
                tracing::warn!(containers = drainer.running().len(), "containers still run: they are read up to now");
            }
        }
    }
}

/// Resolves when a selected container runs, at once where one does.
pub(super) async fn busy(drainer: &Drainer) {
    while drainer.is_idle() {
        sleep(BUSY_LOOK).await;
    }
}
