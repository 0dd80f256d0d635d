//! Queries: what they say, and their pages.

use crate::client::{Answer, Client};
use crate::error::SalesforceError;
use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// One row: each field's JSON.
pub(crate) type RawRow = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "nextRecordsUrl")]
    next: Option<String>,
    records: Vec<RawRow>,
}

/// A string literal of SOQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The text of a scalar: a string's content or a literal; null is nothing.
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

/// The text of a row's field.
pub(crate) fn text(row: &RawRow, field: &str) -> Option<String> {
    row.get(field).and_then(|raw| scalar(raw))
}

impl Client {
    /// All rows of a query over living and deleted records, and the `Date` of its first answer. A locator that
    /// expires between two pages starts the query again, once.
    pub(crate) async fn query_all(&self, soql: &str) -> Result<(Vec<RawRow>, Timestamp), SalesforceError> {
        self.pages("queryAll", soql).await
    }

    /// All rows of a query over living records: each field's text, null left out.
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
        .map_err(|error| SalesforceError::Malformed(format!("a query's answer: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(quoted(r"O'Hara\"), r"'O\'Hara\\'");
    }

    #[test]
    fn numbers_keep_their_digits() {
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
