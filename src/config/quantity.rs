//! Durations (`1h30m`) and sizes (`4GiB`): read and written.

use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Units of a duration and their nanoseconds, largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
];

/// Units of a size and their bytes, largest first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads `4m`, `200ms`, `1h30m`, `1.5s`.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("is empty".to_owned());
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = number(rest).ok_or("is not a duration")?;
        let unit = after.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        if unit.is_empty() {
            let apart = after.trim_start().starts_with(|c: char| c.is_ascii_alphabetic());
            let what =
                if apart { "has a space before its unit: number and unit stand together" } else { "has no unit" };
            return Err(what.to_owned());
        }
        let (_, scale) =
            TIME_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| format!("has an unknown unit {unit:?}"))?;
        let part = scaled(number, *scale).ok_or("is too long")?;
        nanos = nanos.checked_add(part).ok_or("is too long")?;
        rest = after.get(unit.len()..).unwrap_or_default().trim_start();
    }
    Ok(Duration::from_nanos(nanos))
}

/// Reads `4GiB`, `500KB`, `1000`.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    let (number, unit) = number(text).ok_or("is not a size")?;
    let unit = unit.trim_start();
    let scale = match unit {
        "" => 1,
        _ => SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, scale)| *scale)
            .ok_or_else(|| format!("has an unknown unit {unit:?}"))?,
    };
    scaled(number, scale).ok_or_else(|| "is too large".to_owned())
}

/// A decimal number at the front and what follows it.
fn number(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (digits(whole) && digits(fraction)).then_some((number, rest))
}

/// `number` times `scale` without the error of a float where it is whole; `None` where it does not fit.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let digits = u32::try_from(fraction.len()).ok()?;
    let numerator = if fraction.is_empty() { 0 } else { fraction.parse::<u64>().ok()? };
    let part = u128::from(numerator) * u128::from(scale) / 10_u128.checked_pow(digits)?;
    whole.checked_add(u64::try_from(part).ok()?)
}

/// A duration as [`duration`] reads it, e.g. `1h30m`.
pub fn show_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, scale) in TIME_UNITS {
        // Days are read but written as hours: "24h" is what people say.
        if unit != "d" && rest >= scale {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A size as [`size`] reads it, in the largest unit that is exact, e.g. `32MiB`.
pub fn show_size(bytes: u64) -> String {
    SIZE_UNITS
        .iter()
        .find(|(_, scale)| bytes >= *scale && bytes.is_multiple_of(*scale))
        .map_or_else(|| "0B".to_owned(), |(unit, scale)| format!("{}{unit}", bytes / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let check = |text: &str, expected: Result<u64, &str>| {
            let expected = expected.map(Duration::from_millis).map_err(str::to_owned);
            assert_eq!(duration(text), expected, "{text}");
        };
        check("4m", Ok(240_000));
        check("200ms", Ok(200));
        check("1h30m", Ok(5_400_000));
        check("1h 30m", Ok(5_400_000));
        check("1.5s", Ok(1500));
        check("2d", Ok(172_800_000));
        check("0s", Ok(0));
        check("", Err("is empty"));
        check("10", Err("has no unit"));
        check("10 20s", Err("has no unit"));
        check("4 min", Err("has a space before its unit: number and unit stand together"));
        check("soon", Err("is not a duration"));
        check("-1s", Err("is not a duration"));
        check("1.s", Err("is not a duration"));
        check("1.2.3s", Err("is not a duration"));
        check("5min", Err("has an unknown unit \"min\""));
        check("1m5", Err("has no unit"));
        check("9999999999999h", Err("is too long"));
        check("99999999999999999999s", Err("is too long"));
    }

    #[test]
    fn sizes_are_read() {
        let check = |text: &str, expected: Result<u64, &str>| {
            assert_eq!(size(text), expected.map_err(str::to_owned), "{text}");
        };
        check("4GiB", Ok(4 << 30));
        check("500KB", Ok(500_000));
        check("5 MiB", Ok(5 << 20));
        check("1.5kib", Ok(1536));
        check("1000", Ok(1000));
        check("1B", Ok(1));
        check("", Err("is empty"));
        check("big", Err("is not a size"));
        check("-1KB", Err("is not a size"));
        check("4G", Err("has an unknown unit \"G\""));
        check("99999999TiB", Err("is too large"));
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        for (text, written) in [("90m", "1h30m"), ("0s", "0s"), ("250ms", "250ms"), ("1d", "24h"), ("61s", "1m1s")] {
            assert_eq!(show_duration(duration(text).expect(text)), written);
        }
        for (text, written) in [("32MiB", "32MiB"), ("1024KiB", "1MiB"), ("64", "64B"), ("500KB", "500KB"), ("0", "0B")]
        {
            assert_eq!(show_size(size(text).expect(text)), written);
        }
    }
}
