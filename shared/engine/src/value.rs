//! Canonical values, and the rules that make them. A canonical value can be held by both types of a pair.
//!
//! A rule reads text from either side. The text of a Postgres column is its `::text`. The text of a
//! Salesforce field is the content of its JSON string, or the JSON literal of a number or boolean. A number
//! passes through a floating-point type only if the column has such a type.

use crate::number::{MOST_DIGITS, number};
use jiff::Timestamp;
use jiff::civil::{Date, Time};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A canonical value. Values are compared, fingerprinted and written only in this form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// No value. An empty text and an empty multipicklist count as null too.
    Null,
    /// A text without blanks or control characters at either end. Its lines end with `\n`.
    Text(String),
    /// A decimal number without trailing zeros.
    Number(Decimal),
    /// The value of a checkbox.
    Boolean(bool),
    /// A calendar date, without a time zone.
    Date(Date),
    /// A point in time, in whole seconds and UTC.
    DateTime(Timestamp),
    /// The selected choices of a multipicklist.
    Choices(BTreeSet<String>),
    /// A time of day, without a time zone.
    Time(Time),
}

impl Value {
    /// True if this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The text of this value, which both sides accept; `None` for null. Postgres casts the text to the
    /// column's type. Salesforce takes the text as the content of a JSON string, or as a JSON literal if the
    /// value is a number or a boolean.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Boolean(yes) => yes.to_string(),
            Self::Date(date) => date.to_string(),
            Self::DateTime(moment) => moment.to_string(),
            Self::Time(time) => time.strftime("%H:%M:%S%.3f").to_string(),
            Self::Choices(choices) => choices.iter().cloned().collect::<Vec<_>>().join(";"),
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(&text),
            None => f.write_str("null"),
        }
    }
}

/// Why a value of one side has no canonical form.
///
/// [`Presence::fingerprinted_text`](crate::Presence::fingerprinted_text) contains these messages, and
/// fingerprints of that text are stored. If a message changes, stored fingerprints of such values no longer
/// match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ValueError {
    /// A number with more digits than can be kept exactly, a number that is not finite, such as `NaN`, or a
    /// text that is not a number.
    #[error("a number that cannot be kept exactly (28 digits at most, and finite)")]
    Number,
    /// A text that is not a UUID.
    #[error("not a UUID, which is what the column holds")]
    Uuid,
    /// A date or time outside the years 1700 to 4000, which are those that Salesforce keeps, or a text that
    /// is not a date.
    #[error("not a date between 1700-01-01 and 4000-12-31, which is what Salesforce keeps")]
    Date,
    /// A text that is not a Salesforce Id.
    #[error("not a Salesforce Id of 15 or 18 characters")]
    Id,
    /// A text that is not a boolean.
    #[error("neither true nor false")]
    Boolean,
    /// A text that is not a time of day.
    #[error("not a time of day from 00:00:00 to 23:59:59.999, which is what Salesforce keeps")]
    Time,
    /// A text that is not JSON, or JSON that is nested too deep to be read.
    #[error("not JSON, which is what the column holds")]
    Json,
    /// A text with the character U+0000, which Postgres cannot store.
    #[error("a text with the character U+0000, which Postgres cannot store")]
    Nul,
    /// A text that cannot be decoded, such as one that was cut in the middle of a character.
    #[error("a text that cannot be decoded, because a character of it is cut in half")]
    Undecodable,
    /// The side's answer does not have the field, although the field was asked for. So its value is not known; it is
    /// not empty.
    #[error("not in the answer, as if it were hidden from Syncline's user")]
    NotInAnswer,
}

/// How values of a pair of types become canonical. A rule whose meaning changes gets another version. A field
/// whose base was made by another version of its rule is merged as if it had no base.
///
/// # Example
///
/// ```
/// use syncline_engine::{Rule, RuleKind, Value, ValueError};
///
/// let price = Rule { version: 1, kind: RuleKind::Number { scale: 2, displayed: None } };
/// // Both sides mean the same number, though they write it differently.
/// assert_eq!(price.canonical(Some("419.0")), price.canonical(Some("419.0000")));
/// assert_eq!(price.canonical(Some("")), Ok(Value::Null));
/// assert_eq!(price.canonical(Some("NaN")), Err(ValueError::Number));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// The version. The lower byte is the version of this kind of rule. The upper byte counts how often the field or
    /// its column was replaced by another one of the same name.
    pub version: u16,
    /// What the rule does.
    pub kind: RuleKind,
}

/// The step from one replacement of a field to the next in [`Rule::version`].
const REPLACEMENT: u16 = 0x100;

impl Rule {
    /// The same rule for a field that took the place of another one, or whose column did.
    #[must_use]
    pub fn replaced(&self) -> Self {
        Self { version: self.version.wrapping_add(REPLACEMENT), kind: self.kind.clone() }
    }

