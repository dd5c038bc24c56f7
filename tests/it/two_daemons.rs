//! Two connectors under one connector id, each with a disk of its own: a mistake of operation, and what a rolling
//! replacement without a shared disk comes to. Here is what holds between them, and what does not.
//!
//! What holds: as long as both come back on their own disks, Okta ends up as with one, and every task has one result.
//! What does not hold: a duty lives on the disk of the connector that gave the access, and on no other. The other one
//! takes the membership for a standing one, because nothing tells it apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apono_connector::access::journal::{Journal, MemoryJournal};
use apono_connector::clock;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use futures_util::future::BoxFuture;

use simulator::fault::Fault;

use crate::crash_sweep::script::{Cast, Delivery, Part};
use crate::oracle::at_the_end;
use crate::scene::Scene;
use crate::world::{Running, World};

const MINUTE: Duration = Duration::from_mins(1);

/// One of the two.
struct Daemon {
    disk: Arc<MemoryJournal>,
    network: Arc<Leasing>,
    state: &'static str,
}

impl Daemon {
    fn new(world: &World, state: &'static str) -> Self {
        let network = Arc::new(Leasing { inner: world.network(), is_cut: AtomicBool::new(false) });
        Self { disk: Arc::default(), network, state }
    }

    async fn start(&self, world: &mut World) -> Running {
        let settings = world.settings.clone();
        world.settings = settings.replace("state.db", &format!("{}/state.db", self.state));
        let network = Arc::clone(&self.network) as Arc<dyn Transport>;
        let started = world.start_between(network, Arc::clone(&self.disk) as Arc<dyn Journal>, "").await;
        world.settings = settings;
        started.unwrap()
    }

    /// From now on it is handed no tasks; or is again. Everything else reaches Apono.
    fn leases_nothing(&self, cut: bool) {
        self.network.is_cut.store(cut, Ordering::SeqCst);
    }
}

/// A network whose way to the leases can be cut.
#[derive(Debug)]
struct Leasing {
    inner: Arc<dyn Transport>,
    is_cut: AtomicBool,
}

impl Transport for Leasing {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        if request.url.path().ends_with("/task-leases") && self.is_cut.load(Ordering::SeqCst) {
            return Box::pin(async move {
                clock::sleep(limit).await;
                Err(TransportError::Timeout { host: "api.apono.io".to_owned(), limit })
            });
        }
        self.inner.send(request, limit)
    }
}

async fn scene_of_two() -> (Scene, [Daemon; 2], [Running; 2]) {
    let mut scene = Scene::new();
    let daemons = [Daemon::new(&scene.world, "first"), Daemon::new(&scene.world, "second")];
    let first = daemons[0].start(&mut scene.world).await;
    let second = daemons[1].start(&mut scene.world).await;
    scene.world.until("both are connected", |world| (world.apono.sessions().len() == 2).then_some(())).await;
    (scene, daemons, [first, second])
}

