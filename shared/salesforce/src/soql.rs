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

/// The text of a JSON value: the content of a string, else the literal as it is written. `None` for null.
pub(crate) fn scalar(raw: &RawValue) -> Option<String> {
    let literal = raw.get();
    if literal.starts_with('"') {
        serde_json::from_str(literal).ok()
    } else if literal == "null" {
        None
    } else {
        Some(literal.to_owned())
    }
}

/// The text of a field of a row. `None` if the field is null or is not in the row.
pub(crate) fn text(row: &RawRow, field: &str) -> Option<String> {
    row.get(field).and_then(|raw| scalar(raw))
}

impl Client {
    /// All rows of a query over records, those in the recycle bin included, and the `Date` of the first
    /// answer. If the locator of the next page expires, the query is sent again, once.
    pub(crate) async fn query_all(&self, soql: &str) -> Result<(Vec<RawRow>, Timestamp), SalesforceError> {
        self.pages("queryAll", soql).await
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
            fields.filter_map(|(name, raw)| Some((name.clone(), scalar(raw)?))).collect()
        };
        Ok(rows.iter().map(texts).collect())
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
