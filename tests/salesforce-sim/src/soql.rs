//! The SOQL that clients of a sync use: SELECT, WHERE with AND, OR, NOT and comparisons, ORDER BY, LIMIT, COUNT().

use org::{FieldType, ObjectSchema, Org, Record, Stored, User, parse_moment};
use rust_decimal::Decimal;
use std::cmp::Ordering;

/// A query.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) fields: Vec<String>,
    pub(crate) count: bool,
    pub(crate) object: String,
    condition: Option<Condition>,
    order: Vec<(String, bool)>,
    limit: Option<usize>,
}

#[derive(Debug)]
enum Condition {
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    Compare { field: String, operator: String, values: Vec<Token> },
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(String),
}

/// A row: its record's Id, and the selected fields in the order of SELECT.
pub(crate) type Row = (String, Vec<(&'static str, Option<Stored>)>);

/// A refusal: code and words.
pub(crate) type Refusal = (&'static str, String);

fn malformed(message: impl Into<String>) -> Refusal {
    ("MALFORMED_QUERY", message.into())
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&next) = chars.peek() {
        if next.is_whitespace() {
            chars.next();
        } else if next == '\'' {
            chars.next();
            let mut text = String::new();
            loop {
                match chars.next() {
                    None => return Err(malformed("unterminated string")),
                    Some('\'') => break,
                    Some('\\') => match chars.next() {
                        Some('n') => text.push('\n'),
                        Some('r') => text.push('\r'),
                        Some('t') => text.push('\t'),
                        Some(other) => text.push(other),
                        None => return Err(malformed("unterminated string")),
                    },
                    Some(other) => text.push(other),
                }
            }
            tokens.push(Token::Text(text));
        } else if "(),".contains(next) {
            chars.next();
            tokens.push(Token::Symbol(next.to_string()));
        } else if "=!<>".contains(next) {
            let mut symbol = String::new();
            while let Some(&next) = chars.peek().filter(|next| "=!<>".contains(**next)) {
                symbol.push(next);
                chars.next();
            }
            tokens.push(Token::Symbol(symbol));
        } else {
            let mut word = String::new();
            while let Some(&next) =
                chars.peek().filter(|next| !next.is_whitespace() && !"(),=!<>'".contains(**next))
            {
                word.push(next);
                chars.next();
            }
            tokens.push(Token::Word(word));
        }
    }
    Ok(tokens)
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
}

impl Parser {
    fn peek_word(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.place), Some(Token::Word(found)) if found.eq_ignore_ascii_case(word))
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_word(word);
        self.place += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.tokens.get(self.place) == Some(&Token::Symbol(symbol.to_owned()));
        self.place += usize::from(found);
        found
    }

    fn word(&mut self) -> Result<String, Refusal> {
        match self.tokens.get(self.place) {
            Some(Token::Word(word)) => {
                self.place += 1;
                Ok(word.clone())
            }
            other => Err(malformed(format!("unexpected token: {other:?}"))),
        }
    }

    fn query(&mut self) -> Result<Query, Refusal> {
        if !self.take_word("SELECT") {
            return Err(malformed("unexpected token: expected SELECT"));
        }
        let mut fields = Vec::new();
        let mut count = false;
        loop {
            let field = self.word()?;
            if field.eq_ignore_ascii_case("COUNT") && self.take_symbol("(") {
                count = true;
                self.take_symbol(")");
            } else {
                fields.push(field);
            }
            if !self.take_symbol(",") {
                break;
            }
        }
        if !self.take_word("FROM") {
            return Err(malformed("unexpected token: expected FROM"));
        }
        let object = self.word()?;
        let condition = if self.take_word("WHERE") { Some(self.or()?) } else { None };
        let mut order = Vec::new();
        if self.take_word("ORDER") {
            self.take_word("BY");
            loop {
                let field = self.word()?;
                let descending = self.take_word("DESC");
                self.take_word("ASC");
                if self.take_word("NULLS") && !self.take_word("FIRST") {
                    self.take_word("LAST");
                }
                order.push((field, descending));
                if !self.take_symbol(",") {
                    break;
                }
            }
        }
        let limit = if self.take_word("LIMIT") {
            Some(self.word()?.parse().map_err(|_| malformed("LIMIT takes a number"))?)
        } else {
            None
        };
        match self.tokens.get(self.place) {
            None => Ok(Query { fields, count, object, condition, order, limit }),
            Some(token) => Err(malformed(format!("unexpected token: {token:?}"))),
        }
    }

    fn or(&mut self) -> Result<Condition, Refusal> {
        let mut parts = vec![self.and()?];
        while self.take_word("OR") {
            parts.push(self.and()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::Or(parts) })
    }

    fn and(&mut self) -> Result<Condition, Refusal> {
        let mut parts = vec![self.comparison()?];
        while self.take_word("AND") {
            parts.push(self.comparison()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Condition::And(parts) })
    }

    fn comparison(&mut self) -> Result<Condition, Refusal> {
        if self.take_symbol("(") {
            let inner = self.or()?;
            return if self.take_symbol(")") { Ok(inner) } else { Err(malformed("expected )")) };
        }
        if self.take_word("NOT") {
            return Ok(Condition::Not(Box::new(self.comparison()?)));
        }
        let field = self.word()?;
        let negated = self.take_word("NOT");
        if self.take_word("IN") {
            if !self.take_symbol("(") {
                return Err(malformed("IN takes a list"));
            }
            let mut values = Vec::new();
            while !self.take_symbol(")") {
                values.push(self.value()?);
                self.take_symbol(",");
            }
            let operator = if negated { "NOT IN" } else { "IN" }.to_owned();
            return Ok(Condition::Compare { field, operator, values });
        }
        let operator = if self.take_word("LIKE") {
            "LIKE".to_owned()
        } else {
            match self.tokens.get(self.place) {
                Some(Token::Symbol(symbol)) => {
                    let symbol = symbol.clone();
                    self.place += 1;
                    symbol
                }
                other => return Err(malformed(format!("unexpected token: {other:?}"))),
            }
        };
        Ok(Condition::Compare { field, operator, values: vec![self.value()?] })
    }

    fn value(&mut self) -> Result<Token, Refusal> {
        let token = self.tokens.get(self.place).cloned().ok_or_else(|| malformed("unexpected end"))?;
        self.place += 1;
        Ok(token)
    }
}

