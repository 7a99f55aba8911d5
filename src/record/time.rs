//! Wall-clock time of a record, and its text forms. Deadlines use the monotonic clock, not this.

/// Nanoseconds since 1970-01-01 UTC; years 1678 to 2261.
pub type Nanos = i64;

const DAY_SECONDS: i64 = 86_400;

/// Now, by the wall clock.
pub fn now() -> Nanos {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_nanos()).unwrap_or(i64::MAX),
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar; `month` and `day` count from 1.
pub fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since 1970-01-01: the inverse of [`days_from_civil`].
pub fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn put_digits(out: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; 10];
    let mut rest = value;
    for slot in digits[..width].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[..width]);
}

/// Appends `2026-11-20T23:00:33.123456Z` with exactly `digits` (0 to 9) digits of the second's fraction, cut not rounded.
pub fn write_rfc3339(out: &mut Vec<u8>, time: Nanos, digits: usize) {
    let seconds = time.div_euclid(1_000_000_000);
    let nanos = time.rem_euclid(1_000_000_000) as u64;
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_SECONDS));
    let of_day = seconds.rem_euclid(DAY_SECONDS) as u64;
    put_digits(out, year as u64, 4);
    out.push(b'-');
    put_digits(out, month as u64, 2);
    out.push(b'-');
    put_digits(out, day as u64, 2);
    out.push(b'T');
    put_digits(out, of_day / 3600, 2);
    out.push(b':');
    put_digits(out, of_day / 60 % 60, 2);
    out.push(b':');
    put_digits(out, of_day % 60, 2);
    let digits = digits.min(9);
    if digits > 0 {
        out.push(b'.');
        put_digits(out, nanos / 10u64.pow(9 - digits as u32), digits);
    }
    out.push(b'Z');
}

/// The fewest of 3, 6 and 9 digits that lose nothing of `time`.
pub fn digits_needed(time: Nanos) -> usize {
    let nanos = time.rem_euclid(1_000_000_000);
    if nanos % 1_000_000 == 0 {
        3
    } else if nanos % 1_000 == 0 {
        6
    } else {
        9
    }
}

/// `time` as text, with as many digits as [`digits_needed`] says.
pub fn rfc3339(time: Nanos) -> String {
    let mut out = Vec::with_capacity(30);
    write_rfc3339(&mut out, time, digits_needed(time));
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_there_and_back() {
        for days in (-200_000..200_000).step_by(17) {
            let (y, m, d) = civil_from_days(days);
            assert_eq!(days_from_civil(y, m, d), days, "{y}-{m}-{d}");
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
        assert_eq!(days_from_civil(2024, 2, 29), 19_782);
    }

    #[test]
    fn text_has_the_digits_that_the_time_needs() {
        let check = |time: Nanos, expected: &str| assert_eq!(rfc3339(time), expected);
        check(0, "1970-01-01T00:00:00.000Z");
        check(1_500_000_000, "1970-01-01T00:00:01.500Z");
        check(1_700_000_000_123_456_000, "2023-11-14T22:13:20.123456Z");
        check(1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z");
        check(-1, "1969-12-31T23:59:59.999999999Z");
    }
}
