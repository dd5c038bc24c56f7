//! # Purpose
//! Layers file, environment and flags, and checks each value against the schema.
//!
//! # Invariants kept here
//! - Flag beats environment beats file beats default, for each key by itself.
//! - A value that is wrong is reported with the place that set it.
//!
//! # Not here
//! Rules between keys: `validate`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use config::{Config, File, FileFormat};
use jiff::SignedDuration;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::schema::{self, Kind};
use super::{ConfigError, Problem, Settings, validate};
use crate::http::address::Address;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/apono-connector/connector.toml";
const PREFIX: &str = "APONO_CONNECTOR__";
const FILE_VARIABLE: &str = "APONO_CONNECTOR_CONFIG";

/// Where the configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The process's environment.
    pub environment: BTreeMap<String, String>,
    /// `--set key=value` and the flags with names of their own: (flag, key, value).
    pub flags: Vec<(String, String, String)>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment may hold a token or a proxy's password, and a flag what was written in the wrong place.
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Sources {
    /// The file that is read.
    pub fn path(&self) -> PathBuf {
        let named = self.environment.get(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        self.file.clone().or(named).unwrap_or_else(|| PathBuf::from(DEFAULT_FILE))
    }
}

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// In the program's types.
    pub settings: Settings,
    /// Worth telling, not wrong.
    pub warnings: Vec<String>,
    /// Every key with its value and where that is from.
    pub effective: Vec<Effective>,
}

/// One key as it is in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// `okta[0].dpop`.
    pub key: String,
    /// Its value, or nothing.
    pub value: Option<Value>,
    /// Where it is from.
    pub origin: Origin,
}

/// Which layer set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The schema.
    Default,
    /// The file.
    File(PathBuf),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Loads and checks everything.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let mut problems = Vec::new();
    let path = sources.path();
    let text = read_file(&path, sources.file.is_some(), &mut problems);
    let overrides = overrides(sources, &mut problems);
    let origin = |key: &str| match overrides.get(key) {
        Some((_, origin)) => origin.clone(),
        None => Origin::File(path.clone()),
    };

    let before = problems.len();
    let tree = layer(&text, &path, &overrides, &mut problems);
    if problems.len() > before {
        // What is missing in a file that cannot be understood is no problem of its own.
        return Err(ConfigError { problems });
    }
    let mut checked = Value::Object(Map::new());
    walk("", &tree, &mut |key, value| match check_key(key, value) {
        Ok(()) => put(&mut checked, key, value.clone()),
        Err(message) => {
            problems.push(Problem { key: key.to_owned(), place: origin(key).to_string(), message });
        }
    });
    let places = |key: &str| origin(key).to_string();
    let token = sources.environment.get("APONO_TOKEN").filter(|token| !token.trim().is_empty());
    let extra = validate::Extra {
        token: token.map(|token| SecretString::from(token.trim())),
        metadata: sources.environment.get("CONNECTOR_METADATA").cloned(),
        environment: sources.environment.clone(),
    };
    match validate::validate(&checked, &extra, &places) {
        Ok((settings, warnings)) if problems.is_empty() => {
            let effective = effective(&checked, &overrides, &path, settings.okta.len());
            Ok(Loaded { settings, warnings, effective })
        }
        Ok(_) => Err(ConfigError { problems }),
        Err(more) => {
            problems.extend(more);
            Err(ConfigError { problems })
        }
    }
}

fn read_file(path: &Path, by_flag: bool, problems: &mut Vec<Problem>) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let how = if by_flag { "correct --config" } else { "name another with --config FILE" };
            let message =
                format!("{} cannot be read: {error}; write the configuration there or {how}", path.display());
            problems.push(Problem { key: String::new(), place: String::new(), message });
            String::new()
        }
    }
}

type Overrides = BTreeMap<String, (Value, Origin)>;

/// What environment and flags set, by concrete key.
fn overrides(sources: &Sources, problems: &mut Vec<Problem>) -> Overrides {
    let mut overrides = Overrides::new();
    let mut set = |key: String, text: &str, origin: Origin| match schema::find(&key) {
        Some(_) if !has_small_indices(&key) => {
            let message = "an organization's index is a number from 0 to 999, as in okta[0]".to_owned();
            problems.push(Problem { key, place: origin.to_string(), message });
        }
        Some(known) => {
            overrides.insert(key, (from_text(text, known.kind), origin));
        }
        None => problems.push(unknown(&key, &origin.to_string())),
    };
    for key in schema::KEYS {
        if let Some((name, text)) = key.env.and_then(|name| Some((name, sources.environment.get(name)?)))
            && !text.is_empty()
        {
            // A name of Apono's own means every organization; with one organization that is the first.
            set(key.path.replace("[]", "[0]"), text, Origin::Environment(name.to_owned()));
        }
    }
    for (name, text) in &sources.environment {
        if let Some(rest) = name.strip_prefix(PREFIX) {
            set(from_variable(rest), text, Origin::Environment(name.clone()));
        }
    }
    for (flag, key, text) in &sources.flags {
        set(key.clone(), text, Origin::Flag(flag.clone()));
    }
    overrides
}

