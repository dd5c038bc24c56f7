//! # Purpose
//! Writes JSON objects straight into a byte buffer, so that a page costs one allocation and no tree.
//!
//! # Invariants kept here
//! - Every string that needs escaping goes through `serde_json`.
//! - Members that a projection leaves out are not written at all.
//!
//! # Not here
//! Which members an object has.

use serde::Serialize;

/// One JSON object being written.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    only: Option<&'a [String]>,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object.
    pub(super) fn open(out: &'a mut Vec<u8>) -> Self {
        Self::open_with_only(out, None)
    }

    /// Opens an object that keeps only the named members.
    pub(super) fn open_with_only(out: &'a mut Vec<u8>, only: Option<&'a [String]>) -> Self {
        out.push(b'{');
        Self { out, only, empty: true }
    }

    /// Writes `name` and whatever `value` appends.
    pub(super) fn raw(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        if self.only.is_some_and(|only| !only.iter().any(|kept| kept == name)) {
            return;
        }
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        write_text(self.out, name);
        self.out.push(b':');
        value(self.out);
    }

    /// Writes a member of any serializable type.
    pub(super) fn value(&mut self, name: &str, value: &impl Serialize) {
        self.raw(name, |out| write_value(out, value));
    }

    /// Writes a string.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.raw(name, |out| write_text(out, value));
    }

    /// Writes an instant as Okta does, with three decimals; `None` is `null`.
    pub(super) fn instant(&mut self, name: &str, value: Option<i64>) {
        self.raw(name, |out| match value {
            Some(ms) => write_text(out, &instant(ms)),
            None => out.extend_from_slice(b"null"),
        });
    }

    /// Writes `null`.
    pub(super) fn null(&mut self, name: &str) {
        self.raw(name, |out| out.extend_from_slice(b"null"));
    }

    /// Closes the object.
    pub(super) fn close(self) {
        self.out.push(b'}');
    }
}

/// Milliseconds since the epoch as `2026-01-02T03:04:05.678Z`.
///
/// Pages are full of instants, and general formatting would be most of what a page costs.
pub(super) fn instant(ms: i64) -> String {
    let (days, of_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // Days to a date of the Gregorian calendar, in years that start in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let mut text = String::with_capacity(24);
    let mut push = |number: i64, width: u32, after: char| {
        for place in (0..width).rev() {
            let digit = u8::try_from(number / 10_i64.pow(place) % 10).unwrap_or(0);
            text.push(char::from(b'0' + digit));
        }
        text.push(after);
    };
    push(year, 4, '-');
    push(month, 2, '-');
    push(day, 2, 'T');
    push(of_day / 3_600_000, 2, ':');
    push(of_day / 60_000 % 60, 2, ':');
    push(of_day / 1000 % 60, 2, '.');
    push(of_day % 1000, 3, 'Z');
    text
}

/// Appends a string. Most need no escaping, which is quickly seen.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        write_value(out, &text);
    } else {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    }
}

/// Appends one value. Writing to a buffer cannot fail, and our values have no odd map keys.
pub(super) fn write_value(out: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(out, value);
}

/// Writes `[a,b,c]`.
pub(super) fn write_array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut each: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        each(out, item);
    }
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{instant, write_text};

    #[test]
    fn okta_json_writes_instants_as_the_calendar_has_them() {
        for ms in
            [0, -1, 951_782_399_999, 951_782_400_000, 1_709_164_800_123, 1_767_225_599_999, 4_102_444_800_000]
        {
            let expected = Timestamp::from_millisecond(ms).unwrap();
            assert_eq!(instant(ms), format!("{expected:.3}"));
        }
    }

    #[test]
    fn okta_json_escapes_what_needs_it() {
        for text in ["plain", "東京 ☕", "say \"hi\" \\ \n", "\u{1}"] {
            let mut out = Vec::new();
            write_text(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
