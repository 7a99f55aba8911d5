//! The timestamp that the engine puts before each log entry. No general date parser.
//!
//! dockerd writes `2006-01-02T15:04:05.000000000Z ` with nine digits in UTC; Podman may write a local offset instead
//! of `Z`. Other counts of digits are taken too, so that a change there costs nothing.

use crate::record::Nanos;
use crate::record::time::days_from_civil;

/// Longest form: nine digits, an offset, and the space behind it.
pub(super) const BYTES_MAX: usize = 36;

/// Time and length, the space included, of the timestamp at the front of `body`.
///
/// `None` where there is none, where it is no date of the calendar, or does not fit in [`Nanos`].
pub fn parse(body: &[u8]) -> Option<(Nanos, usize)> {
    let head = body.get(..19)?;
    let separated = head[4] == b'-' && head[7] == b'-' && head[10] == b'T' && head[13] == b':' && head[16] == b':';
    if !separated {
        return None;
    }
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..19])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, mut at) = fraction(body)?;
    let offset = match *body.get(at)? {
        b'Z' => 0,
        sign @ (b'+' | b'-') => {
            let zone = body.get(at + 1..at + 6).filter(|zone| zone[2] == b':')?;
            at += 5;
            let seconds = number(&zone[..2])? * 3600 + number(&zone[3..])? * 60;
            if sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    if body.get(at + 1) != Some(&b' ') {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some((seconds.checked_mul(1_000_000_000)?.checked_add(nanos)?, at + 2))
}

/// The same for a timestamp that stands alone, as in the engine's answers and in its log files.
pub(super) fn parse_alone(text: &str) -> Option<Nanos> {
    let (time, length) = parse(format!("{text} ").as_bytes())?;
    (length == text.len() + 1).then_some(time)
}

/// Nanoseconds of the second's fraction, and where it ends in `body`.
fn fraction(body: &[u8]) -> Option<(i64, usize)> {
    if body.get(19) != Some(&b'.') {
        return Some((0, 19));
    }
    let digits = body[20..].iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    let value = number(body.get(20..20 + digits).filter(|text| !text.is_empty())?)?;
    Some((value * 10i64.pow(9 - digits as u32), 20 + digits))
}

/// The value of up to nine ASCII digits.
fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

/// `seconds.nanoseconds`, the form in which the engine takes `since`; times before 1970 become 0.
pub(super) fn since_text(time: Nanos) -> String {
    let time = time.max(0);
    format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(Nanos, usize)>) {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn timestamps_of_engines_are_read() {
        check("1970-01-01T00:00:00.000000000Z x", Some((0, 31)));
        check("2026-11-20T23:24:43.134290389Z out\n", Some((1_795_217_083_134_290_389, 31)));
        check("2026-11-21T01:24:43.134290389+02:00 out\n", Some((1_795_217_083_134_290_389, 36)));
        check("2026-11-20T18:54:43.134290389-04:30 out\n", Some((1_795_217_083_134_290_389, 36)));
        check("2026-11-20T23:24:43.5Z ", Some((1_795_217_083_500_000_000, 23)));
        check("2026-11-20T23:24:43Z ", Some((1_795_217_083_000_000_000, 21)));
        check("1969-12-31T23:59:59.999999999Z ", Some((-1, 31)));
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in [
            "",
            "hello",
            "2026-11-20T23:24:43.134290389Z",
            "2026-11-20T23:24:43.134290389Zx",
            "2026-11-20 23:24:43.134290389Z x",
            "2026-13-20T23:24:43.134290389Z x",
            "2026-11-20T24:24:43.134290389Z x",
            "2026-11-20T23:24:43.Z x",
            "2026-11-20T23:24:43.1342903891Z x",
            "2026-11-20T23:24:43.134290389+0200 x",
            "2026-11-20T23:24:43.134290389+02: x",
            "9999-11-20T23:24:43.134290389Z x",
            "٢026-11-20T23:24:43.134290389Z x",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn every_prefix_of_a_timestamp_is_refused_without_harm() {
        let text = "2026-11-21T01:24:43.134290389+02:00 ";
        for cut in 0..text.len() {
            check(&text[..cut], None);
        }
        assert_eq!(text.len(), BYTES_MAX);
    }

    #[test]
    fn since_has_nine_digits() {
        assert_eq!(since_text(1_795_217_083_000_000_042), "1795217083.000000042");
        assert_eq!(since_text(-1), "0.000000000");
    }
}