    /// The same rule for a field that was replaced as often as that of `other`.
    #[must_use]
    pub fn as_often_replaced_as(&self, other: &Self) -> Self {
        let version = other.version / REPLACEMENT * REPLACEMENT + self.version % REPLACEMENT;
        Self { version, kind: self.kind.clone() }
    }
}

/// What a [`Rule`] does with the text of a side. Each kind removes blanks and control characters at both ends
/// first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuleKind {
    /// A Salesforce Id, made 18 characters long.
    Id,
    /// A text. Its line ends become `\n`. An empty text is null.
    Text,
    /// A UUID, written in lower case and with hyphens.
    Uuid,
    /// A set of choices, separated by semicolons. Order and duplicates do not matter.
    Choices,
    /// A boolean. Null counts as false, because a checkbox in Salesforce is never null.
    Boolean,
    /// A decimal number, rounded to `scale` digits after the point. Halves are rounded away from zero.
    Number {
        /// The number of digits after the point that the column keeps.
        scale: u32,
        /// The number of digits after the point that Salesforce displays. Salesforce keeps more of them, but no more
        /// than [`SALESFORCE_DIGITS`](crate::SALESFORCE_DIGITS) digits in all for sure, so further digits do not count. `None` in definitions
        /// that an earlier release stored: there `scale` alone counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        displayed: Option<u32>,
    },
    /// The nearest single-precision number, rounded to `scale` digits after the point. For columns of type `real`.
    Single {
        /// The number of digits after the point.
        scale: u32,
    },
    /// The nearest double-precision number, rounded like `Number`. For columns of type `double precision`.
    Double {
        /// The number of digits after the point.
        scale: u32,
        /// As in `Number`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        displayed: Option<u32>,
    },
    /// A calendar date.
    Date,
    /// A point in time, cut down to the whole second.
    DateTime,
    /// A time of day. Digits of a second beyond `digits` are cut off.
    Time {
        /// How many digits of a second are kept. More than three count as three.
        digits: u8,
    },
    /// JSON without blanks. Its keys are sorted, and its numbers have no trailing zeros.
    Json,
}

impl Rule {
    /// The canonical value of a text that a side holds. `None` means that the side holds null.
    ///
    /// # Errors
    /// When the text has no canonical form. A value is never rounded more than the rule says in order to fit.
    pub fn canonical(&self, raw: Option<&str>) -> Result<Value, ValueError> {
        let text = raw.map(|text| text.trim_matches(|c: char| c <= ' '));
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return Ok(match self.kind {
                RuleKind::Boolean => Value::Boolean(false),
                _ => Value::Null,
            });
        };
        match &self.kind {
            RuleKind::Id => match crate::SalesforceId::parse(text) {
                Ok(id) => Ok(Value::Text(id.as_str().to_owned())),
                Err(_) => Err(ValueError::Id),
            },
            RuleKind::Text => text_value(text),
            RuleKind::Uuid => uuid(text),
            RuleKind::Choices => choices(text),
            RuleKind::Boolean => match text {
                "true" | "t" => Ok(Value::Boolean(true)),
                "false" | "f" => Ok(Value::Boolean(false)),
                _ => Err(ValueError::Boolean),
            },
            RuleKind::Number { scale, displayed } => number(text, *scale, *displayed),
            RuleKind::Single { scale } => {
                let float = f32::from_str(text).ok().filter(|float| float.is_finite());
                number(&float.ok_or(ValueError::Number)?.to_string(), *scale, None)
            }
            RuleKind::Double { scale, displayed } => {
                let float = f64::from_str(text).ok().filter(|float| float.is_finite());
                number(&float.ok_or(ValueError::Number)?.to_string(), *scale, *displayed)
            }
            RuleKind::Date => date(text),
            RuleKind::DateTime => date_time(text),
            RuleKind::Time { digits } => time(text, *digits),
            RuleKind::Json => json(text, 0).map(Value::Text),
        }
    }
}

fn text_value(text: &str) -> Result<Value, ValueError> {
    if text.contains('\0') {
        return Err(ValueError::Nul);
    }
    Ok(Value::Text(text.replace("\r\n", "\n").replace('\r', "\n")))
}

fn uuid(text: &str) -> Result<Value, ValueError> {
    let digits: String = text.chars().filter(|c| *c != '-').collect::<String>().to_ascii_lowercase();
    if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(ValueError::Uuid);
    }
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    Ok(Value::Text(parts.join("-")))
}

fn choices(text: &str) -> Result<Value, ValueError> {
    if text.contains('\0') {
        return Err(ValueError::Nul);
    }
    let set: BTreeSet<String> =
        text.split(';').map(str::trim).filter(|choice| !choice.is_empty()).map(str::to_owned).collect();
    Ok(if set.is_empty() { Value::Null } else { Value::Choices(set) })
}

