//! Records as NDJSON in a rotated file, for use without a cloud. Sends nothing, reads nothing back but the last byte.
//!
//! `records.ndjson` is written to; where a write would take it past `max_bytes` it is renamed to `records.ndjson.N`
//! first, N counting up: the highest is the newest, and no file is ever renamed twice. `keep` bounds how many renamed
//! ones stay.
//!
//! A write that fails is cut off again, so the file holds whole records. What a crash left of a line is ended with a
//! newline before anything new is written: a reader sees one line that is no JSON, and the record again after it. At
//! least once: a file cannot be asked which records it has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::sink::{Batch, RecordView, SendOutcome};

/// Options of one file sink.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file that is written to; its folder is created where it is missing.
    pub path: PathBuf,
    /// The file is renamed before a write takes it past this; 0: never. One batch may be larger.
    pub max_bytes: u64,
    /// Renamed files that stay; 0: all.
    pub keep: usize,
}

/// Appends `{"@timestamp":"…",…}` and a newline: the document as Elasticsearch gets it.
pub fn encode_ndjson(record: &RecordView<'_>, body: &mut Vec<u8>) {
    super::elasticsearch::write_document(record, body);
    body.push(b'\n');
}

/// Appends a document that [`encode_ndjson`] made before, and a newline; false, and nothing, where it made no such one.
pub fn encode_document(document: &[u8], body: &mut Vec<u8>) -> bool {
    let is_ours = super::elasticsearch::is_document(document);
    if is_ours {
        body.extend_from_slice(document);
        body.push(b'\n');
    }
    is_ours
}

/// The file sink. One writer at a time, whatever is in flight.
#[derive(Debug)]
pub struct FileSink {
    writer: Arc<Mutex<Writer>>,
}

impl FileSink {
    /// Opens nothing yet.
    pub fn new(options: Options) -> Self {
        FileSink { writer: Arc::new(Mutex::new(Writer { options, open: None })) }
    }

    /// Appends the records and syncs them.
    pub async fn send(&self, batch: &Batch, range: Range<usize>) -> SendOutcome {
        if range.is_empty() {
            return SendOutcome::Accepted;
        }
        let bytes = batch.slice(&range).to_vec();
        // The lock goes with the task: were this future dropped, the write would still end before the next begins.
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        match tokio::task::spawn_blocking(move || writer.append(&bytes)).await {
            Ok(Ok(())) => SendOutcome::Accepted,
            Ok(Err(WriteError::Clean(reason))) => SendOutcome::NotSent { reason },
            Ok(Err(WriteError::Torn(reason))) => SendOutcome::Unknown { reason },
            Err(error) => SendOutcome::Unknown { reason: format!("the writing task ended early: {error}") },
        }
    }

    /// Opens the file for writing and closes it; one that was not there is gone again afterwards.
    ///
    /// # Errors
    /// Which file or folder, and why.
    pub async fn probe(&self) -> Result<String, String> {
        let path = self.writer.lock().await.options.path.clone();
        tokio::task::spawn_blocking(move || probe(&path)).await.map_err(|error| error.to_string())?
    }
}

/// A write that did not succeed.
#[derive(Debug, PartialEq, Eq)]
enum WriteError {
    /// The file is as it was before.
    Clean(String),
    /// The file may hold some of the records.
    Torn(String),
}

#[derive(Debug)]
struct Writer {
    options: Options,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Bytes of the file, all of them whole lines.
    len: u64,
    device: u64,
    inode: u64,
}

impl Writer {
    fn append(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let path = self.options.path.clone();
        let mut open = self.take_open(bytes.len() as u64).map_err(|e| WriteError::Clean(at(&path, &e)))?;
        let written = open.file.write_all(bytes).and_then(|()| open.file.sync_data());
        match written {
            Ok(()) => {
                open.len += bytes.len() as u64;
                self.open = Some(open);
                Ok(())
            }
            // The handle is not kept: the next write looks at the file afresh.
            Err(error) => Err(match open.file.set_len(open.len).and_then(|()| open.file.sync_data()) {
                Ok(()) => WriteError::Clean(at(&path, &error)),
                Err(cut) => WriteError::Torn(format!("{}; it could not be cut back: {cut}", at(&path, &error))),
            }),
        }
    }

