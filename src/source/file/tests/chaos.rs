//! Seeded histories: writing, rotation of every kind, kills that lose the newest sections, a full buffer. Every line
//! must come out once. A seed that fails prints itself; `CHAOS_SEEDS=FIRST..LAST` runs others.

use std::io::{Seek as _, SeekFrom};

use super::*;

/// Seeds that an ordinary test run takes.
const SEEDS: std::ops::Range<u64> = 0..12;

/// Steps of one history.
const STEPS: usize = 40;

/// Most sections that a kill takes back: those that were not on disk yet.
const TAKEN_BACK_MAX: u64 = 4;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Write,
    WriteInPieces,
    Rename,
    CopyTruncate,
    /// The same, after the file was looked at: what comes and goes between two looks leaves no trace of its own.
    SeenCopyTruncate,
    Kill,
    StopAndStart,
    Full,
    Drain,
    Pause,
}

struct Writer {
    folder: PathBuf,
    written: usize,
    rotated: usize,
    /// It keeps its own offset, as who opens without O_APPEND does: a truncation leaves a hole before it.
    offset: Option<u64>,
}

impl Writer {
    fn log(&self) -> PathBuf {
        self.folder.join("app.log")
    }

    fn write(&mut self, count: usize, pieces: usize) {
        let text = numbered("line", self.written..self.written + count);
        self.written += count;
        let mut file = match self.offset {
            Some(offset) => {
                let log = OpenOptions::new().write(true).create(true).truncate(false).open(self.log());
                let mut log = log.expect("open");
                log.seek(SeekFrom::Start(offset)).expect("seek");
                self.offset = Some(offset + text.len() as u64);
                log
            }
            None => appender(&self.log()),
        };
        for piece in text.as_bytes().chunks(text.len().div_ceil(pieces)) {
            file.write_all(piece).expect("write");
            if pieces > 1 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// Moves the rotated files one number up, as logrotate does, which leaves the name `.1` free.
    fn make_room(&mut self) -> PathBuf {
        for n in (1..=self.rotated).rev() {
            let name = |n: usize| self.folder.join(format!("app.log.{n}"));
            std::fs::rename(name(n), name(n + 1)).expect("rename");
        }
        self.rotated += 1;
        self.folder.join("app.log.1")
    }

    fn rename(&mut self) {
        if self.log().exists() {
            let to = self.make_room();
            std::fs::rename(self.log(), to).expect("rename");
            self.offset = self.offset.map(|_| 0);
        }
    }

    fn copy_and_truncate(&mut self) {
        if self.log().exists() {
            let to = self.make_room();
            std::fs::copy(self.log(), to).expect("copy");
            OpenOptions::new().write(true).open(self.log()).expect("open").set_len(0).expect("truncate");
        }
    }
}

fn history(seed: u64, pattern: &str, steps: &[Step]) {
    history_of(seed, pattern, steps, None);
}

fn history_of(seed: u64, pattern: &str, steps: &[Step], offset: Option<u64>) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut scene = Scene::new(&[pattern]);
    let mut writer = Writer { folder: scene.folder.path().to_path_buf(), written: 0, rotated: 0, offset };
    let mut taken = Vec::new();
    writer.write(10, 1);
    scene.run_once();
    let mut running = scene.start();
    for _ in 0..STEPS {
        let step = steps[dice.roll(steps.len() as u64) as usize];
        taken.push(step);
        match step {
            Step::Write => writer.write(1 + dice.roll(200) as usize, 1),
            Step::WriteInPieces => writer.write(1 + dice.roll(200) as usize, 3),
            Step::Rename => writer.rename(),
            Step::CopyTruncate => writer.copy_and_truncate(),
            Step::SeenCopyTruncate => {
                writer.write(1, 1);
                running.drain();
                writer.write(1 + dice.roll(50) as usize, 1);
                writer.copy_and_truncate();
            }
            Step::Kill => {
                drop(running);
                let lost = dice.roll(TAKEN_BACK_MAX + 1) as usize;
                scene.log.truncate(scene.log.len().saturating_sub(lost).max(1));
                if dice.roll(2) == 0 {
                    writer.write(5, 1);
                    writer.rename();
                    writer.write(5, 1);
                }
                running = scene.start();
            }
            Step::StopAndStart => {
                running.shelf.set_full(false);
                running.stop();
                running = scene.start();
            }
            Step::Full => running.shelf.set_full(dice.roll(2) == 0),
            Step::Drain => {
                running.shelf.set_full(false);
                running.drain();
            }
            Step::Pause => std::thread::sleep(Duration::from_millis(dice.roll(120))),
        }
        running.collect(Duration::ZERO);
    }
    running.shelf.set_full(false);
    running.drain();
    running.stop();
    scene.run_once();
    let expected = split(&numbered("line", 0..writer.written));
    let context = format!("seed {seed}, {pattern}, {taken:?}, {:#?}", summary(&scene));
    let mut lines = scene.lines();
    if offset.is_some() {
        // All its generations begin with the same zeros: a copy is not always told from a file of its own.
        lines.sort();
        lines.dedup();
    }
    assert_same_lines(&lines, &expected, &context);
}

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("CHAOS_SEEDS").unwrap_or_default();
    match given.split_once("..").map(|(first, last)| (first.parse(), last.parse())) {
        Some((Ok(first), Ok(last))) => first..last,
        _ => SEEDS,
    }
}

#[test]
fn histories_with_renames_and_kills_lose_and_double_nothing() {
    use Step::*;
    let steps = [Write, Write, WriteInPieces, Write, Rename, Rename, Kill, StopAndStart, Full, Drain, Pause, Pause];
    for seed in seeds() {
        history(seed, "app.log", &steps);
        history(seed, "app.log*", &steps);
    }
}

#[test]
fn histories_with_every_rotation_lose_and_double_nothing() {
    use Step::*;
    let steps =
        [Write, Write, WriteInPieces, Rename, CopyTruncate, CopyTruncate, Kill, StopAndStart, Full, Drain, Pause];
    for seed in seeds() {
        history(seed, "app.log*", &steps);
    }
}

#[test]
fn histories_whose_copies_no_pattern_wants_lose_and_double_nothing() {
    use Step::*;
    let steps = [Write, Write, WriteInPieces, Rename, SeenCopyTruncate, SeenCopyTruncate, Drain, Pause];
    for seed in seeds() {
        history(seed, "app.log", &steps);
    }
}

#[test]
fn histories_of_a_writer_with_its_own_offset_lose_nothing() {
    use Step::*;
    let steps =
        [Write, Write, WriteInPieces, Rename, CopyTruncate, CopyTruncate, Kill, StopAndStart, Full, Drain, Pause];
    for seed in seeds() {
        history_of(seed, "app.log*", &steps, Some(0));
    }
}
