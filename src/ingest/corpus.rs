//! Lines as programs really write them, in `tests/data/lines/`, and the records that come out of them.
//!
//! A file holds cases: the lines of one record as a program writes them, then `=> ` and the record. What the record says of
//! its time is left out where that is when it was read. A line that begins with `#! ` sets an option for what follows
//! (`parser=logfmt`, `pattern=…`, `zone=Europe/Berlin`, `ansi=keep`, `multiline=none`, `start=…`), one with `# ` is a remark; `␛` stands for the escape character and
//! `␍` for a carriage return.
//! With `LOGFERRY_WRITE_CORPUS` in the environment the records that came out are written there, to be reviewed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::*;
use crate::buffer::section::split_record;
use crate::record::time::rfc3339;
use crate::record::{Constants, Counters, OriginId};

/// 2026-11-20T23:30:00Z.
const READ_TIME: Nanos = 1_795_217_400_000_000_000;

/// Lines that the corpus has at least, and formats: one a file.
const LINES_MIN: usize = 400;
const FORMATS_MIN: usize = 30;

/// One case of a file.
struct Case {
    /// Number of its first line in the file.
    at: usize,
    input: String,
    expected: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lines")
}

fn files() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).expect("the corpus");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn options() -> Options {
    Options::default()
}

/// Takes `name=value` of a `#!` line.
fn set(options: &mut Options, directive: &str, pattern: &mut String) {
    let (name, value) = directive.split_once('=').expect("name=value");
    match (name, value) {
        ("parser", "auto") => options.parser = Parser::Auto,
        ("parser", "json") => options.parser = Parser::Json,
        ("parser", "python") => options.parser = Parser::Python,
        ("parser", "logfmt") => options.parser = Parser::Logfmt,
        ("parser", "syslog") => options.parser = Parser::Syslog,
        ("parser", "raw") => options.parser = Parser::Raw,
        ("pattern", text) => {
            options.parser = Parser::Regex(Pattern::new(text).expect("a pattern"));
            text.clone_into(pattern);
        }
        ("zone", name) => options.zone = Zone::Named(jiff::tz::TimeZone::get(name).expect("a zone")),
        ("ansi", "keep") => options.ansi = Ansi::Keep,
        ("multiline", "auto") => options.multiline = Multiline::Auto,
        ("multiline", "none") => options.multiline = Multiline::None,
        ("start", text) => options.multiline = Multiline::Start(Start::new(text).expect("a pattern")),
        _ => panic!("{directive}"),
    }
}

fn read(input: &str, options: &Options) -> Vec<String> {
    let input = input.replace('␛', "\x1b").replace('␍', "\r");
    let info = Arc::new(OriginInfo { id: OriginId([7; 16]), descriptor: Vec::new(), constants: Vec::new() });
    let mut ingest = Ingest::new(Arc::new(options.clone()), info, Constants::default(), 0, Counters::default());
    let fed = ingest.feed(input.as_bytes(), &READ_TIME, Flush::All);
    assert_eq!(fed.consumed, input.len());
    let section = ingest.section(Vec::new(), false).expect("a section");
    let mut records = Vec::new();
    let mut rest = section.records.bytes.as_slice();
    while let Some(((header, members), after)) = split_record(rest) {
        let text = format!("{{{}}}", std::str::from_utf8(members).expect("UTF-8"));
        let columns: Map<String, Value> = serde_json::from_str(&text).expect("JSON");
        let mut record = Map::new();
        if header.time != READ_TIME {
            record.insert("@timestamp".to_owned(), rfc3339(header.time).into());
        }
        record.extend(columns);
        records.push(serde_json::to_string(&record).expect("JSON"));
        rest = after;
    }
    records
}

/// Calls `each` with the cases of a file; gives the file with what `each` gave as the records.
fn walk(text: &str, mut each: impl FnMut(&Case, &Options) -> Vec<String>) -> String {
    let (mut options, mut pattern) = (options(), String::new());
    let mut out = String::new();
    let mut case = Case { at: 1, input: String::new(), expected: Vec::new() };
    let mut close = |case: &mut Case, options: &Options, out: &mut String| {
        if !case.input.is_empty() {
            out.push_str(&case.input);
            each(case, options).iter().for_each(|record| out.push_str(&format!("=> {record}\n")));
            case.input.clear();
            case.expected.clear();
        }
    };
    for (index, line) in text.lines().enumerate() {
        if let Some(record) = line.strip_prefix("=> ") {
            case.expected.push(record.to_owned());
            continue;
        }
        let is_remark = line.starts_with("# ") || line.starts_with("#! ");
        if !case.expected.is_empty() || is_remark {
            close(&mut case, &options, &mut out);
        }
        match line.strip_prefix("#! ") {
            Some(directive) => set(&mut options, directive, &mut pattern),
            None if is_remark => {}
            None => {
                if case.input.is_empty() {
                    case.at = index + 1;
                }
                case.input.push_str(line);
                case.input.push('\n');
                continue;
            }
        }
        out.push_str(line);
        out.push('\n');
    }
    close(&mut case, &options, &mut out);
    out
}

