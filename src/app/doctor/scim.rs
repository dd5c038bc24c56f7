//! # Purpose
//! The SCIM service of one organization: whether it answers, takes the token, and what it can do.
//!
//! # Invariants kept here
//! - Nothing is changed: the one PATCH is for a user that nobody is.
//!
//! # Not here
//! How services differ: docs/scim.md.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use super::probe::{Probe, Report};
use crate::app::Outside;
use crate::app::build::exchange;
use crate::app::secrets::{apono_token, scim_token};
use crate::catalogue::ErrorCode;
use crate::config::{Organization, Settings};
use crate::domain::ScimId;
use crate::http::Authorize;
use crate::http::mounted_token::MountedToken;
use crate::scim::{Kind, Provider, Quirk, ScimError, patch};
use crate::telemetry::{Metrics, chain};

const ALL: [Probe; 4] = [Probe::ScimAnswers, Probe::ScimToken, Probe::ScimPatch, Probe::ScimFilter];

pub(super) async fn examine(
    settings: &Settings,
    organization: &Organization,
    outside: &Outside,
    report: &mut Report,
) {
    let Some(directory) = &organization.directory else {
        for probe in ALL {
            report.skip(probe, organization.integration_id.as_str(), "the directory is switched off");
        }
        return;
    };
    let target = directory.scim.base.to_string();
    let token = match &directory.scim.token {
        Some(file) => scim_token(file),
        None => apono_token(&settings.apono.token),
    };
    let Ok(token) = token else {
        for probe in ALL {
            report.skip(probe, &target, "not known without a token");
        }
        return;
    };
    let token = MountedToken::new(Arc::new(token), Arc::clone(&outside.clock));
    let authorize: Arc<dyn Authorize> = Arc::new(token);
    let exchange = exchange("scim", outside, &Arc::new(Metrics::new()), Some(authorize));
    let provider = Provider::new(directory.scim.base.clone(), exchange, settings.http.request_timeout);
    let abilities = match provider.abilities().await {
        // Some show what they can do to everybody; a listing wants the token.
        Ok(abilities) => provider.list(Kind::User, 1, 1).await.map(|_| abilities),
        Err(error) => Err(error),
    };
    let abilities = match abilities {
        Ok(abilities) => abilities,
        Err(error) => return refused(&error, &target, report),
    };
    report.pass(Probe::ScimAnswers, &target, "it lists users");
    report.pass(Probe::ScimToken, &target, "it takes the token");
    let lacks = [
        (Probe::ScimPatch, Quirk::NoPatch, "PATCH", "whole objects are written in its place"),
        (Probe::ScimFilter, Quirk::NoFilter, "filters", "listings are searched in their place"),
    ];
    let of_patch = if abilities.has(Quirk::NoPatch) { Ok(()) } else { patch_nobody(&provider).await };
    for (probe, quirk, what, then) in lacks {
        if abilities.has(quirk) {
            report.warn(
                probe,
                &target,
                format!("it says that it knows no {what}; {then}"),
                "Nothing has to be done; see docs/scim.md.",
            );
        } else if let (Probe::ScimPatch, Err(error)) = (probe, &of_patch) {
            report.warn(
                probe,
                &target,
                format!("it is to know PATCH, and does not look for the user whom one is for: {error}"),
                "Nothing has to be done where runs complete: whole objects are written then; see docs/scim.md.",
            );
        } else {
            report.pass(probe, &target, format!("it does not say that it knows no {what}"));
        }
    }
}

/// Whoever knows PATCH looks for the user first.
async fn patch_nobody(provider: &Provider) -> Result<(), String> {
    let nobody = ScimId::from("apono-connector-doctor-nobody");
    let message = patch::replace("active", &json!(true));
    match provider.patch(Kind::User, &nobody, &message, None).await {
        Ok(_) => Err("it accepts the change of a user that it does not have".to_owned()),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Ok(()),
        Err(error) => Err(chain(&error).to_string()),
    }
}

fn refused(error: &ScimError, target: &str, report: &mut Report) {
    let (code, text) = (error.code(), chain(error).to_string());
    let is_about_the_token = matches!(code, ErrorCode::ScimTokenRefused | ErrorCode::ScimForbidden);
    if is_about_the_token {
        report.pass(Probe::ScimAnswers, target, "it answers");
        report.fail(Probe::ScimToken, target, text, code);
    } else {
        report.fail(Probe::ScimAnswers, target, text, code);
        report.skip(Probe::ScimToken, target, "not known without an answer");
    }
    for probe in [Probe::ScimPatch, Probe::ScimFilter] {
        report.skip(probe, target, "not known without an answer");
    }
}
