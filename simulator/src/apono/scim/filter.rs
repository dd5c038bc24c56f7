//! # Purpose
//! Filters of RFC 7644 section 3.4.2.2: reading them and applying them to a resource.
//!
//! # Invariants kept here
//! - What is not understood is refused, never taken for "everything".
//! - Strings are compared without regard to case, except ids.
//!
//! # Not here
//! Which resources are looked at: see [`super::read`], which uses the indexes where a filter allows it.

use jiff::Timestamp;
use serde_json::Value;

use super::path::{AttrPath, field};

/// Bounds the recursion of the reader.
const MOST_TOKENS: usize = 1000;

/// A filter that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Not(Box<Self>),
    Present(AttrPath),
    Compare {
        path: AttrPath,
        by: Comparison,
        value: Value,
    },
    /// `emails[type eq "work"]`: some value of the attribute fulfils the inner filter.
    Within {
        path: AttrPath,
        inner: Box<Self>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Contains,
    StartsWith,
    EndsWith,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Open,
    Close,
    OpenValue,
    CloseValue,
    Word(String),
    Literal(Value),
}

impl Filter {
    /// Reads a filter, or says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let tokens = tokens(text)?;
        if tokens.len() > MOST_TOKENS {
            return Err("the filter is too long".into());
        }
        let mut reader = Reader { tokens, next: 0 };
        let filter = reader.disjunction()?;
        match reader.peek() {
            None => Ok(filter),
            Some(token) => Err(format!("{token:?} is left over")),
        }
    }

    /// Whether a resource, or one value of a multi-valued attribute, fulfils the filter.
    pub(super) fn matches(&self, subject: &Value) -> bool {
        match self {
            Self::And(left, right) => left.matches(subject) && right.matches(subject),
            Self::Or(left, right) => left.matches(subject) || right.matches(subject),
            Self::Not(inner) => !inner.matches(subject),
            Self::Present(path) => values(subject, path).iter().any(|value| is_present(value)),
            Self::Compare { path, by: Comparison::NotEqual, value } => {
                !values(subject, path).iter().any(|found| compare(path, Comparison::Equal, found, value))
            }
            Self::Compare { path, by: Comparison::Equal, value } if value.is_null() => {
                !values(subject, path).iter().any(|found| is_present(found))
            }
            Self::Compare { path, by, value } => {
                values(subject, path).iter().any(|found| compare(path, *by, found, value))
            }
            Self::Within { path, inner } => elements(subject, path).iter().any(|value| inner.matches(value)),
        }
    }

    /// Whether the filter looks at the core attribute `name`.
    pub(super) fn mentions(&self, name: &str) -> bool {
        match self {
            Self::And(left, right) | Self::Or(left, right) => left.mentions(name) || right.mentions(name),
            Self::Not(inner) => inner.mentions(name),
            Self::Present(path) | Self::Compare { path, .. } | Self::Within { path, .. } => {
                path.is_core(name)
            }
        }
    }
}

/// The values at a path, with lists opened; a complex value without a named sub-attribute stands for its `value`.
fn values<'a>(subject: &'a Value, path: &AttrPath) -> Vec<&'a Value> {
    let sub = path.sub.as_deref().unwrap_or("value");
    elements(subject, path)
        .into_iter()
        .filter_map(|element| match element {
            Value::Object(object) => field(object, sub),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                path.sub.is_none().then_some(element)
            }
        })
        .collect()
}

/// The values of the attribute itself, with lists opened.
fn elements<'a>(subject: &'a Value, path: &AttrPath) -> Vec<&'a Value> {
    let mut container = subject.as_object();
    if let Some(extension) = &path.extension {
        container = container.and_then(|object| field(object, extension)).and_then(Value::as_object);
    }
    let attribute = path.attribute.as_deref().unwrap_or_default();
    match container.and_then(|object| field(object, attribute)) {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().collect(),
        Some(value) => vec![value],
    }
}

fn is_present(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn compare(path: &AttrPath, by: Comparison, found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::String(found), Value::String(wanted)) => {
            let exact = ["id", "externalId"].iter().any(|name| path.is_core(name))
                || path.is_core("members")
                || path.sub.as_deref() == Some("$ref");
            if exact {
                compare_text(by, found, wanted)
            } else {
                compare_text(by, &found.to_lowercase(), &wanted.to_lowercase())
            }
        }
        (Value::Bool(found), Value::Bool(wanted)) => by == Comparison::Equal && found == wanted,
        (Value::Number(found), Value::Number(wanted)) => {
            let (Some(found), Some(wanted)) = (found.as_f64(), wanted.as_f64()) else { return false };
            found.partial_cmp(&wanted).is_some_and(|order| in_order(by, order))
        }
        _ => false,
    }
}

