//! Timestamps with the name of a month in them: asctime, Apache's, those of mail, of syslog, of java.util.logging.

use super::timestamp::{Found, WallClock, digits, fraction, spaced_offset};
use crate::ingest::options::Zone;
use crate::record::Nanos;
use crate::record::time::civil_from_days;

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];

const DAY_NANOS: Nanos = 86_400 * 1_000_000_000;

/// How far the clock of who logged may be ahead of ours before its day is taken for one of the year before.
const AHEAD_MAX_NANOS: Nanos = 7 * DAY_NANOS;

/// Reads any of the forms with a year at the front.
pub fn dated(text: &[u8], zone: &Zone) -> Option<Found> {
    match text.first()? {
        b'0'..=b'9' => apache(text).or_else(|| day_first(text, zone)),
        b'A'..=b'Z' => asctime(text, zone).or_else(|| mail(text, zone)).or_else(|| month_first(text, zone)),
        _ => None,
    }
}

/// The position of what is read next.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a [u8]) -> Self {
        Reader { text, at: 0 }
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.text.get(self.at..self.at + len)?;
        self.at += len;
        Some(taken)
    }

    fn sign(&mut self, sign: &[u8]) -> Option<()> {
        (self.take(sign.len())? == sign).then_some(())
    }

    fn month(&mut self) -> Option<i64> {
        let name = self.take(3)?;
        let index = MONTHS.iter().position(|month| *month == name)?;
        i64::try_from(index + 1).ok()
    }

    fn weekday(&mut self) -> Option<()> {
        let name = self.take(3)?;
        WEEKDAYS.iter().any(|day| *day == name).then_some(())
    }

    /// A number of one or two digits; a blank may stand for the first.
    fn day(&mut self) -> Option<i64> {
        if self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        let two = self.text.get(self.at + 1).is_some_and(u8::is_ascii_digit);
        digits(self.take(if two { 2 } else { 1 })?)
    }

    fn year(&mut self) -> Option<i64> {
        digits(self.take(4)?)
    }

    fn time_of_day(&mut self) -> Option<(i64, i64, i64)> {
        let hour = digits(self.take(2)?)?;
        self.sign(b":")?;
        let minute = digits(self.take(2)?)?;
        self.sign(b":")?;
        Some((hour, minute, digits(self.take(2)?)?))
    }

    fn fraction(&mut self) -> i64 {
        let (nanos, end) = fraction(self.text, self.at);
        self.at = end;
        nanos
    }

    /// Ends the reading: with the zone that stands behind a blank, else in the source's.
    fn found(mut self, clock: WallClock, zone: &Zone) -> Option<Found> {
        match spaced_offset(self.text, self.at) {
            Some((offset, end)) => {
                self.at = end;
                Some((clock.east_of_utc(offset), self.at))
            }
            None => Some((clock.in_zone(zone), self.at)),
        }
    }
}

/// `Fri Nov 20 23:00:33 2026`, a fraction behind the seconds or not.
fn asctime(text: &[u8], zone: &Zone) -> Option<Found> {
    let mut reader = Reader::new(text);
    reader.weekday()?;
    reader.sign(b" ")?;
    let month = reader.month()?;
    reader.sign(b" ")?;
    let day = reader.day()?;
    reader.sign(b" ")?;
    let time = reader.time_of_day()?;
    let nanos = reader.fraction();
    reader.sign(b" ")?;
    let year = reader.year()?;
    let clock = WallClock::new((year, month, day), time, nanos)?;
    Some((clock.in_zone(zone), reader.at))
}

/// `20/Nov/2026:23:00:33 +0000`.
fn apache(text: &[u8]) -> Option<Found> {
    let mut reader = Reader::new(text);
    let day = reader.day()?;
    reader.sign(b"/")?;
    let month = reader.month()?;
    reader.sign(b"/")?;
    let year = reader.year()?;
    reader.sign(b":")?;
    let clock = WallClock::new((year, month, day), reader.time_of_day()?, 0)?;
    let (offset, end) = spaced_offset(text, reader.at)?;
    Some((clock.east_of_utc(offset), end))
}

