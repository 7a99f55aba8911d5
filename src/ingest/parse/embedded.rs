//! JSON objects that are not the whole line: behind a head or a prefix; and lines that stand in an object, as Docker's
//! driver `json-file` keeps them.

use std::borrow::Cow;

use super::object::{Json, Members};
use super::{Context, Field, Text, json, object, timestamp};
use crate::ingest::options::Zone;
use crate::record::Nanos;

/// An object at the end of a line, behind what makes sure that it belongs there: a head that was recognised (`head`, whose
/// message it then is as a whole), or words of any kind where it has itself what a log record has, or where JSON was
/// asked for (`sure`).
pub fn behind(head: &Text<'_>, context: Context<'_>, sure: bool) -> Option<json::Parsed> {
    let zone = context.zone;
    let message = head.message.trim_ascii_end();
    if message.last() != Some(&b'}') || message.len() > json::JSON_MAX_BYTES {
        return None;
    }
    // Pairs have said all that there is to say.
    if !head.columns.is_empty() || !head.named.is_empty() || head.exception.is_some() || head.duration_ms.is_some() {
        return None;
    }
    let (before, text) = message.split_at(memchr::memchr(b'{', message)?);
    let words = before.trim_ascii();
    let said_words = std::str::from_utf8(words).ok()?;
    // zap parts its columns by tabs, the last of which is the object.
    let is_column = head.level.is_some() && before.ends_with(b"\t");
    let recognised = head.level.is_some() && words.is_empty();
    let stamp = timestamp::leading_spaced(words, zone).filter(|(_, end)| *end == words.len());
    if head.level.is_some() && !(sure || is_column || recognised) {
        return None;
    }
    let (mut object, altered) = object::read(text)?;
    let is_record = || head.level.is_none() && (stamp.is_some() || is_record(&object, zone));
    if !(sure || is_column || recognised || is_record()) {
        return None;
    }
    let said = json::Said {
        time: head.time.is_some() && stamp.is_none(),
        level: head.level.is_some(),
        logger: head.logger.is_some(),
        message: head.level.is_some() && !words.is_empty(),
    };
    let has_time =
        json::TIME.iter().any(|name| object.get(name).is_some_and(|value| json::time_of(value, zone).is_some()));
    let is_prefix = !words.is_empty() && !said.message && (stamp.is_none() || has_time);
    let prefix =
        is_prefix.then_some(Field { name: Cow::Borrowed("prefix"), value: super::Value::Text(Cow::Borrowed(words)) });
    json::add(&mut object, head.fields.iter().chain(&prefix))?;
    let mut parsed = json::columns(object, altered, said, context);
    let owned = |text: &Cow<'_, [u8]>| String::from_utf8_lossy(text).into_owned();
    parsed.time = parsed.time.or(head.time).or(stamp.map(|(time, _)| time));
    parsed.level = parsed.level.or_else(|| head.level.as_ref().map(owned));
    parsed.logger = parsed.logger.or_else(|| head.logger.as_ref().map(owned));
    if said.message {
        parsed.message = Some(said_words.to_owned());
    }
    Some(parsed)
}

/// Whether an object surely is a log record: it has a message, and a level or a time.
fn is_record(object: &Members<'_>, zone: &Zone) -> bool {
    let has = |spellings: &[&str], fits: &dyn Fn(&Json<'_>) -> bool| {
        spellings.iter().any(|spelling| object.get(spelling).is_some_and(fits))
    };
    let message = has(json::MESSAGE, &|value| value.is_text()) || has(&["event"], &|value| value.is_text());
    message
        && (has(json::LEVEL, &|value| json::level_of(value).is_some())
            || has(json::TIME, &|value| json::time_of(value, zone).is_some()))
}

/// A line as Docker's driver `json-file` writes it: what was printed, its stream and its time.
#[derive(Debug, PartialEq, Eq)]
pub struct DockerLine {
    /// Without its line end.
    pub log: String,
    pub stream: &'static str,
    pub time: Nanos,
    /// Labels and variables that the driver was told to add, as JSON; empty where there are none.
    pub attrs: Vec<u8>,
}

/// Reads such a line; `None` where it is another object.
pub fn docker_line(line: &[u8]) -> Option<DockerLine> {
    // The engine writes its members in this order.
    if !line.starts_with(b"{\"log\":\"") {
        return None;
    }
    let (mut object, altered) = object::read(line)?;
    let mut text = |name: &str| match object.remove(name)? {
        Json::Text(text) => Some(text.into_owned()),
        _ => None,
    };
    let (mut log, stream, time) = (text("log")?, text("stream")?, text("time")?);
    let time = timestamp::whole(time.as_bytes(), &Zone::Utc)?;
    if altered.is_some()
        || !matches!(stream.as_str(), "stdout" | "stderr")
        || !object.iter().all(|(name, _)| name == "attrs")
    {
        return None;
    }
    let end = log.strip_suffix('\n').map_or(log.len(), |log| log.strip_suffix('\r').unwrap_or(log).len());
    log.truncate(end);
    let attrs = match object.get("attrs") {
        Some(attrs) => serde_json::to_vec(attrs).ok()?,
        None => Vec::new(),
    };
    let stream = if stream == "stdout" { "stdout" } else { "stderr" };
    Some(DockerLine { log, stream, time, attrs })
}
