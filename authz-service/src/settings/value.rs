//! How times, sizes and counts are written.

use std::ops::RangeInclusive;

use shared::time::Seconds;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
/// Seconds of a day.
pub const DAY: u64 = 24 * HOUR;

/// Reads a time within bounds, in seconds or with a unit: `90`, `90s`, `15m`, `12h`, `30d`.
pub fn time(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<Seconds, String> + Clone + Send + Sync + 'static {
    move |text| {
        let (number, unit) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
            Some(number) => (number, text.as_bytes()[number.len()]),
            None => (text, b's'),
        };
        let factor = match unit {
            b'm' => MINUTE,
            b'h' => HOUR,
            b'd' => DAY,
            _ => 1,
        };
        digits(number)
            .and_then(|number| number.checked_mul(factor))
            .filter(|seconds| range.contains(seconds))
            .map(Seconds)
            .ok_or_else(|| {
                let (least, most) = (in_words(*range.start()), in_words(*range.end()));
                format!("it takes a time such as 90s, 15m, 12h or 30d, from {least} to {most}")
            })
    }
}

/// Reads a size within bounds, in bytes or with a unit: `4096`, `64KiB`, `1MiB`.
pub fn size(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let (number, factor) = match (text.strip_suffix("KiB"), text.strip_suffix("MiB")) {
            (Some(number), _) => (number, 1024),
            (_, Some(number)) => (number, 1024 * 1024),
            _ => (text, 1),
        };
        digits(number)
            .and_then(|number| usize::try_from(number).ok()?.checked_mul(factor))
            .filter(|bytes| range.contains(bytes))
            .ok_or_else(|| {
                let (least, most) = (range.start(), range.end());
                format!("it takes a size such as 4096, 64KiB or 1MiB, from {least} to {most} bytes")
            })
    }
}

/// Reads a count within bounds.
pub fn count(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        digits(text)
            .and_then(|number| usize::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("it takes a number from {} to {}", range.start(), range.end()))
    }
}

/// No sign, no point, no exponent.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Seconds in the largest unit that divides them.
pub fn in_words(seconds: u64) -> String {
    for (unit, name) in [(DAY, "d"), (HOUR, "h"), (MINUTE, "m")] {
        if seconds >= unit && seconds.is_multiple_of(unit) {
            return format!("{}{name}", seconds / unit);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cfg_06_times_are_positive_whole_and_within_bounds() {
        let read = time(1..=DAY);
        for (text, seconds) in [("1", 1), ("90s", 90), ("15m", 900), ("24h", DAY), ("1d", DAY), ("86400", DAY)] {
            assert_eq!(read(text), Ok(Seconds(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "0",
            "-1",
            "+1",
            "1.5h",
            "1e3",
            "forever",
            "86401",
            "25h",
            "2d",
            "4294967296",
            "9".repeat(30).as_str(),
            "1 h",
            "1hh",
            "18446744073709551615d",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("from 1s to 1d"), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_and_counts_are_taken_at_both_ends_and_refused_beyond() {
        let read = size(1024..=2 * 1024 * 1024);
        for (text, bytes) in [("1024", 1024), ("1KiB", 1024), ("2MiB", 2 * 1024 * 1024)] {
            assert_eq!(read(text), Ok(bytes), "{text}");
        }
        for text in ["1023", "3MiB", "2097153", "1kb", "-1", ""] {
            assert!(read(text).is_err(), "{text}");
        }
        let read = count(1..=10);
        assert_eq!((read("1"), read("10")), (Ok(1), Ok(10)));
        assert!(read("0").is_err() && read("11").is_err() && read("x").is_err());
    }
}
