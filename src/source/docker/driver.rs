//! What a container's log driver does to its lines before anyone can read them. Pure; it decides on the engine's words
//! alone and asks nothing.
//!
//! | driver | read through `logs` | may lose lines |
//! |---|---|---|
//! | json-file, local, journald | the driver's own log | only with `mode=non-blocking`: a ring drops what the driver is too slow for |
//! | none, Podman's passthrough | nothing | all of them |
//! | any other (syslog, gelf, fluentd …) | the engine's cache, a local log | unless `mode=blocking`: the cache stands behind a ring of 1 MB |
//! | any other, `cache-disabled` | nothing | all of them, as far as the engine goes |
//!
//! The journal drops what comes faster than its own `RateLimitBurst=` allows; that stands in the journal alone, and nothing
//! of it shows here.
//!
//! A log of one file that may not grow over its size is thrown away whenever it is full, read or not: older engines cut it
//! under the reader's hands. From then on lines may be missing, and nothing tells.

use std::collections::HashMap;

use bollard::models::HostConfigLogConfig;

use crate::record::Nanos;

/// Size of a file of driver local, and how many there are, where its options do not say.
const LOCAL_FILE_BYTES: u64 = 20 * 1024 * 1024;
const LOCAL_FILES: u64 = 5;

/// How the engine keeps the log of one container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    pub risk: Risk,
    /// `None`: its log is never rotated, or not by the engine.
    pub rotation: Option<Rotation>,
    pub pieces: Pieces,
}

/// What the pieces of a line that was too long for one entry have in common, and an unterminated end of one run and the
/// first line of the next have not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pieces {
    /// The time of the first one.
    #[default]
    OneTime,
    /// Each has its own time and, but for the last one, fills a buffer of so many bytes at least.
    Full(u64),
    /// Nothing that shows: whatever the driver, Podman gives each piece a time of its own.
    Untold,
}

/// Pieces of one line that have their own times are no further apart.
const PIECES_APART_MAX_NANOS: Nanos = 1_000_000_000;

/// Least buffer that makes a piece: conmon's. dockerd's has 16 KiB.
const PIECE_BYTES: u64 = 8_192;

impl Pieces {
    /// Whether an entry of `next` goes on with a line of which an entry of `time`, so long, was the last piece.
    pub fn go_on(self, time: Nanos, length: u64, next: Nanos) -> bool {
        match self {
            Pieces::OneTime => next == time,
            Pieces::Untold => true,
            Pieces::Full(least) => {
                next == time || (length >= least && next > time && next - time <= PIECES_APART_MAX_NANOS)
            }
        }
    }
}

/// How lines may be lost at the source, without a word by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Risk {
    #[default]
    None,
    /// The driver, or the cache that is read in its place, stands behind a ring that drops lines.
    Ring,
    /// There is one file of so many bytes, which is thrown away when it is full. An entry takes this much at least beside
    /// its payload.
    OneFile { file_bytes: u64, entry_bytes: u64 },
    /// The engine gives no log.
    Unreadable,
}

/// How the engine rotates a log that keeps more than one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file is left when it has this many bytes or more.
    pub file_bytes: u64,
    /// Files that are kept, the one being written among them: 2 or more.
    pub files: u64,
    /// Most bytes that an entry may take beside its payload, and most for a byte of that.
    pub entry_bytes: u64,
    pub byte_bytes: u64,
    /// Files that are not written any more are compressed. Docker 20.10 notes a wrong time in them, by which it leaves out
    /// whole files of what `since` asks for.
    pub compressed: bool,
}

impl Driver {
    /// Out of what inspect says; an engine that says nothing loses nothing.
    pub fn of(config: Option<&HostConfigLogConfig>) -> Driver {
        let Some(config) = config else { return Driver::default() };
        let none = HashMap::new();
        let options = config.config.as_ref().unwrap_or(&none);
        let own_ring = options.get("mode").is_some_and(|mode| mode == "non-blocking");
        match config.typ.as_deref().unwrap_or_default() {
            "" => Driver { risk: ring(own_ring), ..Driver::default() },
            "journald" => Driver { risk: ring(own_ring), pieces: Pieces::Full(PIECE_BYTES), ..Driver::default() },
            // Podman's: conmon writes what it has read as a piece, however short that is.
            "k8s-file" => Driver { risk: ring(own_ring), pieces: Pieces::Full(0), ..Driver::default() },
            "json-file" => Driver::of_files(JSON_FILE, options, own_ring),
            "local" => Driver::of_files(LOCAL, options, own_ring),
            "none" | "passthrough" | "passthrough-tty" => Driver { risk: Risk::Unreadable, ..Driver::default() },
            _ if is_true(options.get("cache-disabled")) => Driver { risk: Risk::Unreadable, ..Driver::default() },
            _ => {
                let is_blocking = options.get("mode").is_some_and(|mode| mode == "blocking");
                Driver::of_files(CACHE, options, !is_blocking)
            }
        }
    }

