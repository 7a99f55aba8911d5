//! `key=value` pairs: logfmt, the text form of slog and logrus, structlog's key and value, the tail of console lines.

use std::borrow::Cow;

use super::columns::{self, Named};
use super::format::Format;
use super::json::{self, exception_of};
use super::{Context, Field, Text, Value, level, scan, timestamp};

/// Most pairs of one line; a line with more is kept as it is.
pub const PAIRS_MAX: usize = 200;

/// Most places of a line that are tried as the start of its pairs.
const STARTS_MAX: usize = 16;

/// Longest number that is one, in digits: a double gives back so many.
const NUMBER_MAX_DIGITS: usize = 15;

/// Spellings that only such lines have, besides those of JSON.
const TIME_SHORT: &[&str] = &["t"];
const LEVEL_SHORT: &[&str] = &["lvl"];

/// A line that is pairs from end to end. Where it was not asked for (`sure`), it must have two of them or more, among
/// them a level, a time or a message that is known as one.
pub fn parse<'a>(line: &'a [u8], context: Context<'_>, sure: bool) -> Option<Text<'a>> {
    // A name that stands twice is seen later, when columns have what is theirs.
    let fields = pairs(line)?;
    if !sure && fields.len() < 2 {
        return None;
    }
    let text = spelled(Text { fields, ..Text::default() }.of(Format::Logfmt), context);
    let is_log = text.level.is_some() && (text.time.is_some() || !text.message.is_empty())
        || text.time.is_some() && !text.message.is_empty();
    (sure || is_log).then_some(text)
}

/// Moves pairs whose name is a spelling of a column there, where the head of the line has not said it already.
pub fn spelled<'a>(mut text: Text<'a>, context: Context<'_>) -> Text<'a> {
    let nested = columns::nested_of_text(&text.fields);
    columns::own_of_text(&mut text, context);
    let fields = &mut text.fields;
    let time = |value: &Value<'_>| timestamp::whole(bytes_of(value), context.zone);
    text.time = text.time.or_else(|| take(fields, &[json::TIME, TIME_SHORT], |value| time(&value).ok_or(value)));
    if text.level.is_none() {
        text.level = take(fields, &[json::LEVEL, LEVEL_SHORT], level_of);
    }
    if text.logger.is_none() {
        text.logger = take(fields, &[json::LOGGER], filled);
    }
    if text.message.is_empty() {
        let message = take(fields, &[json::MESSAGE], |value| match value {
            Value::Text(text) => Ok(text),
            Value::Literal(literal) => Ok(Cow::Borrowed(literal)),
        });
        text.message = message.or_else(|| take(fields, &[&["event"]], filled)).unwrap_or_default();
    }
    if text.exception.is_none() {
        text.exception =
            take(fields, &[json::EXCEPTION], filled).map(|stack| exception_of(&String::from_utf8_lossy(&stack)));
    }
    let number = |value: Value<'a>| match &value {
        Value::Literal(literal) => parsed_number(literal).ok_or(value),
        Value::Text(_) => Err(value),
    };
    if text.duration_ms.is_none() {
        text.duration_ms = take(fields, &[&["duration_ms"]], number)
            .or_else(|| take(fields, &[&["duration_seconds"]], number).map(|seconds| seconds * 1000.0));
    }
    take_columns(&mut text, context);
    columns::add_agent_of_text(&mut text, context);
    columns::lift_of_text(&mut text.fields, &nested);
    text
}

/// Takes the further text columns that neither the origin nor the user has given a value.
fn take_columns(text: &mut Text<'_>, context: Context<'_>) {
    let owned = |value: Cow<'_, [u8]>| String::from_utf8_lossy(&value).into_owned();
    let is_open =
        |column: &str, named: &[Named]| !columns::has(named, column) && context.constants.get(column).is_none();
    for (column, spellings) in json::TEXT_COLUMNS {
        if is_open(column, &text.named)
            && let Some(value) = take(&mut text.fields, &[spellings], filled)
        {
            text.columns.push((column, owned(value)));
        }
    }
    for (column, spellings) in json::ID_COLUMNS {
        if !is_open(column, &text.named) {
            continue;
        }
        let id = take(&mut text.fields, &[spellings], |value| match value {
            Value::Literal(literal) => Ok(Cow::Borrowed(literal)),
            text => filled(text),
        });
        if let Some(value) = id {
            text.columns.push((column, owned(value)));
        }
    }
}

/// Takes the first field with one of the spellings whose value `read` accepts; it gives back one that it does not.
fn take<'a, T>(
    fields: &mut Vec<Field<'a>>,
    spellings: &[&[&str]],
    read: impl Fn(Value<'a>) -> Result<T, Value<'a>>,
) -> Option<T> {
    for at in columns::places(fields, spellings.iter().copied().flatten().copied()) {
        let field = fields.remove(at);
        match read(field.value) {
            Ok(found) => return Some(found),
            Err(value) => fields.insert(at, Field { value, ..field }),
        }
    }
    None
}

