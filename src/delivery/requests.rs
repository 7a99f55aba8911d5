//! The requests of one sink: how each ended, and how long it took. Figures for metrics; none decides anything.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::decision::Protocol;
use crate::record::Histogram;
use crate::record::histogram::SECONDS;
use crate::sink::SendOutcome;

/// How requests ended and how long they took, since the process started.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counted>);

/// The figures of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// By the status of the answer, or the word for what came instead of one; see [`status`].
    pub by_status: BTreeMap<Cow<'static, str>, u64>,
    /// Seconds from a request to its answer, over the bounds of [`SECONDS`].
    pub seconds: Histogram,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, protocol: Protocol, outcome: &SendOutcome, took: Duration) {
        let mut counted = self.lock();
        *counted.by_status.entry(status(protocol, outcome)).or_default() += 1;
        counted.seconds.observe(SECONDS, took.as_secs_f64());
    }

    pub fn now(&self) -> Counted {
        self.lock().clone()
    }
}

/// The status of an answer as a number; `ok` of what is no server; `unknown` where no usable answer came, `not_sent` where
/// nothing was sent.
fn status(protocol: Protocol, outcome: &SendOutcome) -> Cow<'static, str> {
    let word = match (outcome, protocol) {
        (SendOutcome::Refused { status, .. }, _) => return status.to_string().into(),
        (SendOutcome::Unknown { .. }, _) => "unknown",
        (SendOutcome::NotSent { .. }, _) => "not_sent",
        // What became of each record is another figure.
        (SendOutcome::Accepted | SendOutcome::Items(_), Protocol::Elasticsearch) => "200",
        (SendOutcome::Accepted | SendOutcome::Items(_), Protocol::AzureMonitor) => "204",
        (SendOutcome::Accepted | SendOutcome::Items(_), Protocol::Stream) => "ok",
    };
    word.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_the_status_of_their_answer() {
        let requests = Requests::default();
        let reason = String::new;
        let outcomes = [
            (Protocol::Elasticsearch, SendOutcome::Accepted, "200"),
            (Protocol::Elasticsearch, SendOutcome::Items(Vec::new()), "200"),
            (Protocol::AzureMonitor, SendOutcome::Accepted, "204"),
            (Protocol::Stream, SendOutcome::Accepted, "ok"),
            (Protocol::AzureMonitor, SendOutcome::Refused { status: 429, retry_after: None, reason: reason() }, "429"),
            (Protocol::AzureMonitor, SendOutcome::Unknown { reason: reason() }, "unknown"),
            (Protocol::Stream, SendOutcome::NotSent { reason: reason() }, "not_sent"),
        ];
        for (protocol, outcome, expected) in outcomes {
            assert_eq!(status(protocol, &outcome), expected, "{outcome:?}");
            requests.count(protocol, &outcome, Duration::from_millis(250));
        }
        let counted = requests.now();
        assert_eq!((counted.by_status["200"], counted.by_status.values().sum::<u64>()), (2, 7));
        assert_eq!((counted.seconds.count(), counted.seconds.sum()), (7, 1.75));
    }
}
