//! What a run did, in figures: for the terminal, and for the exit code.

use std::fmt::Write as _;
use std::time::Duration;

use crate::buffer::Sums;

/// Everything was delivered.
pub const EXIT_DELIVERED: u8 = 0;
/// The work broke off.
pub const EXIT_FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Records are left in the buffer.
pub const EXIT_LEFT: u8 = 3;
/// Everything was delivered but for dead letters.
pub const EXIT_DEAD_LETTERS: u8 = 4;

/// What one sink did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkReport {
    pub name: String,
    pub accepted: u64,
    pub dead_lettered: u64,
    /// Of these, how many were kept without their document.
    pub without_document: u64,
    /// A replay has sent them again since.
    pub no_letters_left: bool,
    /// Records that were dropped from a full buffer before the sink had them.
    pub evicted: u64,
    pub possible_doubles: u64,
    /// Records that are still in the buffer for it.
    pub left: u64,
    /// Bytes of the buffer that were damaged: records in them never reach the sink.
    pub damaged_bytes: u64,
    /// Not all that was appended has been accepted.
    pub unfinished: bool,
    /// Why it does not accept at the moment.
    pub fault: Option<String>,
}

/// What one rule, or the rate limit of one source, left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Its kind and name: `drop noisy`.
    pub rule: String,
    pub lines: u64,
}

/// What a process did from start to stop.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub sources: Sums,
    pub sinks: Vec<SinkReport>,
    /// The manifest of each run, in one sentence.
    pub manifests: Vec<String>,
    /// Secrets that were redacted, by kind.
    pub redactions: Vec<(String, u64)>,
    /// What each rule and rate limit left out.
    pub left_out: Vec<LeftOut>,
    /// Bytes that sources knew of and could not take up before the deadline; they are read by the next start.
    pub left_bytes: u64,
    /// Lines of containers that may be missing: what and why.
    pub gaps: Vec<String>,
    /// Inputs that are read once and could not be, or not to their end: which and why.
    pub unreadable: Vec<String>,
    /// A source did not come to its end before the deadline.
    pub source_unfinished: bool,
    /// The state goes with the process: what is left is not kept for a next start.
    pub temporary: bool,
    pub took: Duration,
}

impl Report {
    /// The exit code: what is left wins over damage and eviction, and these over dead letters.
    pub fn exit_code(&self) -> u8 {
        if self.left_bytes > 0 || self.source_unfinished || self.sinks.iter().any(|sink| sink.unfinished) {
            EXIT_LEFT
        } else if self.is_damaged() || self.has_evicted() || !self.unreadable.is_empty() {
            EXIT_FAILED
        } else if self.sinks.iter().any(|sink| sink.dead_lettered > 0 && !sink.no_letters_left) {
            EXIT_DEAD_LETTERS
        } else {
            EXIT_DELIVERED
        }
    }

    fn is_damaged(&self) -> bool {
        self.sinks.iter().any(|sink| sink.damaged_bytes > 0)
    }