fn bytes_of<'v>(value: &'v Value<'_>) -> &'v [u8] {
    match value {
        Value::Text(text) => text,
        Value::Literal(literal) => literal,
    }
}

fn filled(value: Value<'_>) -> Result<Cow<'_, [u8]>, Value<'_>> {
    match value {
        Value::Text(text) if !text.is_empty() => Ok(text),
        other => Err(other),
    }
}

fn level_of(value: Value<'_>) -> Result<Cow<'_, [u8]>, Value<'_>> {
    let word = filled(value)?;
    Ok(match level::known(word.trim_ascii()) {
        Some(level) => Cow::Borrowed(level.as_bytes()),
        None => Cow::Owned(word.trim_ascii().to_ascii_uppercase()),
    })
}

fn parsed_number(literal: &[u8]) -> Option<f64> {
    std::str::from_utf8(literal).ok()?.parse().ok()
}

/// All pairs of a text that holds nothing else, each name once.
pub fn all(text: &[u8]) -> Option<Vec<Field<'_>>> {
    let fields = pairs(text)?;
    let is_new = |(at, field): (usize, &Field<'_>)| fields.iter().take(at).all(|known| known.name != field.name);
    fields.iter().enumerate().all(is_new).then_some(fields)
}

/// All pairs of a text that holds nothing else.
fn pairs(text: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut rest = scan::skip_blanks(text);
    while !rest.is_empty() {
        let (field, after) = pair(rest)?;
        if fields.len() == PAIRS_MAX {
            return None;
        }
        fields.push(field);
        rest = scan::skip_blanks(after);
    }
    (!fields.is_empty()).then_some(fields)
}

/// A message and the pairs that the line ends with; without them, all of it is message.
pub fn trailing(text: &[u8]) -> (&[u8], Vec<Field<'_>>) {
    let mut tried = 0;
    for equals in memchr::memchr_iter(b'=', text) {
        let before = &text[..equals];
        let start = before.iter().rposition(|byte| scan::is_blank(*byte)).map_or(0, |at| at + 1);
        if start == equals || tried == STARTS_MAX {
            continue;
        }
        tried += 1;
        if let Some(fields) = all(&text[start..]) {
            return (text[..start].trim_ascii_end(), fields);
        }
    }
    (text, Vec::new())
}

/// `key=value` at the front, and what follows it: nothing or a blank.
fn pair(text: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let is_key = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_.@/-".contains(byte);
    let len = text.iter().take(scan::NAME_MAX_BYTES + 1).take_while(is_key).count();
    let (key, rest) = text.split_at(len);
    let starts = key.first().is_some_and(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'@'));
    if !starts || len > scan::NAME_MAX_BYTES {
        return None;
    }
    let name = Cow::Borrowed(std::str::from_utf8(key).ok()?);
    let rest = rest.strip_prefix(b"=")?;
    let (value, rest) = match rest.first() {
        Some(quote @ (b'"' | b'\'')) => {
            let (inside, rest) = quoted(&rest[1..], *quote)?;
            (Value::Text(inside), rest)
        }
        _ => {
            let end = rest.iter().position(|byte| scan::is_blank(*byte)).unwrap_or(rest.len());
            let (bare, rest) = rest.split_at(end);
            // A quote within a bare value is the sign of another syntax.
            if bare.contains(&b'"') || bare.contains(&b'\'') {
                return None;
            }
            (typed(bare), rest)
        }
    };
    rest.first().is_none_or(|byte| scan::is_blank(*byte)).then_some((Field { name, value }, rest))
}

/// A text up to its closing quote, and what follows it.
pub fn quoted(text: &[u8], quote: u8) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let mut end = 0;
    let mut escaped = false;
    loop {
        match *text.get(end)? {
            b'\\' => {
                escaped = true;
                end += 2;
            }
            byte if byte == quote => break,
            _ => end += 1,
        }
    }
    let inside = &text[..end];
    let value = if escaped { Cow::Owned(unescape(inside)) } else { Cow::Borrowed(inside) };
    Some((value, &text[end + 1..]))
}

/// Takes the escapes that every such format has; others stay as they stand.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let Some((&escape, after)) = rest.split_first() else {
            out.push(b'\\');
            break;
        };
        rest = after;
        match escape {
            b'n' => out.push(b'\n'),
            b't' => out.push(b'\t'),
            b'r' => out.push(b'\r'),
            b'"' | b'\'' | b'\\' => out.push(escape),
            b'u' => match unicode(rest) {
                Some(character) => {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[4..];
                }
                None => out.extend_from_slice(b"\\u"),
            },
            other => out.extend_from_slice(&[b'\\', other]),
        }
    }
    out
}

/// The character of four hexadecimal digits; none for half of a pair of them.
fn unicode(text: &[u8]) -> Option<char> {
    let digits = text.get(..4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?)
}

/// A bare value: a number where JSON gives back the same text for it, `true` and `false`, else text.
pub fn typed(bare: &[u8]) -> Value<'_> {
    match matches!(bare, b"true" | b"false") || is_number(bare) {
        true => Value::Literal(bare),
        false => Value::Text(Cow::Borrowed(bare)),
    }
}

