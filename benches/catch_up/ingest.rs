//! Ingest alone, on one thread: what a line costs from its bytes to its encoded record, by parser and with redaction on and
//! off. No file, no buffer, no sink.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logferry::buffer::OriginInfo;
use logferry::ingest::redact::Redactor;
use logferry::ingest::{Flush, Ingest, Options, Parser};
use logferry::record::{Constants, Counters, Nanos, OriginId};

use crate::{Fault, lines};

/// Lines of each kind.
const LINES: u64 = 50_000;
const TRIAL_LINES: u64 = 500;
/// The best of so many turns: the others were disturbed.
const TURNS: usize = 15;
/// Bytes that a source reads at once.
const WINDOW_BYTES: usize = 256 * 1024;

const READ_TIME: Nanos = 1_795_132_800_000_000_000;

/// Prints µs a line.
pub fn drive(trial: bool) -> Result<(), Fault> {
    let (count, turns) = if trial { (TRIAL_LINES, 1) } else { (LINES, TURNS) };
    let inputs = [("python", python(count)?), ("json", json(count)?), ("with a secret", secrets(count)?)];
    println!("\ningest alone, µs a line");
    println!("{:<16} {:>6} {:>8} {:>18} {:>16}", "lines", "bytes", "raw", "auto, no redaction", "auto, redaction");
    for (name, text) in &inputs {
        let mut figures = Vec::new();
        for (parser, redactor) in
            [(Parser::Raw, Redactor::none()), (Parser::Auto, Redactor::none()), (Parser::Auto, Redactor::default())]
        {
            let redactor = Arc::new(redactor);
            let mut best = Duration::MAX;
            for _ in 0..turns {
                best = best.min(take(text, parser.clone(), &redactor, count)?);
            }
            figures.push(best.as_secs_f64() * 1e6 / count as f64);
        }
        let bytes = text.len() as u64 / count;
        println!("{name:<16} {bytes:>6} {:>8.3} {:>18.3} {:>16.3}", figures[0], figures[1], figures[2]);
    }
    Ok(())
}

/// Takes a text up from its first to its last line, as a source does.
fn take(text: &[u8], parser: Parser, redactor: &Arc<Redactor>, count: u64) -> Result<Duration, Fault> {
    let options = Options { parser, redactor: Arc::clone(redactor), ..Options::default() };
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: Vec::new() });
    let mut ingest = Ingest::new(Arc::new(options), info, Constants::default(), 0, Counters::default());
    let start = Instant::now();
    let mut taken = 0;
    while taken < text.len() {
        let end = (taken + WINDOW_BYTES).min(text.len());
        let flush = if end == text.len() { Flush::All } else { Flush::No };
        taken += ingest.feed(&text[taken..end], &READ_TIME, flush).consumed;
        std::hint::black_box(ingest.section(Vec::new(), false));
    }
    let took = start.elapsed();
    match ingest.counters().lines {
        lines if lines == count => Ok(took),
        lines => Err(format!("{lines} lines of {count} were taken up").into()),
    }
}

fn python(count: u64) -> Result<Vec<u8>, Fault> {
    let (mut text, mut line) = (Vec::new(), Vec::new());
    for number in 0..count {
        lines::put(&mut line, number, number * 3, None)?;
        text.extend_from_slice(&line);
    }
    Ok(text)
}

/// What an agent logs: about 300 bytes, with the figures of a call of a model.
fn json(count: u64) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    for number in 0..count {
        let id = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(
            text,
            r#"{{"timestamp":"2026-11-20T23:{:02}:33.{:03}Z","level":"INFO","agent_name":"planner","message":"step {number} finished, next is chosen","execution_id":"{id:016x}","model_name":"m-large","prompt_tokens":{},"completion_tokens":912,"total_tokens":19146,"cost":0.0123,"duration_seconds":1.25,"metadata":{{"task_id":"17"}}}}"#,
            number % 60,
            number % 1000,
            number % 20_000,
        )?;
    }
    Ok(text)
}

/// The lines of Python, each with a password in it.
fn secrets(count: u64) -> Result<Vec<u8>, Fault> {
    let mut text = Vec::new();
    for line in python(count)?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        // The end of each is padding in ASCII.
        text.extend_from_slice(&line[..line.len() - 20]);
        text.extend_from_slice(b" password=hunter2-xy\n");
    }
    Ok(text)
}