fn date(text: &str) -> Result<Value, ValueError> {
    let date = Date::from_str(text).map_err(|_| ValueError::Date)?;
    if (1700..=4000).contains(&date.year()) { Ok(Value::Date(date)) } else { Err(ValueError::Date) }
}

/// Reads the forms that both sides write: `2026-09-08T23:40:33.000Z`, `2026-09-08T23:40:33.000+0000` and
/// `2026-09-08 23:40:33.123456+00`. The text of a `timestamp` column has no time zone and counts as UTC.
fn date_time(text: &str) -> Result<Value, ValueError> {
    let moment = Timestamp::from_str(text).or_else(|_| {
        let zoned = text.strip_suffix("+0000").map_or_else(|| format!("{text}Z"), |bare| format!("{bare}Z"));
        Timestamp::from_str(&zoned)
    });
    let moment = moment.map_err(|_| ValueError::Date)?;
    let year = moment.to_zoned(jiff::tz::TimeZone::UTC).year();
    if !(1700..=4000).contains(&year) {
        return Err(ValueError::Date);
    }
    let whole = if moment.subsec_nanosecond() < 0 { moment.as_second() - 1 } else { moment.as_second() };
    Timestamp::from_second(whole).map(Value::DateTime).map_err(|_| ValueError::Date)
}

/// Salesforce writes a `Z` after a time of day, although the time has no time zone. The `Z` is dropped.
fn time(text: &str, digits: u8) -> Result<Value, ValueError> {
    let bare = text.strip_suffix('Z').unwrap_or(text);
    let time = Time::from_str(bare).map_err(|_| ValueError::Time)?;
    let unit = 10_i32.pow(9 - u32::from(digits.min(3)));
    let nanosecond = time.subsec_nanosecond() / unit * unit;
    Time::new(time.hour(), time.minute(), time.second(), nanosecond)
        .map(Value::Time)
        .map_err(|_| ValueError::Time)
}

/// JSON that is nested deeper than this is refused. `json` calls itself once per level, so this limits its
/// stack.
const JSON_DEPTH: u8 = 60;

