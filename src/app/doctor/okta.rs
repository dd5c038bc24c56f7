//! # Purpose
//! One organization: the way to it, its address and clock, and whether it grants a token.
//!
//! # Invariants kept here
//! - A refusal of the token is the failure of the one probe that it is about.
//!
//! # Not here
//! What the token may do: `rights`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::network::{Steps, reach};
use super::probe::{Probe, Report};
use super::rates::Gauge;
use super::{rights, scopes};
use crate::app::Outside;
use crate::app::build::okta_settings;
use crate::catalogue::ErrorCode;
use crate::clock;
use crate::config::{Organization, Settings};
use crate::http::budget::BudgetSettings;
use crate::http::classify::http_date;
use crate::http::{Budget, Class, Response};
use crate::okta::{self, Surroundings, TokenError, TokenStatus};
use crate::secrets::Reloading;
use crate::telemetry::{Metrics, chain};

const STEPS: Steps = Steps {
    name: Probe::OktaName,
    proxy: Probe::OktaProxy,
    connect: Probe::OktaConnect,
    tls: Probe::OktaTls,
};
/// Beyond this, no grant begins.
const MOST_SKEW: i64 = 60;
const TOKEN: [Probe; 5] =
    [Probe::OktaClient, Probe::OktaKey, Probe::OktaProof, Probe::OktaZone, Probe::OktaToken];
/// Which refusal is about what.
const ABOUT: [(Probe, &[ErrorCode]); 4] = [
    (Probe::OktaClient, &[ErrorCode::UnknownClient, ErrorCode::WrongClientId, ErrorCode::WrongAppType]),
    (Probe::OktaKey, &[ErrorCode::KeyNotRegistered, ErrorCode::WrongKey, ErrorCode::NoKeyRegistered]),
    (Probe::OktaProof, &[ErrorCode::ProofDemanded, ErrorCode::ProofRefused, ErrorCode::NonceDemanded]),
    (Probe::OktaZone, &[ErrorCode::NetworkZone]),
];
/// What a host with a wrong clock gets a token in, at most.
const TRIES: usize = 4;

/// What is asked of one organization, with a budget of its own.
pub(super) struct Asked {
    pub(super) organization: okta::Organization,
    pub(super) settings: okta::Settings,
    pub(super) surroundings: Surroundings,
    pub(super) gauge: Arc<Gauge>,
}

impl Asked {
    fn new(settings: okta::Settings, share: f64, outside: &Outside) -> Self {
        let gauge = Arc::new(Gauge::new(Arc::clone(&outside.transport), Arc::clone(&outside.clock)));
        let surroundings = Surroundings {
            transport: Arc::clone(&gauge) as _,
            clock: Arc::clone(&outside.clock),
            entropy: Arc::clone(&outside.entropy),
            metrics: Arc::new(Metrics::new()),
        };
        let budget = Arc::new(Budget::new(
            BudgetSettings { share, ..BudgetSettings::default() },
            settings.integration.clone(),
            Arc::clone(&outside.clock),
            Arc::clone(&surroundings.metrics),
        ));
        let organization = okta::connect(settings.clone(), &surroundings, &budget);
        Self { organization, settings, surroundings, gauge }
    }