impl Query {
    /// The text with which a field is compared, if the condition is this comparison alone.
    pub(crate) fn compared(&self, wanted: &str) -> Option<&str> {
        match self.condition.as_ref()? {
            Condition::Compare { field, operator, values } if field == wanted && operator == "=" => {
                match values.as_slice() {
                    [Token::Text(text)] => Some(text),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

/// Parses a query.
pub(crate) fn parse(text: &str) -> Result<Query, Refusal> {
    Parser { tokens: tokens(text)?, place: 0 }.query()
}

/// `Contact.Email` from Contact is `Email`.
fn bare<'a>(schema: &ObjectSchema, field: &'a str) -> &'a str {
    match field.split_once('.') {
        Some((object, rest)) if object.eq_ignore_ascii_case(schema.name) => rest,
        _ => field,
    }
}

impl Query {
    /// The records that match, as (field, value) in the order of SELECT.
    pub(crate) fn run(&self, org: &Org, user: &User, deleted_too: bool) -> Result<Vec<Row>, Refusal> {
        let Some(schema) = org.schema(&self.object) else {
            let message = format!("sObject type '{}' is not supported.", self.object);
            return Err(("INVALID_TYPE", message));
        };
        let field = |name: &str| {
            schema.field(bare(schema, name)).map(|field| field.name).ok_or_else(|| {
                let message = format!("No such column '{name}' on entity '{}'.", schema.name);
                ("INVALID_FIELD", message)
            })
        };
        let selected = self.fields.iter().map(|name| field(name)).collect::<Result<Vec<_>, _>>()?;
        let mut found: Vec<&Record> = Vec::new();
        for record in org.records.get(schema.name).into_iter().flat_map(|records| records.values()) {
            let Some(record) = org.visible(record) else { continue };
            if record.values.get("Id").is_some_and(|id| org.hides(&id.text(), user)) {
                continue;
            }
            if record.deleted && !deleted_too {
                continue;
            }
            let matches = match &self.condition {
                Some(condition) => condition.holds(schema, record)?,
                None => true,
            };
            if matches {
                found.push(record);
            }
        }
        for (name, descending) in self.order.iter().rev() {
            let name = field(name)?;
            found.sort_by(|one, other| {
                let ordering = compare(one.values.get(name), other.values.get(name));
                if *descending { ordering.reverse() } else { ordering }
            });
        }
        found.truncate(self.limit.unwrap_or(usize::MAX));
        let row = |record: &&Record| {
            let id = record.values.get("Id").map(Stored::text).unwrap_or_default();
            (id, selected.iter().map(|name| (*name, record.values.get(name).cloned())).collect())
        };
        Ok(found.iter().map(row).collect())
    }
}

fn compare(one: Option<&Stored>, other: Option<&Stored>) -> Ordering {
    match (one, other) {
        (Some(Stored::Number(one)), Some(Stored::Number(other))) => {
            let (one, other) = (Decimal::from_str_exact(one), Decimal::from_str_exact(other));
            one.unwrap_or_default().cmp(&other.unwrap_or_default())
        }
        (Some(Stored::Moment(one)), Some(Stored::Moment(other))) => one.cmp(other),
        (one, other) => one.map(Stored::text).cmp(&other.map(Stored::text)),
    }
}

impl Condition {
    fn holds(&self, schema: &ObjectSchema, record: &Record) -> Result<bool, Refusal> {
        match self {
            Self::And(parts) => {
                parts.iter().try_fold(true, |all, part| Ok(all && part.holds(schema, record)?))
            }
            Self::Or(parts) => {
                parts.iter().try_fold(false, |any, part| Ok(any || part.holds(schema, record)?))
            }
            Self::Not(part) => Ok(!part.holds(schema, record)?),
            Self::Compare { field, operator, values } => {
                let Some(field) = schema.field(bare(schema, field)) else {
                    let message = format!("No such column '{field}' on entity '{}'.", schema.name);
                    return Err(("INVALID_FIELD", message));
                };
                let stored = record.values.get(field.name);
                let literals =
                    values.iter().map(|token| literal(&field.kind, token)).collect::<Result<Vec<_>, _>>()?;
                let first = literals.first().cloned().flatten();
                let ordering = compare(stored, first.as_ref());
                // Text compares without regard to case, but for Ids.
                let folds =
                    matches!(field.kind, FieldType::Text(..) | FieldType::Picklist(..)) && !field.unique;
                let same = |literal: &Option<Stored>| match (stored, literal) {
                    (Some(Stored::Text(one)), Some(Stored::Text(other))) if folds => {
                        one.to_lowercase() == other.to_lowercase()
                    }
                    (one, other) => compare(one, other.as_ref()) == Ordering::Equal,
                };
                let both = stored.is_some() && first.is_some();
                Ok(match operator.as_str() {
                    "=" => same(&first),
                    "!=" | "<>" => !same(&first),
                    "IN" => literals.iter().any(same),
                    "NOT IN" => !literals.iter().any(same),
                    "<" => both && ordering == Ordering::Less,
                    "<=" => both && ordering != Ordering::Greater,
                    ">" => both && ordering == Ordering::Greater,
                    ">=" => both && ordering != Ordering::Less,
                    "LIKE" => match (stored, &first) {
                        (Some(stored), Some(pattern)) => like(&stored.text(), &pattern.text()),
                        _ => false,
                    },
                    other => return Err(malformed(format!("unexpected operator: {other}"))),
                })
            }
        }
    }
}

fn like(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.to_lowercase(), pattern.to_lowercase());
    match (pattern.strip_prefix('%'), pattern.strip_suffix('%')) {
        (Some(rest), Some(_)) => text.contains(rest.trim_end_matches('%')),
        (Some(end), None) => text.ends_with(end),
        (None, Some(start)) => text.starts_with(start),
        (None, None) => text == pattern,
    }
}

fn literal(kind: &FieldType, token: &Token) -> Result<Option<Stored>, Refusal> {
    Ok(match (token, kind) {
        (Token::Word(word), _) if word.eq_ignore_ascii_case("null") => None,
        (Token::Word(word), FieldType::Boolean) => Some(Stored::Boolean(word.eq_ignore_ascii_case("true"))),
        (Token::Word(word), FieldType::DateTime) => match parse_moment(word) {
            Some(at) => Some(Stored::Moment(at)),
            None => {
                return Err((
                    "INVALID_FIELD",
                    format!("value of filter criterion must be of type dateTime: {word}"),
                ));
            }
        },
        (Token::Word(word), FieldType::Date) => Some(Stored::Text(word.clone())),
        (Token::Word(word), FieldType::Number(..)) => Some(Stored::Number(word.clone())),
        (Token::Text(text), FieldType::Id | FieldType::Reference(_)) if !matches!(text.len(), 15 | 18) => {
            return Err(("INVALID_QUERY_FILTER_OPERATOR", format!("invalid ID field: {text}")));
        }
        (Token::Text(text), _)
            if !matches!(kind, FieldType::DateTime | FieldType::Number(..) | FieldType::Boolean) =>
        {
            Some(Stored::Text(text.clone()))
        }
        (token, _) => return Err(malformed(format!("unexpected literal: {token:?}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn org() -> Org {
        let mut org = Org::new(jiff::Timestamp::now);
        let user = org.users[1].clone();
        for (name, title) in [("O'Hara", Some("CEO")), ("Zhu", None), ("abel", Some("cto"))] {
            let mut fields = BTreeMap::from([("LastName".to_owned(), Some(Stored::Text(name.into())))]);
            fields.insert("Title".to_owned(), title.map(|title| Stored::Text(title.into())));
            org.create("Contact", &fields, &user).unwrap();
        }
        org
    }

    fn names(org: &Org, text: &str) -> Vec<String> {
        let rows = parse(text).unwrap().run(org, &org.users[1], false).unwrap();
        rows.into_iter().map(|(_, row)| row[0].1.as_ref().unwrap().text()).collect()
    }

    #[test]
    fn a_query_returns_the_records_that_its_where_order_by_and_limit_ask_for() {
        let org = org();
        let cases: [(&str, &[&str]); 6] = [
            ("SELECT LastName FROM Contact WHERE LastName = 'O\\'Hara'", &["O'Hara"]),
            ("SELECT Contact.LastName FROM Contact WHERE Title = null", &["Zhu"]),
            (
                "select LastName from contact where Title in ('ceo', 'CTO') order by LastName desc",
                &["abel", "O'Hara"],
            ),
            (
                "SELECT LastName FROM Contact WHERE (Title != null AND LastName LIKE 'a%') OR LastName = 'zhu'",
                &["Zhu", "abel"],
            ),
            (
                "SELECT LastName FROM Contact WHERE SystemModstamp > 2020-01-01T00:00:00Z ORDER BY Id LIMIT 1",
                &["O'Hara"],
            ),
            ("SELECT LastName FROM Contact WHERE SystemModstamp > 2120-01-01T00:00:00Z", &[]),
        ];
        for (text, expected) in cases {
            let mut found = names(&org, text);
            if !text.to_lowercase().contains("order by") {
                found.sort();
            }
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn a_wrong_query_is_refused_with_salesforces_error_code() {
        let org = org();
        let code =
            |text: &str| parse(text).and_then(|query| query.run(&org, &org.users[1], false)).unwrap_err().0;
        assert_eq!(code("SELECT Nope FROM Contact"), "INVALID_FIELD");
        assert_eq!(code("SELECT Id FROM Nope"), "INVALID_TYPE");
        assert_eq!(code("SELECT Id FROM Contact WHERE"), "MALFORMED_QUERY");
    }
}
