//! Lines of klog and glog, also of Python's absl: `I1120 23:00:33.123456    1 main.go:10] message`.

use super::format::Format;
use super::{Context, Text, calendar, level, pairs, scan};

/// What such a line says; pairs behind a quoted message become fields.
pub fn parse<'a>(line: &'a [u8], context: Context<'_>) -> Option<Text<'a>> {
    let (letter, rest) = line.split_at_checked(1)?;
    let level = matches!(letter, b"I" | b"W" | b"E" | b"F").then(|| level::known(letter)).flatten()?;
    let (time, end) = calendar::month_and_day(rest, context.zone, context.near)?;
    let (thread, rest) = scan::digits(scan::skip_blanks(&rest[end..]))?;
    let (caller, message) = scan::before(rest.strip_prefix(b" ")?, b"]")?;
    if !caller.contains(&b':') || caller.contains(&b' ') {
        return None;
    }
    let message = message.strip_prefix(b" ").unwrap_or(message);
    let text = Text::new(Some(time), None, Some(level), message).of(Format::Klog);
    let text = text.with("thread", thread).with_text("caller", caller);
    Some(structured(&text, message).unwrap_or(text))
}

/// `"message" key="value" …`.
fn structured<'a>(head: &Text<'a>, message: &'a [u8]) -> Option<Text<'a>> {
    let (said, rest) = pairs::quoted(message.strip_prefix(b"\"")?, b'"')?;
    let mut fields = match scan::skip_blanks(rest) {
        b"" => Vec::new(),
        rest => pairs::all(rest)?,
    };
    if fields.iter().any(|field| matches!(&*field.name, "thread" | "caller")) {
        return None;
    }
    let mut text = Text { message: said, ..head.clone() };
    text.fields.append(&mut fields);
    Some(text)
}
