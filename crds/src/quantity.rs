//! Quantities of bytes as the API writes them, such as `6Mi`.

/// The suffixes that the schema allows, largest first, and what each stands for in bytes.
const UNITS: [(&str, u64); 8] = [
    ("Ti", 1 << 40),
    ("T", 1_000_000_000_000),
    ("Gi", 1 << 30),
    ("G", 1_000_000_000),
    ("Mi", 1 << 20),
    ("M", 1_000_000),
    ("Ki", 1 << 10),
    ("k", 1_000),
];

/// The bytes that `quantity` stands for; `None` for what the schema refuses or 64 bits cannot hold.
pub fn bytes(quantity: &str) -> Option<u64> {
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(suffix, bytes)| quantity.strip_suffix(suffix).map(|digits| (digits, *bytes)))
        .unwrap_or((quantity, 1));
    // `u64::from_str` takes a leading '+', which no quantity has.
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

/// `bytes` in the largest binary unit that divides it, as a person would write it: `6Mi`, not `6144Ki`.
pub fn display(bytes: u64) -> String {
    UNITS
        .iter()
        .filter(|(suffix, _)| suffix.ends_with('i'))
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| bytes.to_string(), |(suffix, unit)| format!("{}{suffix}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_read_in_binary_and_decimal_units() {
        let read = ["6Mi", "24Mi", "1Gi", "1G", "500M", "6291456", "8k", "2Ti"].map(bytes);
        let expected =
            [6 << 20, 24 << 20, 1 << 30, 1_000_000_000, 500_000_000, 6_291_456, 8_000, 2 << 40].map(Some);
        assert_eq!(read, expected);
    }

    #[test]
    fn what_the_schema_refuses_is_no_quantity() {
        for refused in ["", "Mi", "6mi", "-6Mi", "+6Mi", "6.5Mi", "6 Mi", "99999999999999999999"] {
            assert_eq!(bytes(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn bytes_are_written_in_the_largest_unit_that_divides_them() {
        let written = [6 << 20, 6_291_457, 3 << 29, 0, 1 << 30].map(display);
        assert_eq!(written, ["6Mi", "6291457", "1536Mi", "0", "1Gi"]);
    }
}
