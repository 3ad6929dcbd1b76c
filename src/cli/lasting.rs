//! How long something is to last, as people write it: 90, 90s, 10m, 2h, 1d.

use std::time::Duration;

use crate::limits::DOOR_LASTING_MAX;

/// Why it is none.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LastingError {
    /// No number, or another unit.
    #[error("no time, as in 90 (seconds), 90s, 10m, 2h or 1d")]
    Form,
    /// Nothing lasts for no time.
    #[error("no time at all")]
    Zero,
    /// More than [`DOOR_LASTING_MAX`].
    #[error("more than {} days; leave it out for no end", DOOR_LASTING_MAX.as_secs() / DAY)]
    TooLong,
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Seconds without a unit.
pub(super) fn parse(text: &str) -> Result<Duration, LastingError> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _other => return Err(LastingError::Form),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(LastingError::Form);
    }
    // What does not fit into the number is too long as well.
    let count = digits.parse::<u64>().map_err(|_too_many_digits| LastingError::TooLong)?;
    let lasting = Duration::from_secs(count.checked_mul(unit).ok_or(LastingError::TooLong)?);
    match lasting {
        Duration::ZERO => Err(LastingError::Zero),
        lasting if lasting > DOOR_LASTING_MAX => Err(LastingError::TooLong),
        lasting => Ok(lasting),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_and_a_unit() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("1", 1),
            ("10m", 600),
            ("2h", 7200),
            ("1d", 86_400),
            ("3660d", 3660 * 86_400),
            ("007", 7),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_and_what_is_too_much() {
        for text in
            ["", "s", "m", "-1", "+1", "1.5h", "1 h", " 1", "1w", "1M", "1hm", "1h30m", "0x1", "١"]
        {
            assert_eq!(parse(text), Err(LastingError::Form), "{text}");
        }
        for text in ["0", "0s", "000d"] {
            assert_eq!(parse(text), Err(LastingError::Zero), "{text}");
        }
        for text in
            ["3661d", "87841h", "316224001", "18446744073709551615d", "99999999999999999999"]
        {
            assert_eq!(parse(text), Err(LastingError::TooLong), "{text}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_all_is_bounded(text in "[0-9]{0,21}\\PC{0,3}") {
            if let Ok(lasting) = parse(&text) {
                prop_assert!(lasting > Duration::ZERO && lasting <= DOOR_LASTING_MAX);
            }
        }
    }
}