    fn of_files(kind: Files, options: &HashMap<String, String>, is_ring: bool) -> Driver {
        let size = match options.get(kind.size) {
            Some(text) => size(text),
            None => kind.default_size,
        };
        let count = options.get(kind.count).and_then(|text| text.parse().ok()).unwrap_or(kind.default_count);
        let Some(file_bytes) = size else { return Driver { risk: ring(is_ring), ..Driver::default() } };
        match count {
            0 | 1 if is_ring => Driver { risk: Risk::Ring, ..Driver::default() },
            0 | 1 => {
                let risk = Risk::OneFile { file_bytes, entry_bytes: kind.entry_bytes_least };
                Driver { risk, ..Driver::default() }
            }
            files => {
                // Attributes stand in every entry; how long they are, nobody says here.
                let has_attributes = kind.attributes && ATTRIBUTES.iter().any(|name| options.contains_key(*name));
                let entry_bytes = if has_attributes { file_bytes } else { kind.entry_bytes };
                let compressed = options.get(kind.compress).map_or(kind.default_compress, |text| is_true(Some(text)));
                let rotation = Rotation { file_bytes, files, entry_bytes, byte_bytes: kind.byte_bytes, compressed };
                Driver { risk: ring(is_ring), rotation: Some(rotation), ..Driver::default() }
            }
        }
    }

    /// Whether lines may have been lost at the source once so many lines of so many bytes were taken up.
    pub fn is_lossy_after(&self, lines: u64, bytes: u64) -> bool {
        match self.risk {
            Risk::Ring => true,
            Risk::OneFile { file_bytes, entry_bytes } => {
                lines.saturating_mul(entry_bytes).saturating_add(bytes) >= file_bytes
            }
            Risk::None | Risk::Unreadable => false,
        }
    }
}

/// Options of json-file that put attributes into every entry.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];

/// A log of files: its options and what it writes.
#[derive(Clone, Copy)]
struct Files {
    size: &'static str,
    count: &'static str,
    compress: &'static str,
    default_compress: bool,
    default_size: Option<u64>,
    default_count: u64,
    entry_bytes: u64,
    entry_bytes_least: u64,
    byte_bytes: u64,
    attributes: bool,
}

/// A byte of JSON text takes six where it has to be escaped; the frame around it has 58 to 78.
const JSON_FILE: Files = Files {
    size: "max-size",
    count: "max-file",
    compress: "compress",
    default_compress: false,
    default_size: None,
    default_count: 1,
    entry_bytes: 128,
    entry_bytes_least: 58,
    byte_bytes: 6,
    attributes: true,
};

const LOCAL: Files = Files {
    size: "max-size",
    count: "max-file",
    compress: "compress",
    default_compress: true,
    default_size: Some(LOCAL_FILE_BYTES),
    default_count: LOCAL_FILES,
    entry_bytes: 128,
    entry_bytes_least: 20,
    byte_bytes: 1,
    attributes: false,
};

const CACHE: Files = Files { size: "cache-max-size", count: "cache-max-file", compress: "cache-compress", ..LOCAL };

fn ring(is_ring: bool) -> Risk {
    if is_ring { Risk::Ring } else { Risk::None }
}

/// As the engine reads it.
fn is_true(text: Option<&String>) -> bool {
    text.is_some_and(|text| ["1", "t", "T", "true", "TRUE", "True"].contains(&text.as_str()))
}

