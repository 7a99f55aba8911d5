//! The server that takes the records: HTTP/1.1 and as much of `_bulk` as a shipper needs to be content. It keeps
//! nothing but which lines and which ids have come, so that one that is missing or doubled shows.
//!
//! It says `ADDRESS` on its standard output when it listens, and what has come when its standard input ends. A line
//! `down` there lets it cut every connection from then on, `up` serve again.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::{memchr, memmem};

use crate::lines::{NUMBER_DIGITS, NUMBER_MARK, TIME_MARK};
use crate::{Fault, INDEX};

/// Largest body that is taken, in bytes: as Elasticsearch does by default.
const BODY_MAX_BYTES: usize = 100 * 1024 * 1024;

/// The index behind the data stream.
const BACKING_INDEX: &str = ".ds-logs-bench-default-2026.11.20-000001";

/// Records of these types are a shipper's own: they have no line.
const OWN_RECORDS: [&[u8]; 2] = [b"\"logferry.manifest", b"\"container.exited\""];

/// Whether every connection is cut.
static DOWN: AtomicBool = AtomicBool::new(false);

/// Serves until standard input ends, then prints what came of the lines `0..lines`.
pub fn run(lines: u64) -> Result<(), Fault> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let seen = Arc::new(Mutex::new(Seen::new(lines)));
    let shared = Arc::clone(&seen);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let seen = Arc::clone(&shared);
            std::thread::spawn(move || {
                if let Err(fault) = serve(&socket, &seen) {
                    eprintln!("stub: {fault}");
                }
            });
        }
    });
    for word in std::io::stdin().lines() {
        match word?.as_str() {
            "down" => DOWN.store(true, Ordering::SeqCst),
            "up" => DOWN.store(false, Ordering::SeqCst),
            other => return Err(format!("{other:?} is no command").into()),
        }
    }
    println!("{}", lock(&seen).report());
    Ok(())
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What has come.
struct Seen {
    /// One bit for each line.
    lines: Vec<u64>,
    line_count: u64,
    doubled: u64,
    /// Neither a line nor a record of the shipper's own.
    odd: u64,
    own: u64,
    requests: u64,
    body_bytes: u64,
    /// Bytes of the bodies as they came, perhaps compressed.
    wire_bytes: u64,
    /// A hash of each id.
    ids: Vec<u64>,
    /// Of each line that says when it was written: how long it took, in microseconds.
    waits: Vec<u32>,
}

impl Seen {
    fn new(lines: u64) -> Seen {
        Seen {
            lines: vec![0; lines.div_ceil(64) as usize],
            line_count: lines,
            doubled: 0,
            odd: 0,
            own: 0,
            requests: 0,
            body_bytes: 0,
            wire_bytes: 0,
            ids: Vec::with_capacity(lines as usize),
            waits: Vec::new(),
        }
    }

    /// Takes the pairs of lines of a body; returns how many there were.
    fn take(&mut self, body: &[u8], now_micros: u64) -> Result<usize, Fault> {
        let number_mark = memmem::Finder::new(NUMBER_MARK);
        self.requests += 1;
        self.body_bytes += body.len() as u64;
        let (mut rest, mut records) = (body, 0);
        while !rest.is_empty() {
            let action = line(&mut rest)?;
            let document = line(&mut rest)?;
            self.ids.push(action_id(action)?);
            records += 1;
            match number_mark.find(document) {
                Some(at) => self.take_line(&document[at + NUMBER_MARK.len()..], now_micros),
                None if OWN_RECORDS.iter().any(|own| memmem::find(document, own).is_some()) => self.own += 1,
                None => self.odd += 1,
            }
        }
        Ok(records)
    }

    /// Ticks off the line whose number `text` begins with.
    fn take_line(&mut self, text: &[u8], now_micros: u64) {
        let number = text.get(..NUMBER_DIGITS).and_then(decimal).filter(|number| *number < self.line_count);
        let Some(number) = number else {
            self.odd += 1;
            return;
        };
        let (word, bit) = (&mut self.lines[number as usize / 64], 1 << (number % 64));
        self.doubled += u64::from(*word & bit != 0);
        *word |= bit;
        if let Some(time) = text[NUMBER_DIGITS..].strip_prefix(TIME_MARK)
            && let Some(at) = time.split(|byte| *byte == b' ').next().and_then(decimal)
        {
            self.waits.push(u32::try_from(now_micros.saturating_sub(at)).unwrap_or(u32::MAX));
        }
    }

    fn report(&mut self) -> String {
        let records = self.ids.len();
        self.ids.sort_unstable();
        self.ids.dedup();
        self.waits.sort_unstable();
        let wait = |percent: usize| self.waits.get(self.waits.len() * percent / 100).copied().unwrap_or(0);
        format!(
            "lines={} records={records} ids={} doubled={} odd={} own={} requests={} body_bytes={} wire_bytes={} wait_p50={} wait_p99={} wait_max={}",
            self.lines.iter().map(|word| u64::from(word.count_ones())).sum::<u64>(),
            self.ids.len(),
            self.doubled,
            self.odd,
            self.own,
            self.requests,
            self.body_bytes,
            self.wire_bytes,
            wait(50),
            wait(99),
            self.waits.last().copied().unwrap_or(0),
        )
    }
}

/// Takes the first line off `rest`.
fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let end = memchr(b'\n', rest).ok_or("a body ends within a line")?;
    let line = &rest[..end];
    *rest = &rest[end + 1..];
    Ok(line)
}

