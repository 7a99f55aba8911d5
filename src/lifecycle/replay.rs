//! What a replay of dead letters did, in figures: for the terminal, and for the exit code.

use std::fmt::Write as _;
use std::time::Duration;

use super::report::{EXIT_DEAD_LETTERS, EXIT_DELIVERED, EXIT_FAILED, EXIT_LEFT};

/// What became of one sink's letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayedSink {
    pub name: String,
    pub sent: u64,
    pub refused: u64,
    /// Only their EventIDs were kept.
    pub without_document: u64,
    /// Lines that are no letters of such a sink.
    pub unreadable: u64,
    pub left: u64,
    /// Sent, and perhaps by an earlier replay too.
    pub possible_doubles: u64,
    /// Why the sink does not accept at the moment.
    pub fault: Option<String>,
    /// Why its replay broke off.
    pub failed: Option<String>,
}

impl ReplayedSink {
    fn stays(&self) -> u64 {
        self.refused + self.without_document + self.unreadable
    }

    fn is_nothing(&self) -> bool {
        self.failed.is_none() && self.sent + self.stays() + self.left == 0
    }
}

/// What a replay did.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    pub sinks: Vec<ReplayedSink>,
    /// Letters of sinks that the configuration does not have, which nobody can send.
    pub strangers: Vec<(String, u64)>,
    pub took: Duration,
}

impl ReplayReport {
    /// The exit code: a failure wins over what is left, and that over what was refused again.
    pub fn exit_code(&self) -> u8 {
        if self.sinks.iter().any(|sink| sink.failed.is_some()) {
            EXIT_FAILED
        } else if !self.strangers.is_empty() || self.sinks.iter().any(|sink| sink.left > 0) {
            EXIT_LEFT
        } else if self.sinks.iter().any(|sink| sink.stays() > 0) {
            EXIT_DEAD_LETTERS
        } else {
            EXIT_DELIVERED
        }
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let shown: Vec<&ReplayedSink> = self.sinks.iter().filter(|sink| !sink.is_nothing()).collect();
        if shown.is_empty() && self.strangers.is_empty() {
            return "there are no dead letters\n".to_owned();
        }
        let width = shown.iter().map(|sink| sink.name.len()).max().unwrap_or(0).max(8);
        // Writing into a string does not fail.
        let _ = writeln!(out, "{:<width$}  {:>12}  {:>13}  {:>12}", "sink", "sent", "refused again", "left");
        for sink in &shown {
            let refused = sink.stays();
            let _ = writeln!(out, "{:<width$}  {:>12}  {refused:>13}  {:>12}", sink.name, sink.sent, sink.left);
        }
        for sink in &shown {
            say(&mut out, sink);
        }
        for (name, letters) in &self.strangers {
            let _ = writeln!(out, "{name}: {letters} dead letters of a sink that is not configured: name it so again");
        }
        let _ = writeln!(out, "{} ({:.1} s)", self.verdict(), self.took.as_secs_f64());
        out
    }

    fn verdict(&self) -> &'static str {
        match self.exit_code() {
            EXIT_FAILED => "the replay broke off; what was not sent is still there",
            EXIT_LEFT => "dead letters are left: the next replay goes on with them",
            EXIT_DEAD_LETTERS => "some are dead letters still: dead-letters/ in state.dir says why",
            _ => "all dead letters are delivered",
        }
    }
}

fn say(out: &mut String, sink: &ReplayedSink) {
    let name = &sink.name;
    // Writing into a string does not fail.
    if sink.without_document > 0 {
        let count = sink.without_document;
        let _ = writeln!(out, "{name}: of {count} only the EventID was kept, so they cannot be sent");
    }
    if sink.unreadable > 0 {
        let count = sink.unreadable;
        let _ = writeln!(out, "{name}: {count} lines are no dead letters of such a sink: mend or delete them");
    }
    if sink.possible_doubles > 0 {
        let count = sink.possible_doubles;
        let _ = writeln!(out, "{name}: {count} may have been sent by a replay before; each is found by its EventID");
    }
    if let Some(failed) = &sink.failed {
        let _ = writeln!(out, "{name}: {failed}");
    }
    if let Some(fault) = sink.fault.as_ref().filter(|_| sink.left > 0) {
        let _ = writeln!(out, "{name}: {fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_wins_over_what_is_left_and_that_over_what_was_refused() {
        let check = |sink: ReplayedSink, expected: u8, words: &str| {
            let report = ReplayReport { sinks: vec![ReplayedSink::default(), sink], ..ReplayReport::default() };
            assert_eq!(report.exit_code(), expected, "{report:?}");
            assert!(report.text().contains(words), "{}", report.text());
        };
        let one = ReplayedSink { name: "es".into(), sent: 1, ..ReplayedSink::default() };
        check(ReplayedSink::default(), EXIT_DELIVERED, "no dead letters");
        check(one.clone(), EXIT_DELIVERED, "all dead letters");
        check(ReplayedSink { refused: 1, ..one.clone() }, EXIT_DEAD_LETTERS, "says why");
        check(ReplayedSink { without_document: 1, ..one.clone() }, EXIT_DEAD_LETTERS, "only the EventID");
        check(ReplayedSink { unreadable: 1, ..one.clone() }, EXIT_DEAD_LETTERS, "mend or delete");
        let left = ReplayedSink { refused: 1, left: 2, fault: Some("503: later".into()), ..one.clone() };
        check(left.clone(), EXIT_LEFT, "es: 503: later");
        check(ReplayedSink { failed: Some("the disk".into()), ..left }, EXIT_FAILED, "es: the disk");
        let strangers = vec![("old".to_owned(), 3)];
        let report = ReplayReport { sinks: vec![one], strangers, ..ReplayReport::default() };
        assert_eq!(report.exit_code(), EXIT_LEFT);
        assert!(report.text().contains("old: 3 dead letters"), "{}", report.text());
    }
}