/// Bytes of the engine's words for a size: a number, perhaps with a fraction, and a unit, each a thousand of the one before.
/// `None` for what is no size, and for none at all (`-1`): it never gets there.
fn size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.trim_end_matches('b').trim_end_matches('i');
    let (number, power) = match text.char_indices().next_back()? {
        (at, unit @ ('k' | 'm' | 'g' | 't' | 'p')) => (text.get(..at)?, 1 + "kmgtp".find(unit)?),
        _ => (text, 0),
    };
    let number: f64 = number.trim().parse().ok()?;
    let bytes = number * 1000f64.powi(i32::try_from(power).ok()?);
    (bytes.is_finite() && bytes >= 1.0).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(driver: &str, options: &[(&str, &str)]) -> Driver {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Driver::of(Some(&HostConfigLogConfig { typ: Some(driver.to_owned()), config: Some(options) }))
    }

    #[test]
    fn what_each_driver_may_lose() {
        let check = |driver: &str, options: &[(&str, &str)], expected: Risk| {
            assert_eq!(of(driver, options).risk, expected, "{driver} {options:?}");
        };
        let non_blocking = ("mode", "non-blocking");
        for own in ["json-file", "local", "journald", "k8s-file", ""] {
            check(own, &[], Risk::None);
            check(own, &[("mode", "blocking")], Risk::None);
            check(own, &[non_blocking, ("max-buffer-size", "4m")], Risk::Ring);
        }
        for cached in ["syslog", "gelf", "fluentd", "splunk", "a/plugin:1"] {
            check(cached, &[], Risk::Ring);
            check(cached, &[non_blocking], Risk::Ring);
            check(cached, &[("mode", "blocking")], Risk::None);
            check(cached, &[("cache-disabled", "false")], Risk::Ring);
            check(cached, &[("cache-disabled", "true"), ("mode", "blocking")], Risk::Unreadable);
        }
        check("none", &[], Risk::Unreadable);
        check("passthrough", &[], Risk::Unreadable);
        check("json-file", &[("max-size", "10m")], Risk::OneFile { file_bytes: 10_000_000, entry_bytes: 58 });
        check("json-file", &[("max-size", "10m"), ("max-file", "1"), non_blocking], Risk::Ring);
        check("json-file", &[("max-size", "10m"), ("max-file", "2")], Risk::None);
        check("local", &[("max-file", "1")], Risk::OneFile { file_bytes: LOCAL_FILE_BYTES, entry_bytes: 20 });
        assert_eq!(Driver::of(None), Driver::default());
    }

    #[test]
    fn what_each_driver_keeps() {
        let check = |driver: &str, options: &[(&str, &str)], expected: Option<(u64, u64)>| {
            let found = of(driver, options).rotation.map(|rotation| (rotation.file_bytes, rotation.files));
            assert_eq!(found, expected, "{driver} {options:?}");
        };
        check("json-file", &[], None);
        check("json-file", &[("max-file", "3")], None);
        check("json-file", &[("max-size", "-1"), ("max-file", "3")], None);
        check("json-file", &[("max-size", "1m"), ("max-file", "2")], Some((1_000_000, 2)));
        check("json-file", &[("max-size", "1m")], None);
        check("local", &[], Some((LOCAL_FILE_BYTES, 5)));
        check("local", &[("max-size", "500k")], Some((500_000, 5)));
        check("syslog", &[("max-size", "1m")], Some((LOCAL_FILE_BYTES, 5)));
        check("syslog", &[("cache-max-size", "1m"), ("cache-max-file", "2")], Some((1_000_000, 2)));
        check("journald", &[("max-size", "1m"), ("max-file", "3")], None);
        check("none", &[], None);
    }

    #[test]
    fn what_each_driver_compresses() {
        let check = |driver: &str, options: &[(&str, &str)], expected: bool| {
            let rotation = of(driver, options).rotation.expect("rotated");
            assert_eq!(rotation.compressed, expected, "{driver} {options:?}");
        };
        let rotated = [("max-size", "1m"), ("max-file", "2"), ("compress", "true")];
        check("json-file", &rotated[..2], false);
        check("json-file", &rotated, true);
        check("local", &[], true);
        check("local", &[("compress", "false")], false);
        check("syslog", &[("compress", "false")], true);
        check("syslog", &[("cache-compress", "false")], false);
    }

    #[test]
    fn a_full_file_is_what_makes_one_file_lossy() {
        let driver = of("json-file", &[("max-size", "10k")]);
        assert!(!driver.is_lossy_after(100, 4_199) && driver.is_lossy_after(100, 4_200));
        assert!(of("syslog", &[]).is_lossy_after(0, 0));
        for other in ["json-file", "none"] {
            assert!(!of(other, &[]).is_lossy_after(u64::MAX, u64::MAX), "{other}");
        }
    }

    #[test]
    fn attributes_of_unknown_length_leave_no_bound() {
        let rotated = [("max-size", "1m"), ("max-file", "2")];
        let plain = of("json-file", &rotated).rotation.expect("rotated");
        let labelled = of("json-file", &[rotated[0], rotated[1], ("labels", "team")]).rotation.expect("rotated");
        assert!(plain.entry_bytes < 1_000 && labelled.entry_bytes == 1_000_000);
    }

    #[test]
    fn pieces_of_one_line_are_told_from_an_end_and_a_beginning() {
        let check = |driver: &str, length: u64, later: Nanos, expected: bool| {
            assert_eq!(of(driver, &[]).pieces.go_on(7, length, 7 + later), expected, "{driver} {length} {later}");
        };
        for driver in ["json-file", "local", "syslog"] {
            check(driver, 16_384, 0, true);
            check(driver, 16_384, 1, false);
        }
        check("journald", 16_384, 900_000_000, true);
        check("journald", 16_384, 1_100_000_000, false);
        check("journald", 4, 1_000, false);
        check("journald", 16_384, -1, false);
        check("k8s-file", 4, 1_000, true);
        check("k8s-file", 4, 1_100_000_000, false);
    }

    #[test]
    fn sizes_as_the_engine_reads_them() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(size(text), expected, "{text}");
        check("1000", Some(1_000));
        check("10m", Some(10_000_000));
        check("10MB", Some(10_000_000));
        check("10MiB", Some(10_000_000));
        check("1.5g", Some(1_500_000_000));
        check("20 k", Some(20_000));
        for none in ["", "-1", "0", "m", "ten", "nan", "inf", "10x", "-5m"] {
            check(none, None);
        }
    }
}
