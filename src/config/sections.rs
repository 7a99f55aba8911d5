//! The sections that stand once: run, state, buffer, http, log.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::column;
use super::mistake::nearest;
use super::node::quoted;
use super::table::{Given, Table};
use super::{Log, LogFormat, Run, VmName};
use crate::azure::imds::property::{Compute, PREFIX, PropertyError};
use crate::azure::whereabouts::{VALUE_MAX_BYTES, Value};
use crate::buffer;

/// Bounds of `buffer.sync`.
pub const SYNC_MIN: Duration = Duration::from_millis(1);
pub const SYNC_MAX: Duration = Duration::from_secs(60);

/// Most columns in `[run.fields]`: each stands in every record.
pub const RUN_FIELDS_MAX: usize = 64;

pub fn run(table: Table<'_>) -> Run {
    let vm_name = match table.filled("vm_name") {
        Some(given) if given.text != "auto" => VmName::Given(constant(&given)),
        _ => VmName::Auto,
    };
    let value = |key| table.filled(key).as_ref().map(constant).unwrap_or_default();
    let run = Run {
        run_id: value("run_id"),
        task_id: value("task_id"),
        benchmark: value("benchmark"),
        vm_name,
        fields: fields(&table),
    };
    if run.fields.len() > RUN_FIELDS_MAX {
        table.mistake("fields", format!("has {} columns", run.fields.len()), format!("at most {RUN_FIELDS_MAX}"));
    }
    run
}

fn fields(table: &Table<'_>) -> Vec<(String, Value)> {
    let mut fields = Vec::new();
    for (name, given) in table.map("fields", "text in quotes") {
        let mut mistake = |what: &str, near: Option<String>| {
            let expected = "a name of your own that begins with a letter";
            given.mistake_unseen(&format!("the name {what}"), near, expected);
        };
        if column::check_own(&name, &mut mistake) {
            fields.push((name, constant(&given)));
        }
    }
    fields
}

/// A constant column's value, short enough to stand in every record, or what IMDS is asked for.
fn constant(given: &Given<'_>) -> Value {
    if given.text.len() > VALUE_MAX_BYTES {
        let what = format!("has {} bytes", given.text.len());
        given.mistake_unseen(&what, None, format!("at most {VALUE_MAX_BYTES} bytes: it stands in every record"));
        return Value::default();
    }
    Value::parse(&given.text).unwrap_or_else(|error| {
        let names = Compute::NAMES.map(|(name, _)| format!("{PREFIX}compute/{name}"));
        let (near, expected) = match error {
            PropertyError::NoTag | PropertyError::TagTooLong => (None, format!("such as \"{PREFIX}tag/RunID\"")),
            PropertyError::Unknown => {
                let near = nearest(&given.text, names.iter().map(String::as_str)).map(quoted);
                (
                    near,
                    format!("\"{PREFIX}tag/NAME\" or one of {}", names.each_ref().map(|name| quoted(name)).join(", ")),
                )
            }
        };
        given.mistake(&error.to_string(), near, expected);
        Value::default()
    })
}

pub fn state_dir(table: Table<'_>) -> PathBuf {
    absolute(&table, "dir").unwrap_or_default()
}

/// A path that means the same wherever logferry is started: `drain` and `status` find the daemon by it.
pub fn absolute(table: &Table<'_>, key: &str) -> Option<PathBuf> {
    let expected = "an absolute path, such as \"/var/lib/logferry\"";
    let given = table.required(key, expected)?;
    if !given.text.starts_with('/') {
        given.mistake("is not an absolute path", None, expected);
        return None;
    }
    Some(PathBuf::from(given.text))
}

pub fn buffer(table: Table<'_>) -> buffer::Options {
    let when_full =
        table.choice("when_full", &[("block", buffer::WhenFull::Block), ("drop_oldest", buffer::WhenFull::DropOldest)]);
    buffer::Options {
        max_bytes: table.size("max_bytes", buffer::BUFFER_MIN_BYTES..=u64::MAX),
        when_full: when_full.unwrap_or_default(),
        sync: table.duration("sync", SYNC_MIN..=SYNC_MAX),
    }
}

/// `None`: switched off.
pub fn http_listen(table: Table<'_>) -> Option<SocketAddr> {
    let given = table.filled("listen").filter(|given| given.text != "off")?;
    let address = given.text.parse().ok();
    if address.is_none() {
        let expected = "such as \"127.0.0.1:9577\" (port 0: any free one), or \"off\"";
        given.mistake("is no address with a port", None, expected);
    }
    address
}

pub fn log(table: Table<'_>) -> Log {
    const LEVELS: [(&str, &str); 5] =
        [("trace", "trace"), ("debug", "debug"), ("info", "info"), ("warn", "warn"), ("error", "error")];
    let level = table.choice("level", &LEVELS).unwrap_or_default();
    let format = table.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    Log { level: level.to_owned(), format: format.unwrap_or(LogFormat::Text) }
}