/// `Fri, 20 Nov 2026 23:00:33 GMT`.
fn mail(text: &[u8], zone: &Zone) -> Option<Found> {
    let mut reader = Reader::new(text);
    reader.weekday()?;
    reader.sign(b", ")?;
    let (time, end) = day_first(&text[reader.at..], zone)?;
    Some((time, reader.at + end))
}

/// `20 Nov 2026 23:00:33.123`.
pub fn day_first(text: &[u8], zone: &Zone) -> Option<Found> {
    let mut reader = Reader::new(text);
    let day = reader.day()?;
    reader.sign(b" ")?;
    let month = reader.month()?;
    reader.sign(b" ")?;
    let year = reader.year()?;
    reader.sign(b" ")?;
    let time = reader.time_of_day()?;
    let nanos = reader.fraction();
    reader.found(WallClock::new((year, month, day), time, nanos)?, zone)
}

/// `Nov 20, 2026 11:00:33 PM`, as java.util.logging writes it.
pub fn month_first(text: &[u8], zone: &Zone) -> Option<Found> {
    let mut reader = Reader::new(text);
    let month = reader.month()?;
    reader.sign(b" ")?;
    let day = reader.day()?;
    reader.sign(b", ")?;
    let year = reader.year()?;
    reader.sign(b" ")?;
    let hour = reader.day()?;
    reader.sign(b":")?;
    let minute = digits(reader.take(2)?)?;
    reader.sign(b":")?;
    let second = digits(reader.take(2)?)?;
    reader.sign(b" ")?;
    let noon = match reader.take(2)? {
        b"AM" => 0,
        b"PM" => 12,
        _ => return None,
    };
    if !(1..=12).contains(&hour) {
        return None;
    }
    let clock = WallClock::new((year, month, day), (hour % 12 + noon, minute, second), 0)?;
    Some((clock.in_zone(zone), reader.at))
}

/// `Nov 20 23:00:33`, as syslog writes it: the year is the last in which that was not yet to come at `near`.
pub fn without_year(text: &[u8], zone: &Zone, near: Nanos) -> Option<Found> {
    let mut reader = Reader::new(text);
    let month = reader.month()?;
    reader.sign(b" ")?;
    let day = reader.day()?;
    reader.sign(b" ")?;
    // Some devices write the year all the same.
    let rest = &text[reader.at..];
    let year = rest.get(..4).and_then(digits).filter(|_| rest.get(4) == Some(&b' '));
    if year.is_some() {
        reader.at += 5;
    }
    let time = reader.time_of_day()?;
    let nanos = reader.fraction();
    let time = match year {
        Some(year) => WallClock::new((year, month, day), time, nanos)?.in_zone(zone),
        None => in_latest_year((month, day), time, nanos, zone, near)?,
    };
    Some((time, reader.at))
}

/// `1120 23:00:33.123456` or `11-20 23:00:33`, the year found in the same way.
pub fn month_and_day(text: &[u8], zone: &Zone, near: Nanos) -> Option<Found> {
    let mut reader = Reader::new(text);
    let month = digits(reader.take(2)?)?;
    if text.get(reader.at) == Some(&b'-') {
        reader.at += 1;
    }
    let day = digits(reader.take(2)?)?;
    reader.sign(b" ")?;
    let time = reader.time_of_day()?;
    let nanos = reader.fraction();
    Some((in_latest_year((month, day), time, nanos, zone, near)?, reader.at))
}

