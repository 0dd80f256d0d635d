//! One of the two worlds that the teams edit: the world that Syncline syncs, or the world that the usual
//! script syncs. Each world has a Salesforce, a schema in the database and a ledger of its own.

use super::watch::Watch;
use crate::failure::Failure;
use jiff::Timestamp;
use judge::{Edit, Ledger};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_postgres::Client;

/// A record that all teams may edit, named by its object and by the id that the editors gave it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Known {
    pub(crate) object: &'static str,
    pub(crate) editor: String,
}

/// One world, with a session in its Salesforce.
pub(crate) struct World {
    /// The address of the world's Salesforce.
    pub(crate) salesforce: String,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
    /// Every confirmed edit, for the judge.
    pub(crate) ledger: Ledger,
    /// Awaits the edits on the other side; `None` for the script's world, which is not shown.
    pub(crate) watch: Option<Arc<Watch>>,
    /// The Salesforce Ids of records that the teams created in Salesforce.
    pub(crate) ids: Mutex<HashMap<Known, String>>,
}

impl World {
    /// Signs in to this Salesforce as the sales team.
    pub(crate) async fn enter(
        salesforce: &str,
        ledger: Ledger,
        watch: Option<Arc<Watch>>,
    ) -> Result<Self, Failure> {
        let http = reqwest::Client::new();
        let form =
            [("grant_type", "client_credentials"), ("client_id", "sales"), ("client_secret", "sales-secret")];
        let url = format!("{salesforce}/services/oauth2/token");
        let answer: Value = http.post(url).form(&form).send().await?.json().await?;
        let token = answer["access_token"].as_str().unwrap_or_default().to_owned();
        Ok(Self { salesforce: salesforce.to_owned(), token, http, ledger, watch, ids: Mutex::default() })
    }

    /// Writes confirmed edits into the ledger, and lets the watch await them. `burst` says what the edits are
    /// together, if they are a burst.
    pub(crate) fn done(&self, mut edits: Vec<Edit>, burst: Option<&str>) -> Result<(), Failure> {
        self.ledger.write(&mut edits)?;
        if let Some(watch) = &self.watch {
            watch.expect(&edits, burst);
        }
        Ok(())
    }

    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = format!("{}/services/data/v62.0/{path}", self.salesforce);
        let mut request = self.http.request(method, url).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let text = request.send().await?.text().await?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// The Salesforce Id of a record; `None` if it is not in Salesforce.
    async fn id_of(&self, known: &Known) -> Result<Option<String>, Failure> {
        if let Some(id) = self.ids.lock().unwrap_or_else(PoisonError::into_inner).get(known) {
            return Ok(Some(id.clone()));
        }
        let query = format!("query?q=SELECT+Id+FROM+{}+WHERE+Editor_Id__c='{}'", known.object, known.editor);
        let answer = self.call(Method::GET, &query, None).await?;
        Ok(answer["records"][0]["Id"].as_str().map(str::to_owned))
    }

