//! Records on standard output: for people (`pretty`) or programs (`ndjson`).

use std::io::{self, Write as _};
use std::ops::Range;

use crate::sink::{Batch, RecordView, SendOutcome};

/// Stands in the reason of an outcome when standard output was closed by its reader, or has no room: without a state that
/// is kept there is nothing to wait for then.
pub const CLOSED: &str = "standard output takes no more";

/// How a record looks on the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Pretty,
    Ndjson,
}

/// Options of the console sink.
#[derive(Clone, Debug)]
pub struct Options {
    pub format: Format,
    /// ANSI colours; only where standard output is a terminal.
    pub colour: bool,
}

/// The console sink; holds no state.
#[derive(Debug)]
pub struct ConsoleSink {
    options: Options,
}

impl ConsoleSink {
    pub fn new(options: Options) -> Self {
        ConsoleSink { options }
    }

    /// Appends one record, newline included.
    pub fn encode(&self, record: &RecordView<'_>, body: &mut Vec<u8>) {
        match self.options.format {
            Format::Ndjson => super::file::encode_ndjson(record, body),
            Format::Pretty => pretty(record, self.options.colour, body),
        }
    }

    /// Appends a document; false, and nothing, where people read.
    pub fn encode_document(&self, document: &[u8], body: &mut Vec<u8>) -> bool {
        self.options.format == Format::Ndjson && super::file::encode_document(document, body)
    }

    /// Writes the records to standard output.
    pub async fn send(&self, batch: &Batch, range: Range<usize>) -> SendOutcome {
        let bytes = batch.slice(&range).to_vec();
        let written = tokio::task::spawn_blocking(move || {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        })
        .await;
        match written {
            Ok(Ok(())) => SendOutcome::Accepted,
            Ok(Err(error)) => SendOutcome::NotSent { reason: reason(&error) },
            Err(error) => SendOutcome::Unknown { reason: format!("standard output: {error}") },
        }
    }
}

/// Why nothing was written, in words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::BrokenPipe => format!("{CLOSED}: it was closed"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            format!("{CLOSED}: no room is left on it")
        }
        _ => format!("standard output: {error}"),
    }
}

const RESET: &str = "\x1b[0m";

fn level_colour(level: &str) -> &'static str {
    match level {
        "ERROR" | "CRITICAL" => "\x1b[31m",
        "WARNING" => "\x1b[33m",
        "DEBUG" | "TRACE" => "\x1b[2m",
        _ => "\x1b[32m",
    }
}

/// `2026-11-20T23:00:33.123Z INFO     agent.core  run=42 task=17 | message`: stands on as many lines as the message.
fn pretty(record: &RecordView<'_>, colour: bool, body: &mut Vec<u8>) {
    let mut json = Vec::with_capacity(record.constants.len() + record.members.len() + 3);
    json.push(b'{');
    json.extend_from_slice(record.constants);
    if !record.constants.is_empty() && !record.members.is_empty() {
        json.push(b',');
    }
    json.extend_from_slice(record.members);
    json.push(b'}');
    let columns: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json).unwrap_or_default();
    let text = |name: &str| columns.get(name).and_then(|v| v.as_str()).unwrap_or_default();
    let level = text("Level");
    let (on, dim, off) = if colour { (level_colour(level), "\x1b[2m", RESET) } else { ("", "", "") };
    let mut line = format!("{dim}{}{off} {on}{level:<8}{off}", crate::record::time::rfc3339(record.time));
    for (name, label) in [("RunID", "run="), ("TaskID", "task="), ("Container", ""), ("LoggerName", "")] {
        let value = text(name);
        if !value.is_empty() {
            line.push_str(&format!(" {dim}{label}{off}{value}"));
        }
    }
    line.push_str(&format!(" {dim}|{off} {}", text("Message")));
    if let Some(stack) = columns.get("Exception").and_then(|e| e.get("Stack")).and_then(|s| s.as_str()) {
        line.push('\n');
        line.push_str(stack);
    }
    if let Some(fields) = columns.get("Fields") {
        line.push_str(&format!(" {dim}{fields}{off}"));
    }
    line.push('\n');
    body.extend_from_slice(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::EventId;

    #[test]
    fn an_output_that_takes_no_more_is_told_from_one_that_failed() {
        let check = |kind: io::ErrorKind, gone: bool| {
            assert_eq!(reason(&io::Error::from(kind)).contains(CLOSED), gone, "{kind}");
        };
        check(io::ErrorKind::BrokenPipe, true);
        check(io::ErrorKind::StorageFull, true);
        check(io::ErrorKind::WouldBlock, false);
    }

    #[test]
    fn a_pretty_line_shows_what_a_reader_looks_for_and_colours_only_when_asked() {
        let record = RecordView {
            time: 0,
            event_id: EventId([0; 16]),
            seq: 1,
            run_id: "42",
            constants: br#""RunID":"42""#,
            members: br#""Level":"ERROR","LoggerName":"app","Message":"it broke","Fields":{"n":1}"#,
        };
        let mut plain = Vec::new();
        pretty(&record, false, &mut plain);
        assert_eq!(
            String::from_utf8(plain).expect("text"),
            "1970-01-01T00:00:00.000Z ERROR    run=42 app | it broke {\"n\":1}\n"
        );
        let mut coloured = Vec::new();
        pretty(&record, true, &mut coloured);
        assert!(coloured.windows(5).any(|w| w == b"\x1b[31m"));
    }
}
