//! The power goes at every single point of a dense history, before and after each effect; access ends all the same.
//!
//! An effect is an append to the journal, a call to Okta or a call to Apono. Whatever was cut off is continued by a
//! second connector on the same disk, until all grants are over; then the oracle is asked.

mod planted;
pub mod script;

use std::sync::Arc;
use std::time::Duration;

use apono_connector::access::journal::Journal;
use apono_connector::clock;
use apono_connector::http::transport::Transport;
use jiff::Timestamp;
use script::{Cast, Part};

use crate::oracle::{
    Promised, at_the_end, one_result, second_answers, told_without_an_end, too_early, too_late,
};
use crate::stage::{Point, Side, Stage, removed_standing, without_a_duty};
use crate::world::World;

/// How long it stays dark.
const AT_ONCE: Duration = Duration::ZERO;
/// Every lease has run out and most grants are over when the connector comes back.
const LONG: Duration = Duration::from_secs(65);
/// After the last grant is over, for leases to run out and two listings to be read.
const QUIET: Duration = Duration::from_secs(150);

/// How long after its end, or after the connector is back, a membership may last at most.
const LATEST: Duration = Duration::from_mins(2);

/// The connector's ways out, wrapped: where a defect is planted.
trait Defect {
    fn network(&self, network: Arc<dyn Transport>) -> Arc<dyn Transport> {
        network
    }
    fn disk(&self, disk: Arc<dyn Journal>) -> Arc<dyn Journal> {
        disk
    }
}

/// None.
struct Sound;

impl Defect for Sound {}

/// What one history came to.
#[derive(Debug)]
struct Outcome {
    breaches: Vec<String>,
    fired: Option<String>,
    effects: usize,
}

/// The breaches of the invariants, in words. `back` is when the last connector was started.
fn breaches(world: &World, stage: &Stage, promised: &Promised, back: Timestamp) -> Vec<String> {
    let (okta, apono) = (&world.okta, &world.apono);
    let mut breaches = second_answers(apono);
    at_the_end(okta, promised, &mut breaches);
    for (task, codes) in &promised.tasks {
        one_result(apono, task, codes, &mut breaches);
    }
    too_early(okta, apono, promised, &mut breaches);
    too_late(okta, promised, back, LATEST, &mut breaches);
    let happened = stage.happened();
    without_a_duty(&happened, &mut breaches);
    removed_standing(&happened, &promised.standing, &mut breaches);
    told_without_an_end(&world.audit.records(), &mut breaches);
    breaches.extend(apono.violations().into_iter().map(|it| format!("the contract was broken: {it}")));
    breaches.extend(world.take_errors().into_iter().map(|it| format!("an error event: {it}")));
    breaches
}

/// Plays a part of the script; the power goes at `point` and comes back after `darkness`.
async fn history(part: Part, point: Option<Point>, darkness: Duration, defect: &dyn Defect) -> Outcome {
    let mut world = World::quiet();
    world.settings = world
        .settings
        .replace("[[okta]]", "grants_interval = \"30s\"\n[[okta]]")
        .replace("[state]", "[okta.directory]\nenabled = false\n[state]");
    // Reads lag behind writes, as they do.
    world.okta.configure(|settings| settings.visibility_lag = Duration::from_millis(400));
    let cast = Cast::enter(&world, point.is_some());
    let stage = Stage::new(point);
    // The stage is next to what is outside: it sees what the defect has left.
    let network = defect.network(stage.network(world.network()));
    let disk = defect.disk(stage.disk(world.disk()));

    let mut fails = Vec::new();
    let mut connector = world.start_between(Arc::clone(&network), Arc::clone(&disk), "").await.ok();
    let mut back = world.clock.now();
    let mut effects = None;
    {
        let mut script = std::pin::pin!(cast.play(part));
        let mut is_over = false;
        tokio::select! {
            biased;
            () = stage.dark() => {}
            () = &mut script => {
                is_over = true;
                effects = Some(stage.effects());
                // A point beyond what this run took by itself: the idle connector reaches it.
                if point.is_some() {
                    let _ = clock::timeout(Duration::from_hours(1), stage.dark()).await;
                }
            }
        }
        if stage.fired().is_some() {
            if let Some(connector) = connector.take() {
                connector.crash().await;
            }
            clock::sleep(darkness).await;
            stage.light();
            match world.start_between(network, disk, "").await {
                Ok(restarted) => connector = Some(restarted),
                Err(problem) => fails.push(format!("the connector does not start again: {problem}")),
            }
            back = world.clock.now();
        }
        if !is_over {
            script.await;
        }
    }
    world.pass(QUIET).await;
    let effects = effects.unwrap_or_else(|| stage.effects());
    let promised = cast.promised.borrow().clone();
    fails.extend(breaches(&world, &stage, &promised, back));
    if let Some(connector) = connector {
        let facts = connector.facts();
        if facts.organizations[0].removals_due > 0 || facts.results_pending > 0 {
            fails.push(format!(
                "{} removals and {} results are left",
                facts.organizations[0].removals_due, facts.results_pending
            ));
        }
        connector.crash().await;
    }
    Outcome { breaches: fails, fired: stage.fired(), effects }
}

/// Cuts the power at every effect of the undisturbed history, before it and after it, for short and for long. (What is
/// outside before an effect is what was outside after the one before it: the long way round is gone once.)
#[expect(clippy::print_stdout, reason = "the number of points is what a reader of the run wants to know")]
async fn sweep(part: Part) {
    let whole = history(part, None, AT_ONCE, &Sound).await;
    assert_eq!(whole.breaches, Vec::<String>::new(), "without any cut");
    assert!(whole.effects > 50, "{} effects are not a history", whole.effects);
    let mut points = 0;
    for (side, darkness) in [(Side::Before, AT_ONCE), (Side::After, AT_ONCE), (Side::After, LONG)] {
        for nth in 1..=whole.effects {
            let cut = history(part, Some(Point { nth, side }), darkness, &Sound).await;
            let fired = cut.fired.unwrap_or_else(|| panic!("the point {side:?} {nth} was never reached"));
            assert_eq!(cut.breaches, Vec::<String>::new(), "{fired}, dark for {darkness:?}");
            points += 1;
        }
    }
    println!("{part:?}: {} effects, {points} points", whole.effects);
}

#[tokio::test(start_paused = true)]
async fn access_ends_wherever_the_power_goes() {
    sweep(Part::Ends).await;
}

#[tokio::test(start_paused = true)]
async fn access_ends_wherever_the_power_goes_while_grants_overlap() {
    sweep(Part::Overlaps).await;
}

#[tokio::test(start_paused = true)]
async fn access_ends_wherever_the_power_goes_while_grants_are_revised() {
    sweep(Part::Revisions).await;
}

#[tokio::test(start_paused = true)]
async fn access_ends_wherever_the_power_goes_while_tasks_come_out_of_order() {
    sweep(Part::Order).await;
}
