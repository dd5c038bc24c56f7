//! # Purpose
//! The control plane: the way to it, its clock, and whether it knows the connector.
//!
//! # Invariants kept here
//! - No session is announced and no task leased: a connector that runs is not disturbed.
//!
//! # Not here
//! The contract itself: `apono`.

use std::sync::Arc;

use super::network::{Steps, reach};
use super::okta::clock_of;
use super::probe::{Probe, Report};
use crate::apono::ControlPlane;
use crate::app::Outside;
use crate::app::build::exchange;
use crate::app::secrets::apono_token;
use crate::catalogue::ErrorCode;
use crate::config::Settings;
use crate::domain::SessionId;
use crate::telemetry::{Metrics, chain};

const STEPS: Steps = Steps {
    name: Probe::AponoName,
    proxy: Probe::AponoProxy,
    connect: Probe::AponoConnect,
    tls: Probe::AponoTls,
};

pub(super) async fn examine(settings: &Settings, outside: &Outside, report: &mut Report) {
    let target = settings.apono.url.origin();
    // An address of the contract, so that what stands before it answers as it would to the connector.
    let integration = settings.okta.first().map_or("", |organization| organization.integration_id.as_str());
    let path = ["api", "connector", "v1", "integrations", integration, "grants"];
    let answer = reach(settings.apono.url.url(&path, &[]), &STEPS, settings, outside, report).await;
    let token = apono_token(&settings.apono.token);
    let (Some(answer), Ok(token)) = (answer, token) else {
        for probe in [Probe::AponoClock, Probe::AponoToken, Probe::AponoIntegration] {
            report.skip(probe, &target, "not known while something before it fails");
        }
        return;
    };
    clock_of(&answer, outside, Probe::AponoClock, &target, report);
    let control = ControlPlane::new(
        settings.apono.url.clone(),
        exchange("apono", outside, &Arc::new(Metrics::new()), None),
        Arc::new(token),
        settings.apono.connector_id.clone(),
        SessionId::from(outside.entropy.uuid().to_string()),
        settings.http.request_timeout,
    );
    for (index, organization) in settings.okta.iter().enumerate() {
        let integration = organization.integration_id.to_string();
        let answer = control.desired_grants(&organization.integration_id, None).await;
        let error = answer.err().map(|error| (error.code(), chain(&error).to_string()));
        let is_known = error.as_ref().is_none_or(|(code, _)| *code == ErrorCode::UnknownToApono);
        match &error {
            // One token for all: told once.
            _ if index > 0 => {}
            Some((code, text)) if !is_known => report.fail(Probe::AponoToken, &target, text, *code),
            Some(_) | None => report.pass(Probe::AponoToken, &target, "Apono takes it"),
        }
        match error {
            None => report.pass(Probe::AponoIntegration, &integration, "Apono knows it"),
            Some((code, text)) if is_known => report.fail(Probe::AponoIntegration, &integration, text, code),
            Some(_) => report.skip(Probe::AponoIntegration, &integration, "not known without an answer"),
        }
    }
}