#[test]
fn lines_of_real_programs_become_the_records_that_were_reviewed() {
    let is_writing = std::env::var_os("LOGFERRY_WRITE_CORPUS").is_some();
    let mut wrong = Vec::new();
    let mut lines = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let found = walk(&text, |case, options| {
            lines += case.input.lines().count();
            let found = read(&case.input, options);
            if found != case.expected {
                wrong.push(format!("{name}:{}: {}{}", case.at, case.input, found.join("\n")));
            }
            found
        });
        if is_writing {
            std::fs::write(&path, found).expect("written");
        }
    }
    assert!(wrong.is_empty() || is_writing, "{} of {lines} lines:\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(lines >= LINES_MIN && files().len() >= FORMATS_MIN, "{lines} lines in {} files", files().len());
}

/// What a file of the corpus is named after is recognised without being asked for: of each record a column or a field that
/// no raw line has.
#[test]
fn twenty_formats_and_more_are_recognised_without_configuration() {
    let mut recognised = BTreeSet::new();
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("text");
        let (mut cases, mut read_out) = (0, 0);
        walk(&text, |case, options| {
            if options.parser == Parser::Auto {
                cases += 1;
                let raw = read(&case.input, &Options { parser: Parser::Raw, ..options.clone() });
                read_out += usize::from(raw != case.expected);
            }
            case.expected.clone()
        });
        if cases > 0 && read_out * 10 >= cases * 7 {
            recognised.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
        }
    }
    assert!(recognised.len() >= 20, "{recognised:?}");
}

/// What most lines of a file are taken for, by name.
#[test]
fn what_lines_are_taken_for_has_a_name() {
    let check = |name: &str, expected: Format| {
        let text = std::fs::read_to_string(folder().join(name).with_extension("txt")).expect("text");
        let all = Arc::new(Formats::default());
        walk(&text, |case, options| {
            if options.parser == Parser::Auto {
                read(&case.input, &Options { formats: Arc::clone(&all), ..options.clone() });
            }
            case.expected.clone()
        });
        // Some forms of a family have a head that others share.
        let named = |(format, _): &(Format, u64)| format.is_recognised() && *format != Format::Head;
        let most = all.counts().into_iter().filter(named).max_by_key(|(_, lines)| *lines);
        assert_eq!(most.map(|(format, _)| format), Some(expected), "{name}: {:?}", all.counts());
    };
    check("python-default", Format::PythonDashed);
    check("python-basic", Format::PythonColons);
    check("uvicorn", Format::PythonLeveled);
    check("json", Format::Json);
    check("logfmt", Format::Logfmt);
    check("loguru", Format::Loguru);
    check("structlog", Format::Structlog);
    check("klog", Format::Klog);
    check("syslog", Format::Syslog);
    check("access", Format::Access);
    check("nginx-error", Format::Nginx);
    check("apache-error", Format::Apache);
    check("postgresql", Format::Postgres);
    check("mysql", Format::Mysql);
    check("redis", Format::Redis);
    check("spring-boot", Format::Spring);
    check("hadoop-spark", Format::Spark);
    check("java-util-logging", Format::JavaUtil);
    check("go-log", Format::GoLog);
    check("zerolog", Format::Zerolog);
    check("ruby", Format::Ruby);
    check("dotnet", Format::Dotnet);
    check("vllm", Format::Vllm);
    check("celery", Format::Celery);
    check("rust", Format::EnvLogger);
}

/// Whether a text stands in a value, at any depth.
fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(found) => found.contains(text),
        Value::Array(values) => values.iter().any(|value| holds(value, text)),
        Value::Object(members) => members.values().any(|value| holds(value, text)),
        _ => false,
    }
}

/// Of the lines of a stack each stands in its record.
#[test]
fn no_line_of_an_exception_is_lost() {
    let mut lines = 0;
    for path in files() {
        let text = std::fs::read_to_string(&path).expect("text");
        walk(&text, |case, _| {
            // A case whose records are still to be written has none.
            let records: Vec<Value> =
                case.expected.iter().filter_map(|record| serde_json::from_str(record).ok()).collect();
            if records.iter().any(|record| record.get("Exception").is_some()) {
                let input = case.input.replace('␛', "\x1b");
                // The first is read by a parser, or is JSON.
                let is_plain = |line: &&str| !line.contains('\x1b') && !line.starts_with("2026-");
                for line in input.lines().skip(1).filter(is_plain) {
                    let line = line.trim();
                    let stands = records.iter().any(|record| holds(record, line));
                    let is_head = parse::level::known(line.split(':').next().unwrap_or_default().as_bytes()).is_some();
                    assert!(stands || is_head, "{}: {line:?} is lost of {records:?}", path.display());
                    lines += 1;
                }
            }
            case.expected.clone()
        });
    }
    assert!(lines > 150, "{lines} lines");
}