/// A list of that length would be made.
fn has_small_indices(key: &str) -> bool {
    key.split('[').skip(1).all(|rest| rest.split(']').next().is_some_and(is_index))
}

fn is_index(part: &str) -> bool {
    (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// `OKTA__0__DIRECTORY__ENABLED` → `okta[0].directory.enabled`.
fn from_variable(rest: &str) -> String {
    let mut key = String::new();
    for part in rest.split("__") {
        if is_index(part) {
            key.push('[');
            key.push_str(part);
            key.push(']');
        } else {
            if !key.is_empty() {
                key.push('.');
            }
            key.push_str(&part.to_ascii_lowercase());
        }
    }
    key
}

/// Text from a place that has only text, as the key wants it.
fn from_text(text: &str, kind: Kind) -> Value {
    let text = text.trim();
    match kind {
        Kind::Text | Kind::File | Kind::Duration | Kind::Choice(_) | Kind::Listen | Kind::Endpoint => {
            Value::from(text)
        }
        Kind::Bool => text.parse::<bool>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Integer { .. } => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Share => text.parse::<f64>().map_or_else(|_| Value::from(text), Value::from),
        Kind::Map => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        Kind::List if text.starts_with('[') => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
        }
        Kind::List => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect()
        }
    }
}

/// The file with the overrides on top, as one tree.
fn layer(text: &str, path: &Path, overrides: &Overrides, problems: &mut Vec<Problem>) -> Value {
    let mut whole = |message: String| {
        problems.push(Problem { key: String::new(), place: path.display().to_string(), message });
        Value::Object(Map::new())
    };
    let mut builder = Config::builder().add_source(File::from_str(text, FileFormat::Toml));
    for (key, (value, _)) in overrides {
        let Ok(value) = Config::try_from(&BTreeMap::from([("value", value)]))
            .and_then(|one| one.get::<config::Value>("value"))
        else {
            continue;
        };
        builder = match builder.set_override(key, value) {
            Ok(builder) => builder,
            Err(error) => return whole(format!("{key} cannot be set: {error}")),
        };
    }
    let built = builder.build().and_then(Config::try_deserialize::<Value>);
    match built {
        Ok(tree) => tree,
        Err(error) => whole(match syntax_error(text) {
            Some(where_and_what) => format!("it is not TOML: {where_and_what}"),
            None => format!("it cannot be used: {error}"),
        }),
    }
}

/// Where the file is no TOML, and why; without the line itself, which may hold what somebody took for the place of a
/// secret.
fn syntax_error(text: &str) -> Option<String> {
    let error = text.parse::<toml_edit::DocumentMut>().err()?;
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(start..).unwrap_or_default().chars().count() + 1;
    let key = text.get(start..).and_then(|rest| rest.lines().next()).and_then(|line| line.split_once('='));
    let key = key.map(|(key, _)| key.trim()).filter(|key| is_known(key));
    let key = key.map(|key| format!(" ({key})")).unwrap_or_default();
    Some(format!("line {line}, column {column}{key}: {}", error.message()))
}

/// Whether it is the last part of a key of ours; any other text may be anything.
fn is_known(name: &str) -> bool {
    schema::KEYS.iter().any(|key| key.path.rsplit('.').next() == Some(name))
}

/// Visits every value that is not a table.
fn walk(path: &str, value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) if path.is_empty() || schema::is_table(path) => {
            for (name, member) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                walk(&path, member, visit);
            }
        }
        Value::Array(elements) if schema::is_table(path) => {
            for (index, element) in elements.iter().enumerate() {
                let path = format!("{path}[{index}]");
                if element.is_object() { walk(&path, element, visit) } else { visit(&path, element) }
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            visit(path, value);
        }
    }
}

fn check_key(key: &str, value: &Value) -> Result<(), String> {
    match schema::find(key) {
        Some(known) => check_kind(value, known.kind),
        None if schema::is_table(key) => {
            let shape = if key.ends_with(']') || schema::generalize(key) == "okta" {
                "a table, [[okta]]"
            } else {
                "a table"
            };
            Err(format!("this must be {shape}"))
        }
        None => Err(unknown(key, "").message),
    }
}

fn unknown(key: &str, place: &str) -> Problem {
    let message = match schema::nearest(key) {
        Some(known) => format!("there is no such key; did you mean {known}?"),
        None => "there is no such key; see `apono-connector config schema`".to_owned(),
    };
    Problem { key: key.to_owned(), place: place.to_owned(), message }
}

