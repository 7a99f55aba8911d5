//! Lines on trial: which records they become and why. The stages of a pipeline up to the records, without what keeps or
//! sends them: no state folder, no buffer, no network. For `try`, and for the `[[test]]` tables of a configuration.
//!
//! The same lines give the same records, ids included: the column Origin is all zeros, and EventIDs are made of it.

pub mod expect;
pub mod pretty;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::buffer::Section;
use crate::buffer::section::split_record;
use crate::ingest::redact::Redactor;
use crate::ingest::{self, Flush, Ingest, Seen};
use crate::record::{OriginId, RouteBits, SINKS_MAX, time};
use crate::sink::{RecordView, file};
use crate::source::{RunColumns, is_utf_16, stdin};

/// The origin of what is only tried.
const ORIGIN: OriginId = OriginId([0; 16]);

/// One stream of lines on trial.
#[derive(Debug)]
pub struct Trial {
    ingest: Ingest,
    redactor: Arc<Redactor>,
    /// Route bits of sinks.
    sinks: RouteBits,
    /// Bytes that are not taken up yet.
    window: Vec<u8>,
    /// What was redacted so far, by kind.
    redacted: BTreeMap<String, u64>,
}

/// What became of one group of lines: of one line, or of a traceback.
#[derive(Debug)]
pub struct Tried {
    /// Numbers of its first and last line, from 1.
    pub lines: (u64, u64),
    pub seen: Seen,
    /// What was redacted in it, by kind.
    pub redacted: Vec<(String, u64)>,
    /// None where it was left out; several where its message is too long for one.
    pub records: Vec<TriedRecord>,
}

/// A record as it would be sent.
#[derive(Debug)]
pub struct TriedRecord {
    /// As the file sink writes it, without the line end.
    pub document: Vec<u8>,
    /// The sinks that it goes to, by their index.
    pub route: RouteBits,
}

/// The stream is in UTF-16, which no source reads.
#[derive(Debug, thiserror::Error)]
#[error("the lines are in UTF-16: convert them (iconv -f UTF-16 -t UTF-8)")]
pub struct Unreadable;

impl Trial {
    /// Lines as those of the source `name`, with the columns of the run.
    pub fn new(options: &ingest::Options, name: &str, run: &RunColumns) -> Self {
        let mut routes = options.routes.to_vec();
        let sinks = routes.len();
        if sinks < SINKS_MAX {
            // One that takes everything, so that what no sink gets can be shown as well.
            routes.push(None);
        }
        let redactor = Arc::clone(&options.redactor);
        let redacted = counted(&redactor);
        let options = Arc::new(ingest::Options { routes: routes.into(), ..options.clone() });
        let sinks = RouteBits::MAX.checked_shr((SINKS_MAX - sinks.min(SINKS_MAX)) as u32).unwrap_or(0);
        Trial { ingest: stdin::origin(ORIGIN, name, options, run), redactor, sinks, window: Vec::new(), redacted }
    }

    /// Columns that are the same for every record, in order.
    pub fn constants(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ingest.constants()
    }

    /// Whether bytes are held back that a flush would take.
    pub fn holds_back(&self) -> bool {
        self.ingest.holds_back()
    }

