//! What goes wrong with the sinks of a round, as its seed says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use super::Dice;
use crate::support::azure::{self, AzureServer};
use crate::support::engine::Engine;
use crate::support::fault_proxy::{Fault, FaultProxy};

/// Longest time between two changes of what a whole sink does, in milliseconds.
const WEATHER_MAX_MS: u64 = 900;

/// The faults; they go on until [`Faults::end`].
pub struct Faults {
    proxy: Arc<FaultProxy>,
    weather: JoinHandle<()>,
    over: Arc<AtomicBool>,
    /// Calls that were refused or cut.
    failed: Arc<AtomicUsize>,
    engine: Engine,
    index: String,
}

impl Faults {
    /// A proxy before the engine that refuses, loses and cuts; an index that refuses single items at times; Azure with
    /// refused and lost calls.
    pub async fn start(engine: &Engine, index: &str, azure: &AzureServer, mut dice: Dice) -> Faults {
        let (over, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let proxy = FaultProxy::new(&engine.url, proxy_rule(dice.split(), &over, &failed)).await;
        azure.fault_rule(azure_rule(dice.split(), &over, &failed));
        let proxy = Arc::new(proxy);
        let weather = tokio::spawn(weather(engine.clone(), index.to_owned(), Arc::clone(&proxy), dice));
        Faults { proxy, weather, over, failed, engine: engine.clone(), index: index.to_owned() }
    }

    pub fn url(&self) -> &str {
        &self.proxy.url
    }

    /// From here on everything works.
    pub async fn end(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.weather.abort();
        let ended = (&mut self.weather).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "the weather goes on until it is stopped");
        self.proxy.set_down(false);
        refuse_items(&self.engine, &self.index, false).await;
    }

    pub fn summary(&self) -> String {
        format!("{} failed calls", self.failed.load(Ordering::SeqCst))
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.weather.abort();
    }
}

fn proxy_rule(
    mut dice: Dice,
    over: &Arc<AtomicBool>,
    failed: &Arc<AtomicUsize>,
) -> impl FnMut(&crate::support::http1::Request, u64) -> Fault + Send + 'static {
    let (over, failed) = (Arc::clone(over), Arc::clone(failed));
    move |request, _| {
        let fault = match dice.roll(20) {
            0..=2 => Fault::DropAfter,
            3 => Fault::DropBefore,
            4 => Fault::Status(429),
            5 => Fault::Status(503),
            6 => Fault::Status(502),
            _ => Fault::Pass,
        };
        if fault == Fault::Pass || over.load(Ordering::SeqCst) || !request.path().ends_with("/_bulk") {
            return Fault::Pass;
        }
        failed.fetch_add(1, Ordering::SeqCst);
        fault
    }
}

fn azure_rule(
    mut dice: Dice,
    over: &Arc<AtomicBool>,
    failed: &Arc<AtomicUsize>,
) -> impl FnMut(u64) -> Option<azure::Fault> + Send + 'static {
    let (over, failed) = (Arc::clone(over), Arc::clone(failed));
    move |_| {
        let fault = match dice.roll(16) {
            0 | 1 => azure::Fault::DropAfterStore,
            2 => azure::Fault::DropConnectionBefore,
            3 => azure::Fault::Status(500, None),
            4 => azure::Fault::Status(503, None),
            5 => azure::Fault::Status(429, Some(Duration::from_secs(1))),
            6 => azure::Fault::Html(502),
            _ => return None,
        };
        if over.load(Ordering::SeqCst) {
            return None;
        }
        failed.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }
}

/// The engine is away, or refuses every item of a call with 429 as one with a full disk does, or is well.
async fn weather(engine: Engine, index: String, proxy: Arc<FaultProxy>, mut dice: Dice) {
    loop {
        tokio::time::sleep(Duration::from_millis(dice.roll(WEATHER_MAX_MS))).await;
        match dice.roll(4) {
            0 => proxy.set_down(true),
            1 => refuse_items(&engine, &index, true).await,
            _ => {
                proxy.set_down(false);
                refuse_items(&engine, &index, false).await;
            }
        }
    }
}

/// An index that does not exist yet refuses nothing.
async fn refuse_items(engine: &Engine, index: &str, on: bool) {
    let value = if on { json!(true) } else { json!(null) };
    let settings = json!({ "index.blocks.read_only_allow_delete": value });
    let (status, answer) = engine.call("PUT", &format!("{index}/_settings"), Some(settings)).await;
    assert!(status == 200 || status == 404, "{answer}");
}
