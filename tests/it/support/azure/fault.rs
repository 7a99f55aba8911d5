//! What can go wrong with a request, and when: a queue first, then a rule.

use std::collections::VecDeque;
use std::time::Duration;

/// What a request meets instead of (or before) being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status in the service's own words; `Retry-After` in whole seconds. Nothing is stored.
    Status(u16, Option<Duration>),
    /// This status with a web page, as a proxy answers. Nothing is stored.
    Html(u16),
    /// The connection ends without an answer. Nothing is stored.
    DropConnectionBefore,
    /// The request is served, the connection ends without its answer.
    DropAfterStore,
    /// The request is served, its answer never comes.
    HangAfterStore,
    /// It is served this much later.
    Delay(Duration),
    /// Nothing happens, ever.
    Hang,
}

type Rule = Box<dyn FnMut(u64) -> Option<Fault> + Send>;

/// The faults to come.
#[derive(Default)]
pub struct Plan {
    queue: VecDeque<Fault>,
    pub rule: Option<Rule>,
    ruled: u64,
}

impl Plan {
    pub fn push(&mut self, fault: Fault) {
        self.queue.push_back(fault);
    }

    /// The fault of the request that has just arrived.
    pub fn next(&mut self) -> Option<Fault> {
        if let Some(fault) = self.queue.pop_front() {
            return Some(fault);
        }
        let rule = self.rule.as_mut()?;
        self.ruled += 1;
        rule(self.ruled - 1)
    }
}
