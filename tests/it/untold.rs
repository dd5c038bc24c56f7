//! The audit trail cannot be written when access ends, and the connector does not live to see it work again: the next one
//! tells what the first could not.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use apono_connector::audit::{Kind, verify};
use apono_connector::clock;
use jiff::Timestamp;
use serde_json::Value;

use crate::oracle::told_without_an_end;
use crate::scene::Scene;
use crate::stage::{Point, Side, Stage};
use crate::world::{Running, World};

const HOUR: Duration = Duration::from_hours(1);
const MINUTE: Duration = Duration::from_mins(1);

/// The folder of the trail is gone, with something else in its place: nothing can be written there, not even by root.
fn take_away(trail: &Path) {
    let folder = trail.parent().unwrap();
    fs::rename(folder, folder.with_extension("gone")).unwrap();
    fs::write(folder, "not a folder").unwrap();
}

fn put_back(trail: &Path) {
    let folder = trail.parent().unwrap();
    fs::remove_file(folder).unwrap();
    fs::rename(folder.with_extension("gone"), folder).unwrap();
}

/// What the trail tells of grants, line by line: when, and what.
fn told(trail: &Path) -> Vec<(Timestamp, String)> {
    let text = fs::read_to_string(trail).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_grants = lines.filter(|line| !line["unmapped"]["grant"].is_null());
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    of_grants.map(|line| (word(&line["time_dt"]).parse().unwrap(), word(&line["unmapped"]["kind"]))).collect()
}

/// Whether the audit trail keeps grants from beginning.
fn is_stopped(connector: &Running) -> bool {
    let stopped = connector.facts().organizations[0].grants_stopped.clone();
    stopped.is_some_and(|stopped| stopped.message.contains("audit trail"))
}

/// All of it on files, as an operator has it.
#[tokio::test(start_paused = true)]
async fn ends_that_the_trail_did_not_take_are_told_by_the_next_connector() {
    let mut scene = Scene::new();
    let second = scene.another_group("second");
    let connector = scene.world.start_on_files().await;
    let trail = scene.world.trail();
    scene.given(10 * MINUTE).await;
    let expiry = scene.world.after(10 * MINUTE);
    let longer = scene.grant_revision("grt_longer", 1, &[&second], HOUR);
    assert_eq!(scene.world.result(&longer.task_id).await["code"], "granted");
    let before = told(&trail).len();

    take_away(&trail);
    let is_done = |_: &World| (connector.facts().organizations[0].live_memberships == 1).then_some(());
    scene.world.until("the first is over", is_done).await;
    assert!(scene.world.since(expiry).abs().as_secs() < 60, "on time");
    assert_eq!(scene.revoked("grt_longer").await["code"], "revoked");
    assert!(is_stopped(&connector));
    let ended = scene.world.clock.now();
    connector.crash().await;

    // The next one finds it as it was, and has nothing more to end.
    scene.world.pass(HOUR).await;
    let connector = scene.world.start_on_files().await;
    scene.world.until("the trail fails", |_| is_stopped(&connector).then_some(())).await;
    put_back(&trail);
    assert_eq!(told(&trail).len(), before, "nothing could be told");
    scene.world.until("the trail works", |_| (!is_stopped(&connector)).then_some(())).await;
    let all = told(&trail);
    let kinds: Vec<_> = all.iter().skip(before).map(|(_, kind)| kind.as_str()).collect();
    let end = ["end_requested", "removal_intended", "removed"];
    assert_eq!(kinds, [end, end].concat(), "both, in the order of events");
    assert!(all.iter().skip(before).all(|(at, _)| *at <= ended), "as of when they happened: {all:?}");
    connector.crash().await;

    let connector = scene.world.start_on_files().await;
    assert_eq!(told(&trail), all, "once");
    scene.given(MINUTE).await;
    scene.world.until_member(&scene.group, &scene.user, false).await;
    connector.stop().await;
    let report = verify(&trail, 0).unwrap();
    assert!(report.is_whole(), "{report:?}");
}

