//! SOQL queries and the pages of their answers.

use crate::client::{Answer, Client};
use crate::error::SalesforceError;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// One row of an answer: the JSON of each field, by the field's name.
pub(crate) type RawRow = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "nextRecordsUrl")]
    next: Option<String>,
    records: Vec<RawRow>,
}

/// A SOQL string literal of the text. Quotes and backslashes in the text are escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// What a JSON value holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Null,
    /// The content of a string, or the literal as it is written.
    Text(String),
    /// A string that is no text, such as one with half of a surrogate pair.
    Undecodable,
}

impl Scalar {
    pub(crate) fn of(raw: &RawValue) -> Self {
        match raw.get() {
            "null" => Self::Null,
            literal if literal.starts_with('"') => {
                serde_json::from_str(literal).map_or(Self::Undecodable, Self::Text)
            }
            literal => Self::Text(literal.to_owned()),
        }
    }
}

/// The text of a field of a row. `None` if the field is null, is not in the row or cannot be decoded. For the values of
/// mapped fields these are three different things: [`Scalar::of`].
pub(crate) fn text(row: &RawRow, field: &str) -> Option<String> {
    match row.get(field).map(|raw| Scalar::of(raw)) {
        Some(Scalar::Text(text)) => Some(text),
        _ => None,
    }
}

impl Client {
    /// All rows of a query over records, those in the recycle bin included, and the `Date` of the first
    /// answer. If the locator of the next page expires, the query is sent again, once.
    pub(crate) async fn query_all(&self, soql: &str) -> Result<(Vec<RawRow>, Timestamp), SalesforceError> {
        self.pages("queryAll", soql).await
    }

    /// All rows of a query that asks for `IsDeleted`, as [`Self::query_all`] gives them. `soql` makes the query from
    /// what it selects for that: `, IsDeleted`, or nothing for an object that does not have the field, such as `User`.
    pub(crate) async fn query_deleted_too(
        &self,
        object: &str,
        soql: impl Fn(&str) -> String,
    ) -> Result<(Vec<RawRow>, Timestamp), SalesforceError> {
        if self.has_is_deleted(object) {
            match self.query_all(&soql(", IsDeleted")).await {
                Err(SalesforceError::Refused { code, message })
                    if code == "INVALID_FIELD" && message.contains("IsDeleted") =>
                {
                    self.note_without_is_deleted(object);
                }
                other => return other,
            }
        }
        self.query_all(&soql("")).await
    }

    /// All rows of a query over records that are not deleted. A row holds the text of each field. Fields that
    /// are null are left out.
    ///
    /// # Errors
    /// When Salesforce refuses the query or does not answer.
    pub async fn query(&self, soql: &str) -> Result<Vec<BTreeMap<String, String>>, SalesforceError> {
        let (rows, _) = self.pages("query", soql).await?;
        let texts = |row: &RawRow| {
            let fields = row.iter().filter(|(name, _)| *name != "attributes");
            fields.filter_map(|(name, _)| Some((name.clone(), text(row, name)?))).collect()
        };
        Ok(rows.iter().map(texts).collect())
    }

    /// The number of records of an object that are not deleted and that this user can see.
    ///
    /// # Errors
    /// When Salesforce refuses the query or does not answer.
    pub async fn count(&self, object: &str) -> Result<u64, SalesforceError> {
        #[derive(Deserialize)]
        struct Count {
            #[serde(rename = "totalSize")]
            total: u64,
        }
        let soql = format!("SELECT COUNT() FROM {object}");
        let answer = self.read(Method::GET, &self.path("query"), &[("q", &soql)], None).await?;
        let count: Count = serde_json::from_slice(&answer.body)
            .map_err(|error| SalesforceError::Malformed(format!("query: {error}")))?;
        Ok(count.total)
    }

    async fn pages(&self, resource: &str, soql: &str) -> Result<(Vec<RawRow>, Timestamp), SalesforceError> {
        match self.all_pages(resource, soql).await {
            Err(SalesforceError::Refused { code, .. }) if code == "INVALID_QUERY_LOCATOR" => {
                self.all_pages(resource, soql).await
            }
            other => other,
        }
    }

    async fn all_pages(
        &self,
        resource: &str,
        soql: &str,
    ) -> Result<(Vec<RawRow>, Timestamp), SalesforceError> {
        let answer = self.read(Method::GET, &self.path(resource), &[("q", soql)], None).await?;
        let date = answer.date;
        let mut page = parse(&answer)?;
        let mut rows = std::mem::take(&mut page.records);
        while let Some(next) = page.next.take() {
            page = parse(&self.read(Method::GET, &next, &[], None).await?)?;
            rows.append(&mut page.records);
        }
        Ok((rows, date))
    }
}

fn parse(answer: &Answer) -> Result<Page, SalesforceError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| SalesforceError::Malformed(format!("query: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_backslashes_in_a_soql_literal_are_escaped() {
        assert_eq!(quoted(r"O'Hara\"), r"'O\'Hara\\'");
    }

    #[test]
    fn a_text_that_cannot_be_decoded_is_not_null() {
        let row: RawRow =
            serde_json::from_str(r#"{"cut":"cut \ud83d","null":null,"empty":"","whole":"\ud83d\ude00"}"#)
                .unwrap();
        let of = |field: &str| Scalar::of(&row[field]);
        assert_eq!(of("cut"), Scalar::Undecodable);
        assert_eq!(of("null"), Scalar::Null);
        assert_eq!((of("empty"), of("whole")), (Scalar::Text(String::new()), Scalar::Text("😀".to_owned())));
    }

    #[test]
    fn numbers_in_an_answer_are_read_with_every_digit() {
        let row: RawRow =
            serde_json::from_str(r#"{"a":9999999999999999.99,"b":"x","c":null,"d":true}"#).unwrap();
        let texts: Vec<Option<String>> =
            ["a", "b", "c", "d", "e"].iter().map(|field| text(&row, field)).collect();
        assert_eq!(
            texts,
            [Some("9999999999999999.99".into()), Some("x".into()), None, Some("true".into()), None]
        );
    }
}
