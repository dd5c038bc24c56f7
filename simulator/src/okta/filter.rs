//! # Purpose
//! The expressions of `filter` and `search`: parsed once, asked of every object.
//!
//! # Invariants kept here
//! - An attribute or operator that a dialect does not know is an error, never "matches nothing".
//! - `and` binds tighter than `or`; an array matches when any element does.
//!
//! # Not here
//! Where attribute values come from.

use std::borrow::Cow;
use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::Value;

/// The value of one attribute of one object.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Attribute<'a> {
    Text(Cow<'a, str>),
    /// Milliseconds since the epoch.
    Instant(i64),
    Json(Value),
    Absent,
}

/// Which expressions are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    UserFilter,
    UserSearch,
    GroupFilter,
    GroupSearch,
    LogFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    StartsWith,
    Contains,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Present,
}

impl Operator {
    fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "eq" => Self::Equal,
            "sw" => Self::StartsWith,
            "co" => Self::Contains,
            "gt" => Self::Greater,
            "ge" => Self::GreaterOrEqual,
            "lt" => Self::Less,
            "le" => Self::LessOrEqual,
            "pr" => Self::Present,
            _ => return None,
        })
    }

    fn is_ordering(self) -> bool {
        match self {
            Self::Greater | Self::GreaterOrEqual | Self::Less | Self::LessOrEqual => true,
            Self::Equal | Self::StartsWith | Self::Contains | Self::Present => false,
        }
    }
}

impl Dialect {
    fn allows(self, attribute: &str, operator: Operator) -> bool {
        match self {
            Self::UserFilter => match attribute {
                "lastUpdated" => operator == Operator::Equal || operator.is_ordering(),
                "status" | "id" | "profile.login" | "profile.email" | "profile.firstName"
                | "profile.lastName" => operator == Operator::Equal,
                _ => false,
            },
            Self::UserSearch => match (attribute, operator) {
                ("profile.login" | "profile.email" | "profile.firstName" | "profile.lastName", _) => true,
                (_, Operator::Contains) => false,
                (
                    "id" | "status" | "created" | "activated" | "statusChanged" | "lastUpdated" | "type.id",
                    _,
                ) => true,
                (other, _) => other.starts_with("profile."),
            },
            Self::GroupFilter => match attribute {
                "lastUpdated" | "lastMembershipUpdated" => {
                    operator == Operator::Equal || operator.is_ordering()
                }
                "type" | "id" => operator == Operator::Equal,
                _ => false,
            },
            Self::GroupSearch => match attribute {
                "id" | "type" | "created" | "lastUpdated" | "lastMembershipUpdated" => {
                    operator != Operator::Contains
                }
                other => other.starts_with("profile."),
            },
            Self::LogFilter => attribute != "published",
        }
    }

    /// `filter` compares text exactly, `search` ignores case.
    fn ignores_case(self) -> bool {
        match self {
            Self::UserSearch | Self::GroupSearch => true,
            Self::UserFilter | Self::GroupFilter | Self::LogFilter => false,
        }
    }
}

/// What an expression compares with.
#[derive(Clone, Debug)]
struct Literal {
    text: String,
    instant: Option<i64>,
    number: Option<f64>,
    boolean: Option<bool>,
}

impl Literal {
    fn of(text: String, ignores_case: bool) -> Self {
        Self {
            instant: text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond),
            number: text.parse().ok(),
            boolean: text.parse().ok(),
            text: if ignores_case { text.to_lowercase() } else { text },
        }
    }
}

/// A parsed expression.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    root: Node,
    ignores_case: bool,
}

#[derive(Clone, Debug)]
enum Node {
    Any(Vec<Node>),
    All(Vec<Node>),
    Compare { attribute: String, operator: Operator, literal: Literal },
}

