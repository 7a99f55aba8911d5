//! Takes a pipeline down in order: sources to their target, the buffer to the disk, the sinks to the end of the log.

use std::time::Duration;

use tokio::time::Instant;

use super::report::{left_out, sink_report};
use super::{Error, Gone, Pipeline, Reached, Stop, drain, inputs};
use crate::buffer::LogPosition;
use crate::delivery::Handle;
use crate::lifecycle::Report;

/// Longest that a stop waits for deliveries to notice that they are over.
const END_MAX: Duration = Duration::from_secs(5);

/// Share of the time left that is kept for the manifest's own delivery, and its bounds.
const MANIFEST_SHARE: u32 = 10;
const MANIFEST_SHARE_MAX: Duration = Duration::from_secs(2);

impl Pipeline {
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

    pub(super) async fn why_a_source_ended(&mut self) -> Error {
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
        report.left_out = left_out(&self.left_out);
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
pub(super) async fn delivered(sinks: &[Handle], target: LogPosition) {
    for sink in sinks {
        let mut progress = sink.progress.clone();
        // A sink whose loop is gone never gets there: the caller sees that it broke off.
        if progress.wait_for(|at| *at >= target).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A deadline that leaves a share of the time until `at`, but no more than `most`.
pub(super) fn keep_share(at: Instant, share: u32, most: Duration) -> Instant {
    let left = at.saturating_duration_since(Instant::now());
    at - (left / share).min(most)
}

pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
