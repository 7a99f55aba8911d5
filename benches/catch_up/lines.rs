//! The log that is shipped: lines as Python's `logging` writes them, each with its number in it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Fault;

/// Bytes of every line, its line end included.
pub const LINE_BYTES: usize = 168;

/// Digits of a line's number.
pub const NUMBER_DIGITS: usize = 8;

/// As many lines as have a number of [`NUMBER_DIGITS`] digits; 1.7 GB.
pub const MAX_LINES: u64 = 10_000_000;

/// Stands before the number of a line, once in each line.
pub const NUMBER_MARK: &[u8] = b"line=";

/// Stands behind the number where the line says when it was written, in microseconds since 1970.
pub const TIME_MARK: &[u8] = b" at=";

const LOGGERS: [&str; 6] = ["agent.core", "agent.tools.shell", "httpx", "agent.planner", "bench.runner", "db.pool"];

const LEVELS: [&str; 10] = ["INFO", "INFO", "DEBUG", "INFO", "WARNING", "INFO", "DEBUG", "INFO", "ERROR", "INFO"];

/// Every third one has something that JSON escapes, one is not ASCII.
const MESSAGES: [&str; 9] = [
    "step finished, next action is chosen from the plan that was made before",
    "tool call {\"name\": \"bash\", \"arguments\": {\"command\": \"ls -la\"}} returned 0",
    "HTTP Request: POST https://api.example.com/v1/messages 200 OK",
    "retrying in 2 seconds because the connection was reset by the other side",
    "file C:\\runs\\42\\out.txt was read, \"done\" is written to the journal",
    "tokens in 18234, tokens out 912, cache read 16000, stop reason end_turn",
    "réponse vérifiée – résultat conforme à l’attente, tâche suivante",
    "score 0.83 after 14 attempts of 20, best so far 0.91 in attempt 9",
    "assertion 'x == \"y\"' failed in test_plan, the task is marked as not solved",
];

/// Fills what message and trace leave of a line.
const PADDING: &[u8] =
    b", nothing else is to be said about this step of the run, and so the line is filled up to its end";

/// Writes a file of `count` lines, on disk when this returns: writing it back must not disturb what is measured.
pub fn write(path: &Path, count: u64) -> Result<(), Fault> {
    let mut file = BufWriter::with_capacity(1024 * 1024, File::create(path)?);
    let mut line = Vec::with_capacity(LINE_BYTES);
    for number in 0..count {
        // 3 ms apart; the day has room for every line that is possible.
        put(&mut line, number, number * 3, None)?;
        file.write_all(&line)?;
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// Puts line `number` into `line`. `millis` is its own time of day; `at`, in microseconds since 1970, is for whoever
/// measures how long it takes.
pub fn put(line: &mut Vec<u8>, number: u64, millis: u64, at: Option<u64>) -> Result<(), Fault> {
    line.clear();
    let pick = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let of = |choices: &[&'static str], turn: u64| choices[(pick >> turn) as usize % choices.len()];
    let (hour, minute, second) = (millis / 3_600_000 % 24, millis / 60_000 % 60, millis / 1000 % 60);
    write!(line, "2026-11-20 {hour:02}:{minute:02}:{second:02},{:03}", millis % 1000)?;
    write!(line, " - {} - {} - ", of(&LOGGERS, 3), of(&LEVELS, 7))?;
    line.extend_from_slice(NUMBER_MARK);
    write!(line, "{number:0NUMBER_DIGITS$}")?;
    if let Some(at) = at {
        line.extend_from_slice(TIME_MARK);
        write!(line, "{at}")?;
    }
    // What differs from line to line keeps compression honest.
    let trace = (u128::from(number) + 1).wrapping_mul(0x2545_f491_4f6c_dd1d_9e37_79b9_7f4a_7c15) >> 32;
    write!(line, " [{:016x} {} ms]", trace as u64, pick % 9_000)?;
    let room = LINE_BYTES - 1 - line.len();
    // Cut between characters.
    let message = of(&MESSAGES, 11);
    let end = (0..=message.len().min(room - 1)).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    write!(line, " {}", &message[..end])?;
    let left = LINE_BYTES - 1 - line.len();
    line.extend_from_slice(&PADDING[..left]);
    line.push(b'\n');
    Ok(())
}
