//! How many series there are does not depend on how many people, groups and tasks there are, and none of them is named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use apono_connector::apono::{Code, ControlPlane, TaskResult};
use apono_connector::clock::SharedClock;
use apono_connector::domain::{ConnectorId, Membership, OktaGroupId, OktaUserId, ScimId, SessionId, TaskId};
use apono_connector::entropy::SeededEntropy;
use apono_connector::http::budget::BudgetSettings;
use apono_connector::http::classify::by_status;
use apono_connector::http::transport::{Request, Response, Transport, TransportError};
use apono_connector::http::url::Base;
use apono_connector::http::{Budget, Exchange, Lane};
use apono_connector::okta::{self, Dpop, Organization, Surroundings};
use apono_connector::scim::{Kind, Provider};
use apono_connector::secrets::Reloading;
use apono_connector::telemetry::Metrics;
use apono_connector::telemetry::metrics::classic;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, StatusCode};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::health::ask;
use crate::world::{INTEGRATION, World};

/// Series by family: the names and labels of every sample.
type Series = BTreeMap<String, BTreeSet<String>>;

fn series(text: &str) -> Series {
    let mut families = Series::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, _) = line.rsplit_once(' ').unwrap();
        let name = sample.split('{').next().unwrap();
        families.entry(name.to_owned()).or_default().insert(sample.to_owned());
    }
    families
}

/// Series of `many` that `few` do not have.
fn more(few: &Series, many: &Series) -> Vec<String> {
    let none = BTreeSet::new();
    let of = |(name, samples): (&String, &BTreeSet<String>)| {
        samples.difference(few.get(name).unwrap_or(&none)).cloned().collect::<Vec<_>>()
    };
    many.iter().flat_map(of).collect()
}

/// In every id, before its number.
const OF_THE_CROWD: &str = "CROWD";

/// Peers that know everybody. What they answer depends on the number of whom they are asked about: some are not found, and
/// of a few there is no answer.
#[derive(Debug)]
struct Everybody;

impl Everybody {
    fn answer(request: &Request) -> (StatusCode, Value) {
        let segments: Vec<_> = request.url.path_segments().unwrap().collect();
        let (first, last) = (segments[0], segments[segments.len() - 1]);
        let resource = json!({ "id": last, "userName": last, "displayName": last, "active": true });
        let body = match (first, &request.method, last) {
            ("oauth2", ..) => {
                let scope = "okta.users.read okta.groups.manage";
                json!({ "token_type": "Bearer", "expires_in": 360_000, "access_token": "t", "scope": scope })
            }
            _ if number(request).is_some_and(|number| number % 10 == 4) => {
                let error = json!({ "errorCode": "E0000007", "errorSummary": "Not found" });
                return (StatusCode::NOT_FOUND, error);
            }
            (_, &Method::DELETE, _) | ("api", &Method::PUT, _) if !last.starts_with("lease") => {
                return (StatusCode::NO_CONTENT, Value::Null);
            }
            ("api", _, "lease") => json!({ "expires_at": "2030-01-01T00:00:00Z" }),
            ("scim", &Method::GET, "Users" | "Groups") => json!({ "totalResults": 0, "Resources": [] }),
            ("scim", ..) => resource,
            (_, _, "users" | "groups") => json!([]),
            _ => {
                let profile = json!({ "login": last, "name": last });
                json!({ "id": last, "status": "ACTIVE", "type": "OKTA_GROUP", "profile": profile })
            }
        };
        (StatusCode::OK, body)
    }
}

/// The number of whom a request is about, wherever it stands.
fn number(request: &Request) -> Option<usize> {
    let text = format!("{} {}", request.url, String::from_utf8_lossy(&request.body));
    let (_, after) = text.rsplit_once(OF_THE_CROWD)?;
    Some(after[..8].parse().unwrap())
}

impl Transport for Everybody {
    fn send(&self, request: Request, limit: Duration) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            if number(&request).is_some_and(|number| number % 1000 == 7) {
                let host = request.url.host_str().unwrap_or_default().to_owned();
                return Err(TransportError::Timeout { host, limit });
            }
            let (status, body) = Self::answer(&request);
            let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
            Ok(Response { status, headers: HeaderMap::new(), body })
        })
    }
}

/// Every client of ours between one registry and [`Everybody`].
struct Clients {
    metrics: Arc<Metrics>,
    okta: Organization,
    scim: Provider,
    apono: ControlPlane,
    clock: SharedClock,
}

impl Clients {
    fn of(world: &World) -> Self {
        let settings = world.loaded("");
        let metrics = Arc::new(Metrics::new());
        let surroundings = Surroundings {
            transport: Arc::new(Everybody),
            clock: Arc::clone(&world.clock),
            entropy: SeededEntropy::shared(7),
            metrics: Arc::clone(&metrics),
        };
        let organization = settings.okta[0].clone();
        let credentials = Reloading::new("Okta credentials", None, move || organization.credentials.load());
        let okta = okta::Settings {
            integration: INTEGRATION.to_owned(),
            organization: settings.okta[0].url.clone(),
            credentials: Arc::new(credentials.unwrap()),
            dpop: Dpop::Off,
            scopes: vec!["okta.users.read", "okta.groups.manage"],
            optional_scopes: Vec::new(),
            timeout: Duration::from_secs(30),
        };
        let (clock, entropy) = (Arc::clone(&world.clock), SeededEntropy::shared(7));
        let budget =
            Budget::new(BudgetSettings::default(), INTEGRATION, Arc::clone(&clock), Arc::clone(&metrics));
        let exchange = |peer| Exchange {
            peer,
            transport: Arc::new(Everybody),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            metrics: Arc::clone(&metrics),
            budget: None,
            authorize: None,
            classify: by_status,
        };
        let timeout = Duration::from_secs(30);
        let token =
            Reloading::new("connector token", None, || Ok::<_, std::io::Error>(SecretString::from("t")));
        let apono = ControlPlane::new(
            Base::parse("https://api.apono.io").unwrap(),
            exchange("apono"),
            Arc::new(token.unwrap()),
            ConnectorId::from("okta-connector"),
            SessionId::from("session"),
            timeout,
        );
        let scim =
            Provider::new(Base::parse("https://api.apono.io/scim").unwrap(), exchange("scim"), timeout);
        let okta = okta::connect(okta, &surroundings, &Arc::new(budget));
        Self { metrics, okta, scim, apono, clock }
    }