    /// Takes up bytes; calls `each` for every group that is complete, until it breaks.
    ///
    /// # Errors
    /// [`Unreadable`], before anything was taken up.
    pub fn take(
        &mut self,
        bytes: &[u8],
        flush: Flush,
        mut each: impl FnMut(Tried) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Unreadable> {
        self.window.extend_from_slice(bytes);
        if self.ingest.position() == 0 && is_utf_16(&self.window) {
            return Err(Unreadable);
        }
        let mut window = std::mem::take(&mut self.window);
        let mut taken = 0;
        let mut flow = ControlFlow::Continue(());
        while flow.is_continue() {
            let before = self.ingest.counters().lines;
            let fed = self.ingest.feed_one(window.get(taken..).unwrap_or_default(), &time::now(), flush);
            if fed.consumed == 0 {
                break;
            }
            taken += fed.consumed;
            flow = each(self.tried(before));
        }
        window.drain(..taken.min(window.len()));
        self.window = window;
        Ok(flow)
    }

    /// What became of the lines behind `before`.
    fn tried(&mut self, before: u64) -> Tried {
        let records = self.ingest.section(Vec::new(), false).map(|section| self.records(&section)).unwrap_or_default();
        let now = counted(&self.redactor);
        let more = |(kind, count): (&String, &u64)| {
            let more = count - self.redacted.get(kind).copied().unwrap_or(0).min(*count);
            (more > 0).then(|| (kind.clone(), more))
        };
        let redacted = now.iter().filter_map(more).collect();
        self.redacted = now;
        Tried { lines: (before + 1, self.ingest.counters().lines), seen: *self.ingest.seen(), redacted, records }
    }

    fn records(&self, section: &Section) -> Vec<TriedRecord> {
        let mut records = Vec::new();
        let (mut rest, mut seq) = (section.records.bytes.as_slice(), section.first_seq);
        while let Some(((header, members), after)) = split_record(rest) {
            let constants = &section.origin.constants;
            let (time, event_id) = (header.time, header.event_id);
            let view = RecordView { time, event_id, seq, run_id: "", constants, members };
            let mut document = Vec::with_capacity(members.len() + constants.len() + 128);
            file::encode_ndjson(&view, &mut document);
            document.pop();
            records.push(TriedRecord { document, route: header.route & self.sinks });
            (rest, seq) = (after, seq + 1);
        }
        records
    }
}

fn counted(redactor: &Redactor) -> BTreeMap<String, u64> {
    redactor.counts().into_iter().map(|(kind, count)| (kind.to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::ingest::Outcome;
    use crate::record::Rule;

    fn options(routes: Vec<Option<Rule>>) -> ingest::Options {
        ingest::Options { routes: routes.into(), ..ingest::Options::default() }
    }

    fn level(level: &str) -> Option<Rule> {
        Some(Rule::new(vec![("Level".to_owned(), vec![level.to_owned()])]))
    }

    fn try_all(trial: &mut Trial, text: &[u8], chunk: usize) -> Vec<Tried> {
        let mut tried = Vec::new();
        let mut each = |group| {
            tried.push(group);
            ControlFlow::Continue(())
        };
        for bytes in text.chunks(chunk) {
            assert!(trial.take(bytes, Flush::No, &mut each).expect("text").is_continue());
        }
        assert!(trial.take(&[], Flush::All, &mut each).expect("text").is_continue());
        tried
    }

    #[test]
    fn each_group_says_its_lines_its_format_its_secrets_and_its_sinks() {
        let text = b"2026-11-20 23:00:33,123 - app - ERROR - password=hunter2-xy\n\
            Traceback (most recent call last):\n  File \"a\"\nE: x\nplain\n{\"level\":\"info\",\"msg\":\"m\"}\n{broken";
        for chunk in [1, 7, 4096] {
            let mut trial =
                Trial::new(&options(vec![level("ERROR"), None]), "s", &RunColumns(vec![("RunID".into(), "42".into())]));
            let tried = try_all(&mut trial, text, chunk);
            let shown: Vec<_> = tried
                .iter()
                .map(|t| {
                    let words: Vec<&str> = t.seen.formats().iter().map(|format| format.word()).collect();
                    let routes: Vec<RouteBits> = t.records.iter().map(|record| record.route).collect();
                    (t.lines, words.join("+"), t.redacted.len(), routes)
                })
                .collect();
            assert_eq!(
                shown,
                [
                    ((1, 4), "python+traceback".to_owned(), 1, vec![3]),
                    ((5, 5), "plain".to_owned(), 0, vec![2]),
                    ((6, 6), "json".to_owned(), 0, vec![2]),
                    ((7, 7), "not_json".to_owned(), 0, vec![2]),
                ],
                "in pieces of {chunk}"
            );
            assert!(tried.iter().all(|t| t.seen.outcome == Outcome::Recorded));
            assert_eq!(tried[0].redacted, [("password".to_owned(), 1)]);
            let document = String::from_utf8(tried[0].records[0].document.clone()).expect("text");
            assert!(document.starts_with("{\"@timestamp\":\"2026-11-20T23:00:33.123Z\",\"EventID\":"), "{document}");
            assert!(document.contains("\"Seq\":1,\"RunID\":\"42\",\"Source\":\"s\",\"Origin\":\"0000"), "{document}");
        }
    }

    #[test]
    fn the_same_lines_give_the_same_ids() {
        let documents = || {
            let mut trial = Trial::new(&options(vec![None]), "s", &RunColumns::default());
            let text = "2026-11-20 23:00:33,123 - app - INFO - same\n".repeat(2);
            let tried = try_all(&mut trial, text.as_bytes(), 4096);
            tried.into_iter().flat_map(|t| t.records).map(|record| record.document).collect::<Vec<_>>()
        };
        let first = documents();
        assert_eq!(first, documents());
        assert_ne!(first[0], first[1], "equal lines have ids of their own");
    }

    #[test]
    fn what_no_sink_gets_is_a_record_all_the_same() {
        for count in [0, 1, SINKS_MAX - 1] {
            let mut trial =
                Trial::new(&options((0..count).map(|_| level("ERROR")).collect()), "s", &RunColumns::default());
            let tried = try_all(&mut trial, b"plain\n", 4096);
            let record = &tried[0].records[0];
            assert_eq!(record.route, 0);
            assert!(String::from_utf8_lossy(&record.document).ends_with("\"Message\":\"plain\"}"), "{record:?}");
        }
        let mut trial = Trial::new(&options((0..SINKS_MAX).map(|_| None).collect()), "s", &RunColumns::default());
        assert_eq!(try_all(&mut trial, b"plain\n", 4096)[0].records[0].route, RouteBits::MAX);
    }

    #[test]
    fn utf_16_is_refused_before_anything_is_garbled() {
        let mut trial = Trial::new(&options(vec![None]), "s", &RunColumns::default());
        let never = |_| unreachable!("nothing is taken up");
        assert!(trial.take(b"\xff", Flush::No, never).is_ok());
        assert!(trial.take(b"\xfea\0\n\0", Flush::No, never).is_err());
    }
}