/// What one history came to.
struct Outcome {
    fired: Option<String>,
    /// The effects between the failure of the trail and the end of the script.
    effects: std::ops::RangeInclusive<usize>,
}

/// Two grants end while the trail cannot be written, and after that it works again; somewhere in between the power goes.
async fn history(point: Option<Point>) -> Outcome {
    let mut scene = Scene::quiet();
    scene.world.okta.configure(|settings| settings.visibility_lag = Duration::from_millis(400));
    let second = scene.another_group("second");
    let stage = Stage::new(point);
    let (network, disk) = (stage.network(scene.world.network()), stage.disk(scene.world.disk()));
    let start = (Arc::clone(&network), Arc::clone(&disk));
    let mut connector = scene.world.start_between(start.0, start.1, "").await.unwrap();
    let runs_out = scene.given(MINUTE).await;
    let revoked = scene.grant_revision("grt_revoked", 1, &[&second], HOUR);
    assert_eq!(scene.world.result(&revoked.task_id).await["code"], "granted");
    // What Apono was just told is noted.
    scene.world.pass(Duration::from_secs(5)).await;
    let first = stage.effects() + 1;

    scene.world.audit.break_writes(true);
    let last = {
        let world = &scene.world;
        let script = async {
            world.apono.revoke("grt_revoked");
            world.pass(2 * MINUTE).await;
            world.audit.break_writes(false);
            world.pass(MINUTE).await;
            let effects = stage.effects();
            if point.is_some() {
                // What was begun in it has its answer later.
                world.pass(MINUTE).await;
            }
            effects
        };
        tokio::select! {
            biased;
            () = stage.dark() => stage.effects(),
            last = script => last,
        }
    };
    let effects = first..=last;
    let fired = stage.fired();
    if fired.is_some() {
        connector.crash().await;
        stage.light();
        connector = scene.world.start_between(network, disk, "").await.unwrap();
        clock::sleep(2 * MINUTE).await;
        scene.world.audit.break_writes(false);
        clock::sleep(10 * MINUTE).await;
    }
    assert_eq!(connector.facts().organizations[0].removals_due, 0, "{fired:?}");
    assert!(!scene.is_member() && !scene.world.okta.is_member(&second, &scene.user), "{fired:?}");
    connector.crash().await;

    let trail = scene.world.audit.records();
    let mut breaches = Vec::new();
    told_without_an_end(&trail, &mut breaches);
    assert_eq!(breaches, Vec::<String>::new(), "{fired:?}");
    let mut counts: BTreeMap<_, [usize; 2]> = BTreeMap::new();
    for (_, record) in &trail {
        let [requested, over] = counts.entry(record.grant.as_str()).or_default();
        *requested += usize::from(record.kind == Kind::EndRequested);
        *over += usize::from(matches!(record.kind, Kind::Removed | Kind::Released));
    }
    // Between telling and noting it, and nowhere else.
    let may_be_twice = fired.as_ref().is_some_and(|fired| fired.contains("Told"));
    for id in [runs_out.grant_id.as_str(), "grt_revoked"] {
        let counts = counts[id];
        assert!(counts == [1, 1] || may_be_twice && counts == [2, 2], "{fired:?}: {id} {counts:?} {trail:?}");
    }
    Outcome { fired, effects }
}

#[tokio::test(start_paused = true)]
async fn ends_are_told_wherever_the_power_goes_while_the_trail_fails() {
    let whole = history(None).await;
    let mut twice = 0;
    for side in [Side::Before, Side::After] {
        for nth in whole.effects.clone() {
            let fired = history(Some(Point { nth, side })).await.fired;
            let fired = fired.unwrap_or_else(|| panic!("the point {side:?} {nth} was never reached"));
            twice += usize::from(fired.contains("Told"));
        }
    }
    assert_eq!(twice, 2, "before and after it is noted that all was told");
}