    /// Asks in the `nth` way about a person, a group, or a task.
    async fn ask(&self, nth: usize, person: usize, group: usize) {
        let (user, group) = (OktaUserId::from(id("00u", person)), OktaGroupId::from(id("00g", group)));
        let task = TaskId::from(id("tsk", person));
        let membership = Membership { group: group.clone(), user: user.clone() };
        let Organization { memberships, directory, .. } = &self.okta;
        let (kind, scim) = match nth % 2 {
            0 => (Kind::User, ScimId::from(user.as_str())),
            _ => (Kind::Group, ScimId::from(group.as_str())),
        };
        let resource = json!({ "externalId": scim });
        // What comes of it is for other tests.
        match nth / 2 % WAYS {
            0 => drop(memberships.find_user(user.as_str(), Lane::Grant).await),
            1 => drop(memberships.user(&user, Lane::Verification).await),
            2 => drop(memberships.group(&group, Lane::Grant).await),
            3 => drop(memberships.look(&membership, Lane::Removal).await),
            4 => drop(memberships.add(&membership).await),
            5 => drop(memberships.remove(&membership).await),
            6 => drop(directory.user(&user).await),
            7 => drop(directory.group(&group).await),
            8 => drop(directory.groups_of(&user).await),
            9 => drop(directory.member_ids(&group, None).await),
            10 => drop(self.scim.find(kind, "externalId", scim.as_str()).await),
            11 => drop(self.scim.get(kind, &scim).await),
            12 => drop(self.scim.create(kind, &resource).await),
            13 => drop(self.scim.replace(kind, &scim, &resource, None).await),
            14 => drop(self.scim.patch(kind, &scim, &resource, None).await),
            15 => drop(self.scim.delete(kind, &scim).await),
            16 => drop(self.apono.extend(&task, "t", Duration::from_mins(5)).await),
            _ => {
                let result = TaskResult::whole(Code::Ok, "done", Value::Null, self.clock.now());
                drop(self.apono.report(&task, "t", &result).await);
            }
        }
    }
}

/// In so many ways people, groups and tasks are asked about, each for a user and for a group.
const WAYS: usize = 18;

fn id(kind: &str, number: usize) -> String {
    format!("{kind}{OF_THE_CROWD}{number:08}")
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_people_are_measured_by_as_many_series_as_ten() {
    const PEOPLE: usize = 100_000;
    const GROUPS: usize = 20_000;
    /// Each is asked about in so many ways: in all of them it would take minutes.
    const OF_THE_WAYS: usize = 4;
    let world = World::quiet();
    let few = Clients::of(&world);
    for nth in 0..2 * WAYS {
        for number in 0..10 {
            few.ask(nth, number, number).await;
        }
    }
    let many = Clients::of(&world);
    for number in 0..PEOPLE {
        for nth in 0..OF_THE_WAYS {
            many.ask(number * OF_THE_WAYS + nth, number, number % GROUPS).await;
        }
    }
    let (few, many) = (few.metrics.encode(), many.metrics.encode());
    for (few, many) in [(&few, &many), (&classic(&few), &classic(&many))] {
        let (few, text, many) = (series(few), many, series(many));
        assert_eq!(more(&few, &many), Vec::<String>::new());
        assert_eq!(more(&many, &few), Vec::<String>::new(), "not everything was asked about");
        for (name, samples) in &many {
            assert_eq!(samples.len(), few[name].len(), "{name}");
        }
        assert!(!text.contains(OF_THE_CROWD), "somebody is named in\n{text}");
    }
}

/// What the whole program shows of an organization.
async fn of_an_organization(users: usize, groups: usize) -> Series {
    let (mut world, _) = World::peopled(users, groups);
    let connector = world.start().await;
    world.pass(Duration::from_mins(20)).await;
    let (_, kind, text) = ask(&connector.admin, "/metrics", "*/*").await;
    assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8");
    let (_, kind, open) = ask(&connector.admin, "/metrics", "application/openmetrics-text").await;
    assert!(kind.starts_with("application/openmetrics-text") && open.ends_with("# EOF\n"));
    connector.stop().await;
    series(&text)
}

#[tokio::test(start_paused = true)]
async fn how_many_users_and_groups_there_are_changes_nothing_about_what_is_measured() {
    let (few, many) = (of_an_organization(20, 3).await, of_an_organization(2_000, 60).await);
    // A larger directory has more pages, and no more series.
    assert_eq!(more(&few, &many), Vec::<String>::new());
    assert!(few.values().map(BTreeSet::len).sum::<usize>() < 700);
    let is_named = |sample: &&String| sample.contains("00u") || sample.contains("00g");
    let of_users: Vec<_> = many.values().flatten().filter(is_named).collect();
    assert!(of_users.is_empty(), "{of_users:?}");
}
