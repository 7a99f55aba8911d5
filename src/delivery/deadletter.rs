//! Records that a sink refuses for good: kept on disk, with the reason, to be looked at and sent again.
//!
//! Two kinds of files stand in the folder. New letters are appended to `SINK.ndjson`. A replay renames it to
//! `SINK.replaying-N.ndjson` and works that off from its end, see `replay.rs`; what is refused again goes back to
//! `SINK.ndjson`. One of the latter kind that a start finds was left by a replay that was cut short.
//!
//! **Invariant: a letter stands in one of them until the sink has accepted it.** In both only for the moment between the
//! two writes of a replay.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::letter::Refused;

/// Most bytes of one sink's dead letters, those of a replay among them. Past it a letter is kept without its document:
/// hundreds of thousands of refused records are one fault many times over, and the disk is the buffer's.
///
/// The short lines have no bound of their own. Each is a fraction of the record that it stands for, a thousand equal
/// refusals in a row end their writing, and a disk without room makes the sink wait: only the line says that this record
/// is missing.
pub const DEAD_LETTERS_MAX_BYTES: u64 = 256 * 1024 * 1024;

const SUFFIX: &str = ".ndjson";
const REPLAYING: &str = ".replaying-";

/// The dead letters of one sink.
#[derive(Debug)]
pub struct DeadLetters {
    dir: PathBuf,
    path: PathBuf,
    sink: String,
    max_bytes: u64,
    /// One writer at a time. The file is opened for each write: somebody may have moved it away.
    writing: Mutex<()>,
    /// It was said that the bound is reached.
    said_full: AtomicBool,
    /// Held by the one replay.
    replaying: Arc<tokio::sync::Mutex<()>>,
}

/// A file whose letters are to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenUp {
    pub path: PathBuf,
    /// It was left by a replay that was cut short: its last letters may have been accepted already.
    pub is_leftover: bool,
}

impl DeadLetters {
    /// `DIR/SINK.ndjson`; made when the first record is refused.
    pub fn new(dir: &Path, sink: &str) -> Self {
        Self::with_bound(dir, sink, DEAD_LETTERS_MAX_BYTES)
    }

    fn with_bound(dir: &Path, sink: &str, max_bytes: u64) -> Self {
        DeadLetters {
            dir: dir.to_owned(),
            path: dir.join(format!("{sink}{SUFFIX}")),
            sink: sink.to_owned(),
            max_bytes,
            writing: Mutex::default(),
            said_full: AtomicBool::new(false),
            replaying: Arc::default(),
        }
    }