fn in_latest_year(
    (month, day): (i64, i64),
    time: (i64, i64, i64),
    nanos: i64,
    zone: &Zone,
    near: Nanos,
) -> Option<Nanos> {
    let latest = near.saturating_add(AHEAD_MAX_NANOS);
    let (now, _, _) = civil_from_days(latest.div_euclid(DAY_NANOS));
    let at = |year| Some(WallClock::new((year, month, day), time, nanos)?.in_zone(zone));
    // The 29th of February is eight years back at most.
    (now - 8..=now).rev().filter_map(at).find(|time| *time <= latest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::time::rfc3339;

    #[test]
    fn forms_with_a_year() {
        let check = |text: &str, expected: Option<(&str, usize)>| {
            let found = dated(text.as_bytes(), &Zone::Utc).map(|(time, end)| (rfc3339(time), end));
            assert_eq!(found.as_ref().map(|(text, end)| (text.as_str(), *end)), expected, "{text}");
        };
        check("Fri Nov 20 23:00:33 2026", Some(("2026-11-20T23:00:33.000Z", 24)));
        check("Fri Nov  6 23:00:33.123456 2026]", Some(("2026-11-06T23:00:33.123456Z", 31)));
        check("20/Nov/2026:23:00:33 +0200]", Some(("2026-11-20T21:00:33.000Z", 26)));
        check("20/Nov/2026:23:00:33", None);
        check("Fri, 20 Nov 2026 23:00:33 GMT", Some(("2026-11-20T23:00:33.000Z", 29)));
        check("20 Nov 2026 23:00:33.123 * x", Some(("2026-11-20T23:00:33.123Z", 24)));
        check("Nov 20, 2026 11:00:33 PM org", Some(("2026-11-20T23:00:33.000Z", 24)));
        check("Nov 2, 2026 12:00:33 AM org", Some(("2026-11-02T00:00:33.000Z", 23)));
        check("Nov 20, 2026 13:00:33 PM", None);
        check("Fri Nov 31 23:00:33 2026", None);
        check("Nob 20, 2026 11:00:33 PM", None);
        check("", None);
        check("Fri", None);
    }

    #[test]
    fn a_year_is_found_from_the_day_near_which_the_line_was_read() {
        let check = |text: &str, near: &str, expected: Option<&str>| {
            let (near, _) = crate::ingest::parse::timestamp::leading(near.as_bytes(), &Zone::Utc).expect("a time");
            let found = without_year(text.as_bytes(), &Zone::Utc, near).map(|(time, _)| rfc3339(time));
            assert_eq!(found.as_deref(), expected, "{text} near {near}");
        };
        check("Nov 20 23:00:33 x", "2026-11-20T23:00:34Z", Some("2026-11-20T23:00:33.000Z"));
        check("Nov  2 03:00:33.5 x", "2026-11-20T23:00:34Z", Some("2026-11-02T03:00:33.500Z"));
        check("Dec 31 23:59:59", "2027-01-01T00:00:02Z", Some("2026-12-31T23:59:59.000Z"));
        check("Jan  1 00:00:01", "2026-12-31T23:59:59Z", Some("2027-01-01T00:00:01.000Z"));
        check("Nov 25 00:00:00", "2026-11-20T00:00:00Z", Some("2026-11-25T00:00:00.000Z"));
        check("Nov 30 00:00:00", "2026-11-20T00:00:00Z", Some("2025-11-30T00:00:00.000Z"));
        check("Feb 29 00:00:00", "2026-11-20T00:00:00Z", Some("2024-02-29T00:00:00.000Z"));
        check("Nov 20 2025 23:00:33 x", "2026-11-20T23:00:34Z", Some("2025-11-20T23:00:33.000Z"));
        check("Nov 20 23:00", "2026-11-20T23:00:34Z", None);
        check("Nov 2x 23:00:33", "2026-11-20T23:00:34Z", None);
    }

    #[test]
    fn a_zone_applies_where_there_is_none() {
        let zone = Zone::Named(jiff::tz::TimeZone::fixed(jiff::tz::offset(2)));
        let at = |text: &str| dated(text.as_bytes(), &zone).map(|(time, _)| rfc3339(time));
        assert_eq!(at("Fri Nov 20 23:00:33 2026").as_deref(), Some("2026-11-20T21:00:33.000Z"));
        assert_eq!(at("20 Nov 2026 23:00:33 GMT").as_deref(), Some("2026-11-20T23:00:33.000Z"));
    }
}
