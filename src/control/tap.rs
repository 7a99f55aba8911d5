//! Live records on the control socket: how they stand on it, and how the daemon sends them.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::Answer;
use super::server::put;

/// What stands around a record on its line.
const RECORD_START: &[u8] = b"{\"record\":";
const RECORD_END: &[u8] = b"}\n";

/// Records that a tap does not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    pub records: u64,
    /// There are more, which nobody could count.
    pub and_more: bool,
}

/// What the daemon has for a tap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tapped {
    /// NDJSON: whole lines.
    pub lines: Vec<u8>,
    /// What is missing behind them.
    pub left_out: Option<LeftOut>,
    /// Nothing more comes, for this reason.
    pub failure: Option<String>,
}

/// The record of a line of an answer; `None`: it is something else.
pub(super) fn record_of(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(RECORD_START)?.strip_suffix(RECORD_END)
}

/// Each line of NDJSON as a line of an answer.
fn framed(lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() + lines.len() / 16);
    for line in lines.split_inclusive(|&byte| byte == b'\n') {
        out.extend_from_slice(RECORD_START);
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.extend_from_slice(RECORD_END);
    }
    out
}

/// Sends what comes until it ends or the client goes. A client may be as slow as it likes: who waits is the tap's queue.
pub(super) async fn serve(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    mut records: mpsc::Receiver<Tapped>,
) -> io::Result<()> {
    let mut nothing = [0; 1];
    loop {
        let tapped = tokio::select! {
            tapped = records.recv() => tapped,
            // A client says nothing more: it has gone.
            _ = read.read(&mut nothing) => return Ok(()),
        };
        let Some(Tapped { lines, left_out, failure }) = tapped else { return Ok(()) };
        write.write_all(&framed(&lines)).await?;
        if let Some(left_out) = left_out {
            put(&mut write, &Answer::LeftOut(left_out)).await?;
        }
        if let Some(failure) = failure {
            return put(&mut write, &Answer::Error(failure)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_on_its_line_is_told_from_any_other_answer() {
        let lines = framed(b"{\"a\":\"}\"}\n{\"left_out\":1}\n");
        let lines: Vec<&[u8]> = lines.split_inclusive(|&byte| byte == b'\n').collect();
        let records: Vec<_> = lines.iter().map(|line| record_of(line)).collect();
        assert_eq!(records, [Some(&b"{\"a\":\"}\"}"[..]), Some(b"{\"left_out\":1}")]);
        assert_eq!(framed(b""), b"");
        for answer in [Answer::Tapping(1), Answer::LeftOut(LeftOut::default()), Answer::Error("{\"record\":".into())] {
            let mut line = serde_json::to_vec(&answer).expect("JSON");
            line.push(b'\n');
            assert_eq!(record_of(&line), None, "{answer:?}");
        }
    }
}
