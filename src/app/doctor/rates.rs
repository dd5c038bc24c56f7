//! # Purpose
//! The organization's rate limits: whether our share is enough, and what others leave of them.
//!
//! # Invariants kept here
//! - What was asked here is counted, and is not taken for others' requests.
//! - The worst that any answer has told counts: a window that is over tells of nobody any more.
//!
//! # Not here
//! Keeping to the limits: `http::budget`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use url::Url;

use super::probe::{Probe, Report};
use crate::catalogue::ErrorCode;
use crate::clock::SharedClock;
use crate::http::budget::{Reading, read};
use crate::http::{Request, Response, Transport, TransportError};

/// Below so many requests a minute a first run of an ordinary organization takes days.
const LEAST: u32 = 60;
/// What directory runs and grants spend most from.
const SPENT_FROM: [&str; 2] = ["/api/v1/users", "/api/v1/groups"];
/// `Date` and the reset are whole seconds, so the end of one window is seen a second apart.
const SAME_WINDOW: Duration = Duration::from_secs(2);

/// The way to one organization, with an eye on what its answers say of limits.
pub(super) struct Gauge {
    inner: Arc<dyn Transport>,
    clock: SharedClock,
    seen: Mutex<BTreeMap<String, Seen>>,
}

/// What the answers of one bucket have told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    limit: u32,
    /// On the monotonic clock.
    ends: Option<Duration>,
    /// Ours of this window.
    ours: u32,
    /// Somebody else's, of the window in which it was most.
    others: u32,
}

impl Seen {
    fn note(&mut self, limit: u32, remaining: u32, ends: Duration) {
        if self.ends.is_none_or(|known| known.abs_diff(ends) > SAME_WINDOW) {
            self.ours = 0;
        }
        self.ours += 1;
        (self.limit, self.ends) = (limit, Some(ends));
        self.others = self.others.max(limit.saturating_sub(remaining).saturating_sub(self.ours));
    }
}

impl Gauge {
    pub(super) fn new(inner: Arc<dyn Transport>, clock: SharedClock) -> Self {
        Self { inner, clock, seen: Mutex::default() }
    }

    fn note(&self, bucket: String, response: &Response) {
        // A refusal for too many at once tells of no limit.
        let Some(Reading::Window { limit, remaining, resets_in }) = read(&response.headers) else { return };
        let ends = self.clock.elapsed() + resets_in;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.entry(bucket).or_default().note(limit, remaining, ends);
    }

    /// Says what was seen until now.
    pub(super) fn judge(&self, share: f64, target: &str, report: &mut Report) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        judge(&seen, share, target, report);
    }
}

fn judge(seen: &BTreeMap<String, Seen>, share: f64, target: &str, report: &mut Report) {
    let spent_from = seen.iter().filter(|(bucket, _)| SPENT_FROM.contains(&bucket.as_str()));
    match spent_from.min_by_key(|(_, seen)| seen.limit) {
        None => report.skip(Probe::RateShare, target, "no answer has told of limits"),
        Some((bucket, seen)) => {
            let ours = f64::from(seen.limit) * share;
            let detail = format!(
                "{} requests a minute for {bucket} at the least, of which okta[].rate_limit_share leaves {ours:.0}",
                seen.limit
            );
            if ours < f64::from(LEAST) {
                report.warn_of(
                    Probe::RateShare,
                    target,
                    detail,
                    "Raise the application's share of the rate limits (Okta: the application, Application rate limits), or okta[].rate_limit_share.",
                    ErrorCode::OktaThrottled,
                );
            } else {
                report.pass(Probe::RateShare, target, detail);
            }
        }
    }
    // The most crowded, whatever its limit.
    let crowded = seen.iter().max_by(|(_, one), (_, other)| part(one).total_cmp(&part(other)));
    match crowded {
        None => report.skip(Probe::RateOthers, target, "no answer has told of limits"),
        Some((bucket, seen)) if part(seen) > 0.5 => report.warn_of(
            Probe::RateOthers,
            target,
            format!(
                "of {} requests a minute for {bucket}, {} were spent beside those of this look (by the connector among others, if it runs)",
                seen.limit, seen.others
            ),
            "See who else uses them (Okta: Reports, Rate Limits); runs take longer meanwhile.",
            ErrorCode::OktaThrottled,
        ),
        Some((bucket, seen)) => report.pass(
            Probe::RateOthers,
            target,
            format!("others left half of each limit or more (most was spent for {bucket}: {} of {})", seen.others, seen.limit),
        ),
    }
}

/// Of the limit, what others have spent.
fn part(seen: &Seen) -> f64 {
    f64::from(seen.others) / f64::from(seen.limit.max(1))
}

/// Okta counts below the first three parts of a path, as far as it is asked here.
fn bucket_of(url: &Url) -> String {
    let parts: Vec<_> = url.path_segments().into_iter().flatten().take(3).collect();
    format!("/{}", parts.join("/"))
}

impl Transport for Gauge {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        let bucket = bucket_of(&request.url);
        Box::pin(async move {
            let answer = self.inner.send(request, limit).await;
            if let Ok(response) = &answer {
                self.note(bucket, response);
            }
            answer
        })
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauge").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::Verdict;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn what_is_asked_here_is_nobody_elses() {
        let mut seen = Seen::default();
        for left in [49, 48, 47] {
            seen.note(50, left, MINUTE);
        }
        assert_eq!((seen.ours, seen.others), (3, 0));
        seen.note(50, 20, MINUTE + Duration::from_secs(1));
        assert_eq!((seen.ours, seen.others), (4, 26), "the same window, a second apart");
        seen.note(50, 49, 2 * MINUTE);
        assert_eq!((seen.ours, seen.others), (1, 26), "another window, and what was seen stays");
    }

    fn verdicts(limit: u32, others: u32, share: f64) -> (Verdict, Verdict) {
        let seen = Seen { limit, others, ..Seen::default() };
        let mut report = Report::default();
        judge(&BTreeMap::from([("/api/v1/groups".to_owned(), seen)]), share, "x", &mut report);
        assert_eq!(report.findings.len(), 2);
        (report.findings[0].verdict, report.findings[1].verdict)
    }

    #[test]
    fn a_limit_is_judged_by_our_share_of_it_and_by_what_others_spend() {
        let (pass, warn) = (Verdict::Pass, Verdict::Warn);
        assert_eq!(verdicts(300, 0, 0.8), (pass, pass));
        assert_eq!(verdicts(300, 0, 0.1), (warn, pass), "30 are ours");
        assert_eq!(verdicts(60, 0, 1.0), (pass, pass));
        assert_eq!(verdicts(59, 0, 1.0), (warn, pass));
        assert_eq!(verdicts(300, 150, 0.8), (pass, pass));
        assert_eq!(verdicts(300, 151, 0.8), (pass, warn));
        assert_eq!(verdicts(50, 49, 0.8), (warn, warn), "however small the limit is");
        let mut report = Report::default();
        judge(&BTreeMap::new(), 1.0, "x", &mut report);
        assert!(report.findings.iter().all(|finding| finding.verdict == Verdict::Skip), "{report:?}");
    }

    #[test]
    fn what_is_counted_together_has_one_name() {
        let of = |url: &str| bucket_of(&Url::parse(url).unwrap());
        for url in ["groups?limit=1", "groups/rules?limit=200", "groups/00g1/users/00u1"] {
            assert_eq!(of(&format!("https://example.okta.com/api/v1/{url}")), "/api/v1/groups");
        }
        assert_eq!(of("https://example.okta.com/oauth2/v1/token"), "/oauth2/v1/token");
    }
}