    /// The same, with a token for these scopes alone. To have none of them is a failure.
    pub(super) fn asking_just(&self, scopes: &[&'static str]) -> okta::Organization {
        let optional_scopes = scopes.to_vec();
        let settings = okta::Settings { scopes: Vec::new(), optional_scopes, ..self.settings.clone() };
        okta::connect(settings, &self.surroundings, &self.organization.budget)
    }
}

pub(super) async fn examine(
    settings: &Settings,
    organization: &Organization,
    outside: &Outside,
    report: &mut Report,
) {
    let target = organization.url.origin();
    let well_known = organization.url.url(&[".well-known", "okta-organization"], &[]);
    let Some(answer) = reach(well_known, &STEPS, settings, outside, report).await else {
        skip(
            &[&[Probe::OktaAddress, Probe::OktaClock], &TOKEN[..], scopes::ALL, rights::ALL],
            &target,
            report,
        );
        return;
    };
    if !address(&answer, &organization.url.url(&[], &[]), &target, report) {
        skip(&[&[Probe::OktaClock], &TOKEN[..], scopes::ALL, rights::ALL], &target, report);
        return;
    }
    let is_right = clock_of(&answer, outside, Probe::OktaClock, &target, report);
    let source = organization.credentials.clone();
    let Ok(credentials) = Reloading::new("Okta credentials", None, move || source.load()) else {
        skip(&[&TOKEN[..], scopes::ALL, rights::ALL], &target, report);
        return;
    };
    let okta = okta_settings(
        organization,
        credentials,
        organization.access.is_some(),
        settings.http.request_timeout,
    );
    let asked = Asked::new(okta, organization.rate_limit_share, outside);
    match token(&asked.organization).await {
        TokenStatus::Held { missing_scopes } => {
            for probe in TOKEN {
                report.pass(probe, &target, "a token is granted");
            }
            rights::examine(organization, &asked, &missing_scopes, report).await;
        }
        TokenStatus::Failing(error) => {
            refused(&error, is_right, &target, report);
            if error.code() != ErrorCode::NoScopeGranted {
                skip(&[scopes::ALL], &target, report);
            }
            skip(&[rights::ALL], &target, report);
        }
        TokenStatus::Unknown => skip(&[&TOKEN[..], scopes::ALL, rights::ALL], &target, report),
    }
}

/// A clock that is off costs the first tries; Okta's answers to them put it right.
async fn token(organization: &okta::Organization) -> TokenStatus {
    for _ in 0..TRIES {
        let wait = organization.tokens.keep_fresh().await;
        match organization.tokens.status() {
            TokenStatus::Failing(error) if error.class() == Class::Transient => {
                clock::sleep(wait.min(Duration::from_secs(3))).await;
            }
            status @ (TokenStatus::Unknown | TokenStatus::Held { .. } | TokenStatus::Failing(_)) => {
                return status;
            }
        }
    }
    organization.tokens.status()
}

fn refused(error: &TokenError, clock_is_right: bool, target: &str, report: &mut Report) {
    let text = chain(error).to_string();
    let code = error.code();
    // Those are told by the probes of the scopes, and of the clock.
    let is_told_elsewhere =
        code == ErrorCode::NoScopeGranted || (code == ErrorCode::WrongClock && !clock_is_right);
    let about = ABOUT.iter().find(|(_, codes)| codes.contains(&code));
    let at = (!is_told_elsewhere).then(|| about.map_or(Probe::OktaToken, |(at, _)| *at));
    for probe in TOKEN {
        if at == Some(probe) {
            report.fail(probe, target, text.clone(), error.code());
        } else {
            report.skip(probe, target, "not known while no token is granted");
        }
    }
    if error.code() == ErrorCode::NoScopeGranted {
        for probe in [Probe::ScopeUsers, Probe::ScopeGroups] {
            report.fail(probe, target, text.clone(), error.code());
        }
        report.skip(Probe::ScopeExcess, target, "not known while no token is granted");
    }
}

/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/OrgSettingMetadata/>: the organization's own
/// address, and its custom domain.
fn address(answer: &Response, ours: &Url, target: &str, report: &mut Report) -> bool {
    #[derive(Deserialize)]
    struct Body {
        #[serde(rename = "_links")]
        links: Links,
    }
    #[derive(Deserialize)]
    struct Links {
        organization: Link,
        alternate: Option<Link>,
    }
    #[derive(Deserialize)]
    struct Link {
        href: Url,
    }
    let Ok(Body { links: Links { organization, alternate } }) = serde_json::from_slice(&answer.body) else {
        let detail = format!("it answers {} with something else", answer.status.as_u16());
        report.fail(Probe::OktaAddress, target, detail, ErrorCode::NotOkta);
        return false;
    };
    let mut names = std::iter::once(&organization).chain(&alternate);
    if names.any(|link| link.href.host_str() == ours.host_str()) {
        report.pass(Probe::OktaAddress, target, "it calls itself by the same name");
        return true;
    }
    let detail = format!("it calls itself {}", organization.href);
    report.fail(Probe::OktaAddress, target, detail, ErrorCode::WrongAddress);
    false
}

/// Whether our clock agrees with the peer's.
pub(super) fn clock_of(
    answer: &Response,
    outside: &Outside,
    probe: Probe,
    target: &str,
    report: &mut Report,
) -> bool {
    let Some(theirs) = answer.header("date").and_then(http_date) else {
        report.skip(probe, target, "it does not say what time it is");
        return true;
    };
    let skew = outside.clock.now().as_second() - theirs.as_second();
    let is_right = skew.abs() <= MOST_SKEW;
    let word = if skew < 0 { "behind" } else { "ahead" };
    let detail = format!("this host's clock is {} s {word}", skew.abs());
    if is_right {
        report.pass(probe, target, detail);
    } else {
        report.fail(probe, target, detail, ErrorCode::WrongClock);
    }
    is_right
}

fn skip(probes: &[&[Probe]], target: &str, report: &mut Report) {
    for probe in probes.iter().flat_map(|probes| probes.iter()) {
        report.skip(*probe, target, "not known while something before it fails");
    }
}
