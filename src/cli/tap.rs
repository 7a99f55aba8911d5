//! `logferry tap`: live records of the running daemon; and the daemon's side of it.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;

use super::{ConfigArgument, control, runtime};
use crate::control::{ClientError, LeftOut, TapStep, Tapped};
use crate::lifecycle::Signals;
use crate::lifecycle::report::EXIT_DELIVERED;
use crate::pipeline::Tap;
use crate::record::EventId;
use crate::sink::RecordView;
use crate::sink::console::{ConsoleSink, Format, Options};

/// Output is written at the latest when so many bytes are there, and whenever nothing more waits.
const OUTPUT_BYTES: usize = 64 * 1024;

/// How often it is looked whether the reader of the output is still there.
const READER_LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Only what this sink gets
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// How records are shown [default: pretty on a terminal, else ndjson]
    #[arg(long, value_enum)]
    format: Option<Shown>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Shown {
    Pretty,
    Ndjson,
}

/// Shows records until the daemon ends, the reader goes, or a signal comes.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let dir = control::state_dir(arguments.config.config)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let show = tokio::task::spawn_blocking(move || show(&dir, arguments.sink, arguments.format));
        tokio::select! {
            _ = signals.stop() => Ok(()),
            () = reader_is_gone() => Ok(()),
            shown = show => shown?.map_err(anyhow::Error::from),
        }
    });
    // The thread that shows may wait for the daemon, or for the terminal.
    runtime.shutdown_timeout(Duration::ZERO);
    ended.map(|()| EXIT_DELIVERED)
}

/// Resolves when whoever read standard output has gone: while no record comes, no write would show it.
async fn reader_is_gone() {
    let mut look = tokio::time::interval(READER_LOOK);
    loop {
        look.tick().await;
        let stdout = io::stdout();
        let mut output = [PollFd::new(&stdout, PollFlags::empty())];
        let gone = PollFlags::ERR | PollFlags::HUP;
        if poll(&mut output, Some(&Timespec::default())).is_ok() && output[0].revents().intersects(gone) {
            return;
        }
    }
}

fn show(dir: &Path, sink: Option<String>, format: Option<Shown>) -> Result<(), ClientError> {
    let is_terminal = io::stdout().is_terminal();
    let by_default = if is_terminal { Shown::Pretty } else { Shown::Ndjson };
    let pretty = (format.unwrap_or(by_default) == Shown::Pretty)
        .then(|| ConsoleSink::new(Options { format: Format::Pretty, colour: is_terminal }));
    let mut output = Vec::new();
    let mut process = 0;
    let mut reader_is_gone = false;
    crate::control::tap(dir, sink, |step| {
        match step {
            TapStep::Tapping(id) => {
                process = id;
                eprintln!("logferry: records of process {id} from now on; Ctrl-C ends");
            }
            TapStep::Record(record) => encode(record, pretty.as_ref(), &mut output),
            TapStep::LeftOut(_) | TapStep::Pause => {}
        }
        if (output.len() >= OUTPUT_BYTES || !matches!(step, TapStep::Record(_))) && !output.is_empty() {
            let mut out = io::stdout().lock();
            if out.write_all(&output).and_then(|()| out.flush()).is_err() {
                // A reader that went away has seen enough.
                reader_is_gone = true;
                return ControlFlow::Break(());
            }
            output.clear();
        }
        if let TapStep::LeftOut(left_out) = step {
            eprintln!("logferry: {}", said(left_out, is_terminal));
        }
        ControlFlow::Continue(())
    })?;
    if !reader_is_gone {
        // The connection ended behind whole lines.
        let _ = io::stdout().write_all(&output);
        eprintln!("logferry: process {process} has ended");
    }
    Ok(())
}

/// `17 records left out: the terminal is slower than the log`.
fn said(LeftOut { records, and_more }: LeftOut, is_terminal: bool) -> String {
    let more = if and_more { " and others" } else { "" };
    let who = if is_terminal { "the terminal" } else { "the reader of this output" };
    format!("{records} record{}{more} left out: {who} is slower than the log", if records == 1 { "" } else { "s" })
}

/// Appends one record, as it came or as the console sink shows it.
fn encode(record: &[u8], pretty: Option<&ConsoleSink>, output: &mut Vec<u8>) {
    let members = record.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
    let (Some(pretty), Some(members)) = (pretty, members) else {
        output.extend_from_slice(record);
        output.push(b'\n');
        return;
    };
    let columns: serde_json::Value = serde_json::from_slice(record).unwrap_or_default();
    let time = columns["@timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let time = time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).unwrap_or_default();
    let view = RecordView { time, event_id: EventId([0; 16]), seq: 0, run_id: "", constants: b"", members };
    pretty.encode(&view, output);
}

/// Hands a tap's records over until it ends or nobody takes them.
pub(super) async fn hand_over(mut tap: Tap, records: mpsc::Sender<Tapped>) {
    loop {
        let tapped = tokio::select! {
            tapped = tap.next() => tapped,
            () = records.closed() => return,
        };
        let Some(tapped) = tapped else { return };
        let left_out = LeftOut { records: tapped.left_out, and_more: tapped.uncounted };
        let tapped = Tapped {
            lines: tapped.lines,
            left_out: (left_out != LeftOut::default()).then_some(left_out),
            failure: tapped.failure,
        };
        if records.send(tapped).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_as_it_came_or_as_the_console_sink_shows_it() {
        let record = br#"{"@timestamp":"2026-11-20T23:00:33.123Z","Level":"INFO","Message":"hi","Seq":1}"#;
        let mut output = Vec::new();
        encode(record, None, &mut output);
        assert_eq!(output, [&record[..], b"\n"].concat());
        let plain = ConsoleSink::new(Options { format: Format::Pretty, colour: false });
        output.clear();
        encode(record, Some(&plain), &mut output);
        assert_eq!(String::from_utf8_lossy(&output), "2026-11-20T23:00:33.123Z INFO     | hi\n");
    }

    #[test]
    fn what_is_left_out_is_said_with_its_reason() {
        let check = |records: u64, and_more: bool, is_terminal: bool, expected: &str| {
            assert_eq!(said(LeftOut { records, and_more }, is_terminal), expected);
        };
        check(17, false, true, "17 records left out: the terminal is slower than the log");
        check(1, false, false, "1 record left out: the reader of this output is slower than the log");
        check(3, true, true, "3 records and others left out: the terminal is slower than the log");
    }
}
