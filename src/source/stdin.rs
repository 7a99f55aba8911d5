//! Standard input as a source: read once to its end; what a crash interrupts cannot be read again.
//!
//! A thread of its own waits in `read`, so that quiet times and a stop are noticed while nothing comes.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;

use crate::buffer::{Appender, Closed, OriginInfo};
use crate::ingest::{self, Flush, GROUP_QUIET, Ingest};
use crate::record::{Counters, OriginId};
use crate::source::file::{self, archive};
use crate::source::intake::Intake;
use crate::source::{READ_BYTES, RunColumns};

/// How often a stop is looked for while nothing comes.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// After a stop, standard input that gives nothing for this long has given all that was written before it.
const STOP_QUIET: Duration = Duration::from_millis(50);

/// Most bytes that are still taken after a stop: what a pipe holds.
const STOP_BYTES_MAX: usize = 1024 * 1024;

/// Reads that wait to be ingested.
const READS_WAITING: usize = 1;

/// Why standard input was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("the buffer has stopped")]
    BufferClosed,
}

impl From<Closed> for Error {
    fn from(_: Closed) -> Self {
        Error::BufferClosed
    }
}

/// How reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything that had been written was taken up.
    Whole,
    /// A stop ended it while more came: what was read is taken up, the rest stays unread.
    Cut,
    /// It is in UTF-16: nothing of it was taken up.
    Unreadable,
}

/// Tells the reader of standard input to end; clones mean the same reader.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads `input` to its end, or until `stop` is set. Blocks the thread that calls; a second one, which reads, may outlive
/// the call after a stop.
///
/// # Errors
/// [`Error`]; what was read before it is in the buffer.
pub fn follow(
    input: impl Read + Send + 'static,
    name: &str,
    options: Arc<ingest::Options>,
    run: &RunColumns,
    appender: &Appender,
    stop: &Stop,
) -> Result<End, Error> {
    let mut intake = Intake::new(origin(OriginId::random()?, name, options, run), appender);
    let reads = reads(input)?;
    let end = take_up(&mut intake, &reads, stop)?;
    if intake.is_unreadable() {
        tracing::error!("standard input is in UTF-16 and is not read: convert it (iconv -f UTF-16 -t UTF-8)");
        return Ok(End::Unreadable);
    }
    Ok(end)
}

/// What each read of `input` gives, on a thread of its own, which may outlive the receiver; nothing at the end. What gzip
/// compressed comes as text.
///
/// # Errors
/// No thread could be started.
pub fn reads(input: impl Read + Send + 'static) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, reads) = sync_channel(READS_WAITING);
    std::thread::Builder::new().name("stdin-read".to_owned()).spawn(move || read_on(input, &sender))?;
    Ok(reads)
}

/// Sends what each read gives, nothing at the end; until the other end is gone. What gzip compressed comes as text.
fn read_on(mut input: impl Read, sender: &SyncSender<io::Result<Vec<u8>>>) {
    let mut buffer = vec![0; READ_BYTES];
    let first = read_once(&mut input, &mut buffer);
    let head = first.as_ref().map(Vec::as_slice).unwrap_or_default();
    if archive::is_gzip(head) {
        let text = MultiGzDecoder::new(io::Cursor::new(head.to_vec()).chain(input));
        return send_on(text, &mut buffer, sender);
    }
    let first = match file::decompressor(head) {
        Some(command) => Err(io::Error::other(format!("it is compressed: decompress it first ({command})"))),
        None => first,
    };
    let goes_on = first.as_ref().is_ok_and(|bytes| !bytes.is_empty());
    if sender.send(first).is_ok() && goes_on {
        send_on(input, &mut buffer, sender);
    }
}

fn send_on(mut input: impl Read, buffer: &mut [u8], sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let read = read_once(&mut input, buffer);
        let goes_on = read.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        if sender.send(read).is_err() || !goes_on {
            return;
        }
    }
}

fn read_once(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<Vec<u8>> {
    loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map(|read| buffer.get(..read).unwrap_or_default().to_vec()),
        }
    }
}

/// One origin that is a stream of lines without a file or a container.
pub fn origin(id: OriginId, name: &str, options: Arc<ingest::Options>, run: &RunColumns) -> Ingest {
    let own = [("Source".to_owned(), name.to_owned()), ("Origin".to_owned(), id.to_string())];
    let constants = options.redactor.columns(run.0.iter().cloned().chain(own));
    let info = OriginInfo { id, descriptor: b"{\"kind\":\"stdin\"}".to_vec(), constants: constants.members().to_vec() };
    Ingest::new(options, Arc::new(info), constants, 0, Counters::default())
}

