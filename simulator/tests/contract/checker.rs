//! # Purpose
//! Holds an exchange against an OpenAPI document: path, query, request body, status, response body.
//!
//! # Invariants kept here
//! - What the document does not describe is an error, not a pass.
//!
//! # Not here
//! Any knowledge of the document's content, so that other tests can include this file by its path.

#![expect(clippy::expect_used, reason = "a document that cannot be read ends the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use simulator::apono::Exchange;

/// An OpenAPI 3.1 document.
pub(crate) struct Contract {
    document: Value,
    operations: BTreeMap<String, Operation>,
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

/// One of its operations.
struct Operation {
    method: String,
    template: String,
    item: Value,
    parameters: Vec<Value>,
}

impl Contract {
    /// Reads a document from its YAML.
    pub(crate) fn parse(yaml: &str) -> Self {
        let document: Value = serde_yaml_ng::from_str(yaml).expect("the document is YAML");
        let mut operations = BTreeMap::new();
        for section in ["paths", "webhooks"] {
            for (template, path) in document[section].as_object().into_iter().flatten() {
                let shared = path["parameters"].as_array().cloned().unwrap_or_default();
                for (method, item) in path.as_object().into_iter().flatten() {
                    let Some(id) = item["operationId"].as_str() else { continue };
                    let own = item["parameters"].as_array().cloned().unwrap_or_default();
                    let parameters = shared.iter().chain(&own).map(|one| resolve(&document, one)).collect();
                    let operation = Operation {
                        method: method.to_uppercase(),
                        template: template.clone(),
                        item: item.clone(),
                        parameters,
                    };
                    assert!(operations.insert(id.to_owned(), operation).is_none(), "{id} is there twice");
                }
            }
        }
        Self { document, operations, validators: Mutex::default() }
    }

    /// The operations of the paths, without the webhooks.
    pub(crate) fn operations(&self) -> Vec<&str> {
        let of_paths = self.operations.iter().filter(|(_, operation)| operation.template.starts_with('/'));
        of_paths.map(|(id, _)| id.as_str()).collect()
    }

    /// Both directions of an exchange. A response that a fault made is not looked at.
    pub(crate) fn check(&self, exchange: &Exchange) -> Result<(), String> {
        self.check_request(exchange)?;
        if exchange.faulted { Ok(()) } else { self.check_response(exchange) }
    }

    /// What was asked.
    pub(crate) fn check_request(&self, exchange: &Exchange) -> Result<(), String> {
        let operation = self.operation(exchange)?;
        let said = |what: String| format!("{} {}: {what}", exchange.method, exchange.path);
        if operation.method != exchange.method {
            return Err(said(format!("the method is {}", operation.method)));
        }
        let mut given = path_parameters(&operation.template, &exchange.path)
            .ok_or_else(|| said(format!("the path is {}", operation.template)))?;
        given.extend(query_parameters(exchange.query.as_deref().unwrap_or_default()));
        for (name, value) in &given {
            let parameter = operation
                .parameters
                .iter()
                .find(|parameter| parameter["name"] == **name)
                .ok_or_else(|| said(format!("the parameter {name} is not described")))?;
            let value = match value.parse::<i64>() {
                Ok(number) if parameter["schema"]["type"] == "integer" => json!(number),
                Ok(_) | Err(_) => json!(value),
            };
            self.validate(&parameter["schema"], &value)
                .map_err(|what| said(format!("the parameter {name}: {what}")))?;
        }
        let missing = operation.parameters.iter().find(|parameter| {
            parameter["required"] == true && !given.iter().any(|(name, _)| parameter["name"] == **name)
        });
        if let Some(parameter) = missing {
            return Err(said(format!("the parameter {} is missing", parameter["name"])));
        }
        match (schema_of(&operation.item["requestBody"]), &exchange.request_body) {
            (Some(schema), Some(body)) => {
                self.validate(&schema, body).map_err(|what| said(format!("the request: {what}")))
            }
            (None, None) => Ok(()),
            (Some(_), None) => Err(said("the request has no body".into())),
            (None, Some(_)) => Err(said("the request has a body".into())),
        }
    }

