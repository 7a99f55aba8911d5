//! Timestamps at the start of a line, or as a value.

use crate::ingest::options::Zone;
use crate::record::Nanos;
use crate::record::time::days_from_civil;

/// A timestamp and how many bytes it took.
pub type Found = (Nanos, usize);

fn digits(bytes: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Reads `2026-11-20 23:00:33` with `T`, `,` or `.` and any fraction, `Z` or an offset; the rest of `text` is not looked at.
pub fn leading(text: &[u8], zone: &Zone) -> Option<Found> {
    let head = text.get(..19)?;
    let separators =
        head[4] == b'-' && head[7] == b'-' && matches!(head[10], b' ' | b'T') && head[13] == b':' && head[16] == b':';
    if !separators {
        return None;
    }
    let (year, month, day) = (digits(&head[..4])?, digits(&head[5..7])?, digits(&head[8..10])?);
    let (hour, minute, second) = (digits(&head[11..13])?, digits(&head[14..16])?, digits(&head[17..19])?);
    let in_range = (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
        && (1678..=2261).contains(&year);
    if !in_range {
        return None;
    }
    let (nanos, after_fraction) = fraction(text, 19);
    let civil = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    let (offset, end) = match offset(text, after_fraction) {
        Some((offset, end)) => (offset, end),
        None => (zone_offset(zone, civil), after_fraction),
    };
    Some(((civil - offset) * 1_000_000_000 + nanos, end))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Nanoseconds of a fraction that may stand at `at`, and where it ends.
fn fraction(text: &[u8], at: usize) -> (i64, usize) {
    if !matches!(text.get(at), Some(b'.' | b',')) || !text.get(at + 1).is_some_and(u8::is_ascii_digit) {
        return (0, at);
    }
    let mut nanos = 0;
    let mut unit = 100_000_000;
    let mut end = at + 1;
    while let Some(byte) = text.get(end).filter(|byte| byte.is_ascii_digit()) {
        nanos += i64::from(byte - b'0') * unit;
        unit /= 10;
        end += 1;
    }
    (nanos, end)
}

/// Seconds east of UTC of `Z`, `+02:00`, `+0200` or `+02` at `at`, and where it ends.
fn offset(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let sign = match text.get(at)? {
        b'Z' | b'z' => return Some((0, at + 1)),
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = digits(text.get(at + 1..at + 3)?)?;
    let (minutes_at, colon) = match text.get(at + 3) {
        Some(b':') => (at + 4, true),
        _ => (at + 3, false),
    };
    let (minutes, end) = match text.get(minutes_at..minutes_at + 2).and_then(digits) {
        Some(minutes) => (minutes, minutes_at + 2),
        None if colon => return None,
        None => (0, at + 3),
    };
    (hours < 24 && minutes < 60).then_some((sign * (hours * 3600 + minutes * 60), end))
}

/// Seconds east of UTC of a wall-clock time in a zone; of two possible ones the earlier instant.
fn zone_offset(zone: &Zone, civil: i64) -> i64 {
    let Zone::Named(zone) = zone else { return 0 };
    let Ok(as_utc) = jiff::Timestamp::from_second(civil) else { return 0 };
    let wall = jiff::tz::TimeZone::UTC.to_datetime(as_utc);
    match zone.to_ambiguous_timestamp(wall).compatible() {
        Ok(instant) => civil - instant.as_second(),
        Err(_) => 0,
    }
}

/// A value that is a timestamp as a whole.
pub fn whole(text: &[u8], zone: &Zone) -> Option<Nanos> {
    match leading(text, zone) {
        Some((time, end)) if end == text.len() => Some(time),
        _ => epoch(std::str::from_utf8(text).ok()?.parse().ok()?),
    }
}

/// A number of seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by its size:
/// each unit is taken for the years 1973 to 5138 of seconds.
pub fn epoch(number: f64) -> Option<Nanos> {
    let scale = match number {
        n if (1e8..1e11).contains(&n) => 1e9,
        n if (1e11..1e14).contains(&n) => 1e6,
        n if (1e14..1e17).contains(&n) => 1e3,
        n if (1e17..9.2e18).contains(&n) => 1.0,
        _ => return None,
    };
    let nanos = number * scale;
    // Rounded to the microsecond: more digits than a double holds would be invented.
    (nanos < 9.2e18).then(|| if scale > 1.0 { (nanos / 1e3).round() as i64 * 1_000 } else { nanos as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::time::rfc3339;

    #[test]
    fn leading_timestamps() {
        let check = |text: &str, expected: Option<(&str, usize)>| {
            let found = leading(text.as_bytes(), &Zone::Utc).map(|(time, end)| (rfc3339(time), end));
            assert_eq!(found.as_ref().map(|(text, end)| (text.as_str(), *end)), expected, "{text}");
        };
        check("2026-11-20 23:00:33,123 - x", Some(("2026-11-20T23:00:33.123Z", 23)));
        check("2026-11-20T23:00:33Z", Some(("2026-11-20T23:00:33.000Z", 20)));
        check("2026-11-20T23:00:33.123456789+02:00", Some(("2026-11-20T21:00:33.123456789Z", 35)));
        check("2026-11-20T23:00:33-0330 x", Some(("2026-11-21T02:30:33.000Z", 24)));
        check("2026-11-20 23:00:33 - x", Some(("2026-11-20T23:00:33.000Z", 19)));
        check("2026-11-20 23:00:33+02 x", Some(("2026-11-20T21:00:33.000Z", 22)));
        check("2026-02-29 00:00:00", None);
        check("2024-02-29 00:00:00", Some(("2024-02-29T00:00:00.000Z", 19)));
        check("2026-13-01 00:00:00", None);
        check("2026-11-20", None);
        check("0026-11-20 23:00:33", None);
        check("20xx-11-20 23:00:33", None);
    }

    #[test]
    fn a_zone_applies_only_where_the_timestamp_has_none() {
        let zone = Zone::Named(jiff::tz::TimeZone::fixed(jiff::tz::offset(2)));
        let at = |text: &str| leading(text.as_bytes(), &zone).map(|(time, _)| rfc3339(time));
        assert_eq!(at("2026-11-20 23:00:33").as_deref(), Some("2026-11-20T21:00:33.000Z"));
        assert_eq!(at("2026-11-20 23:00:33Z").as_deref(), Some("2026-11-20T23:00:33.000Z"));
    }

    #[test]
    fn numbers_are_read_in_their_unit() {
        for text in ["1700000000", "1700000000.0", "1700000000000", "1700000000000000", "1700000000000000000"] {
            assert_eq!(whole(text.as_bytes(), &Zone::Utc), Some(1_700_000_000_000_000_000), "{text}");
        }
        assert_eq!(whole(b"1700000000.123", &Zone::Utc), Some(1_700_000_000_123_000_000));
        for text in ["17", "-1", "nan", "inf", "1e300", "2026-11-20T23:00:33Z trailing"] {
            assert_eq!(whole(text.as_bytes(), &Zone::Utc), None, "{text}");
        }
    }
}