fn json(text: &str, depth: u8) -> Result<String, ValueError> {
    if depth > JSON_DEPTH {
        return Err(ValueError::Json);
    }
    let inner = |raw: &RawValue| json(raw.get(), depth + 1);
    let written = |text: &str| -> Result<String, ValueError> {
        if text.contains('\0') {
            return Err(ValueError::Nul);
        }
        serde_json::to_string(text).map_err(|_| ValueError::Json)
    };
    let text = text.trim();
    Ok(match text.as_bytes().first() {
        Some(b'{') => {
            let map: BTreeMap<String, &RawValue> =
                serde_json::from_str(text).map_err(|_| ValueError::Json)?;
            let items: Vec<String> = map
                .into_iter()
                .map(|(key, raw)| Ok(format!("{}:{}", written(&key)?, inner(raw)?)))
                .collect::<Result<_, ValueError>>()?;
            format!("{{{}}}", items.join(","))
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| ValueError::Json)?;
            let items: Vec<String> = list.into_iter().map(inner).collect::<Result<_, _>>()?;
            format!("[{}]", items.join(","))
        }
        Some(b'"') => written(&serde_json::from_str::<String>(text).map_err(|_| ValueError::Json)?)?,
        _ => {
            let literal: &RawValue = serde_json::from_str(text).map_err(|_| ValueError::Json)?;
            match number(literal.get(), MOST_DIGITS, None) {
                Ok(number) => number.to_string(),
                Err(_) => literal.get().to_owned(),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(kind: RuleKind, raw: &str) -> Result<Value, ValueError> {
        Rule { version: 1, kind }.canonical(Some(raw))
    }

    #[test]
    fn formatting_is_no_change() {
        let same = [
            (RuleKind::Text, " a\r\nb ", "a\nb"),
            (RuleKind::Id, "001D000000IqhSL", "001D000000IqhSLIAZ"),
            (RuleKind::Uuid, "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"),
            (RuleKind::Choices, "b;a", "a; b;a"),
            (RuleKind::Number { scale: 2, displayed: None }, "419.0", "419.0000"),
            (RuleKind::Number { scale: 2, displayed: None }, "-0.001", "0"),
            (RuleKind::Number { scale: 2, displayed: None }, "1.0E3", "1000"),
            (RuleKind::Boolean, "t", "true"),
            (RuleKind::DateTime, "2026-09-08T23:40:33.000+0000", "2026-09-08 23:40:33.9+00"),
            (RuleKind::DateTime, "2026-09-08T23:40:33.000Z", "2026-09-08 23:40:33"),
            (RuleKind::Single { scale: 2 }, "0.1", "0.10000000149011612"),
            (RuleKind::Time { digits: 3 }, "10:20:30.123Z", "10:20:30.123456"),
            (RuleKind::Time { digits: 0 }, "10:20:30.000Z", "10:20:30"),
            (RuleKind::Json, r#"{"b": [1.50, true], "a": "x\u00e9"}"#, r#"{"a":"xé","b":[1.5,true]}"#),
            (RuleKind::Json, "1e2", "100"),
        ];
        for (kind, one, other) in same {
            assert_eq!(
                canonical(kind.clone(), one).unwrap(),
                canonical(kind, other).unwrap(),
                "{one} {other}"
            );
        }
    }

    #[test]
    fn empty_text_is_null_and_a_checkbox_is_never_null() {
        assert_eq!(canonical(RuleKind::Text, "  ").unwrap(), Value::Null);
        assert_eq!(
            Rule { version: 1, kind: RuleKind::Boolean }.canonical(None).unwrap(),
            Value::Boolean(false)
        );
        assert_eq!(canonical(RuleKind::Text, "\u{a0}").unwrap(), Value::Text("\u{a0}".into()));
    }

    #[test]
    fn a_number_is_refused_rather_than_rounded_silently() {
        assert_eq!(
            canonical(RuleKind::Number { scale: 2, displayed: None }, "9999999999999999.99")
                .unwrap()
                .to_string(),
            "9999999999999999.99"
        );
        let long = "1.12345678901234567890123456789";
        let kept = RuleKind::Number { scale: MOST_DIGITS, displayed: None };
        assert_eq!(canonical(kept, long), Err(ValueError::Number));
        assert_eq!(canonical(RuleKind::Number { scale: 2, displayed: None }, "NaN"), Err(ValueError::Number));
        assert_eq!(
            canonical(RuleKind::Double { scale: 2, displayed: None }, "Infinity"),
            Err(ValueError::Number)
        );
    }

    #[test]
    fn halves_round_away_from_zero_as_in_postgres() {
        assert_eq!(
            canonical(RuleKind::Number { scale: 0, displayed: None }, "2.5").unwrap().to_string(),
            "3"
        );
        assert_eq!(
            canonical(RuleKind::Number { scale: 0, displayed: None }, "-2.5").unwrap().to_string(),
            "-3"
        );
    }

    #[test]
    fn what_the_other_side_cannot_keep_is_named() {
        assert_eq!(canonical(RuleKind::Text, "a\0b"), Err(ValueError::Nul));
        assert_eq!(canonical(RuleKind::Date, "0044-03-15"), Err(ValueError::Date));
        assert_eq!(canonical(RuleKind::DateTime, "infinity"), Err(ValueError::Date));
        assert_eq!(canonical(RuleKind::Uuid, "nobody"), Err(ValueError::Uuid));
        assert_eq!(canonical(RuleKind::Time { digits: 3 }, "24:00:00"), Err(ValueError::Time));
        assert_eq!(canonical(RuleKind::Json, "{a: 1}"), Err(ValueError::Json));
        assert_eq!(canonical(RuleKind::Json, r#"["\u0000"]"#), Err(ValueError::Nul));
        assert_eq!(canonical(RuleKind::Json, &"[".repeat(100_000)), Err(ValueError::Json));
    }

    #[test]
    fn booleans_and_times_are_read_in_every_spelling_and_kept_to_their_last_digit() {
        let canonical = |kind, text| Rule { version: 1, kind }.canonical(Some(text)).unwrap();
        for (text, value) in [("t", true), ("true", true), ("f", false), ("false", false)] {
            assert_eq!(canonical(RuleKind::Boolean, text), Value::Boolean(value));
        }
        let time = |digits, text| canonical(RuleKind::Time { digits }, text).text();
        assert_eq!(time(3, "12:30:15.123456"), time(3, "12:30:15.123Z"));
        assert_ne!(time(3, "12:30:15.123"), time(3, "12:30:15.12"));
        assert_eq!(time(0, "12:30:15.999"), time(0, "12:30:15"));
        assert!(Value::Null.is_null() && !Value::Boolean(false).is_null());
    }

    #[test]
    fn json_is_read_to_a_depth_and_no_deeper() {
        let rule = Rule { version: 1, kind: RuleKind::Json };
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(rule.canonical(Some(&nested(61))), Ok(Value::Text(nested(61))));
        assert_eq!(rule.canonical(Some(&nested(62))), Err(ValueError::Json));
    }

    #[test]
    fn moments_before_1970_are_cut_downwards() {
        assert_eq!(
            canonical(RuleKind::DateTime, "1969-12-31T23:59:58.5Z").unwrap().to_string(),
            "1969-12-31T23:59:58Z"
        );
    }
}