    pub(crate) async fn create_in_salesforce(
        &self,
        known: &Known,
        values: &[(&'static str, String)],
        parent: Option<&Known>,
    ) -> Result<(), Failure> {
        let mut body = json!({"Editor_Id__c": known.editor});
        for (field, value) in values {
            body[*field] = json!(value);
        }
        if let Some(parent) = parent
            && let Some(id) = self.id_of(parent).await?
        {
            body["AccountId"] = json!(id);
        }
        let answer = self.call(Method::POST, &format!("sobjects/{}", known.object), Some(&body)).await?;
        let Some(id) = answer["id"].as_str() else {
            return Err(Failure::new(format!(
                "the demo stopped, because the simulated Salesforce refused a new record: {answer}"
            )));
        };
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).insert(known.clone(), id.to_owned());
        self.done(created("salesforce", known, values), None)
    }

    pub(crate) async fn create_in_postgres(
        &self,
        app: &Client,
        known: &Known,
        values: &[(&'static str, String)],
        parent: Option<&Known>,
    ) -> Result<(), Failure> {
        if known.object == "Account" {
            let sql = "INSERT INTO accounts (editor_id, name, website) VALUES ($1, $2, $3)";
            app.execute(sql, &[&known.editor, &values[0].1, &values[1].1]).await?;
        } else {
            let parent = parent.map(|parent| parent.editor.as_str());
            let sql = "INSERT INTO contacts (editor_id, first_name, last_name, title, account_id)
                       VALUES ($1, $2, $3, $4, (SELECT id FROM accounts WHERE editor_id = $5 LIMIT 1))";
            app.execute(sql, &[&known.editor, &values[0].1, &values[1].1, &values[2].1, &parent]).await?;
        }
        self.done(created("postgres", known, values), None)
    }

    /// Edits a field as a person would, who sees the old value first. `None` if the record does not exist in
    /// this world's Salesforce.
    pub(crate) async fn edit_in_salesforce(
        &self,
        known: &Known,
        field: &str,
        value: &str,
    ) -> Result<Option<Edit>, Failure> {
        let Some(id) = self.id_of(known).await? else { return Ok(None) };
        let path = format!("sobjects/{}/{id}", known.object);
        let before = self.call(Method::GET, &format!("{path}?fields={field}"), None).await?;
        let saw = before[field].as_str().map(str::to_owned);
        let answer = self.call(Method::PATCH, &path, Some(&json!({field: value}))).await?;
        if !answer.is_null() {
            return gone(&answer).map(|()| None);
        }
        Ok(Some(edit("salesforce", known, "update", field, value, saw)))
    }

    pub(crate) async fn edit_in_postgres(
        &self,
        app: &Client,
        known: &Known,
        field: &str,
        value: &str,
    ) -> Result<Option<Edit>, Failure> {
        let table = table_of(known);
        let column = match field {
            "FirstName" => "first_name",
            "Title" => "title",
            "Phone" => "phone",
            "Department" => "department",
            "Website" => "website",
            _ => "name",
        };
        let sql = format!(
            "UPDATE {table} t SET {column} = $2
             FROM (SELECT id, {column} AS saw FROM {table} WHERE editor_id = $1 FOR UPDATE) o
             WHERE t.id = o.id RETURNING o.saw"
        );
        let rows = app.query(&sql, &[&known.editor, &value]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(edit("postgres", known, "update", field, value, row.try_get(0)?)))
    }

    pub(crate) async fn delete_in_salesforce(&self, known: &Known) -> Result<(), Failure> {
        let Some(id) = self.id_of(known).await? else { return Ok(()) };
        let answer = self.call(Method::DELETE, &format!("sobjects/{}/{id}", known.object), None).await?;
        if !answer.is_null() {
            return gone(&answer);
        }
        self.done(vec![edit("salesforce", known, "delete", "", "", None)], None)
    }

    pub(crate) async fn delete_in_postgres(&self, app: &Client, known: &Known) -> Result<(), Failure> {
        let sql = format!("DELETE FROM {} WHERE editor_id = $1", table_of(known));
        if app.execute(&sql, &[&known.editor]).await? == 0 {
            return Ok(());
        }
        self.done(vec![edit("postgres", known, "delete", "", "", None)], None)
    }
}

/// Checks why an edit was refused. If somebody else deleted the record first, that is no failure.
fn gone(answer: &Value) -> Result<(), Failure> {
    match answer[0]["errorCode"].as_str() {
        Some("ENTITY_IS_DELETED" | "NOT_FOUND" | "INVALID_CROSS_REFERENCE_KEY") => Ok(()),
        _ => Err(Failure::new(format!(
            "the demo stopped, because the simulated Salesforce refused an edit: {answer}"
        ))),
    }
}

fn table_of(known: &Known) -> &'static str {
    if known.object == "Account" { "accounts" } else { "contacts" }
}

fn created(side: &str, known: &Known, values: &[(&'static str, String)]) -> Vec<Edit> {
    values.iter().map(|(field, value)| edit(side, known, "create", field, value, None)).collect()
}

/// A ledger entry of a confirmed edit, with the current time.
pub(crate) fn edit(
    side: &str,
    known: &Known,
    op: &str,
    field: &str,
    value: &str,
    saw: Option<String>,
) -> Edit {
    Edit {
        n: 0,
        at_ms: Timestamp::now().as_millisecond(),
        side: side.to_owned(),
        object: known.object.to_owned(),
        record: known.editor.clone(),
        op: op.to_owned(),
        field: field.to_owned(),
        value: value.to_owned(),
        saw,
        outcome: "confirmed".to_owned(),
    }
}