    /// What was answered.
    pub(crate) fn check_response(&self, exchange: &Exchange) -> Result<(), String> {
        let operation = self.operation(exchange)?;
        let said =
            |what: String| format!("{} {} {}: {what}", exchange.method, exchange.path, exchange.status);
        let responses = &operation.item["responses"];
        let response = responses
            .get(exchange.status.to_string())
            .or_else(|| responses.get("default").filter(|_| exchange.status >= 400))
            .map(|response| resolve(&self.document, response))
            .ok_or_else(|| said("the status is not described".into()))?;
        match (schema_of(&response), &exchange.response_body) {
            (Some(schema), Some(body)) => {
                self.validate(&schema, body).map_err(|what| said(format!("the response: {what}")))
            }
            (None, None) => Ok(()),
            (Some(_), None) => Err(said("the response has no body".into())),
            (None, Some(_)) => Err(said("the response has a body".into())),
        }
    }

    /// Every example in the document: (where, its schema, its value).
    pub(crate) fn examples(&self) -> Vec<(String, Value, Value)> {
        let mut found = Vec::new();
        for (id, operation) in &self.operations {
            let responses = operation.item["responses"].as_object().into_iter().flatten();
            let mut contents = vec![(format!("{id} request"), operation.item["requestBody"].clone())];
            contents.extend(
                responses
                    .map(|(status, response)| (format!("{id} {status}"), resolve(&self.document, response))),
            );
            for (place, content) in contents {
                for (media_type, content) in content["content"].as_object().into_iter().flatten() {
                    let examples = content["examples"].as_object();
                    assert!(examples.is_some(), "{place} {media_type} has no example");
                    for (name, example) in examples.into_iter().flatten() {
                        let example = resolve(&self.document, example);
                        let place = format!("{place} {name}");
                        found.push((place, content["schema"].clone(), example["value"].clone()));
                    }
                }
            }
        }
        found
    }

    /// Holds a value against a schema of the document.
    pub(crate) fn validate(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let errors: Vec<String> = self
            .validator(schema)
            .iter_errors(value)
            .map(|error| format!("{} at {:?}", error, error.instance_path().as_str()))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    /// The names of the schemas.
    pub(crate) fn schemas(&self) -> Vec<String> {
        self.document["components"]["schemas"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn operation(&self, exchange: &Exchange) -> Result<&Operation, String> {
        self.operations.get(&exchange.operation).ok_or_else(|| {
            format!("{} {}: {} is not described", exchange.method, exchange.path, exchange.operation)
        })
    }

    fn validator(&self, schema: &Value) -> Arc<Validator> {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let mut root = schema.as_object().cloned().unwrap_or_else(Map::new);
            root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
            let schemas = self.document["components"]["schemas"].clone();
            root.insert("components".into(), json!({ "schemas": schemas }));
            let validator = jsonschema::options().should_validate_formats(true).build(&Value::Object(root));
            Arc::new(validator.expect("the schema is one"))
        };
        Arc::clone(validators.entry(schema.to_string()).or_insert_with(make))
    }
}

/// Follows one local reference.
fn resolve(document: &Value, value: &Value) -> Value {
    match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => document.pointer(pointer).expect("the reference leads somewhere").clone(),
        None => value.clone(),
    }
}

fn schema_of(described: &Value) -> Option<Value> {
    let content = described["content"].as_object()?;
    content.values().next().map(|content| content["schema"].clone())
}

fn path_parameters(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let (template, path): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), path.split('/').collect());
    if template.len() != path.len() {
        return None;
    }
    let mut found = Vec::new();
    for (expected, given) in template.into_iter().zip(path) {
        match expected.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) => found.push((name.to_owned(), decoded(given))),
            None if expected == given => {}
            None => return None,
        }
    }
    Some(found)
}

fn query_parameters(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