    /// Where new ones are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where those of all sinks are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends records, durable when it returns: without their documents from the bound on. Returns how many of them.
    ///
    /// # Errors
    /// The file cannot be written: the records must not be passed over.
    pub fn append<'a>(&self, letters: impl Iterator<Item = Refused<'a>>) -> io::Result<usize> {
        let writing = self.lock();
        let used = self.used_bytes();
        let mut bytes = Vec::new();
        let mut without_document = 0;
        for letter in letters {
            let before = bytes.len();
            letter.write(&self.sink, true, &mut bytes);
            if used + bytes.len() as u64 > self.max_bytes {
                bytes.truncate(before);
                letter.write(&self.sink, false, &mut bytes);
                without_document += 1;
            }
        }
        self.write(&bytes, &writing)?;
        if self.said_full.swap(without_document > 0, Ordering::Relaxed) || without_document == 0 {
            return Ok(without_document);
        }
        tracing::error!(
            sink = self.sink,
            path = %self.path.display(),
            max_bytes = self.max_bytes,
            "the dead letters of this sink have reached their bound: of what it refuses from now on only EventID, status \
             and reason are kept, the records themselves are lost; mend what it refuses them for and run `logferry \
             replay`, or move the file away"
        );
        Ok(without_document)
    }

    /// Appends letters that were refused again, with their documents whatever the bound says: they came out of it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append_again<'a>(&self, letters: impl Iterator<Item = Refused<'a>>) -> io::Result<()> {
        let mut bytes = Vec::new();
        letters.for_each(|letter| letter.write(&self.sink, true, &mut bytes));
        self.put_back(&bytes)
    }

    /// Appends lines as they are, durable when it returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn put_back(&self, lines: &[u8]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let writing = self.lock();
        self.write(lines, &writing)
    }

    /// Takes up all letters to be sent again, newest file first; new ones go to a new file.
    ///
    /// # Errors
    /// The folder cannot be read, or the file not renamed.
    pub fn take_up(&self) -> io::Result<Vec<TakenUp>> {
        let _writing = self.lock();
        let numbers = self.replaying_numbers()?;
        let next = numbers.last().map_or(1, |last| last + 1);
        let mut files: Vec<TakenUp> =
            numbers.iter().map(|number| TakenUp { path: self.numbered(*number), is_leftover: true }).collect();
        match fs::rename(&self.path, self.numbered(next)) {
            Ok(()) => {
                File::open(&self.dir)?.sync_all()?;
                files.push(TakenUp { path: self.numbered(next), is_leftover: false });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        files.reverse();
        Ok(files)
    }

    /// The files that replays took up and have not ended; none where the folder cannot be read.
    pub fn replaying(&self) -> Vec<PathBuf> {
        self.replaying_numbers().unwrap_or_default().into_iter().map(|number| self.numbered(number)).collect()
    }

    /// The right to replay; `None`: another replay has it.
    pub fn begin_replay(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        Arc::clone(&self.replaying).try_lock_owned().ok()
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of all files; what cannot be looked at has none.
    pub fn used_bytes(&self) -> u64 {
        let paths = self.replaying().into_iter().chain([self.path.clone()]);
        paths.filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum()
    }

    fn numbered(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{}{REPLAYING}{number}{SUFFIX}", self.sink))
    }

    /// Numbers of the files of replays, lowest first.
    fn replaying_numbers(&self) -> io::Result<Vec<u64>> {
        let files = files_of(&self.dir)?.into_iter().filter(|file| file.sink == self.sink);
        let mut numbers: Vec<u64> = files.filter_map(|file| file.replaying).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn write(&self, bytes: &[u8], _writing: &MutexGuard<'_, ()>) -> io::Result<()> {
        let mut file = self.open()?;
        let before = file.metadata()?.len();
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        if written.is_err() {
            // A half-written line would spoil the next one; if this fails too, the next open ends it.
            let _ = file.set_len(before);
        }
        written
    }

    fn open(&self) -> io::Result<File> {
        let is_new = !self.path.exists();
        if is_new {
            fs::create_dir_all(&self.dir)?;
        }
        let mut file = File::options().append(true).read(true).create(true).mode(0o600).open(&self.path)?;
        if is_new {
            File::open(&self.dir)?.sync_all()?;
        }
        let len = file.metadata()?.len();
        if len > 0 {
            let mut last = [0u8; 1];
            file.read_exact_at(&mut last, len - 1)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }
}

/// A file of dead letters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LetterFile {
    pub sink: String,
    /// Its number where a replay took it up.
    pub replaying: Option<u64>,
    pub path: PathBuf,
}

/// The files of dead letters in a folder; none where there is no folder.
///
/// # Errors
/// The folder cannot be read.
pub fn files_of(dir: &Path) -> io::Result<Vec<LetterFile>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(stem) = name.strip_suffix(SUFFIX) else { continue };
        let (sink, replaying) = match stem.split_once(REPLAYING) {
            Some((sink, number)) => match number.parse() {
                Ok(number) => (sink, Some(number)),
                Err(_) => continue,
            },
            None => (stem, None),
        };
        files.push(LetterFile { sink: sink.to_owned(), replaying, path });
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::letter::Refusal;
    use super::*;
    use crate::record::{EventId, OriginId};

    fn refusal() -> Refusal {
        Refusal { status: 400, kind: "k".into(), reason: "a \"quoted\" reason".into() }
    }

    fn letter(n: u8, refusal: &Refusal) -> Refused<'_> {
        let (id, origin) = (EventId([n; 16]), OriginId([9; 16]));
        Refused { id, origin, run_id: "42", document: b"{\"Message\":\"m\"}", refusal }
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    #[test]
    fn each_letter_is_a_line_of_json_and_a_torn_one_is_ended() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("es.ndjson");
        fs::write(&path, b"{\"torn\":").expect("write");
        let letters = DeadLetters::new(dir.path(), "es");
        assert_eq!(letters.append([letter(1, &refusal())].into_iter()).expect("append"), 0);
        assert!(fs::read_to_string(&path).expect("read").starts_with("{\"torn\":\n{"));
        let letter = &lines(&path)[1];
        assert_eq!(letter["EventID"], EventId([1; 16]).to_string());
        assert_eq!((&letter["status"], &letter["record"]["Message"]), (&400.into(), &"m".into()));
    }

    #[test]
    fn past_the_bound_a_letter_is_kept_without_its_document_until_there_is_room_again() {
        let dir = tempfile::tempdir().expect("dir");
        let letters = DeadLetters::with_bound(dir.path(), "es", 500);
        let refusal = refusal();
        let mut short = 0;
        for n in 0..10 {
            short += letters.append([letter(n, &refusal)].into_iter()).expect("append");
        }
        let kept = lines(letters.path());
        assert_eq!(kept.len(), 10, "none is missing");
        let whole = kept.iter().filter(|letter| letter["record"].is_object()).count();
        assert!((1..=3).contains(&whole) && whole + short == 10, "{whole} whole, {short} short");
        assert!(kept.iter().all(|letter| letter["EventID"].is_string() && letter["status"] == 400));
        assert_eq!(kept[9]["Origin"], OriginId([9; 16]).to_string());
        // What a replay took up counts; what it gives back keeps its document.
        assert_eq!(letters.take_up().expect("taken up").len(), 1);
        assert_eq!(letters.append([letter(10, &refusal)].into_iter()).expect("append"), 1);
        letters.append_again([letter(11, &refusal)].into_iter()).expect("append");
        assert!(lines(letters.path())[1]["record"].is_object());
        fs::remove_dir_all(dir.path()).expect("moved away");
        assert_eq!(letters.append([letter(12, &refusal)].into_iter()).expect("append"), 0);
        assert!(lines(letters.path())[0]["record"].is_object());
    }

    #[test]
    fn what_is_taken_up_stands_in_files_of_its_own_newest_first() {
        let dir = tempfile::tempdir().expect("dir");
        let letters = DeadLetters::new(dir.path(), "es");
        assert_eq!(letters.take_up().expect("nothing"), []);
        let other = DeadLetters::new(dir.path(), "es-2");
        other.append([letter(9, &refusal())].into_iter()).expect("append");
        other.take_up().expect("taken up");
        let taken = |number: u64, is_leftover: bool| TakenUp { path: letters.numbered(number), is_leftover };
        letters.append([letter(1, &refusal())].into_iter()).expect("append");
        assert_eq!(letters.take_up().expect("taken up"), [taken(1, false)]);
        assert!(!letters.path().exists());
        letters.append([letter(2, &refusal())].into_iter()).expect("append");
        assert_eq!(letters.take_up().expect("taken up"), [taken(2, false), taken(1, true)]);
        assert_eq!(letters.take_up().expect("taken up"), [taken(2, true), taken(1, true)]);
        fs::write(dir.path().join("notes.txt"), "x").expect("write");
        let mut files = files_of(dir.path()).expect("files");
        files.sort();
        let found: Vec<_> = files.iter().map(|file| (file.sink.as_str(), file.replaying)).collect();
        assert_eq!(found, [("es", Some(1)), ("es", Some(2)), ("es-2", Some(1))]);
    }
}
