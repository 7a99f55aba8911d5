//! Keys of a sink about its transport and who we are to it, secrets out of files included.

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};

use super::keys::{ANY_SINK, Kind, find};
use super::node::{Node, Origin, Value, quoted};
use super::table::Table;
use super::url;
use crate::sink::http::{self, Auth, Compression, Secret};

/// Bounds of `timeout`.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
pub const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Largest file that can hold a secret, in bytes.
pub const SECRET_MAX_BYTES: u64 = 64 * 1024;

/// A secret as it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    Secret(Secret),
    Absent,
    /// A mistake was noted.
    Refused,
}

/// Keys that say who we are and are no secrets themselves; without the secrets beside them they would be mistakes.
const BESIDE_SECRETS: &[&str] = &["username", "credential"];

/// Takes out of every sink who we are to it, and what only a connection needs: whoever sends nothing need not have it.
pub fn forget(given: &mut Node) {
    let Some(Value::Table(sinks)) = given.get_mut("sinks").map(|sinks| &mut sinks.value) else { return };
    for (_, sink) in sinks {
        let Value::Table(keys) = &mut sink.value else { continue };
        keys.retain(|(name, _)| {
            let is_secret =
                find(ANY_SINK, name).is_some_and(|key| matches!(key.kind, Kind::Secret | Kind::SecretMap | Kind::Url));
            let is_file = name.ends_with("_file") && find(ANY_SINK, name).is_some();
            !is_secret && !is_file && !BESIDE_SECRETS.contains(&name.as_str())
        });
    }
}

pub fn compression(table: &Table<'_>) -> Compression {
    let words = [("gzip", Compression::Gzip), ("none", Compression::None)];
    table.choice("compression", &words).unwrap_or(Compression::None)
}

pub fn options(table: &Table<'_>) -> http::Options {
    http::Options {
        timeout: table.duration("timeout", TIMEOUT_MIN..=TIMEOUT_MAX),
        proxy: table.filled("proxy").and_then(|given| url::proxy(&given)),
        headers: headers(table),
        ca_file: readable(table, "ca_file"),
        client_cert_file: readable(table, "client_cert_file"),
    }
}

fn headers(table: &Table<'_>) -> Vec<(String, Secret)> {
    let mut headers = Vec::new();
    for (name, given) in table.map("headers", "text in quotes") {
        if HeaderName::try_from(name.as_str()).is_err() {
            let what = format!("{} is no name of a header", quoted(&name));
            given.mistake_unseen(&what, None, "letters, digits and hyphens, such as X-Tenant");
        } else if HeaderValue::try_from(given.text.as_str()).is_err() {
            given.mistake_unseen("the value cannot stand in a header", None, "text without line breaks");
        } else {
            headers.push((name, Secret::new(given.text)));
        }
    }
    headers
}

/// A file that must be there to read; what it holds, the client says.
fn readable(table: &Table<'_>, key: &str) -> Option<PathBuf> {
    let given = table.filled(key)?;
    if let Err(error) = File::open(&given.text) {
        given.mistake(&format!("cannot be read: {error}"), None, "a PEM file that the user of logferry can read");
        return None;
    }
    Some(PathBuf::from(given.text))
}

/// Who we are: at most one way of saying it.
pub fn auth(table: &Table<'_>) -> Auth {
    let api_key = secret(table, "api_key");
    let bearer = secret(table, "bearer_token");
    let password = secret(table, "password");
    let username = table.filled("username");
    let ways = [
        first_given(table, &["api_key", "api_key_file"]),
        first_given(table, &["username", "password", "password_file"]),
        first_given(table, &["bearer_token", "bearer_token_file"]),
    ];
    let given: Vec<&str> = ways.into_iter().flatten().collect();
    if let [first, second, ..] = given.as_slice() {
        table.mistake(second, format!("is given beside {first}"), "one way to authenticate only");
        return Auth::None;
    }
    match (api_key, bearer, username, password) {
        (Asked::Secret(key), ..) => Auth::ApiKey(key),
        (_, Asked::Secret(token), ..) => Auth::Bearer(token),
        (_, _, Some(username), Asked::Secret(password)) => Auth::Basic { username: username.text, password },
        (_, _, Some(username), Asked::Absent) => {
            username.mistake_unseen("is given without a password", None, "password or password_file beside it");
            Auth::None
        }
        (_, _, None, Asked::Secret(_)) => {
            table.mistake(given.first().copied().unwrap_or_default(), "is given without a user", "username beside it");
            Auth::None
        }
        (_, _, _, Asked::Refused) | (_, _, None, Asked::Absent) => Auth::None,
    }
}

/// The first of these keys that holds something.
fn first_given<'a>(table: &Table<'_>, keys: &[&'a str]) -> Option<&'a str> {
    keys.iter().copied().find(|key| table.origin_of_value(key).is_some())
}

/// The secret of `key` or of the file that `key_file` names. The environment wins over the file of the
/// configuration; both in one place is a mistake.
pub fn secret(table: &Table<'_>, key: &str) -> Asked {
    let file_key = format!("{key}_file");
    let rank = |origin: &Origin| matches!(origin, Origin::Variable(_));
    let own = table.origin_of_value(key);
    let file = table.origin_of_value(&file_key);
    let take_file = match (&own, &file) {
        (Some(own), Some(file)) if rank(own) == rank(file) => {
            table.mistake(&file_key, format!("is given beside {key}"), "one of the two only");
            return Asked::Refused;
        }
        (Some(own), Some(file)) => rank(file) && !rank(own),
        (None, Some(_)) => true,
        (Some(_), None) => false,
        (None, None) => return Asked::Absent,
    };
    if take_file {
        return from_file(table, &file_key);
    }
    match table.filled(key) {
        Some(given) if given.text.chars().any(char::is_control) => {
            given.mistake_unseen("holds a line break or another control character", None, "the secret alone");
            Asked::Refused
        }
        Some(given) => Asked::Secret(Secret::new(given.text)),
        None => Asked::Refused,
    }
}

fn from_file(table: &Table<'_>, key: &str) -> Asked {
    let expected = "a file that the user of logferry can read, with the secret as its only line";
    let Some(given) = table.filled(key) else { return Asked::Refused };
    let mut text = String::new();
    let read = File::open(&given.text).and_then(|file| file.take(SECRET_MAX_BYTES + 1).read_to_string(&mut text));
    let what = match read {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => "is no text (UTF-8)".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
        Ok(bytes) if bytes as u64 > SECRET_MAX_BYTES => format!("has more than {SECRET_MAX_BYTES} bytes"),
        Ok(_) => {
            let secret = text.trim_end_matches(['\n', '\r']);
            if secret.is_empty() {
                "is empty".to_owned()
            } else if secret.chars().any(char::is_control) {
                "holds more than one line, or a control character".to_owned()
            } else {
                return Asked::Secret(Secret::new(secret));
            }
        }
    };
    given.mistake(&what, None, expected);
    Asked::Refused
}