fn action_id(action: &[u8]) -> Result<u64, Fault> {
    let fault = || format!("no create with an _id: {}", String::from_utf8_lossy(action));
    let rest = action.strip_prefix(b"{\"create\":{").ok_or_else(fault)?;
    let at = memmem::find(rest, b"\"_id\":\"").ok_or_else(fault)? + 7;
    let end = memchr(b'"', &rest[at..]).ok_or_else(fault)?;
    Ok(hash(&rest[at..at + end]))
}

/// FNV-1a with a last stir.
fn hash(id: &[u8]) -> u64 {
    let hash = id
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    hash ^ hash >> 29
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Answers the requests of one connection until it ends.
fn serve(socket: &TcpStream, seen: &Mutex<Seen>) -> Result<(), Fault> {
    socket.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(16 * 1024, socket);
    let mut output = socket;
    let (mut body, mut plain, mut answer) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(request) = Request::read(&mut input)? {
        if DOWN.load(Ordering::SeqCst) {
            return Ok(());
        }
        if request.length > BODY_MAX_BYTES {
            return Err(format!("a body of {} bytes", request.length).into());
        }
        body.resize(request.length, 0);
        input.read_exact(&mut body)?;
        let now_micros = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
        answer.clear();
        if request.is_bulk() {
            if request.gzip {
                plain.clear();
                flate2::read::GzDecoder::new(body.as_slice()).read_to_end(&mut plain)?;
            }
            let mut seen = lock(seen);
            seen.wire_bytes += body.len() as u64;
            let records = seen.take(if request.gzip { &plain } else { &body }, now_micros)?;
            drop(seen);
            put_bulk_answer(&mut answer, records);
            head(output, 200, answer.len())?;
        } else {
            let status = put_other_answer(&request, &body, seen, &mut answer);
            head(output, status, answer.len())?;
        }
        output.write_all(&answer)?;
    }
    Ok(())
}

fn head(mut output: &TcpStream, status: u16, length: usize) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} \r\nx-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    output.write_all(head.as_bytes())
}

fn put_bulk_answer(answer: &mut Vec<u8>, records: usize) {
    answer.extend_from_slice(b"{\"errors\":false,\"took\":1,\"items\":[");
    for number in 0..records {
        answer.extend_from_slice(if number == 0 {
            b"{\"create\":{\"_index\":\""
        } else {
            b",{\"create\":{\"_index\":\""
        });
        answer.extend_from_slice(BACKING_INDEX.as_bytes());
        answer.extend_from_slice(b"\",\"status\":201}}");
    }
    answer.extend_from_slice(b"]}");
}

/// Answers what is asked besides; returns the status.
fn put_other_answer(request: &Request, body: &[u8], seen: &Mutex<Seen>, answer: &mut Vec<u8>) -> u16 {
    let path = request.path.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let text = match (request.method.as_str(), segments.as_slice()) {
        ("GET" | "HEAD", [""]) => r#"{"version":{"number":"9.5.3"},"tagline":"You Know, for Search"}"#.to_owned(),
        ("GET", ["_index_template", ..]) => r#"{"index_templates":[]}"#.to_owned(),
        ("PUT", ["_index_template", _]) => r#"{"acknowledged":true}"#.to_owned(),
        ("GET", [INDEX, "_settings", ..]) => {
            format!(r#"{{"{BACKING_INDEX}":{{"settings":{{"index.creation_date":"1795215600000"}}}}}}"#)
        }
        ("GET", ["_alias", _]) => "{}".to_owned(),
        ("POST", [_, "_mget"]) => held(body, &mut lock(seen)),
        _ => {
            eprintln!("stub: {} {} is not known here", request.method, request.path);
            answer.extend_from_slice(b"{}");
            return 404;
        }
    };
    answer.extend_from_slice(text.as_bytes());
    200
}

/// Which of the ids in `{"ids":["…",…]}` have come.
fn held(body: &[u8], seen: &mut Seen) -> String {
    seen.ids.sort_unstable();
    let text = String::from_utf8_lossy(body);
    // Every second piece between quotes is a word, the first of them the key.
    let words = text.split('"').skip(1).step_by(2).skip(1);
    let docs = words.map(|id| {
        let found = seen.ids.binary_search(&hash(id.as_bytes())).is_ok();
        format!(r#"{{"_id":"{id}","found":{found}}}"#)
    });
    format!(r#"{{"docs":[{}]}}"#, docs.collect::<Vec<_>>().join(","))
}

/// The head of a request.
struct Request {
    method: String,
    path: String,
    length: usize,
    gzip: bool,
}

impl Request {
    /// `None` where the connection ends.
    fn read(input: &mut impl BufRead) -> Result<Option<Request>, Fault> {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Err("no request line".into()) };
        let mut request = Request { method, path, length: 0, gzip: false };
        loop {
            line.clear();
            input.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(Some(request)) };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", length) => request.length = length.parse()?,
                ("content-encoding", "gzip") => request.gzip = true,
                ("content-encoding" | "transfer-encoding" | "expect", other) => {
                    return Err(format!("{name}: {other} is not known here").into());
                }
                _ => {}
            }
        }
    }

    fn is_bulk(&self) -> bool {
        self.method == "POST" && self.path.split('?').next().is_some_and(|path| path.ends_with("/_bulk"))
    }
}
