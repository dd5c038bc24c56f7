//! A week of an organization, under the limits that service apps have.

use simulator::okta::Limits;

use crate::steady::{Organization, work};

/// More groups than a minute of `limits` allows to read: a crawl that keeps to none of them is refused.
async fn a_week(limits: Limits, groups: usize) {
    let week = Organization { days: 7, users: 300, groups, members_per_group: 5, limits };
    let worked = work(week).await;
    let amiss = (worked.throttled, worked.broken_runs, worked.refused_grants, worked.left_over);
    assert_eq!(amiss, (0, 0, 0, 0), "{worked:?}");
    assert!(worked.runs > 600 && worked.grants > 300, "{worked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_week_of_a_small_organization_sees_no_429() {
    a_week(Limits::integrator_app(), 70).await;
}

#[tokio::test(start_paused = true)]
async fn a_week_of_a_workforce_organization_sees_no_429() {
    a_week(Limits::workforce_app(), 280).await;
}
