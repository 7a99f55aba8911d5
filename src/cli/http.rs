//! What the running daemon says over HTTP: alive, ready, how it does. A port that cannot be had stops no shipping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::pipeline::Drainer;
use crate::telemetry::exposition::{Exposition, Format};
use crate::telemetry::http::{Answer, Page, serve};
use crate::telemetry::process::Process;

/// Wait between two attempts to have the address.
const RETRY: Duration = Duration::from_secs(5);

/// The state is not looked up more often than this, however many ask: counting what a sink lacks reads the buffer.
const STATUS_MAX_AGE: Duration = Duration::from_millis(500);

/// Where the daemon stands in its life.
#[derive(Clone)]
pub(super) enum Life {
    Starting,
    Running(Drainer),
    /// A signal has come: it drains and ends.
    Stopping(Drainer),
}

/// Serves for as long as this value lives.
pub(super) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the pages are made from.
#[derive(Clone)]
struct Pages {
    life: watch::Receiver<Life>,
    process: Process,
    /// Held by who has the figures written: a page with many series is large.
    scraping: Arc<Mutex<()>>,
    /// The last state that was looked up.
    last: Arc<Mutex<Option<(Instant, Value)>>>,
}

/// Listens on `address`; where that is taken it says so and tries again from time to time.
pub(super) async fn listen(address: SocketAddr, life: watch::Receiver<Life>, process: Process) -> Listening {
    let pages = Pages { life, process, scraping: Arc::default(), last: Arc::default() };
    let first = TcpListener::bind(address).await;
    if let Err(error) = &first {
        tracing::error!(
            %address, %error,
            "no /metrics, /healthz, /readyz and /status: is another process on that port? Set http.listen to a free address, or to \
             \"off\"; logs are shipped all the same, and the address is tried again"
        );
    }
    Listening(tokio::spawn(async move {
        let mut listener = first.ok();
        let listener = loop {
            if let Some(listener) = listener {
                break listener;
            }
            tokio::time::sleep(RETRY).await;
            listener = TcpListener::bind(address).await.ok();
        };
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "listening for /metrics, /healthz, /readyz and /status");
        }
        serve(listener, move |page| {
            let pages = pages.clone();
            async move { pages.answer(page).await }
        })
        .await;
    }))
}

impl Pages {
    async fn answer(&self, page: Page) -> Answer {
        let life = self.life.borrow().clone();
        match (page, &life) {
            (Page::Health, _) => Answer::text(200, "alive\n"),
            (_, Life::Starting) => Answer::text(503, "starting\n"),
            (Page::Ready, Life::Stopping(_)) => Answer::text(503, "stopping\n"),
            (Page::Ready, Life::Running(drainer)) => match drainer.not_ready() {
                Some(reason) => Answer::text(503, &format!("{reason}\n")),
                None => Answer::text(200, "ready\n"),
            },
            (Page::Status, Life::Running(drainer) | Life::Stopping(drainer)) => {
                Answer::json(&self.status(drainer).await)
            }
            (Page::Metrics(format), Life::Running(drainer) | Life::Stopping(drainer)) => {
                self.metrics(drainer, format).await
            }
        }
    }

    /// The figures of now; who asks meanwhile waits for its turn.
    async fn metrics(&self, drainer: &Drainer, format: Format) -> Answer {
        let _scraping = self.scraping.lock().await;
        let mut page = Exposition::new(format);
        drainer.metrics(&mut page).await;
        self.process.write(&mut page);
        Answer { status: 200, content_type: format.content_type(), body: page.finish().into_bytes() }
    }

    /// The state, at most [`STATUS_MAX_AGE`] old; who asks meanwhile waits for the same.
    async fn status(&self, drainer: &Drainer) -> Value {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, status)) if at.elapsed() < STATUS_MAX_AGE => status.clone(),
            _ => {
                let status = drainer.status().await;
                *last = Some((Instant::now(), status.clone()));
                status
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_daemon_that_starts_is_alive_and_not_ready() {
        let life = watch::Sender::new(Life::Starting);
        let (life, process) = (life.subscribe(), Process::begin());
        let pages = Pages { life, process, scraping: Arc::default(), last: Arc::default() };
        assert_eq!(pages.answer(Page::Health).await, Answer::text(200, "alive\n"));
        assert_eq!(pages.answer(Page::Ready).await, Answer::text(503, "starting\n"));
        assert_eq!(pages.answer(Page::Status).await, Answer::text(503, "starting\n"));
        assert_eq!(pages.answer(Page::Metrics(Format::Text)).await, Answer::text(503, "starting\n"));
    }
}