fn compare_text(by: Comparison, found: &str, wanted: &str) -> bool {
    match by {
        Comparison::Contains => found.contains(wanted),
        Comparison::StartsWith => found.starts_with(wanted),
        Comparison::EndsWith => found.ends_with(wanted),
        Comparison::Equal
        | Comparison::NotEqual
        | Comparison::Greater
        | Comparison::GreaterOrEqual
        | Comparison::Less
        | Comparison::LessOrEqual => {
            // Lower case was made of `T` and `Z`, which the parser takes as well.
            let instants = (found.parse::<Timestamp>(), wanted.parse::<Timestamp>());
            let order = match instants {
                (Ok(found), Ok(wanted)) => found.cmp(&wanted),
                (Ok(_) | Err(_), Ok(_) | Err(_)) => found.cmp(wanted),
            };
            in_order(by, order)
        }
    }
}

fn in_order(by: Comparison, order: std::cmp::Ordering) -> bool {
    match by {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Contains | Comparison::StartsWith | Comparison::EndsWith => false,
    }
}

struct Reader {
    tokens: Vec<Token>,
    next: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next)
    }

    fn take(&mut self) -> Result<Token, String> {
        let token = self.tokens.get(self.next).cloned().ok_or("the filter ends too early")?;
        self.next += 1;
        Ok(token)
    }

    fn keyword(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word));
        self.next += usize::from(is_next);
        is_next
    }

    fn closing(&mut self, wanted: &Token) -> Result<(), String> {
        let found = self.take()?;
        if found == *wanted { Ok(()) } else { Err(format!("{found:?} where {wanted:?} belongs")) }
    }

    fn disjunction(&mut self) -> Result<Filter, String> {
        let mut left = self.conjunction()?;
        while self.keyword("or") {
            left = Filter::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Filter, String> {
        let mut left = self.term()?;
        while self.keyword("and") {
            left = Filter::And(Box::new(left), Box::new(self.term()?));
        }
        Ok(left)
    }

    fn term(&mut self) -> Result<Filter, String> {
        let word = match self.take()? {
            Token::Open => {
                let inner = self.disjunction()?;
                self.closing(&Token::Close)?;
                return Ok(inner);
            }
            Token::Word(word) => word,
            other @ (Token::Close | Token::OpenValue | Token::CloseValue | Token::Literal(_)) => {
                return Err(format!("{other:?} where an attribute belongs"));
            }
        };
        if word.eq_ignore_ascii_case("not") && self.peek() == Some(&Token::Open) {
            self.next += 1;
            let inner = self.disjunction()?;
            self.closing(&Token::Close)?;
            return Ok(Filter::Not(Box::new(inner)));
        }
        let path = AttrPath::parse(&word)
            .filter(|path| path.attribute.is_some())
            .ok_or_else(|| format!("{word:?} is not an attribute"))?;
        if self.peek() == Some(&Token::OpenValue) {
            self.next += 1;
            let inner = self.disjunction()?;
            self.closing(&Token::CloseValue)?;
            return Ok(Filter::Within { path, inner: Box::new(inner) });
        }
        if self.keyword("pr") {
            return Ok(Filter::Present(path));
        }
        let Token::Word(operator) = self.take()? else {
            return Err("an operator is missing".into());
        };
        let by = comparison(&operator).ok_or_else(|| format!("{operator:?} is not an operator"))?;
        match self.take()? {
            Token::Literal(value) => Ok(Filter::Compare { path, by, value }),
            other @ (Token::Open | Token::Close | Token::OpenValue | Token::CloseValue | Token::Word(_)) => {
                Err(format!("{other:?} where a value belongs"))
            }
        }
    }
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator.to_ascii_lowercase().as_str() {
        "eq" => Comparison::Equal,
        "ne" => Comparison::NotEqual,
        "co" => Comparison::Contains,
        "sw" => Comparison::StartsWith,
        "ew" => Comparison::EndsWith,
        "gt" => Comparison::Greater,
        "ge" => Comparison::GreaterOrEqual,
        "lt" => Comparison::Less,
        "le" => Comparison::LessOrEqual,
        _ => return None,
    })
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | '[' | ']' => {
                found.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    '[' => Token::OpenValue,
                    _ => Token::CloseValue,
                });
                1
            }
            '"' => {
                let length = quoted_length(rest).ok_or("a string does not end")?;
                let literal = serde_json::from_str(rest.get(..length).unwrap_or_default())
                    .map_err(|error| format!("a string is not JSON: {error}"))?;
                found.push(Token::Literal(literal));
                length
            }
            _ => {
                let ends = |letter: char| letter.is_whitespace() || "()[]\"".contains(letter);
                let length = rest.find(ends).unwrap_or(rest.len());
                let word = rest.get(..length).unwrap_or_default();
                found.push(match word {
                    "true" | "false" | "null" => {
                        Token::Literal(serde_json::from_str(word).unwrap_or_default())
                    }
                    _ => match serde_json::from_str::<serde_json::Number>(word) {
                        Ok(number) => Token::Literal(Value::Number(number)),
                        Err(_) => Token::Word(word.to_owned()),
                    },
                });
                length
            }
        };
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(found)
}

/// The length of the JSON string that `text` starts with, quotes included.
pub(super) fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, letter) in text.char_indices().skip(1) {
        match letter {
            '"' if !escaped => return Some(index + 1),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}