/// Whether a value is what its key holds; the message says what would be.
pub(super) fn check_kind(value: &Value, kind: Kind) -> Result<(), String> {
    let shown = || value.to_string();
    match kind {
        Kind::Text | Kind::File => match value.as_str() {
            Some(text) if text.trim().is_empty() => {
                Err("this is empty; set it or leave the key out".to_owned())
            }
            Some(_) => Ok(()),
            None => Err(format!("{} is not text; put it in quotes", shown())),
        },
        Kind::List => match value.as_array() {
            Some(elements) if elements.iter().all(Value::is_string) => Ok(()),
            Some(_) | None => Err(format!("{} is not a list of texts; write [\"a\", \"b\"]", shown())),
        },
        Kind::Map => match value.as_object() {
            Some(members) if members.values().all(Value::is_string) => Ok(()),
            Some(_) | None => {
                Err(format!("{} is not a table of texts; write {{ name = \"text\" }}", shown()))
            }
        },
        Kind::Bool => match value {
            Value::Bool(_) => Ok(()),
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
                Err(format!("{} is neither true nor false", shown()))
            }
        },
        Kind::Integer { least, most } => match value.as_i64() {
            Some(number) if (least..=most).contains(&number) => Ok(()),
            Some(_) | None => Err(format!("{} is not a whole number from {least} to {most}", shown())),
        },
        Kind::Share => match value.as_f64() {
            Some(share) if share > 0.0 && share <= 1.0 => Ok(()),
            Some(_) | None => Err(format!("{} is not a number above 0 and at most 1", shown())),
        },
        Kind::Duration => match value.as_str().and_then(duration) {
            Some(_) => Ok(()),
            None => Err(format!("{} is not a duration; write 90s, 15m or 24h", shown())),
        },
        Kind::Choice(choices) => match value.as_str() {
            Some(choice) if choices.contains(&choice) => Ok(()),
            Some(_) | None => Err(format!("{} is not one of {}", shown(), choices.join(", "))),
        },
        Kind::Listen => match value.as_str().and_then(|text| text.parse::<std::net::SocketAddr>().ok()) {
            Some(_) => Ok(()),
            None => Err(format!("{} is not an address with a port; write 127.0.0.1:8080", shown())),
        },
        Kind::Endpoint => match value.as_str().map(str::parse::<Address>) {
            Some(Ok(_)) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("{} is not text; put it in quotes", shown())),
        },
    }
}

/// `90s`, `15m`, `1h 30m`; more than nothing.
pub fn duration(text: &str) -> Option<std::time::Duration> {
    let parsed = text.parse::<SignedDuration>().ok()?;
    std::time::Duration::try_from(parsed).ok().filter(|duration| !duration.is_zero())
}

/// Puts a value at a concrete path.
fn put(tree: &mut Value, path: &str, value: Value) {
    let pointer = pointer(path);
    let mut at = tree;
    for part in &pointer {
        at = if let Ok(index) = part.parse::<usize>() { element(at, index) } else { member(at, part) };
    }
    *at = value;
}

fn element(value: &mut Value, index: usize) -> &mut Value {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    #[expect(clippy::expect_used, reason = "made an array two lines above")]
    let elements = value.as_array_mut().expect("an array");
    while elements.len() <= index {
        elements.push(Value::Object(Map::new()));
    }
    &mut elements[index]
}

fn member<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    #[expect(clippy::expect_used, reason = "made an object two lines above")]
    let members = value.as_object_mut().expect("an object");
    members.entry(name).or_insert(Value::Null)
}

/// `okta[0].dpop` → `okta`, `0`, `dpop`.
pub(super) fn pointer(path: &str) -> Vec<String> {
    path.replace('[', ".").replace(']', "").split('.').map(ToOwned::to_owned).collect()
}

fn effective(checked: &Value, overrides: &Overrides, path: &Path, organizations: usize) -> Vec<Effective> {
    let mut effective = Vec::new();
    for key in schema::KEYS {
        let concrete: Vec<String> = if key.path.contains("[]") {
            (0..organizations).map(|index| key.path.replace("[]", &format!("[{index}]"))).collect()
        } else {
            vec![key.path.to_owned()]
        };
        for concrete in concrete {
            let set = checked.pointer(&format!("/{}", pointer(&concrete).join("/")));
            let origin = match (set, overrides.get(&concrete)) {
                (Some(_), Some((_, origin))) => origin.clone(),
                (Some(_), None) => Origin::File(path.to_owned()),
                (None, _) => Origin::Default,
            };
            let default = || key.default.and_then(|default| serde_json::from_str(default).ok());
            effective.push(Effective { key: concrete, value: set.cloned().or_else(default), origin });
        }
    }
    effective
}
