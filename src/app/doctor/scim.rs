//! # Purpose
//! The SCIM service of one organization: whether it answers, takes the token, and what it can do.
//!
//! # Invariants kept here
//! - Nothing is changed: the one PATCH is for a user that nobody is.
//! - What a service says of itself passes nothing: each ability is tried.
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

/// Nobody has this id, or this name.
const NOBODY: &str = "apono-connector-doctor-nobody";
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
    let what = if abilities.has(Quirk::NoPatch) {
        Err("it says that it knows no PATCH".to_owned())
    } else {
        patch_nobody(&provider).await
    };
    match what {
        Ok(()) => report.pass(
            Probe::ScimPatch,
            &target,
            "asked to change a user that nobody is, it says in SCIM's own form that there is none; whether changes last is seen by directory runs",
        ),
        Err(what) => report.warn(
            Probe::ScimPatch,
            &target,
            what,
            "Nothing has to be done where runs complete: whole objects are written then; see docs/scim.md.",
        ),
    }
    let what = if abilities.has(Quirk::NoFilter) {
        Err("it says that it knows no filters".to_owned())
    } else {
        find_nobody(&provider).await
    };
    match what {
        Ok(()) => {
            report.pass(Probe::ScimFilter, &target, "asked for the user name of nobody, it finds nobody");
        }
        Err(what) => report.warn(
            Probe::ScimFilter,
            &target,
            what,
            "Nothing has to be done: listings are searched in their place; see docs/scim.md.",
        ),
    }
}

/// Whoever knows PATCH looks for the user first. Where there is no such path at all, "not found" is no SCIM error.
async fn patch_nobody(provider: &Provider) -> Result<(), String> {
    let message = patch::replace("active", &json!(true));
    match provider.patch(Kind::User, &ScimId::from(NOBODY), &message, None).await {
        Ok(_) => Err("it accepts the change of a user that it does not have".to_owned()),
        Err(ScimError::Answered { answer, .. })
            if answer.status == StatusCode::NOT_FOUND && answer.is_of_scim =>
        {
            Ok(())
        }
        Err(error) => Err(format!(
            "it is to know PATCH, and does not look for the user whom one is for: {}",
            chain(&error)
        )),
    }
}

async fn find_nobody(provider: &Provider) -> Result<(), String> {
    match provider.find(Kind::User, "userName", NOBODY).await {
        Ok(Some(found)) if found.is_empty() => Ok(()),
        Ok(Some(_)) => Err(format!("there is a user named {NOBODY}")),
        Ok(None) => Err("it refuses a filter, or answers with users that it does not fit".to_owned()),
        Err(error) => Err(format!("it is to know filters: {}", chain(&error))),
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