    /// The file, with room for `more` bytes before it is full.
    fn take_open(&mut self, more: u64) -> io::Result<Open> {
        let path = &self.options.path;
        let current = match self.open.take() {
            Some(open) if open.is_still_at(path) => open,
            _ => Open::new(path)?,
        };
        let full = self.options.max_bytes > 0 && current.len > 0 && current.len + more > self.options.max_bytes;
        if !full {
            return Ok(current);
        }
        drop(current);
        rotate(path, self.options.keep)?;
        Open::new(path)
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let folder = folder_of(path);
        fs::create_dir_all(folder)?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        if is_new {
            File::open(folder)?.sync_all()?;
        }
        let len = end_last_line(&mut file, metadata.len())?;
        Ok(Open { file, len, device: metadata.dev(), inode: metadata.ino() })
    }

    /// Whether the path still names this file: somebody else may rename or delete it.
    fn is_still_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode && now.len() == self.len)
    }
}

/// Ends what a crash left of a line; gives the new length.
fn end_last_line(file: &mut File, len: u64) -> io::Result<u64> {
    if len == 0 {
        return Ok(0);
    }
    let mut last = [0u8];
    file.seek(SeekFrom::Start(len - 1))?;
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(len);
    }
    file.write_all(b"\n")?;
    Ok(len + 1)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Renames the file to the next number and deletes the oldest past `keep`.
fn rotate(path: &Path, keep: usize) -> io::Result<()> {
    let mut numbers = rotated(path)?;
    let next = numbers.last().copied().unwrap_or(0).checked_add(1).ok_or_else(|| io::Error::other("out of numbers"))?;
    fs::rename(path, numbered(path, next))?;
    numbers.push(next);
    if keep > 0 {
        for number in &numbers[..numbers.len().saturating_sub(keep)] {
            let old = numbered(path, *number);
            if let Err(error) = fs::remove_file(&old) {
                tracing::warn!(path = %old.display(), %error, "an old file of records could not be deleted");
            }
        }
    }
    File::open(folder_of(path))?.sync_all()
}

/// Numbers of the renamed files that there are, lowest first.
fn rotated(path: &Path) -> io::Result<Vec<u64>> {
    let mut prefix = path.file_name().unwrap_or_default().to_os_string();
    prefix.push(".");
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder_of(path))? {
        let name = entry?.file_name();
        let rest = name.as_encoded_bytes().strip_prefix(prefix.as_encoded_bytes());
        let text = rest.and_then(|rest| std::str::from_utf8(rest).ok()).unwrap_or_default();
        numbers.extend(text.parse::<u64>().ok().filter(|number| number.to_string() == text));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn at(path: &Path, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => ": give logferry the right to write there",
        io::ErrorKind::StorageFull => ": make room there, or lower max_bytes and keep",
        _ => "",
    };
    format!("{}: {error}{advice}", path.display())
}

fn probe(path: &Path) -> Result<String, String> {
    let failed = |error: io::Error| at(path, &error);
    let is_new = !path.exists();
    fs::create_dir_all(folder_of(path)).map_err(failed)?;
    let file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
    let space = rustix::fs::fstatvfs(&file).map_err(|error| failed(error.into()))?;
    let is_file = file.metadata().map_err(failed)?.is_file();
    if is_new {
        fs::remove_file(path).map_err(failed)?;
    }
    if !is_file {
        return Err(format!("{}: it is no regular file", path.display()));
    }
    let free_mib = space.f_bavail.saturating_mul(space.f_frsize) / (1024 * 1024);
    Ok(format!("{}, {free_mib} MiB free", path.display()))
}

#[cfg(test)]
mod tests;
