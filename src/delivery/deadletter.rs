//! Records that a sink refuses for good: kept on disk, with the reason, to be looked at and sent again.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::record::{EventId, json};

/// Why one record was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub kind: String,
    pub reason: String,
}

/// The NDJSON file of one sink's dead letters.
#[derive(Debug)]
pub struct DeadLetters {
    path: PathBuf,
    sink: String,
    file: Mutex<Option<File>>,
}

impl DeadLetters {
    /// `DIR/SINK.ndjson`; made when the first record is refused.
    pub fn new(dir: &Path, sink: &str) -> Self {
        DeadLetters { path: dir.join(format!("{sink}.ndjson")), sink: sink.to_owned(), file: Mutex::default() }
    }

    /// Where they are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends records, durable when it returns. `document` is the record as the sink would have stored it.
    ///
    /// # Errors
    /// The file cannot be written: the records must not be passed over.
    pub fn append<'a>(&self, letters: impl Iterator<Item = (EventId, &'a [u8], &'a Refusal)>) -> io::Result<()> {
        let mut bytes = Vec::new();
        for (id, document, refusal) in letters {
            self.encode(&mut bytes, id, document, refusal);
        }
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *guard {
            Some(file) => file,
            None => guard.insert(self.open()?),
        };
        let before = file.metadata()?.len();
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if written.is_err() {
            // A half-written line would spoil the next one; if this fails too, the next open ends it.
            let _ = file.set_len(before);
            *guard = None;
        }
        written
    }

    fn open(&self) -> io::Result<File> {
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let mut options = File::options();
        options.append(true).read(true).create(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        let len = file.metadata()?.len();
        if len > 0 {
            let mut last = [0u8; 1];
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut last, len - 1)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }

    fn encode(&self, out: &mut Vec<u8>, id: EventId, document: &[u8], refusal: &Refusal) {
        let start = out.len() + 1;
        out.push(b'{');
        json::key(out, start, "at");
        json::string(out, crate::record::time::rfc3339(crate::record::time::now()).as_bytes());
        json::key(out, start, "sink");
        json::string(out, self.sink.as_bytes());
        json::key(out, start, "EventID");
        json::string(out, &id.text());
        json::key(out, start, "status");
        json::number(out, u64::from(refusal.status));
        json::key(out, start, "kind");
        json::string(out, refusal.kind.as_bytes());
        json::key(out, start, "reason");
        json::string(out, refusal.reason.as_bytes());
        json::key(out, start, "record");
        out.extend_from_slice(document);
        out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_letter_is_a_line_of_json_and_a_torn_one_is_ended() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("es.ndjson");
        std::fs::write(&path, b"{\"torn\":").expect("write");
        let letters = DeadLetters::new(dir.path(), "es");
        let refusal = Refusal { status: 400, kind: "k".into(), reason: "a \"quoted\" reason".into() };
        let id = EventId([1; 16]);
        letters.append([(id, &b"{\"Message\":\"m\"}"[..], &refusal)].into_iter()).expect("append");
        let text = std::fs::read_to_string(&path).expect("read");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "{\"torn\":"));
        let letter: serde_json::Value = serde_json::from_str(lines[1]).expect("JSON");
        assert_eq!(letter["EventID"], id.to_string());
        assert_eq!((&letter["status"], &letter["record"]["Message"]), (&400.into(), &"m".into()));
    }
}
