//! Points in time, as signed texts carry them.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const NANOS: u32 = 1_000_000_000;
const DAY: i64 = 86_400;
/// `0000-01-01T00:00:00Z`.
const MIN_SECONDS: i64 = -62_167_219_200;
/// `9999-12-31T23:59:59Z`.
const MAX_SECONDS: i64 = 253_402_300_799;

/// A point in time in UTC: whole seconds since the epoch, rounded down, and the nanoseconds after
/// them.
///
/// As text always `YYYY-MM-DDThh:mm:ss.nnnnnnnnnZ` (RFC 3339 §5.6, nine digits of fraction, no leap
/// second), from year 0000 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z, negative before it.
    pub seconds: i64,
    /// Nanoseconds after `seconds`, below 1,000,000,000.
    pub nanos: u32,
}

/// The text is not a time in the one accepted spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as 2000-01-31T23:59:59.000000000Z")]
pub struct TimestampError;

impl Timestamp {
    /// The epoch.
    pub const EPOCH: Self = Self {
        seconds: 0,
        nanos: 0,
    };
    /// The first time that has a spelling.
    pub const MIN: Self = Self {
        seconds: MIN_SECONDS,
        nanos: 0,
    };
    /// The last time that has a spelling.
    pub const MAX: Self = Self {
        seconds: MAX_SECONDS,
        nanos: NANOS - 1,
    };

    /// Whether the time has a spelling: year 0000 to 9999 and less than a second of nanoseconds.
    #[must_use]
    pub fn is_valid(self) -> bool {
        (MIN_SECONDS..=MAX_SECONDS).contains(&self.seconds) && self.nanos < NANOS
    }

    /// The time that a file system or clock gave, brought between [`Self::MIN`] and [`Self::MAX`].
    pub fn from_system_time(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: after.subsec_nanos(),
            },
            Err(error) => {
                let before = error.duration();
                let seconds = i64::try_from(before.as_secs()).map_or(i64::MIN, |s| -s);
                match before.subsec_nanos() {
                    0 => Self { seconds, nanos: 0 },
                    nanos => Self {
                        seconds: seconds.saturating_sub(1),
                        nanos: NANOS - nanos,
                    },
                }
            }
        }
        .clamp(Self::MIN, Self::MAX)
    }

    /// The time for the system's calls, where the system can express it.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let whole = if self.seconds < 0 {
            UNIX_EPOCH.checked_sub(seconds)?
        } else {
            UNIX_EPOCH.checked_add(seconds)?
        };
        whole.checked_add(Duration::from_nanos(self.nanos.into()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z",
            self.nanos
        )
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &[u8; 30] = b"0000-00-00T00:00:00.000000000Z";
        let bytes: &[u8; 30] = text.as_bytes().try_into().map_err(|_| TimestampError)?;
        let fits = |(c, shape): (&u8, &u8)| match shape {
            b'0' => c.is_ascii_digit(),
            _ => c == shape,
        };
        if !bytes.iter().zip(SHAPE).all(fits) {
            return Err(TimestampError);
        }
        let number = |range: std::ops::Range<usize>| {
            bytes[range]
                .iter()
                .fold(0_i64, |n, c| n * 10 + i64::from(c - b'0'))
        };
        let (year, month, day) = (number(0..4), number(5..7), number(8..10));
        let (hour, minute, second) = (number(11..13), number(14..16), number(17..19));
        if !(1..=12).contains(&month)
            || !(1..=days_in_month(year, month)).contains(&day)
            || hour > 23
            || minute > 59
            || second > 59
        {
            return Err(TimestampError);
        }
        Ok(Self {
            seconds: days_from_civil(year, month, day) * DAY + hour * 3_600 + minute * 60 + second,
            // Nine digits are below 10^9.
            nanos: number(20..29) as u32,
        })
    }
}

/// Days of a 400-year cycle of the Gregorian calendar.
const CYCLE: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_SHIFT: i64 = 719_468;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch of a date of the proleptic Gregorian calendar, counted in years that begin
/// in March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let year = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    cycle * CYCLE + year * 365 + year / 4 - year / 100 + day_of_year - EPOCH_SHIFT
}

/// The inverse of [`days_from_civil`]: year, month, day.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_SHIFT;
    let cycle = days.div_euclid(CYCLE);
    let days = days.rem_euclid(CYCLE);
    let year = (days - days / 1_460 + days / 36_524 - days / (CYCLE - 1)) / 365;
    let day_of_year = days - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn known_times() {
        for (time, text) in [
            (Timestamp::EPOCH, "1970-01-01T00:00:00.000000000Z"),
            (at(-1, 999_999_999), "1969-12-31T23:59:59.999999999Z"),
            (at(951_782_400, 1), "2000-02-29T00:00:00.000000001Z"),
            (at(1_709_251_199, 0), "2024-02-29T23:59:59.000000000Z"),
            (at(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z"),
            (Timestamp::MIN, "0000-01-01T00:00:00.000000000Z"),
            (Timestamp::MAX, "9999-12-31T23:59:59.999999999Z"),
        ] {
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
            assert!(time.is_valid());
        }
    }

    #[test]
    fn refused_times() {
        for bad in [
            "",
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00.000000000",
            "1970-01-01T00:00:00.000000000z",
            "1970-01-01t00:00:00.000000000Z",
            "1970-01-01 00:00:00.000000000Z",
            "1970-01-01T00:00:00.000000000+00:00",
            "1970-01-01T00:00:60.000000000Z",
            "1970-01-01T00:60:00.000000000Z",
            "1970-01-01T24:00:00.000000000Z",
            "1970-00-01T00:00:00.000000000Z",
            "1970-13-01T00:00:00.000000000Z",
            "1970-01-00T00:00:00.000000000Z",
            "1970-04-31T00:00:00.000000000Z",
            "2023-02-29T00:00:00.000000000Z",
            "2100-02-29T00:00:00.000000000Z",
            "+970-01-01T00:00:00.000000000Z",
            "1970-01-01T00:00:00.00000000éZ",
        ] {
            assert_eq!(bad.parse::<Timestamp>(), Err(TimestampError), "{bad:?}");
        }
    }

    #[test]
    fn every_day_of_four_centuries() {
        let mut expected = (1999, 12, 31);
        for days in 10_956..10_956 + CYCLE {
            let (year, month, day) = expected;
            assert_eq!(civil_from_days(days), expected);
            assert_eq!(days_from_civil(year, month, day), days);
            expected = if day < days_in_month(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
        }
    }

    #[test]
    fn times_without_a_spelling_are_refused_when_read_back() {
        for time in [
            at(MAX_SECONDS + 1, 0),
            at(MIN_SECONDS - 1, 0),
            at(0, NANOS),
            at(i64::MAX - EPOCH_SHIFT * DAY, u32::MAX),
            at(i64::MIN, 0),
            at(i64::MAX, 0),
        ] {
            assert!(!time.is_valid());
            assert_eq!(time.to_string().parse::<Timestamp>(), Err(TimestampError));
        }
    }

    #[test]
    fn system_times() {
        for time in [
            Timestamp::EPOCH,
            at(-1, 999_999_999),
            at(-5, 0),
            at(1_700_000_000, 5),
        ] {
            let system = time.to_system_time().unwrap();
            assert_eq!(Timestamp::from_system_time(system), time);
        }
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(Timestamp::from_system_time(far), Timestamp::MAX);
        let past = UNIX_EPOCH - Duration::from_secs(1 << 40);
        assert_eq!(Timestamp::from_system_time(past), Timestamp::MIN);
    }
}
