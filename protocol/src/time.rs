//! Points in time as text.

use jiff::Timestamp;

use crate::metadata::Millis;

/// `YYYY-MM-DD hh:mm:ss.mmmZ`: exactly three decimals, because the Java SDK parses exactly that.
///
/// Times outside of what a calendar of four-digit years knows print as its first or last one.
pub fn print(millis: Millis) -> String {
    let millis = millis.clamp(-62_135_596_800_000, crate::change::LATEST);
    // Within the range, so the default is never taken.
    Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// Reads `2026-01-31T23:59:59.999Z`, with or without a fraction; also with a space for the `T`.
pub fn parse(text: &str) -> Option<Millis> {
    // Longer texts only repeat digits of the fraction.
    if text.len() > 40 || !text.ends_with(['Z', 'z']) {
        return None;
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_has_three_decimals_also_when_they_are_zero() {
        assert_eq!(print(1_714_900_000_000), "2024-05-05 09:06:40.000Z");
        assert_eq!(print(1_714_900_000_007), "2024-05-05 09:06:40.007Z");
        assert_eq!(print(i64::MAX), "9999-12-30 21:59:59.999Z");
        assert_eq!(print(i64::MIN), "0001-01-01 00:00:00.000Z");
    }

    #[test]
    fn iso_times_are_read_and_others_are_not() {
        assert_eq!(parse("2024-05-05T09:06:40Z"), Some(1_714_900_000_000));
        assert_eq!(parse("2024-05-05T09:06:40.007123Z"), Some(1_714_900_000_007));
        for text in ["", "now", "2024-05-05", "2024-13-05T09:06:40Z", "2024-05-05T09:06:40", "1714900000000"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(millis in 0..=crate::change::LATEST) {
            prop_assert_eq!(parse(&print(millis)), Some(millis));
        }
    }
}