/// Takes up what comes, and what was written before a stop.
fn take_up(intake: &mut Intake<'_>, reads: &Receiver<io::Result<Vec<u8>>>, stop: &Stop) -> Result<End, Error> {
    let mut last = Instant::now();
    while !stop.is_set() {
        match reads.recv_timeout(STOP_CHECK) {
            Ok(read) => {
                if took_the_end(intake, read)? {
                    return Ok(End::Whole);
                }
                last = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {
                if last.elapsed() >= GROUP_QUIET && intake.holds_back() {
                    intake.take(&[], Flush::Group, false)?;
                    last = Instant::now();
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                intake.take(&[], Flush::All, true)?;
                return Ok(End::Whole);
            }
        }
    }
    let mut taken = 0;
    let mut end = End::Whole;
    while let Ok(read) = reads.recv_timeout(STOP_QUIET) {
        taken += read.as_ref().map_or(0, Vec::len);
        if took_the_end(intake, read)? {
            return Ok(End::Whole);
        }
        if taken >= STOP_BYTES_MAX {
            end = End::Cut;
            break;
        }
    }
    intake.take(&[], Flush::All, true)?;
    Ok(end)
}

/// Takes up one read; true where it was the end.
fn took_the_end(intake: &mut Intake<'_>, read: io::Result<Vec<u8>>) -> Result<bool, Error> {
    match read {
        Ok(bytes) if bytes.is_empty() => {
            intake.take(&[], Flush::All, true)?;
            Ok(true)
        }
        Ok(bytes) => {
            intake.take(&bytes, Flush::No, false)?;
            Ok(false)
        }
        Err(error) => {
            intake.take(&[], Flush::All, true)?;
            Err(error.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::buffer::Section;
    use crate::buffer::detached::{Detached, detached};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn options() -> Arc<ingest::Options> {
        Arc::new(ingest::Options::default())
    }

    type Following = std::thread::JoinHandle<Result<End, Error>>;

    fn start(input: impl Read + Send + 'static) -> (Detached, Stop, Following) {
        let (appender, taken) = detached();
        let stop = Stop::default();
        let own = stop.clone();
        let thread =
            std::thread::spawn(move || follow(input, "stdin", options(), &RunColumns::default(), &appender, &own));
        (taken, stop, thread)
    }

    /// Waits until this many lines were taken up in all; the last section.
    fn until_lines(taken: &Detached, lines: u64) -> Section {
        let until = Instant::now() + PATIENCE;
        loop {
            let last = taken.take(PATIENCE).pop();
            assert!(Instant::now() < until, "{lines} lines were never there: {last:?}");
            if let Some(last) = last.filter(|section| section.counters.lines >= lines) {
                return last;
            }
        }
    }

    #[test]
    fn everything_is_read_to_the_end() {
        let (taken, _, thread) = start(&b"one\ntwo\nthree"[..]);
        assert_eq!(thread.join().expect("thread").expect("read"), End::Whole);
        let last = until_lines(&taken, 3);
        assert!(last.ended);
        assert_eq!((last.counters.lines, last.counters.records), (3, 3));
    }

    #[test]
    fn what_gzip_compressed_is_read_and_other_compression_is_refused() {
        let compressed = |text: &[u8]| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("compressed");
            encoder.finish().expect("compressed")
        };
        let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        let whole = compressed(text.as_bytes());
        let (taken, _, thread) = start(io::Cursor::new(whole.clone()));
        assert_eq!(until_lines(&taken, 50_000).counters.bytes, text.len() as u64);
        assert_eq!(thread.join().expect("thread").expect("read"), End::Whole);
        let (taken, _, thread) = start(io::Cursor::new(whole[..whole.len() / 2].to_vec()));
        until_lines(&taken, 10_000);
        assert!(matches!(thread.join().expect("thread"), Err(Error::Read(_))));
        let (taken, _, thread) = start(&b"\x28\xb5\x2f\xfd\0rest"[..]);
        let said = thread.join().expect("thread").expect_err("refused").to_string();
        assert_eq!(said, "it is compressed: decompress it first (zstdcat)");
        assert_eq!(taken.take(PATIENCE).iter().map(|section| section.counters.records).sum::<u64>(), 0);
    }

    #[test]
    fn utf_16_is_said_and_not_garbled() {
        // The mark comes in two reads.
        let (reader, mut writer) = std::io::pipe().expect("pipe");
        let (taken, _, thread) = start(reader);
        for piece in [&b"\xff"[..], b"\xfea\0\n\0", b"b\0"] {
            writer.write_all(piece).expect("write");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(writer);
        assert_eq!(thread.join().expect("thread").expect("read"), End::Unreadable);
        let last = taken.take(PATIENCE).pop().expect("a section");
        assert_eq!((last.counters.records, last.counters.gaps, last.counters.gap_bytes), (0, 1, 8));
        assert!(last.ended);
    }

    #[test]
    fn a_quiet_pipe_gives_what_it_gave_and_a_stop_the_unfinished_line_too() {
        let (reader, mut writer) = std::io::pipe().expect("pipe");
        let (taken, stop, thread) = start(reader);
        writer.write_all(b"one\n  and more of it\nunfin").expect("write");
        let quiet = until_lines(&taken, 2);
        assert!(!quiet.ended);
        assert_eq!((quiet.counters.lines, quiet.counters.records), (2, 1));
        stop.set();
        assert_eq!(thread.join().expect("thread").expect("stopped"), End::Whole);
        let last = until_lines(&taken, 3);
        assert!(last.ended);
        assert_eq!(last.counters.records, 2);
    }

    #[test]
    fn a_stop_ends_an_input_that_never_ends() {
        let (taken, stop, thread) = start(std::io::repeat(b'\n'));
        let collected = std::thread::spawn(move || {
            let mut ended = false;
            while !ended {
                ended = taken.take(PATIENCE).iter().any(|section| section.ended);
            }
        });
        stop.set();
        assert_eq!(thread.join().expect("thread").expect("stopped"), End::Cut);
        collected.join().expect("the origin has ended");
    }

    #[test]
    fn a_read_that_fails_keeps_what_came_before_it() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::from(io::ErrorKind::IsADirectory));
                }
                (&b"begun"[..]).read(buffer)
            }
        }
        let (taken, _, thread) = start(Broken(false));
        let error = thread.join().expect("thread").expect_err("broken");
        assert_eq!(error.to_string(), io::Error::from(io::ErrorKind::IsADirectory).to_string());
        assert!(until_lines(&taken, 1).ended);
    }
}
