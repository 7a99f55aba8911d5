//! Timestamps at the start of a line, or as a value; those that begin with a name stand in [`super::calendar`].

use super::calendar;
use crate::ingest::options::Zone;
use crate::record::Nanos;
use crate::record::time::days_from_civil;

/// A timestamp and how many bytes it took.
pub type Found = (Nanos, usize);

pub(super) fn digits(bytes: &[u8]) -> Option<i64> {
    let mut value = 0i64;
    for &byte in bytes {
        if !byte.is_ascii_digit() {
            return None;
        }
        value = value * 10 + i64::from(byte - b'0');
    }
    Some(value)
}

/// Reads `2026-11-20 23:00:33` with `T`, `,` or `.` and any fraction, `Z` or an offset, or with `/` between the parts of
/// the date; the rest of `text` is not looked at.
pub fn leading(text: &[u8], zone: &Zone) -> Option<Found> {
    let (clock, at) = wall_clock(text)?;
    Some(match offset(text, at) {
        Some((offset, end)) => (clock.east_of_utc(offset), end),
        None => (clock.in_zone(zone), at),
    })
}

/// The same, and the offset or zone may stand apart: `2026-11-20 23:00:33 +0000`, `2026-11-20 23:00:33.123 UTC`.
pub fn leading_spaced(text: &[u8], zone: &Zone) -> Option<Found> {
    let (clock, at) = wall_clock(text)?;
    let found = offset(text, at).or_else(|| spaced_offset(text, at));
    Some(match found {
        Some((offset, end)) => (clock.east_of_utc(offset), end),
        None => (clock.in_zone(zone), at),
    })
}

/// A date and a time of day, and where they end.
fn wall_clock(text: &[u8]) -> Option<(WallClock, usize)> {
    let head = text.get(..19)?;
    let joint = head[4];
    let separators = matches!(joint, b'-' | b'/')
        && head[7] == joint
        && matches!(head[10], b' ' | b'T')
        && head[13] == b':'
        && head[16] == b':';
    if !separators {
        return None;
    }
    let (year, month, day) = (digits(&head[..4])?, digits(&head[5..7])?, digits(&head[8..10])?);
    let (hour, minute, second) = (digits(&head[11..13])?, digits(&head[14..16])?, digits(&head[17..19])?);
    let (nanos, end) = fraction(text, 19);
    Some((WallClock::new((year, month, day), (hour, minute, second), nanos)?, end))
}

/// What a clock on a wall showed: no instant before it is known where the wall stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WallClock {
    /// Seconds since 1970 if the wall had stood at Greenwich.
    seconds: i64,
    nanos: i64,
}

