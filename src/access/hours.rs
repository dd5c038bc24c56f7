//! # Purpose
//! Business hours: when a grant may begin.
//!
//! # Invariants kept here
//! - Pure: the instant is an argument. Hours are local time of the configured zone, through its daylight saving.
//! - Without any span, every hour is a business hour.
//!
//! # Not here
//! Ending grants: hours never end one early and never delay a removal.

use jiff::Timestamp;
use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

/// `okta[].access.policy.business_hours` in `okta[].access.policy.time_zone`.
#[derive(Clone, Debug)]
pub struct Hours {
    zone: TimeZone,
    spans: Vec<Span>,
    text: String,
}

/// Some days of the week, from one time to another of the same day.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    days: Vec<Weekday>,
    from: Time,
    /// The first instant that is not in it; `None` is midnight.
    until: Option<Time>,
}

/// Hours that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// A span.
    #[error("{0:?} is not a span of business hours; write \"mon-fri 08:00-18:00\" or \"sat 10:00-24:00\"")]
    Span(String),
    /// The zone.
    #[error("{0:?} is not a time zone; write a name such as \"Europe/Berlin\" or \"UTC\"")]
    Zone(String),
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl Hours {
    /// Every hour.
    pub fn always() -> Self {
        Self { zone: TimeZone::UTC, spans: Vec::new(), text: String::new() }
    }

    /// Reads spans such as `mon-fri 08:00-18:00`.
    pub fn parse(spans: &[String], zone: &str) -> Result<Self, HoursError> {
        let zone = TimeZone::get(zone).map_err(|_| HoursError::Zone(zone.to_owned()))?;
        let read = |text: &String| span(text).ok_or_else(|| HoursError::Span(text.clone()));
        let text = spans.join(", ");
        Ok(Self { zone, spans: spans.iter().map(read).collect::<Result<_, _>>()?, text })
    }

    /// Whether a grant may begin at `now`.
    pub fn contain(&self, now: Timestamp) -> bool {
        let local = now.to_zoned(self.zone.clone());
        let (day, time) = (local.weekday(), local.time());
        self.spans.is_empty()
            || self.spans.iter().any(|span| {
                span.days.contains(&day) && span.from <= time && span.until.is_none_or(|until| time < until)
            })
    }

    /// As configured, for people.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn span(text: &str) -> Option<Span> {
    let (days, times) = text.trim().split_once(' ')?;
    let (from, until) = times.trim().split_once('-')?;
    let from: Time = clock_time(from)?;
    let until = if until.trim() == "24:00" { None } else { Some(clock_time(until)?) };
    if until.is_some_and(|until| until <= from) {
        return None;
    }
    Some(Span { days: weekdays(days)?, from, until })
}

fn clock_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

/// `mon`, `mon-fri`, `sat-mon`.
fn weekdays(text: &str) -> Option<Vec<Weekday>> {
    let day = |text: &str| DAYS.iter().position(|(name, _)| name.eq_ignore_ascii_case(text.trim()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (day(first)?, day(last)?);
    let count = (last + 7 - first) % 7;
    Some((0..=count).map(|n| DAYS[(first + n) % 7].1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(spans: &[&str], zone: &str) -> Result<Hours, HoursError> {
        Hours::parse(&spans.iter().map(ToString::to_string).collect::<Vec<_>>(), zone)
    }

    #[test]
    fn spans_are_local_and_end_before_their_end() {
        let office = hours(&["mon-fri 08:00-18:00", "sat 10:00-24:00"], "Europe/Berlin").unwrap();
        let table = [
            ("2026-01-05T06:59:59Z", false),
            ("2026-01-05T07:00:00Z", true),
            ("2026-01-05T16:59:59Z", true),
            ("2026-01-05T17:00:00Z", false),
            // Daylight saving: the same local time is an hour earlier in UTC.
            ("2026-07-06T06:00:00Z", true),
            ("2026-07-06T16:00:00Z", false),
            ("2026-01-10T22:59:59Z", true),
            ("2026-01-10T23:00:00Z", false),
            ("2026-01-11T12:00:00Z", false),
        ];
        for (instant, inside) in table {
            assert_eq!(office.contain(instant.parse().unwrap()), inside, "{instant}");
        }
    }

    #[test]
    fn a_span_may_go_over_the_weekend_and_none_is_always() {
        let watch = hours(&["sat-mon 00:00-24:00"], "UTC").unwrap();
        for (instant, inside) in
            [("2026-01-09", false), ("2026-01-10", true), ("2026-01-12", true), ("2026-01-13", false)]
        {
            let noon = format!("{instant}T12:00:00Z").parse().unwrap();
            assert_eq!(watch.contain(noon), inside, "{instant}");
        }
        assert!(Hours::always().contain(Timestamp::UNIX_EPOCH));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_an_example() {
        for text in [
            "",
            "mon",
            "mon-fri",
            "mon 18:00-08:00",
            "mon 08:00",
            "day 08:00-09:00",
            "mon 8-9",
            "mon 08:00-25:00",
        ] {
            let error = hours(&[text], "UTC").unwrap_err().to_string();
            assert!(error.contains("mon-fri 08:00-18:00"), "{error}");
        }
        assert!(hours(&[], "Mars/Olympus").unwrap_err().to_string().contains("Europe/Berlin"));
    }
}
