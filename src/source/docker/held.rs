//! The engine's own log file of a container, held open while it lives: the last resort where the engine no longer gives the
//! log. Log driver `json-file` only, and only where the engine's data folder can be read.
//!
//! Removing a container removes its log, but what is open stays readable: every line that the engine wrote, an unterminated
//! last one too. The file has the same entries with the same times as the engine's answers, so that one goes on where
//! the other ended.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::engine::{EngineError, Streamed};
use super::frame::{ENTRY_MAX_BYTES, Entry, Stream};
use super::timestamp;

/// How often a file is looked for that the engine makes when it starts the container, and for how long.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Most files of one log that are held: the present one and those that it was rotated away from.
const FILES_MAX: usize = 4;

/// Most rotated files of a log that are looked for.
const ROTATED_MAX: usize = 16;

/// Bytes of one read.
const CHUNK_BYTES: usize = 256 * 1024;

/// Where an engine with this data folder keeps the log of a container.
pub(super) fn log_path(data_folder: &Path, id: &str) -> PathBuf {
    data_folder.join("containers").join(id).join(format!("{id}-json.log"))
}

/// The log files of one container, oldest first.
#[derive(Debug)]
pub(super) struct Held {
    path: PathBuf,
    files: Arc<Mutex<VecDeque<Arc<File>>>>,
    looking: Option<AbortHandle>,
}

impl Held {
    /// Opens the file as soon as it is there.
    pub(super) fn new(path: PathBuf) -> Held {
        let files = Arc::default();
        let mut held = Held { path, files, looking: None };
        if !held.refresh() {
            held.look();
        }
        held
    }

    /// Opens all files of a log that is not to be removed; `None` where they cannot be read, or are not all plain.
    pub(super) fn all(path: &Path) -> Option<Held> {
        let older = |n: usize, end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{n}{end}"));
            PathBuf::from(name)
        };
        if (1..=ROTATED_MAX).any(|n| older(n, ".gz").exists()) {
            return None;
        }
        let rotated = (1..=ROTATED_MAX).rev().map(|n| older(n, "")).filter_map(|older| File::open(older).ok());
        let files: VecDeque<Arc<File>> = rotated.chain([File::open(path).ok()?]).map(Arc::new).collect();
        Some(Held { path: path.to_owned(), files: Arc::new(Mutex::new(files)), looking: None })
    }

    fn look(&mut self) {
        let (path, files) = (self.path.clone(), Arc::clone(&self.files));
        let task = tokio::spawn(async move {
            let end = Instant::now() + LOOK_MAX;
            while Instant::now() < end {
                if hold(&path, &files) {
                    return;
                }
                sleep(LOOK_EVERY).await;
            }
        });
        self.looking = Some(task.abort_handle());
    }

    /// Looks whether the engine has begun another file; whether any is held now.
    pub(super) fn refresh(&mut self) -> bool {
        hold(&self.path, &self.files)
    }

    /// All bytes of the files as they are now.
    pub(super) fn read(&self) -> Streamed<Bytes> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(stream::try_unfold((files, 0u64), |(mut files, at)| async move {
            let mut at = at;
            while let Some(file) = files.front().cloned() {
                let read = tokio::task::spawn_blocking(move || read_chunk(&file, at)).await;
                let read = read.map_err(io::Error::other).and_then(|read| read);
                let bytes = read.map_err(|error| EngineError::Unreachable(format!("the log file: {error}")))?;
                if !bytes.is_empty() {
                    at += bytes.len() as u64;
                    return Ok(Some((bytes, (files, at))));
                }
                files.pop_front();
                at = 0;
            }
            Ok(None)
        }))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(looking) = &self.looking {
            looking.abort();
        }
    }
}

/// Holds the file at `path`, where it is not held yet; whether any is.
fn hold(path: &Path, files: &Mutex<VecDeque<Arc<File>>>) -> bool {
    let opened = File::open(path);
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(file) = opened
        && !files.back().is_some_and(|last| is_same(last, &file))
    {
        files.push_back(Arc::new(file));
        if files.len() > FILES_MAX {
            files.pop_front();
        }
    }
    !files.is_empty()
}

fn is_same(one: &File, other: &File) -> bool {
    let id = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    id(one) == id(other)
}

fn read_chunk(file: &File, at: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; CHUNK_BYTES];
    let read = loop {
        match file.read_at(&mut bytes, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    bytes.truncate(read);
    Ok(bytes.into())
}

/// One entry of such a file.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Longest line of such a file in bytes: an entry whose every byte is escaped.
const LINE_MAX_BYTES: usize = 6 * ENTRY_MAX_BYTES;

/// Bytes of such a file into entries.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    at: usize,
    payload: Vec<u8>,
}

impl Decoder {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.buffer.len() > LINE_MAX_BYTES {
            self.buffer.clear();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole entry. What is no entry is passed over: a crash of the machine leaves zeros, or half a line.
    pub(super) fn next_entry(&mut self) -> Option<Entry<'_>> {
        loop {
            let rest = &self.buffer[self.at..];
            let newline = memchr::memchr(b'\n', rest)?;
            let line = &rest[..newline];
            self.at += newline + 1;
            let Ok(Line { log, stream, time }) = serde_json::from_slice::<Line<'_>>(line) else { continue };
            let stream = match stream.as_ref() {
                "stdout" => Stream::Stdout,
                "stderr" => Stream::Stderr,
                _ => continue,
            };
            let time = timestamp::parse_alone(&time);
            self.payload.clear();
            self.payload.extend_from_slice(log.as_bytes());
            return Some(Entry { stream, time, payload: &self.payload });
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    const LOG: &str = concat!(
        r#"{"log":"one \u003cb\u003e\n","stream":"stdout","time":"2026-11-20T23:24:43.1342Z"}"#,
        "\n\0\0\0\n",
        r#"{"log":"half","stream":"stderr","attrs":{"a":"b"},"time":"2026-11-20T23:24:43Z"}"#,
        "\n",
        r#"{"log":"cut off","str"#,
    );

    fn entries(chunk: usize) -> Vec<(Stream, Option<i64>, String)> {
        let (mut decoder, mut found) = (Decoder::default(), Vec::new());
        for piece in LOG.as_bytes().chunks(chunk) {
            decoder.push(piece);
            while let Some(entry) = decoder.next_entry() {
                found.push((entry.stream, entry.time, String::from_utf8_lossy(entry.payload).into_owned()));
            }
        }
        found
    }

    #[test]
    fn entries_are_the_same_however_the_file_is_read() {
        let expected = vec![
            (Stream::Stdout, Some(1_795_217_083_134_200_000), "one <b>\n".to_owned()),
            (Stream::Stderr, Some(1_795_217_083_000_000_000), "half".to_owned()),
        ];
        for chunk in [1, 7, 1000] {
            assert_eq!(entries(chunk), expected);
        }
    }

    #[tokio::test]
    async fn what_is_held_is_read_after_it_was_rotated_and_removed() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("log");
        let mut held = Held::new(path.clone());
        assert!(held.is_empty());
        std::fs::write(&path, "one\n").expect("file");
        while held.is_empty() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        std::fs::rename(&path, dir.path().join("log.1")).expect("rename");
        std::fs::write(&path, "two\n").expect("file");
        assert!(held.refresh() && held.refresh());
        std::fs::remove_dir_all(dir.path()).expect("remove");
        assert!(held.refresh());
        let read: Vec<Bytes> = held.read().map(|chunk| chunk.expect("bytes")).collect().await;
        assert_eq!(read.concat(), b"one\ntwo\n");
    }
}
