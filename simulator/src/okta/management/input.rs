//! # Purpose
//! The JSON body of a call, and what Okta says when a member of it is missing or wrong.
//!
//! # Invariants kept here
//! - A refusal names the member.
//!
//! # Not here
//! Which members a call has.

use http::header;
use serde_json::Value;

use super::super::answer::Refusal;
use super::super::exchange::Exchange;

/// The body of a call.
pub(super) struct Input(pub(super) Value);

impl Input {
    /// Reads the body, where one is wanted.
    pub(super) fn read(exchange: &Exchange, is_wanted: bool) -> Result<Self, Refusal> {
        if !is_wanted {
            return Ok(Self(Value::Null));
        }
        let content_type =
            exchange.parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !content_type.is_some_and(|value| value.starts_with("application/json")) {
            let summary =
                "Bad request.  Accept and/or Content-Type headers likely do not match supported values.";
            return Err(Refusal::api(400, "E0000021", summary));
        }
        let body: Value = serde_json::from_slice(&exchange.body)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| Refusal::api(400, "E0000003", "The request body was not well-formed."))?;
        Ok(Self(body))
    }

    /// A text at a path such as `settings/oauthClient/application_type`.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.0.pointer(&format!("/{path}")).and_then(Value::as_str).filter(|text| !text.trim().is_empty())
    }

    /// The same, where it must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name)
            .ok_or_else(|| Refusal::validation(name, &format!("{name}: The field cannot be left blank")))
    }

    /// The texts of a list.
    pub(super) fn texts(&self, path: &str) -> Vec<&str> {
        let list = self.0.pointer(&format!("/{path}")).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The same, where it must not be empty.
    pub(super) fn required_texts(&self, name: &str) -> Result<Vec<&str>, Refusal> {
        let texts = self.texts(name);
        if texts.is_empty() {
            return Err(Refusal::validation(name, &format!("{name}: The field cannot be left blank")));
        }
        Ok(texts)
    }
}

/// The refusal of a label that somebody else has.
pub(super) fn label_is_taken() -> Refusal {
    Refusal::validation(
        "label",
        "label: An object with this field already exists in the current organization",
    )
}