fn is_number(text: &[u8]) -> bool {
    let unsigned = text.strip_prefix(b"-").unwrap_or(text);
    let mut parts = unsigned.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next();
    let all_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let is_zero = whole == b"0";
    all_digits(whole)
        && (is_zero || !whole.starts_with(b"0"))
        && fraction.is_none_or(|part| all_digits(part) && (part == b"0" || !part.ends_with(b"0")))
        && unsigned.len() <= NUMBER_MAX_DIGITS
        && text != b"-0"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::options::Zone;
    use crate::ingest::parse::columns::OwnColumns;
    use crate::record::Constants;

    fn shown(fields: Vec<Field<'_>>) -> String {
        let text = Text { fields, ..Text::default() };
        let mut out = Vec::new();
        text.encode_fields(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn pairs_from_end_to_end() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(all(text.as_bytes()).map(shown).as_deref(), expected, "{text}");
        };
        check("a=1 b=x", Some(r#"{"a":1,"b":"x"}"#));
        check("  a=1\tb=  ", Some(r#"{"a":1,"b":""}"#));
        check(r#"a="x y" b='it is' c="q \"z\" \u00e9\n""#, Some(r#"{"a":"x y","b":"it is","c":"q \"z\" é\n"}"#));
        check(r#"a="\x41\ud800\q""#, Some(r#"{"a":"\\x41\\ud800\\q"}"#));
        check("url=http://a/b?c=d&e==", Some(r#"{"url":"http://a/b?c=d&e=="}"#));
        check("a=1 b", None);
        check("a=1 a=2", None);
        check("a=\"x", None);
        check("a=\"x\"y b=1", None);
        check("a=x\"y", None);
        check("a = 1", None);
        check("1a=1", None);
        check("=1", None);
        check("", None);
        let many: String = (0..=PAIRS_MAX).map(|n| format!("k{n}=1 ")).collect();
        check(&many, None);
    }

    #[test]
    fn a_number_is_one_where_it_reads_back_the_same() {
        for number in ["0", "-1", "17", "0.5", "1.0", "-12.25", "999999999999999"] {
            assert!(is_number(number.as_bytes()), "{number}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(number).expect("JSON").to_string(), number);
        }
        for text in ["", "-", "-0", "007", "1.10", "1.", ".5", "1e5", "+1", "0x1", "1.2.3", "1234567890123456"] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn spellings_become_columns() {
        let constants = Constants::new([("RunID".to_owned(), "outer".to_owned())]);
        let line = r#"ts=1700000000 lvl=warn logger=a msg="m n" trace_id=t event=e duration_seconds=1.5 run_id=r task_id=17 x=1"#;
        let text = parse(
            line.as_bytes(),
            Context { zone: &Zone::Utc, near: 0, constants: &constants, own: &OwnColumns::default() },
            false,
        )
        .expect("pairs");
        assert_eq!(text.time, Some(1_700_000_000_000_000_000));
        assert_eq!((text.level.as_deref(), text.logger.as_deref()), (Some(&b"WARNING"[..]), Some(&b"a"[..])));
        assert_eq!((&*text.message, text.duration_ms), (&b"m n"[..], Some(1500.0)));
        let column = |name, value: &str| (name, value.to_owned());
        assert_eq!(text.columns, [column("EventType", "e"), column("TraceID", "t"), column("TaskID", "17")]);
        assert_eq!(shown(text.fields), r#"{"run_id":"r","x":1}"#);
    }

    #[test]
    fn pairs_that_are_no_log_line_are_taken_only_where_they_are_asked_for() {
        let check = |line: &str, unasked: bool, asked: bool| {
            let context =
                Context { zone: &Zone::Utc, near: 0, constants: &Constants::default(), own: &OwnColumns::default() };
            let is = |sure| parse(line.as_bytes(), context, sure).is_some();
            assert_eq!((is(false), is(true)), (unasked, asked), "{line}");
        };
        check("level=info msg=x", true, true);
        check("time=2026-11-20T23:00:33Z msg=x", true, true);
        check("loss=0.3 step=4", false, true);
        check("level=info", false, true);
        check("msg=x y=1", false, true);
        check("no pairs", false, false);
    }

    #[test]
    fn a_message_before_its_pairs() {
        let check = |text: &str, message: &str, fields: &str| {
            let (found, pairs) = trailing(text.as_bytes());
            assert_eq!((String::from_utf8_lossy(found).as_ref(), shown(pairs).as_str()), (message, fields), "{text}");
        };
        check("it went well   a=1 b='x y'", "it went well", r#"{"a":1,"b":"x y"}"#);
        check("a=1", "", r#"{"a":1}"#);
        check("x = y and a=1 more", "x = y and a=1 more", "");
        check("first=1 then words b=2", "first=1 then words", r#"{"b":2}"#);
        check("nothing", "nothing", "");
    }
}
