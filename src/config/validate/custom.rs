//! # Purpose
//! Rules of `[custom_integration]`.
//!
//! # Invariants kept here
//! - Pure. Whoever may call is known by a token, and for which organization is never guessed.
//!
//! # Not here
//! Which addresses there are: `http::address`.

use super::Reader;
use crate::config::settings::CustomIntegration;
use crate::domain::IntegrationId;

const INTEGRATION: &str = "custom_integration.integration_id";

impl Reader<'_> {
    /// `None` where it is switched off, or wrong.
    pub(super) fn custom_integration(&mut self, organizations: usize) -> Option<CustomIntegration> {
        if !self.is_true("custom_integration.enabled") {
            return None;
        }
        let token = self.file("custom_integration.token_file");
        if token.is_none() {
            let message = "this is required: the file with the bearer token that callers must show";
            self.problem("custom_integration.token_file", message.to_owned());
        }
        let listen = self.text("custom_integration.listen")?.parse().ok();
        let admin = self.text("admin.listen");
        if admin.is_some_and(|admin| admin == self.listens() && !admin.ends_with(":0")) {
            let message = "admin.listen is there already; choose another port";
            self.problem("custom_integration.listen", message.to_owned());
        }
        let integration = self.integration(organizations);
        Some(CustomIntegration { listen: listen?, token: token?, integration: integration? })
    }

    fn listens(&self) -> String {
        self.text("custom_integration.listen").unwrap_or_default()
    }

    fn integration(&mut self, organizations: usize) -> Option<IntegrationId> {
        let known: Vec<_> = (0..organizations)
            .filter_map(|index| Some((index, self.text(&format!("okta[{index}].integration_id"))?)))
            .collect();
        let names = || known.iter().map(|(_, id)| id.as_str()).collect::<Vec<_>>().join(", ");
        let chosen = match (self.text(INTEGRATION), known.as_slice()) {
            (Some(id), known) => known.iter().find(|(_, other)| *other == id).cloned().ok_or_else(|| {
                format!("{id} is no integration_id of an organization here; there is {}", names())
            }),
            (None, [only]) => Ok(only.clone()),
            // What is wrong then is said there.
            (None, []) => return None,
            (None, _) => Err(format!("there are several organizations; choose one of {}", names())),
        };
        let (index, id) = chosen.map_err(|message| self.problem(INTEGRATION, message)).ok()?;
        if !self.is_true(&format!("okta[{index}].access.enabled")) {
            let message = format!(
                "grants are switched off for {id} (okta[{index}].access.enabled), so no call could be carried out; switch them on, or this off"
            );
            self.problem("custom_integration.enabled", message);
            return None;
        }
        Some(IntegrationId::from(id))
    }
}