/// The expression cannot be read, or not in this dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Filter {
    /// Parses an expression.
    pub(super) fn parse(text: &str, dialect: Dialect) -> Result<Self, Unreadable> {
        let mut parser = Parser { tokens: tokens(text)?, position: 0, dialect };
        let root = parser.any(0)?;
        if parser.position < parser.tokens.len() {
            return Err(Unreadable);
        }
        Ok(Self { root, ignores_case: dialect.ignores_case() })
    }

    /// Whether an object with these attributes matches.
    pub(super) fn matches<'a>(&self, attribute: &impl Fn(&str) -> Attribute<'a>) -> bool {
        self.holds(&self.root, attribute)
    }

    fn holds<'a>(&self, node: &Node, attribute: &impl Fn(&str) -> Attribute<'a>) -> bool {
        match node {
            Node::Any(nodes) => nodes.iter().any(|node| self.holds(node, attribute)),
            Node::All(nodes) => nodes.iter().all(|node| self.holds(node, attribute)),
            Node::Compare { attribute: name, operator, literal } => match attribute(name) {
                Attribute::Absent => false,
                Attribute::Text(text) => self.text_holds(&text, *operator, literal),
                Attribute::Instant(ms) => literal
                    .instant
                    .map_or(*operator == Operator::Present, |bound| ordered(ms.cmp(&bound), *operator)),
                Attribute::Json(value) => self.json_holds(&value, *operator, literal),
            },
        }
    }

    fn json_holds(&self, value: &Value, operator: Operator, literal: &Literal) -> bool {
        match value {
            Value::Null => false,
            Value::Bool(value) => {
                operator == Operator::Present
                    || operator == Operator::Equal && literal.boolean == Some(*value)
            }
            Value::Number(number) => match (number.as_f64(), literal.number) {
                (Some(value), Some(bound)) => {
                    value.partial_cmp(&bound).is_some_and(|order| ordered(order, operator))
                }
                (Some(_), None) | (None, Some(_) | None) => operator == Operator::Present,
            },
            Value::String(text) => self.text_holds(text, operator, literal),
            Value::Array(values) => values.iter().any(|value| self.json_holds(value, operator, literal)),
            Value::Object(_) => operator == Operator::Present,
        }
    }

    fn text_holds(&self, text: &str, operator: Operator, literal: &Literal) -> bool {
        let text = if self.ignores_case { Cow::Owned(text.to_lowercase()) } else { Cow::Borrowed(text) };
        match operator {
            Operator::StartsWith => text.starts_with(&literal.text),
            Operator::Contains => text.contains(&literal.text),
            Operator::Equal
            | Operator::Greater
            | Operator::GreaterOrEqual
            | Operator::Less
            | Operator::LessOrEqual
            | Operator::Present => ordered(text.as_ref().cmp(literal.text.as_str()), operator),
        }
    }
}