impl WallClock {
    /// `None` where the calendar has no such day, or the day no such time. A leap second is the next second's start.
    pub(super) fn new(
        (year, month, day): (i64, i64, i64),
        (hour, minute, second): (i64, i64, i64),
        nanos: i64,
    ) -> Option<Self> {
        let in_range = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60
            && (1678..=2261).contains(&year);
        let seconds = ((days_from_civil(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
        in_range.then_some(WallClock { seconds, nanos })
    }

    pub(super) fn east_of_utc(self, offset: i64) -> Nanos {
        (self.seconds - offset) * 1_000_000_000 + self.nanos
    }

    pub(super) fn in_zone(self, zone: &Zone) -> Nanos {
        self.east_of_utc(zone_offset(zone, self.seconds))
    }
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
pub(super) fn fraction(text: &[u8], at: usize) -> (i64, usize) {
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

/// Names of zones that mean one offset everywhere, in hours east of UTC.
const ZONES: [(&[u8], i64); 12] = [
    (b"UTC", 0),
    (b"GMT", 0),
    (b"Z", 0),
    (b"CET", 1),
    (b"CEST", 2),
    (b"EST", -5),
    (b"EDT", -4),
    (b"MST", -7),
    (b"MDT", -6),
    (b"PST", -8),
    (b"PDT", -7),
    (b"JST", 9),
];

/// Seconds east of UTC of ` +0200` or ` UTC` at `at`, and where it ends: only what can hardly be a word of a message.
pub(super) fn spaced_offset(text: &[u8], at: usize) -> Option<(i64, usize)> {
    let rest = text.get(at..)?.strip_prefix(b" ")?;
    let ends =
        |len: usize| !rest.get(len).is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.'));
    if matches!(rest.first(), Some(b'+' | b'-')) {
        let (offset, end) = offset(rest, 0)?;
        let is_usual = offset % 900 == 0 && offset.abs() <= 14 * 3600 && matches!(end, 5 | 6);
        return (is_usual && ends(end)).then_some((offset, at + 1 + end));
    }
    let len = rest.iter().take(5).take_while(|byte| byte.is_ascii_uppercase()).count();
    let (_, hours) = ZONES.iter().find(|(name, _)| *name == &rest[..len])?;
    (len > 1 && ends(len)).then_some((hours * 3600, at + 1 + len))
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

/// A value that is a timestamp as a whole, in any of the forms with a year.
pub fn whole(text: &[u8], zone: &Zone) -> Option<Nanos> {
    let found = leading_spaced(text, zone).or_else(|| calendar::dated(text, zone));
    match found {
        Some((time, end)) if end == text.len() => Some(time),
        // Java names the zone behind its offset: `+01:00[Europe/Berlin]`.
        Some((time, end)) if is_zone_name(&text[end..]) => Some(time),
        _ => epoch_text(text),
    }
}

/// `[Europe/Berlin]`.
fn is_zone_name(text: &[u8]) -> bool {
    let inside = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]"));
    inside.is_some_and(|name| name.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'/' | b'_')))
}

/// Least number of nanoseconds that is taken for one, as in [`epoch`].
const NANOS_MIN: Nanos = 100_000_000_000_000_000;

/// Digits, with a fraction or without, that are a time since 1970.
fn epoch_text(text: &[u8]) -> Option<Nanos> {
    let text = std::str::from_utf8(text).ok()?;
    // Nanoseconds have more digits than a double holds.
    match text.len() == 19 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse().ok().filter(|nanos| *nanos >= NANOS_MIN),
        false => epoch(text.parse().ok()?),
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
        check("2026/11/20 23:00:33.5 x", Some(("2026-11-20T23:00:33.500Z", 21)));
        check("2026-11/20 23:00:33", None);
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
    fn an_offset_or_zone_that_stands_apart() {
        let check = |text: &str, expected: (&str, usize)| {
            let found = leading_spaced(text.as_bytes(), &Zone::Utc).map(|(time, end)| (rfc3339(time), end));
            assert_eq!(found.as_ref().map(|(text, end)| (text.as_str(), *end)), Some(expected), "{text}");
        };
        check("2026-11-20 23:00:33 +0200]", ("2026-11-20T21:00:33.000Z", 25));
        check("2026-11-20 23:00:33.5 -05:30 x", ("2026-11-21T04:30:33.500Z", 28));
        check("2026-11-20 23:00:33.123 UTC [7]", ("2026-11-20T23:00:33.123Z", 27));
        check("2026-11-20 23:00:33 CEST", ("2026-11-20T21:00:33.000Z", 24));
        check("2026-11-20 23:00:33 -1 x", ("2026-11-20T23:00:33.000Z", 19));
        check("2026-11-20 23:00:33 -1234 x", ("2026-11-20T23:00:33.000Z", 19));
        check("2026-11-20 23:00:33 UTCX", ("2026-11-20T23:00:33.000Z", 19));
        check("2026-11-20 23:00:33 INFO", ("2026-11-20T23:00:33.000Z", 19));
        check("2026-11-20T23:00:33Z +0200", ("2026-11-20T23:00:33.000Z", 20));
    }

    #[test]
    fn values_in_every_form() {
        for text in [
            "2026-11-20T23:00:33Z",
            "2026-11-21 00:00:33 +0100",
            "2026-11-21T00:00:33+01:00[Europe/Berlin]",
            "2026/11/20 23:00:33",
            "Fri Nov 20 23:00:33 2026",
            "Fri, 20 Nov 2026 23:00:33 GMT",
            "20/Nov/2026:23:00:33 +0000",
            "1795215633",
            "1795215633000000000",
        ] {
            assert_eq!(
                whole(text.as_bytes(), &Zone::Utc).map(rfc3339).as_deref(),
                Some("2026-11-20T23:00:33.000Z"),
                "{text}"
            );
        }
        assert_eq!(whole(b"1795215633123456789", &Zone::Utc), Some(1_795_215_633_123_456_789));
    }

    #[test]
    fn numbers_are_read_in_their_unit() {
        for text in ["1700000000", "1700000000.0", "1700000000000", "1700000000000000", "1700000000000000000"] {
            assert_eq!(whole(text.as_bytes(), &Zone::Utc), Some(1_700_000_000_000_000_000), "{text}");
        }
        assert_eq!(whole(b"1700000000.123", &Zone::Utc), Some(1_700_000_000_123_000_000));
        for text in [
            "17",
            "-1",
            "9999999999999999999",
            "23456721045672104567210",
            "nan",
            "inf",
            "1e300",
            "2026-11-20T23:00:33Z trailing",
        ] {
            assert_eq!(whole(text.as_bytes(), &Zone::Utc), None, "{text}");
        }
    }
}