    fn has_evicted(&self) -> bool {
        self.sinks.iter().any(|sink| sink.evicted > 0)
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let width = self.sources.keys().chain(self.sinks.iter().map(|sink| &sink.name)).map(String::len).max();
        let width = width.unwrap_or(0).max(8);
        // Writing into a string does not fail.
        let _ = writeln!(out, "{:<width$}  {:>12}  {:>12}  {:>14}", "source", "lines", "records", "bytes");
        for (name, sum) in &self.sources {
            let _ = writeln!(out, "{name:<width$}  {:>12}  {:>12}  {:>14}", sum.lines, sum.records, sum.bytes);
        }
        if self.sources.is_empty() {
            let _ = writeln!(out, "{:<width$}  {:>12}  {:>12}  {:>14}", "(nothing)", 0, 0, 0);
        }
        let left = if self.temporary { "left" } else { "left in buffer" };
        let _ = writeln!(out, "{:<width$}  {:>12}  {:>12}  {:>14}", "sink", "delivered", "dead letters", left);
        for sink in &self.sinks {
            let _ = writeln!(
                out,
                "{:<width$}  {:>12}  {:>12}  {:>14}",
                sink.name, sink.accepted, sink.dead_lettered, sink.left
            );
        }
        for sink in &self.sinks {
            if sink.possible_doubles > 0 {
                let _ = writeln!(
                    out,
                    "{}: {} records were sent twice or may have been; each is found by its EventID",
                    sink.name, sink.possible_doubles
                );
            }
            if sink.dead_lettered > 0 && sink.no_letters_left {
                let _ = writeln!(out, "{}: its dead letters were sent again, none is left", sink.name);
            }
            if sink.evicted > 0 {
                let _ = writeln!(
                    out,
                    "{}: {} records were dropped from the full buffer before the sink had them",
                    sink.name, sink.evicted
                );
            }
            if sink.without_document > 0 {
                let _ = writeln!(
                    out,
                    "{}: of {} dead letters only the EventID was kept: there are too many; mend the cause and run `logferry replay`",
                    sink.name, sink.without_document
                );
            }
            if sink.damaged_bytes > 0 {
                let _ = writeln!(
                    out,
                    "{}: {} bytes of the buffer were damaged on disk, the records in them are lost; see buffer/quarantine in state.dir",
                    sink.name, sink.damaged_bytes
                );
            }
            if let Some(fault) = sink.fault.as_ref().filter(|_| sink.unfinished) {
                let _ = writeln!(out, "{}: {fault}", sink.name);
            }
        }
        if !self.redactions.is_empty() {
            let kinds: Vec<String> = self.redactions.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let _ = writeln!(out, "redacted: {}", kinds.join(", "));
        }
        let left_out: Vec<String> = self
            .left_out
            .iter()
            .filter(|by| by.lines > 0)
            .map(|by| format!("{} {} lines", by.rule, by.lines))
            .collect();
        if !left_out.is_empty() {
            let _ = writeln!(out, "left out: {}", left_out.join(", "));
        }
        for manifest in &self.manifests {
            let _ = writeln!(out, "manifest: {manifest}");
        }
        for gap in &self.gaps {
            let _ = writeln!(out, "gap: {gap}");
        }
        for fault in &self.unreadable {
            let _ = writeln!(out, "not read: {fault}");
        }
        if self.left_bytes > 0 {
            let _ = writeln!(
                out,
                "{} bytes of files were not read in time{}",
                self.left_bytes,
                if self.temporary { "" } else { "; the next start goes on there" }
            );
        }
        let _ = writeln!(out, "{} ({:.1} s)", self.verdict(), self.took.as_secs_f64());
        out
    }

    fn verdict(&self) -> &'static str {
        match self.exit_code() {
            EXIT_LEFT if self.temporary => "not everything was delivered, and nothing is kept: run it again",
            EXIT_LEFT => "records are left, and safe on disk: the next start delivers them",
            EXIT_FAILED if self.has_evicted() => "delivered, but for records that were dropped from the full buffer",
            EXIT_FAILED if self.is_damaged() => "delivered, but for damaged parts of the buffer",
            EXIT_FAILED => "what could be read is delivered",
            EXIT_DEAD_LETTERS if self.temporary => "delivered, but for records that a sink refused",
            EXIT_DEAD_LETTERS => "delivered, but for records that a sink refused: see dead-letters/ in state.dir",
            _ => "everything delivered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sink: SinkReport) -> Report {
        Report { sinks: vec![SinkReport::default(), sink], ..Report::default() }
    }

    #[test]
    fn what_is_left_wins_over_dead_letters() {
        let check = |sink: SinkReport, expected: u8| assert_eq!(report(sink).exit_code(), expected);
        check(SinkReport::default(), EXIT_DELIVERED);
        check(SinkReport { dead_lettered: 1, ..SinkReport::default() }, EXIT_DEAD_LETTERS);
        check(SinkReport { dead_lettered: 1, no_letters_left: true, ..SinkReport::default() }, EXIT_DELIVERED);
        check(SinkReport { dead_lettered: 1, damaged_bytes: 1, ..SinkReport::default() }, EXIT_FAILED);
        check(SinkReport { dead_lettered: 1, evicted: 1, ..SinkReport::default() }, EXIT_FAILED);
        check(SinkReport { evicted: 1, unfinished: true, ..SinkReport::default() }, EXIT_LEFT);
        check(SinkReport { dead_lettered: 1, unfinished: true, ..SinkReport::default() }, EXIT_LEFT);
        let broken = Report { unreadable: vec!["a.gz: broken".to_owned()], ..Report::default() };
        assert_eq!(broken.exit_code(), EXIT_FAILED);
        assert!(broken.text().contains("not read: a.gz: broken\nwhat could be read is delivered"), "{}", broken.text());
        let unread = Report { left_bytes: 1, ..Report::default() };
        assert_eq!(unread.exit_code(), EXIT_LEFT);
    }

    #[test]
    fn a_temporary_state_promises_nothing_for_later() {
        let left = Report { left_bytes: 7, ..Report::default() };
        assert!(left.text().contains("safe on disk") && left.text().contains("next start goes on"), "{}", left.text());
        let text = Report { temporary: true, ..left }.text();
        assert!(text.contains("run it again"), "{text}");
        assert!(!text.contains("safe") && !text.contains("next start") && !text.contains("buffer"), "{text}");
    }
}
