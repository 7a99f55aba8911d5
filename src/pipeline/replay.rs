//! Dead letters sent again, sink by sink: in a running pipeline, or with a state folder that no daemon holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::drain::Drainer;
use super::{Error, Setup, sleep_until};
use crate::delivery::{Handle, Replay, count_lines, deadletter};
use crate::lifecycle::{ReplayReport, ReplayedSink, StateDir};
use crate::sink::Sink;
use crate::sink::http::USER_AGENT;

/// The replays of several sinks.
#[derive(Debug)]
pub struct Replays {
    replays: Vec<Arc<Replay>>,
    dir: PathBuf,
    /// Whether letters of sinks that are not configured are looked for, and all that are.
    configured: Option<Vec<String>>,
    /// Held where no daemon does.
    _state: Option<StateDir>,
}

impl Drainer {
    /// The replays of these sinks, of all where none is named.
    pub fn replays(&self, names: &[String]) -> Replays {
        let chosen = |sink: &&Handle| names.is_empty() || names.iter().any(|name| **name == *sink.name);
        let configured = self.sinks.iter().map(|sink| sink.name.to_string()).collect();
        Replays {
            replays: self.sinks.iter().filter(chosen).map(|sink| Arc::new(sink.replay())).collect(),
            dir: self.sinks.first().map(|sink| sink.dead_letter_dir().to_owned()).unwrap_or_default(),
            configured: names.is_empty().then_some(configured),
            _state: None,
        }
    }
}

impl Replays {
    /// Takes the state folder for as long as the replays last; sources and buffer are left alone.
    ///
    /// # Errors
    /// [`Error::State`] where another process holds the folder; a sink that cannot be built.
    pub fn alone(setup: &Setup, names: &[String]) -> Result<Self, Error> {
        let Setup { state_dir, sinks, .. } = setup;
        let state = StateDir::open(state_dir)?;
        let dir = state.dead_letters();
        let mut replays = Vec::new();
        for options in sinks.iter().filter(|sink| names.is_empty() || names.iter().any(|name| **name == *sink.name)) {
            let sink = Sink::new(options, USER_AGENT)
                .map_err(|source| Error::Sink { name: Arc::clone(&options.name), source })?;
            replays.push(Arc::new(Replay::new(options, sink, &dir)));
        }
        let configured = sinks.iter().map(|sink| sink.name.to_string()).collect();
        Ok(Replays { replays, dir, configured: names.is_empty().then_some(configured), _state: Some(state) })
    }

    /// Bytes of letters that are still to be gone through.
    pub fn left_bytes(&self) -> u64 {
        self.replays.iter().map(|replay| replay.left_bytes()).sum()
    }

    /// Sends the letters of all sinks, each at its own pace, until the deadline or until `give_up` resolves.
    pub async fn run(&self, deadline: Option<Instant>, give_up: impl Future<Output = ()>) -> ReplayReport {
        let started = Instant::now();
        let (over, ended) = tokio::sync::watch::channel(false);
        let each = self.replays.iter().map(|replay| {
            let mut ended = ended.clone();
            async move {
                let failed = tokio::select! {
                    biased;
                    result = replay.run() => result.err().map(|error| error.to_string()),
                    _ = ended.wait_for(|ended| *ended) => None,
                };
                let counted = Arc::clone(replay);
                let figures = tokio::task::spawn_blocking(move || counted.replayed()).await.unwrap_or_default();
                ReplayedSink {
                    name: replay.name().to_owned(),
                    sent: figures.sent,
                    refused: figures.refused,
                    without_document: figures.without_document,
                    unreadable: figures.unreadable,
                    left: figures.left,
                    possible_doubles: figures.possible_doubles,
                    fault: figures.fault,
                    failed,
                }
            }
        });
        let all = futures_util::future::join_all(each);
        tokio::pin!(all);
        let sinks = tokio::select! {
            biased;
            sinks = &mut all => sinks,
            () = sleep_until(deadline) => {
                over.send_replace(true);
                all.await
            }
            () = give_up => {
                over.send_replace(true);
                all.await
            }
        };
        let (dir, configured) = (self.dir.clone(), self.configured.clone());
        let strangers = tokio::task::spawn_blocking(move || configured.map(|known| strangers(&dir, &known)));
        let strangers = strangers.await.ok().flatten().unwrap_or_default();
        ReplayReport { sinks, strangers, took: started.elapsed() }
    }
}

/// Letters in the folder that no configured sink has written, by sink.
fn strangers(dir: &Path, configured: &[String]) -> Vec<(String, u64)> {
    let files = deadletter::files_of(dir).unwrap_or_default();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for file in files.into_iter().filter(|file| !configured.contains(&file.sink)) {
        *counts.entry(file.sink).or_default() += count_lines(&file.path);
    }
    counts.into_iter().filter(|(_, letters)| *letters > 0).collect()
}
