//! The types of both sides, which Salesforce type can be kept in which column type, and by which rule.

use crate::number::MOST_DIGITS;
use crate::value::{Rule, RuleKind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of a Salesforce field, as describe names it, with the limits of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SalesforceType {
    /// `id`.
    Id,
    /// `reference`: a lookup or master-detail field. Its value is an Id.
    Reference,
    /// The types whose value is one text: `string`, `textarea`, `email`, `phone`, `url`, `picklist`,
    /// `combobox`, `encryptedstring`, and rich text (`html`, or a `textarea` that is HTML).
    Text {
        /// The length of the longest value in characters. 0 if describe gives none.
        length: u32,
    },
    /// `multipicklist`: choices joined by semicolons. Their order has no meaning.
    MultiPicklist,
    /// `boolean`. It is never null.
    Boolean,
    /// `int`.
    Int,
    /// `double`, `currency` or `percent`.
    Number {
        /// How many digits the field shows in all.
        precision: u32,
        /// How many digits the field shows after the point. The API stores more digits than that. A save in
        /// the browser rounds them away.
        scale: u32,
    },
    /// `date`.
    Date,
    /// `datetime`: in whole seconds and UTC.
    DateTime,
    /// `time`: a time of day in milliseconds, without a time zone.
    Time,
    /// Any other type, by the name that describe gives it.
    Other(String),
}

impl SalesforceType {
    /// The type of a field, from the name, length, precision and scale that describe gives.
    #[must_use]
    pub fn from_describe(name: &str, length: u32, precision: u32, scale: u32) -> Self {
        match name {
            "id" => Self::Id,
            "reference" => Self::Reference,
            "string" | "textarea" | "email" | "phone" | "url" | "picklist" | "combobox"
            | "encryptedstring" | "html" => Self::Text { length },
            "multipicklist" => Self::MultiPicklist,
            "boolean" => Self::Boolean,
            "int" => Self::Int,
            "double" | "currency" | "percent" => Self::Number { precision, scale },
            "date" => Self::Date,
            "datetime" => Self::DateTime,
            "time" => Self::Time,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The column type for a field of this type in a table that Syncline creates. `None` for a type that
    /// Syncline does not sync.
    #[must_use]
    pub fn generated_column(&self) -> Option<String> {
        Some(match self {
            Self::Id | Self::Reference => "varchar(18)".to_owned(),
            Self::Text { length: 0 } | Self::MultiPicklist => "text".to_owned(),
            Self::Text { length } if *length > 255 => "text".to_owned(),
            Self::Text { length } => format!("varchar({length})"),
            Self::Boolean => "boolean".to_owned(),
            Self::Int => "integer".to_owned(),
            // Salesforce keeps more digits than the field displays.
            Self::Number { .. } => "numeric".to_owned(),
            Self::Date => "date".to_owned(),
            Self::DateTime => "timestamptz".to_owned(),
            Self::Time => "time".to_owned(),
            Self::Other(_) => return None,
        })
    }
}

impl fmt::Display for SalesforceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("id"),
            Self::Reference => f.write_str("reference"),
            Self::Text { length } => write!(f, "text({length})"),
            Self::MultiPicklist => f.write_str("multipicklist"),
            Self::Boolean => f.write_str("boolean"),
            Self::Int => f.write_str("int"),
            Self::Number { precision, scale } => write!(f, "number({precision},{scale})"),
            Self::Date => f.write_str("date"),
            Self::DateTime => f.write_str("datetime"),
            Self::Time => f.write_str("time"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The type of a Postgres column, with its modifier (length, precision or scale).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PostgresType {
    /// `text`.
    Text,
    /// `character varying`, with its greatest length in characters if it has one.
    Varchar(Option<u32>),
    /// `character`, with its length. Postgres pads the values with blanks; their `::text` does not contain
    /// the padding.
    Char(u32),
    /// `citext`.
    Citext,
    /// An enumeration, with its name.
    Enum(String),
    /// `text[]` or `varchar[]`: the choices of a multipicklist.
    TextArray,
    /// `json` or `jsonb`.
    Json,
    /// `uuid`.
    Uuid,
    /// `smallint`.
    SmallInt,
    /// `integer`.
    Integer,
    /// `bigint`.
    BigInt,
    /// `numeric`, with its precision and scale if it has them.
    Numeric(Option<(u32, u32)>),
    /// `real`.
    Real,
    /// `double precision`.
    Double,
    /// `boolean`.
    Boolean,
    /// `date`.
    Date,
    /// `timestamp without time zone`. Its values count as UTC.
    Timestamp,
    /// `timestamp with time zone`.
    TimestampTz,
    /// `time without time zone`, with the number of digits of a second that the column keeps.
    Time(u8),
    /// Any other type, by its name in the catalog.
    Other(String),
}

impl PostgresType {
    /// The type, from the result of `format_type(atttypid, atttypmod)`.
    #[must_use]
    pub fn from_format_type(name: &str) -> Self {
        let (bare, modifier) = match name.split_once('(') {
            Some((bare, rest)) => (bare.trim(), rest.split(')').next().unwrap_or("")),
            None => (name, ""),
        };
        let numbers: Vec<u32> = modifier.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        if let Some(element) = name.strip_suffix("[]") {
            return match Self::from_format_type(element) {
                Self::Text | Self::Varchar(_) => Self::TextArray,
                _ => Self::Other(name.to_owned()),
            };
        }
        match (bare, numbers.as_slice()) {
            ("text", []) => Self::Text,
            ("character varying", []) => Self::Varchar(None),
            ("character varying", [length]) => Self::Varchar(Some(*length)),
            ("character", []) => Self::Char(1),
            ("character", [length]) => Self::Char(*length),
            ("citext", []) => Self::Citext,
            (qualified, []) if qualified.ends_with(".citext") => Self::Citext,
            ("json" | "jsonb", []) => Self::Json,
            ("uuid", []) => Self::Uuid,
            ("smallint", []) => Self::SmallInt,
            ("integer", []) => Self::Integer,
            ("bigint", []) => Self::BigInt,
            ("numeric", _) if modifier.contains('-') => Self::Other(name.to_owned()),
            ("numeric", []) => Self::Numeric(None),
            ("numeric", [precision]) => Self::Numeric(Some((*precision, 0))),
            ("numeric", [precision, scale]) => Self::Numeric(Some((*precision, *scale))),
            ("real", []) => Self::Real,
            ("double precision", []) => Self::Double,
            ("boolean", []) => Self::Boolean,
            ("date", []) => Self::Date,
            ("timestamp without time zone", []) => Self::Timestamp,
            ("timestamp with time zone", []) => Self::TimestampTz,
            ("timestamp", [_]) if name.ends_with("with time zone") => Self::TimestampTz,
            ("timestamp", [_]) => Self::Timestamp,
            ("time without time zone", []) => Self::Time(6),
            ("time", [digits]) if name.ends_with("without time zone") => {
                Self::Time(u8::try_from(*digits).unwrap_or(6))
            }
            _ => Self::Other(name.to_owned()),
        }
    }
}

impl fmt::Display for PostgresType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text => f.write_str("text"),
            Self::Varchar(None) => f.write_str("varchar"),
            Self::Varchar(Some(length)) => write!(f, "varchar({length})"),
            Self::Char(length) => write!(f, "char({length})"),
            Self::Citext => f.write_str("citext"),
            Self::Enum(name) => write!(f, "{name} (an enumeration)"),
            Self::TextArray => f.write_str("text[]"),
            Self::Json => f.write_str("json"),
            Self::Uuid => f.write_str("uuid"),
            Self::SmallInt => f.write_str("smallint"),
            Self::Integer => f.write_str("integer"),
            Self::BigInt => f.write_str("bigint"),
            Self::Numeric(None) => f.write_str("numeric"),
            Self::Numeric(Some((precision, scale))) => write!(f, "numeric({precision},{scale})"),
            Self::Real => f.write_str("real"),
            Self::Double => f.write_str("double precision"),
            Self::Boolean => f.write_str("boolean"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::TimestampTz => f.write_str("timestamptz"),
            Self::Time(_) => f.write_str("time"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// The error for two types that cannot hold the same values, or that Syncline does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a Salesforce {salesforce} cannot be kept in a {postgres} column: {hint}")]
pub struct UnsupportedPair {
    /// The type of the Salesforce field.
    pub salesforce: String,
    /// The type of the column.
    pub postgres: String,
    /// What the user can do instead.
    pub hint: String,
}

/// The rule that makes canonical values for this pair of types.
///
/// # Errors
/// When the column type cannot hold the field's values, or when Syncline does not support one of the types.
/// The error names column types that can hold the values, or says what else to do.
pub fn pair(salesforce: &SalesforceType, postgres: &PostgresType) -> Result<Rule, UnsupportedPair> {
    use PostgresType as P;
    use SalesforceType as S;
    let refuse = |hint: &str| {
        Err(UnsupportedPair {
            salesforce: salesforce.to_string(),
            postgres: postgres.to_string(),
            hint: hint.to_owned(),
        })
    };
    let kind = match (salesforce, postgres) {
        (S::Other(name), _) if name == "base64" => {
            return refuse(
                "files are not synced; leave the field out, or keep the file's URL in another field",
            );
        }
        (S::Other(name), _) if matches!(name.as_str(), "address" | "location" | "complexvalue") => {
            return refuse(
                "a compound field cannot be written as a whole; map the parts, such as MailingStreet and MailingCity, or Place__Latitude__s and Place__Longitude__s",
            );
        }
        (S::Other(_), _) => return refuse("this Salesforce type is not supported; leave the field out"),
        (_, P::Other(_)) => {
            return refuse(
                "this column type is not supported; leave the field out or change the column's type",
            );
        }
        (S::Id | S::Reference, P::Text | P::Varchar(None)) => RuleKind::Id,
        (S::Id | S::Reference, P::Varchar(Some(length))) if *length >= 18 => RuleKind::Id,
        (S::Id | S::Reference, _) => {
            return refuse("use text or varchar(18), or give the field a lookup to another sync");
        }
        (S::Text { .. }, P::Text | P::Varchar(_) | P::Char(_) | P::Citext | P::Enum(_)) => RuleKind::Text,
        (S::Text { .. }, P::Json) => RuleKind::Json,
        (S::Text { length }, P::Uuid) if *length == 0 || *length >= 36 => RuleKind::Uuid,
        (S::Text { .. }, _) => return refuse("use text or varchar"),
        (S::MultiPicklist, P::Text | P::Varchar(_) | P::Citext | P::TextArray) => RuleKind::Choices,
        (S::MultiPicklist, _) => return refuse("use text[] or text"),
        (S::Boolean, P::Boolean) => RuleKind::Boolean,
        (S::Boolean, _) => return refuse("use boolean"),
        (S::Int | S::Number { .. }, P::SmallInt | P::Integer | P::BigInt) => {
            RuleKind::Number { scale: 0, displayed: None }
        }
        (S::Int, P::Numeric(_)) => RuleKind::Number { scale: 0, displayed: None },
        // Nothing is rounded that the column can hold: Salesforce keeps more digits than the field displays.
        (S::Number { scale, .. }, P::Numeric(None)) => {
            RuleKind::Number { scale: MOST_DIGITS, displayed: Some(*scale) }
        }
        (S::Number { scale, .. }, P::Numeric(Some((_, column)))) => {
            RuleKind::Number { scale: *column, displayed: Some(*scale) }
        }
        (S::Int, P::Real) => RuleKind::Single { scale: 0 },
        (S::Int, P::Double) => RuleKind::Double { scale: 0, displayed: None },
        (S::Number { .. }, P::Real) => RuleKind::Single { scale: MOST_DIGITS },
        (S::Number { scale, .. }, P::Double) => {
            RuleKind::Double { scale: MOST_DIGITS, displayed: Some(*scale) }
        }
        (S::Int | S::Number { .. }, _) => return refuse("use numeric, integer, bigint or double precision"),
        (S::Date, P::Date) => RuleKind::Date,
        (S::Date, _) => return refuse("use date"),
        (S::DateTime, P::TimestampTz | P::Timestamp) => RuleKind::DateTime,
        (S::DateTime, _) => return refuse("use timestamptz"),
        (S::Time, P::Time(digits)) => RuleKind::Time { digits: (*digits).min(3) },
        (S::Time, _) => return refuse("use time"),
    };
    Ok(Rule { version: 1, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_names_become_types() {
        let cases = [
            ("character varying(80)", PostgresType::Varchar(Some(80))),
            ("numeric(18,2)", PostgresType::Numeric(Some((18, 2)))),
            ("numeric(18,-2)", PostgresType::Other("numeric(18,-2)".into())),
            ("numeric", PostgresType::Numeric(None)),
            ("timestamp with time zone", PostgresType::TimestampTz),
            ("timestamp(3) with time zone", PostgresType::TimestampTz),
            ("time(0) without time zone", PostgresType::Time(0)),
            ("character(3)", PostgresType::Char(3)),
            ("character varying(40)[]", PostgresType::TextArray),
            ("extensions.citext", PostgresType::Citext),
            ("jsonb", PostgresType::Json),
            ("integer[]", PostgresType::Other("integer[]".into())),
            ("character varying", PostgresType::Varchar(None)),
            ("character", PostgresType::Char(1)),
            ("citext", PostgresType::Citext),
            ("uuid", PostgresType::Uuid),
            ("smallint", PostgresType::SmallInt),
            ("bigint", PostgresType::BigInt),
            ("numeric(18)", PostgresType::Numeric(Some((18, 0)))),
            ("real", PostgresType::Real),
            ("double precision", PostgresType::Double),
            ("timestamp without time zone", PostgresType::Timestamp),
            ("timestamp(3) without time zone", PostgresType::Timestamp),
            ("time(3) with time zone", PostgresType::Other("time(3) with time zone".into())),
        ];
        for (name, expected) in cases {
            assert_eq!(PostgresType::from_format_type(name), expected, "{name}");
        }
    }

    #[test]
    fn a_pair_that_is_not_served_says_what_would_do() {
        let error = pair(&SalesforceType::DateTime, &PostgresType::Date).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a Salesforce datetime cannot be kept in a date column: use timestamptz"
        );
        let error = pair(&SalesforceType::Other("base64".into()), &PostgresType::Text).unwrap_err();
        assert!(error.to_string().contains("files are not synced"), "{error}");
        let error = pair(&SalesforceType::Other("address".into()), &PostgresType::Text).unwrap_err();
        assert!(error.to_string().contains("map the parts"), "{error}");
    }

    #[test]
    fn a_fields_length_decides_its_column_type_and_which_columns_can_hold_it() {
        let text = |length| SalesforceType::Text { length };
        for (length, column) in
            [(0, "text"), (80, "varchar(80)"), (255, "varchar(255)"), (256, "text"), (32_000, "text")]
        {
            assert_eq!(text(length).generated_column().as_deref(), Some(column));
        }
        for (length, served) in [(17, false), (18, true), (19, true)] {
            let column = PostgresType::Varchar(Some(length));
            assert_eq!(pair(&SalesforceType::Reference, &column).is_ok(), served, "varchar({length})");
        }
        for (length, served) in [(0, true), (35, false), (36, true), (80, true)] {
            assert_eq!(pair(&text(length), &PostgresType::Uuid).is_ok(), served, "a text of {length}");
        }
        let error = pair(&SalesforceType::Other("anyType".into()), &PostgresType::Text).unwrap_err();
        assert!(error.to_string().contains("this Salesforce type is not supported"), "{error}");
    }

    #[test]
    fn every_generated_column_takes_its_field() {
        let types = [
            SalesforceType::Id,
            SalesforceType::Reference,
            SalesforceType::Text { length: 80 },
            SalesforceType::Text { length: 32_000 },
            SalesforceType::MultiPicklist,
            SalesforceType::Boolean,
            SalesforceType::Int,
            SalesforceType::Number { precision: 18, scale: 2 },
            SalesforceType::Date,
            SalesforceType::DateTime,
            SalesforceType::Time,
        ];
        for salesforce in types {
            let ddl = salesforce.generated_column().unwrap();
            let catalog = ddl
                .replace("varchar", "character varying")
                .replace("timestamptz", "timestamp with time zone");
            let catalog = if catalog == "time" { "time without time zone".to_owned() } else { catalog };
            pair(&salesforce, &PostgresType::from_format_type(&catalog)).unwrap();
        }
    }
}
