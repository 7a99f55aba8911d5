//! Those whose lines are to arrive: threads that write files and rotate them.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Dice;

/// Lines of one file.
const LINES: usize = 4_000;
/// Most lines of one write.
const CHUNK_MAX: u64 = 120;
/// Longest pause between two writes, in milliseconds.
const PAUSE_MAX_MS: u64 = 120;
/// Every so many lines is an error.
const ERROR_EVERY: usize = 10;

/// How a file is rotated.
#[derive(Clone, Copy, Debug)]
enum Rotation {
    Never,
    /// Renamed, and a new one is begun.
    Rename,
    /// Copied and truncated by the writer itself, so that nothing is written between the two.
    CopyTruncate,
    /// A new file with a number in its name, the old one stays.
    Next,
}

const ROTATIONS: [Rotation; 4] = [Rotation::Never, Rotation::Rename, Rotation::CopyTruncate, Rotation::Next];

/// The threads; they end when they have written their lines.
pub struct Writers {
    threads: Vec<JoinHandle<()>>,
    left: Arc<AtomicUsize>,
}

impl Writers {
    /// One writer for each kind of rotation.
    pub fn start(folder: &Path, dice: &mut Dice) -> Self {
        let left = Arc::new(AtomicUsize::new(ROTATIONS.len()));
        let threads = ROTATIONS.iter().enumerate().map(|(n, rotation)| {
            let mut writer =
                Writer { path: folder.join(format!("f{n}.log")), rotation: *rotation, files: 0, written: 0 };
            let (name, dice, left) = (format!("f{n}"), dice.split(), Arc::clone(&left));
            std::thread::spawn(move || {
                writer.write_all(&name, dice);
                left.fetch_sub(1, Ordering::SeqCst);
            })
        });
        Writers { threads: threads.collect(), left }
    }

    pub fn done(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    /// Waits for the end; gives the message of every line that was written.
    pub fn end(self) -> Vec<String> {
        for thread in self.threads {
            thread.join().expect("a writer");
        }
        (0..ROTATIONS.len()).flat_map(|n| (0..LINES).map(move |line| message(&format!("f{n}"), line))).collect()
    }
}

/// The message of a line; some are long.
fn message(name: &str, line: usize) -> String {
    let long = if line.is_multiple_of(97) { line % 3_000 } else { line % 60 };
    format!("{name} line {line:06} {}", "x".repeat(long))
}

/// Whether a message is one of an error.
pub fn is_error(message: &str) -> bool {
    let number = message.split(' ').nth(2).and_then(|number| number.parse::<usize>().ok());
    number.is_some_and(|number| number.is_multiple_of(ERROR_EVERY))
}

struct Writer {
    path: PathBuf,
    rotation: Rotation,
    /// Rotations so far.
    files: usize,
    /// Lines so far.
    written: usize,
}

impl Writer {
    fn write_all(&mut self, name: &str, mut dice: Dice) {
        let mut file = open(&self.path);
        while self.written < LINES {
            let end = LINES.min(self.written + 1 + usize::try_from(dice.roll(CHUNK_MAX)).expect("few"));
            let mut text = String::new();
            for line in self.written..end {
                let level = if line.is_multiple_of(ERROR_EVERY) { "ERROR" } else { "INFO" };
                text.push_str(&format!("2026-11-20 23:00:33,123 - {name} - {level} - {}\n", message(name, line)));
            }
            self.written = end;
            // Sometimes in two writes, so that a line is seen unfinished.
            let cut = if dice.roll(4) == 0 { usize::try_from(dice.roll(text.len() as u64)).expect("few") } else { 0 };
            file.write_all(&text.as_bytes()[..cut]).expect("write");
            file.write_all(&text.as_bytes()[cut..]).expect("write");
            if dice.roll(7) == 0 {
                self.rotate(&mut file);
            }
            std::thread::sleep(Duration::from_millis(dice.roll(PAUSE_MAX_MS)));
        }
    }

    fn rotate(&mut self, file: &mut File) {
        self.files += 1;
        let to = self.path.with_extension(format!("log.{}", self.files));
        match self.rotation {
            Rotation::Never => {}
            Rotation::Rename => {
                std::fs::rename(&self.path, to).expect("rename");
                *file = open(&self.path);
            }
            Rotation::CopyTruncate => {
                std::fs::copy(&self.path, to).expect("copy");
                file.set_len(0).expect("truncate");
            }
            Rotation::Next => {
                let name = format!("{}-{}.log", self.path.file_stem().expect("a name").display(), self.files);
                *file = open(&self.path.with_file_name(name));
            }
        }
    }
}

fn open(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).expect("open")
}
