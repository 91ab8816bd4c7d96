//! Seconds since 1970 as dates that people read, in UTC.

use crate::time::Timestamp;

/// Year, month, day, hour, minute, second.
type Civil = (u64, u64, u64, u64, u64, u64);

/// `2026-07-28T09:05:00Z` (RFC 3339 section 5.6).
pub fn rfc3339(at: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = civil(at);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `2026-07-28 09:05:00`.
pub fn spaced(at: Timestamp) -> String {
    let (year, month, day, hour, minute, second) = civil(at);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The proleptic Gregorian calendar, counted in eras of 400 years that begin on 1 March, so that a leap day is the
/// last of its year.
fn civil(at: Timestamp) -> Civil {
    let (days, second) = (at.0 / 86_400, at.0 % 86_400);
    let days = days + 719_468; // from 0000-03-01 to 1970-01-01
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153; // 0 is March
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turn, month, day, second / 3_600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        // From `date -u -d @SECONDS --rfc-3339=seconds`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (68_169_600, "1972-02-29T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_785_229_501, "2026-07-28T09:05:01Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(seconds)), text);
        }
        assert_eq!(spaced(Timestamp(1_785_229_501)), "2026-07-28 09:05:01");
    }
}
