//! Within Okta's rate limits, also where others spend from them.

use std::time::Duration;

use simulator::okta::Limits;

use crate::crawl::{Scene, crawl};

const SCENE: fn() -> Scene = || Scene {
    users: 3_000,
    groups: 300,
    members_per_group: 10,
    limits: Limits::per_minute(100).with_concurrency(37),
    others: 0,
    grants: 0,
};

#[tokio::test(start_paused = true)]
async fn a_crawl_takes_as_long_as_its_share_of_the_limits_demands_and_is_never_refused() {
    let crawl = crawl(SCENE()).await;
    assert_eq!(crawl.throttled, 0, "{crawl:?}");
    assert!(crawl.requests > 300, "{crawl:?}");
    assert!(crawl.took >= crawl.bound, "{crawl:?}");
    assert!(crawl.took.as_secs_f64() <= crawl.bound.as_secs_f64() * 1.05, "{crawl:?}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_half_of_the_limits_is_yielded_to_and_grants_are_given_meanwhile() {
    let crawl = crawl(Scene { others: 50, grants: 20, ..SCENE() }).await;
    assert_eq!((crawl.throttled, crawl.others_throttled), (0, 0), "{crawl:?}");
    assert!(crawl.others > 300, "{crawl:?}");
    assert!(crawl.slowest_grant < Duration::from_secs(2), "{crawl:?}");
}
