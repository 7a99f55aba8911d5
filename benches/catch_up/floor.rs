//! The floor: what shipping costs at least. One thread that reads, splits, cuts, escapes, appends to a buffer file with
//! an fsync every 4 MiB, builds `_bulk` bodies and posts them over one socket. No recovery, no retries, no checks of
//! the input, nothing that logferry is for; but the same documents, byte for byte as many.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::net::TcpStream;
use std::path::Path;

use memchr::{memchr, memmem};

use crate::{Fault, INDEX};

const READ_BYTES: usize = 256 * 1024;
/// Documents that are written, synced and posted together.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;
/// The buffer file begins anew at this size, as what was delivered is deleted.
const FILE_BYTES: usize = 64 * 1024 * 1024;
const ID_LEN: usize = 26;
/// What a document begins with, up to its id.
const HEAD: &[u8] = b"{\"@timestamp\":\"2026-11-20T23:00:33.123Z\",\"EventID\":\"";

/// Ships the file `lines` to the server at `address`.
pub fn run(lines: &Path, buffer: &Path, address: &str) -> Result<(), Fault> {
    let mut input = File::open(lines)?;
    let mut floor = Floor {
        constants: format!(
            r#","RunID":"bench","VMName":"bench-vm","Source":"bench","FilePath":"{}","Origin":"{}""#,
            lines.display(),
            "0".repeat(ID_LEN)
        ),
        seq: 0,
        chunk: Vec::with_capacity(CHUNK_BYTES + 64 * 1024),
        body: Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4),
        answer: Vec::new(),
        file: File::create(buffer)?,
        file_bytes: 0,
        socket: TcpStream::connect(address)?,
    };
    floor.socket.set_nodelay(true)?;
    let mut window = vec![0; 2 * READ_BYTES];
    let mut held = 0;
    loop {
        let read = input.read(&mut window[held..held + READ_BYTES])?;
        if read == 0 {
            return floor.flush();
        }
        let (filled, mut start) = (held + read, 0);
        while let Some(len) = memchr(b'\n', &window[start..filled]) {
            floor.take(&window[start..start + len]);
            start += len + 1;
            if floor.chunk.len() >= CHUNK_BYTES {
                floor.flush()?;
            }
        }
        window.copy_within(start..filled, 0);
        held = filled - start;
    }
}

struct Floor {
    constants: String,
    seq: u64,
    /// Documents, each with its line end.
    chunk: Vec<u8>,
    body: Vec<u8>,
    answer: Vec<u8>,
    file: File,
    file_bytes: usize,
    socket: TcpStream,
}

impl Floor {
    /// Makes a document of `2026-11-20 23:00:33,123 - agent.core - INFO - message`.
    fn take(&mut self, line: &[u8]) {
        self.seq += 1;
        let out = &mut self.chunk;
        let (time, rest) = (&line[..23], &line[26..]);
        let (logger, rest) = cut(rest);
        let (level, message) = cut(rest);
        let start = out.len();
        out.extend_from_slice(HEAD);
        out[start + 15..start + 38].copy_from_slice(time);
        out[start + 25] = b'T';
        out[start + 34] = b'.';
        for digit in (0..ID_LEN as u32).rev() {
            out.push(b"0123456789abcdef"[(self.seq.checked_shr(digit * 4).unwrap_or(0) & 15) as usize]);
        }
        out.extend_from_slice(b"\",\"Seq\":");
        put_number(out, self.seq);
        out.extend_from_slice(self.constants.as_bytes());
        out.extend_from_slice(b",\"LoggerName\":\"");
        escape(out, logger);
        out.extend_from_slice(b"\",\"Level\":\"");
        out.extend_from_slice(level);
        out.extend_from_slice(b"\",\"Message\":\"");
        escape(out, message);
        out.extend_from_slice(b"\"}\n");
    }

    /// Writes and syncs the documents, then posts them.
    fn flush(&mut self) -> Result<(), Fault> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        if self.file_bytes >= FILE_BYTES {
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file_bytes = 0;
        }
        self.file.write_all(&self.chunk)?;
        self.file.sync_data()?;
        self.file_bytes += self.chunk.len();
        self.body.clear();
        let (mut start, mut records) = (0, 0);
        while let Some(len) = memchr(b'\n', &self.chunk[start..]) {
            let document = &self.chunk[start..=start + len];
            self.body.extend_from_slice(b"{\"create\":{\"_id\":\"");
            self.body.extend_from_slice(&document[HEAD.len()..HEAD.len() + ID_LEN]);
            self.body.extend_from_slice(b"\"}}\n");
            self.body.extend_from_slice(document);
            start += len + 1;
            records += 1;
        }
        self.chunk.clear();
        self.post(records)
    }

    fn post(&mut self, records: usize) -> Result<(), Fault> {
        let head = format!(
            "POST /{INDEX}/_bulk HTTP/1.1\r\nhost: bench\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            self.body.len()
        );
        self.socket.write_all(head.as_bytes())?;
        self.socket.write_all(&self.body)?;
        self.answer.resize(READ_BYTES, 0);
        let (mut filled, mut end) = (0, None);
        while end.is_none_or(|end| filled < end) {
            if filled == self.answer.len() {
                self.answer.resize(2 * filled, 0);
            }
            match self.socket.read(&mut self.answer[filled..])? {
                0 => return Err("the server hung up".into()),
                read => filled += read,
            }
            if end.is_none() {
                end = answer_len(&self.answer[..filled])?;
            }
        }
        let answered = memmem::find_iter(&self.answer[..filled], b"\"status\":201").count();
        if answered == records { Ok(()) } else { Err(format!("{answered} of {records} were accepted").into()) }
    }
}

/// Bytes of an answer, head and body, once its head is there.
fn answer_len(answer: &[u8]) -> Result<Option<usize>, Fault> {
    let Some(head) = memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head])?;
    let length = text.split("\r\n").find_map(|line| line.strip_prefix("content-length: ")).ok_or("no length")?;
    Ok(Some(head + 4 + length.parse::<usize>()?))
}

/// What stands before the first ` - `, and what behind it.
fn cut(text: &[u8]) -> (&[u8], &[u8]) {
    match text.windows(3).position(|window| window == b" - ") {
        Some(at) => (&text[..at], &text[at + 3..]),
        None => (text, b""),
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    let start = out.len();
    while number >= 10 {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
    }
    out.push(b'0' + number as u8);
    out[start..].reverse();
}

/// Appends the inside of a JSON string.
fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    for block in text.chunks(32) {
        // Without a branch in it the compiler looks at a block at once.
        if !block.iter().fold(false, |found, byte| found | special(byte)) {
            out.extend_from_slice(block);
            continue;
        }
        for byte in block {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
                byte if special(byte) => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                byte => out.push(*byte),
            }
        }
    }
}
