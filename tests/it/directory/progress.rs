//! How far a run is, and how long it will take, is to be seen while it goes on.

use std::time::Duration;

use apono_connector::directory::progress::{Phase, Progress};
use simulator::fault::Fault;
use simulator::okta::Limits;

use crate::world::{Running, World};

fn progress(connector: &Running) -> Option<Progress> {
    connector.facts().organizations[0].directory.clone()?.progress
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_left_is_what_the_budget_makes_of_what_is_left() {
    let (mut world, _) = World::peopled(300, 150);
    // Four fifths are ours, and of these a part is kept for grants: 26 requests a minute.
    world.okta.configure(|settings| settings.limits = Limits::per_minute(40));
    let connector = world.start().await;
    let members = |least: u64| {
        let connector = &connector;
        move |_: &World| progress(connector).filter(|now| now.phase == Phase::Members && now.done >= least)
    };
    for least in [1, 60, 120] {
        let seen = world.until("members that are read", members(least)).await;
        assert_eq!((seen.total, seen.requests_per_minute), (Some(150), Some(26)), "{seen:?}");
        let (began, foreseen) = (world.elapsed(), seen.eta_seconds.unwrap());
        assert!(
            seen.sentence().contains("of 150 groups") && seen.sentence().contains("26 requests a minute")
        );
        if least == 120 {
            world
                .until("their end", |_| {
                    progress(&connector).is_none_or(|now| now.phase > Phase::Members).then_some(())
                })
                .await;
            let took = world.elapsed().saturating_sub(began).as_secs();
            assert!(foreseen.abs_diff(took) <= 2, "foreseen were {foreseen} s, and it took {took} s");
        }
    }
    let ended = |_: &World| connector.facts().organizations[0].last_directory_run.clone();
    world.until("the end of the run", ended).await;
    assert_eq!(progress(&connector), None, "between two runs there is nothing to see");

    // The next run knows how much there was.
    world.okta.faults().once("list_groups", Fault::Delay(Duration::from_secs(5)));
    let task = world.apono.enqueue("sync-directory", crate::world::INTEGRATION, serde_json::json!({}));
    let groups = |_: &World| progress(&connector).filter(|now| now.phase == Phase::Groups && now.done == 0);
    let seen = world.until("groups that are listed again", groups).await;
    assert!(seen.total.is_some_and(|total| total >= 150), "{seen:?}");
    world.result(&task).await;
    connector.stop().await;
}