fn ordered(order: Ordering, operator: Operator) -> bool {
    match operator {
        Operator::Equal => order == Ordering::Equal,
        Operator::Greater => order == Ordering::Greater,
        Operator::GreaterOrEqual => order != Ordering::Less,
        Operator::Less => order == Ordering::Less,
        Operator::LessOrEqual => order != Ordering::Greater,
        Operator::Present => true,
        Operator::StartsWith | Operator::Contains => false,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Word(String),
    Quoted(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, Unreadable> {
    let mut tokens = Vec::new();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => {}
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            '"' => {
                let mut quoted = String::new();
                loop {
                    match letters.next().ok_or(Unreadable)? {
                        '"' => break,
                        '\\' => quoted.push(letters.next().ok_or(Unreadable)?),
                        other => quoted.push(other),
                    }
                }
                tokens.push(Token::Quoted(quoted));
            }
            first => {
                let mut word = String::from(first);
                while let Some(next) = letters.next_if(|next| !matches!(next, ' ' | '\t' | '(' | ')' | '"')) {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    position: usize,
    dialect: Dialect,
}

/// Deeper nesting is refused, so that an expression cannot exhaust the stack.
const MAX_DEPTH: usize = 32;

impl Parser {
    fn any(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let mut nodes = vec![self.all(depth)?];
        while self.skip_word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(Node::Any(nodes))
    }

    fn all(&mut self, depth: usize) -> Result<Node, Unreadable> {
        let mut nodes = vec![self.one(depth)?];
        while self.skip_word("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(Node::All(nodes))
    }

    fn one(&mut self, depth: usize) -> Result<Node, Unreadable> {
        match self.next()? {
            Token::Open if depth < MAX_DEPTH => {
                let inner = self.any(depth + 1)?;
                if self.next()? == Token::Close { Ok(inner) } else { Err(Unreadable) }
            }
            Token::Word(attribute) => self.comparison(attribute),
            Token::Open | Token::Close | Token::Quoted(_) => Err(Unreadable),
        }
    }

    fn comparison(&mut self, attribute: String) -> Result<Node, Unreadable> {
        let Token::Word(word) = self.next()? else { return Err(Unreadable) };
        let operator = Operator::of(&word).ok_or(Unreadable)?;
        if !self.dialect.allows(&attribute, operator) {
            return Err(Unreadable);
        }
        let text = if operator == Operator::Present {
            String::new()
        } else {
            match self.next()? {
                Token::Quoted(text) | Token::Word(text) => text,
                Token::Open | Token::Close => return Err(Unreadable),
            }
        };
        Ok(Node::Compare { attribute, operator, literal: Literal::of(text, self.dialect.ignores_case()) })
    }

    fn next(&mut self) -> Result<Token, Unreadable> {
        let token = self.tokens.get(self.position).cloned().ok_or(Unreadable)?;
        self.position += 1;
        Ok(token)
    }

    fn skip_word(&mut self, wanted: &str) -> bool {
        let found = match self.tokens.get(self.position) {
            Some(Token::Word(word)) => word.eq_ignore_ascii_case(wanted),
            Some(Token::Open | Token::Close | Token::Quoted(_)) | None => false,
        };
        self.position += usize::from(found);
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Attribute, Dialect, Filter};

    fn matches(dialect: Dialect, text: &str) -> Option<bool> {
        let filter = Filter::parse(text, dialect).ok()?;
        Some(filter.matches(&|name| match name {
            "status" => Attribute::Text("ACTIVE".into()),
            "lastUpdated" => Attribute::Instant(1_400_000_000_000),
            "profile.login" => Attribute::Text("Ada@example.com".into()),
            "profile.skills" => Attribute::Json(json!(["Rust", "SQL"])),
            "profile.quote" => Attribute::Json(json!("say \"hi\"")),
            "profile.level" => Attribute::Json(json!(3)),
            _ => Attribute::Absent,
        }))
    }

    #[test]
    fn okta_filter_compares_as_its_dialect_says() {
        let cases = [
            (Dialect::UserFilter, r#"status eq "ACTIVE""#, Some(true)),
            (Dialect::UserFilter, r#"status EQ "active""#, Some(false)),
            (Dialect::UserSearch, r#"status eq "active""#, Some(true)),
            (Dialect::UserFilter, r#"lastUpdated gt "2014-01-01T00:00:00.000Z""#, Some(true)),
            (Dialect::UserFilter, r#"lastUpdated gt "2014-06-01T00:00:00Z""#, Some(false)),
            (
                Dialect::UserSearch,
                r#"status eq "X" or profile.level ge 3 and profile.skills eq "sql""#,
                Some(true),
            ),
            (Dialect::UserSearch, r#"(status eq "X" or profile.level ge 3) and status eq "Y""#, Some(false)),
            (Dialect::UserSearch, r#"(status lt "STAGED" or status gt "STAGED")"#, Some(true)),
            (Dialect::UserSearch, r#"profile.quote eq "say \"hi\"""#, Some(true)),
            (Dialect::UserSearch, r#"profile.login sw "ada""#, Some(true)),
            (Dialect::UserSearch, "profile.nothing pr", Some(false)),
            (Dialect::UserSearch, r#"profile.title co "x""#, None),
            (Dialect::UserFilter, r#"profile.title eq "x""#, None),
            (Dialect::UserFilter, r#"status gt "A""#, None),
            (Dialect::UserFilter, r#"status eq "ACTIVE"#, None),
            (Dialect::UserFilter, r#"(status eq "ACTIVE""#, None),
            (Dialect::UserFilter, "status ne \"A\"", None),
            (Dialect::LogFilter, r#"published gt "2014-01-01T00:00:00Z""#, None),
            (
                Dialect::GroupFilter,
                r#"type eq "OKTA_GROUP" and lastMembershipUpdated gt "2014-01-01T00:00:00Z""#,
                Some(false),
            ),
        ];
        for (dialect, text, expected) in cases {
            assert_eq!(matches(dialect, text), expected, "{text}");
        }
    }
}