/// What is true of both at the end.
async fn nothing_is_owed(scene: &Scene, running: [Running; 2]) {
    assert!(!scene.is_member());
    for connector in running {
        assert_eq!(connector.facts().organizations[0].removals_due, 0);
        assert_eq!(connector.facts().results_pending, 0);
        connector.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_both_get_gives_once_ends_once_and_has_one_result() {
    let (scene, _daemons, running) = scene_of_two().await;
    let granted = scene.grant(10 * MINUTE);
    scene.world.apono.deliver_to_all(&granted.task_id);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted");
    scene.world.pass(MINUTE).await;
    assert_eq!(scene.world.apono.attempts(&granted.task_id), 2, "both had it");
    assert_eq!(scene.world.apono.result_posts(&granted.task_id), 1);
    assert!(scene.is_member());
    scene.world.pass(11 * MINUTE).await;
    nothing_is_owed(&scene, running).await;
}

/// The one that is told cannot know whose the membership is, and says that it was there before; the other one no longer
/// finds the grant in Apono's listing, twice, and ends it.
#[tokio::test(start_paused = true)]
async fn a_revoke_that_the_other_one_gets_is_made_up_for_by_the_listing() {
    let (scene, daemons, running) = scene_of_two().await;
    daemons[1].leases_nothing(true);
    scene.world.pass(MINUTE).await;
    let granted = scene.given(5 * 60 * MINUTE).await;
    scene.world.pass(12 * MINUTE).await;
    daemons[0].leases_nothing(true);
    daemons[1].leases_nothing(false);
    scene.world.pass(2 * MINUTE).await;
    let task = scene.world.apono.revoke(&granted.grant_id);
    let revoked = scene.world.clock.now();
    assert_eq!(
        scene.world.result(&task).await["code"],
        "kept_standing",
        "it is not true, and not known better"
    );
    assert!(scene.is_member());
    scene.world.until_member(&scene.group, &scene.user, false).await;
    // Two listings, one every five minutes.
    assert!(scene.world.since(revoked).as_secs() < 12 * 60, "{}", scene.world.since(revoked));
    assert_eq!(scene.world.apono.result_posts(&task), 1);
    daemons[0].leases_nothing(false);
    scene.world.pass(5 * MINUTE).await;
    nothing_is_owed(&scene, running).await;
}

/// The same where both were asked to give it: one may have found the other's membership, and it takes the listing then.
#[tokio::test(start_paused = true)]
async fn a_revoke_of_what_both_were_asked_for_ends_it_whoever_gets_it() {
    for gets_it in [0, 1] {
        let (scene, daemons, running) = scene_of_two().await;
        let granted = scene.grant(5 * 60 * MINUTE);
        scene.world.apono.deliver_to_all(&granted.task_id);
        scene.world.result(&granted.task_id).await;
        daemons[1 - gets_it].leases_nothing(true);
        scene.world.pass(2 * MINUTE).await;
        let revoked = scene.world.clock.now();
        assert_eq!(scene.revoked(&granted.grant_id).await["status"], "Success");
        scene.world.until_member(&scene.group, &scene.user, false).await;
        assert!(scene.world.since(revoked).as_secs() < 12 * 60, "{}", scene.world.since(revoked));
        daemons[1 - gets_it].leases_nothing(false);
        scene.world.pass(12 * MINUTE).await;
        nothing_is_owed(&scene, running).await;
    }
}

/// What does **not** hold: access whose giver never comes back on its disk outlives its grant. The other one adopts the
/// grant from Apono's listing and finds a member whom it did not add: a standing membership, as far as it can see, and
/// those are never removed. The duty is on the disk of the first, and ends there as soon as it is back.
#[tokio::test(start_paused = true)]
async fn a_duty_is_on_the_disk_of_the_one_that_gave_the_access_and_on_no_other() {
    let (mut scene, daemons, [first, second]) = scene_of_two().await;
    daemons[1].leases_nothing(true);
    scene.world.pass(MINUTE).await;
    scene.given(30 * MINUTE).await;
    first.crash().await;
    daemons[1].leases_nothing(false);
    scene.world.pass(120 * MINUTE).await;
    assert!(scene.is_member(), "the other one ends it now: tell so in docs/ARCHITECTURE.md");
    let first = daemons[0].start(&mut scene.world).await;
    scene.world.pass(MINUTE).await;
    nothing_is_owed(&scene, [first, second]).await;
}

/// What does **not** hold either: of two overlapping grants of one membership that went to different connectors, the end of
/// the first takes the access, until the one that took it reads of the second in Apono's listing.
#[tokio::test(start_paused = true)]
async fn of_overlapping_grants_at_two_connectors_the_second_is_given_again_after_the_next_listing() {
    let (scene, daemons, running) = scene_of_two().await;
    let began = scene.world.clock.now();
    let at = |minute: u32| clock::until(scene.world.clock.now(), clock::after(began, minute * MINUTE));
    daemons[1].leases_nothing(true);
    scene.world.pass(at(1)).await;
    scene.given(8 * MINUTE).await;
    daemons[0].leases_nothing(true);
    daemons[1].leases_nothing(false);
    scene.world.pass(at(6)).await;
    let second = scene.grant(14 * MINUTE);
    assert_eq!(scene.world.result(&second.task_id).await["code"], "already_member");
    scene.world.pass(at(9) + MINUTE / 2).await;
    assert!(!scene.is_member(), "it is kept now: tell so in docs/ARCHITECTURE.md");
    scene.world.pass(at(11)).await;
    assert!(scene.is_member());
    daemons[0].leases_nothing(false);
    scene.world.pass(at(21)).await;
    nothing_is_owed(&scene, running).await;
}

/// What was not given yet when its taker died is given, and ended, by the other one.
#[tokio::test(start_paused = true)]
async fn a_task_whose_taker_died_before_it_gave_anything_is_the_other_ones() {
    let (scene, daemons, [first, second]) = scene_of_two().await;
    daemons[1].leases_nothing(true);
    scene.world.pass(MINUTE).await;
    scene.world.okta.faults().always("get_user", Fault::status(503));
    let granted = scene.grant(30 * MINUTE);
    scene.world.until("taken", |world| (world.apono.attempts(&granted.task_id) > 0).then_some(())).await;
    first.crash().await;
    assert!(!scene.is_member());
    scene.world.okta.faults().clear();
    daemons[1].leases_nothing(false);
    assert_eq!(scene.world.result(&granted.task_id).await["code"], "granted");
    scene.world.pass(31 * MINUTE).await;
    assert!(!scene.is_member());
    assert_eq!(second.facts().organizations[0].removals_due, 0);
    second.stop().await;
}

/// Everything that the sweep plays, with two connectors: every task goes to one of them, or to both.
#[tokio::test(start_paused = true)]
async fn with_two_connectors_access_ends_as_with_one() {
    for part in [Part::Ends, Part::Overlaps, Part::Revisions, Part::Order] {
        for delivery in [Delivery::Once, Delivery::Twice, Delivery::ToAll] {
            let mut world = World::quiet();
            world.settings = world.settings.replace("[state]", "[okta.directory]\nenabled = false\n[state]");
            let cast = Cast::enter(&world, true).delivering(delivery);
            let daemons = [Daemon::new(&world, "first"), Daemon::new(&world, "second")];
            let first = daemons[0].start(&mut world).await;
            let second = daemons[1].start(&mut world).await;
            world
                .until("both are connected", |world| (world.apono.sessions().len() == 2).then_some(()))
                .await;
            cast.play(part).await;
            world.pass(12 * MINUTE).await;

            let promised = cast.promised.borrow().clone();
            let mut breaches = Vec::new();
            at_the_end(&world.okta, &promised, &mut breaches);
            for task in promised.tasks.keys() {
                if world.apono.result(task).is_none() || world.apono.result_posts(task) != 1 {
                    breaches.push(format!("{task} has {} results", world.apono.result_posts(task)));
                }
            }
            assert_eq!(breaches, Vec::<String>::new(), "{part:?}, {delivery:?}");
            for connector in [first, second] {
                assert_eq!(connector.facts().organizations[0].removals_due, 0);
                connector.crash().await;
            }
        }
    }
}

/// The same, and the power of both goes now and then: they come back, each on its own disk.
#[tokio::test(start_paused = true)]
async fn with_two_connectors_that_crash_in_turn_access_ends_as_with_one() {
    for part in [Part::Ends, Part::Overlaps, Part::Revisions, Part::Order] {
        for seconds in (1..=20).step_by(3) {
            let mut world = World::quiet();
            world.settings = world.settings.replace("[state]", "[okta.directory]\nenabled = false\n[state]");
            let delivery = if seconds % 2 == 0 { Delivery::Twice } else { Delivery::Once };
            let cast = Cast::enter(&world, true).delivering(delivery);
            let daemons = [Daemon::new(&world, "first"), Daemon::new(&world, "second")];
            let mut running =
                [Some(daemons[0].start(&mut world).await), Some(daemons[1].start(&mut world).await)];
            {
                let mut script = std::pin::pin!(cast.play(part));
                for turn in 0.. {
                    let next = Duration::from_millis(500 * seconds);
                    if clock::timeout(next, &mut script).await.is_some() {
                        break;
                    }
                    let one = turn % 2;
                    if let Some(connector) = running[one].take() {
                        connector.crash().await;
                    }
                    running[one] = Some(daemons[one].start(&mut world).await);
                }
            }
            world.pass(12 * MINUTE).await;
            let mut breaches = Vec::new();
            at_the_end(&world.okta, &cast.promised.borrow(), &mut breaches);
            let unanswered =
                cast.promised.borrow().tasks.keys().filter(|task| world.apono.result(task).is_none()).count();
            assert_eq!(
                (breaches, unanswered),
                (Vec::new(), 0),
                "{part:?}, a crash every {seconds} half seconds"
            );
            for connector in running.into_iter().flatten() {
                connector.crash().await;
            }
        }
    }
}
