//! The usual script, as one writes it in an afternoon, for comparison with Syncline. Every two seconds the
//! script reads what changed on either side since its last round, by `SystemModstamp` and by `updated_at`,
//! and the later change wins. The script skips its own writes, writes in collections, carries deletes from
//! Salesforce across, and keeps its cursors in a table. Nothing in it was made worse on purpose.

use super::mapping::{ACCOUNT_FIELDS, CONTACT_FIELDS};
use crate::failure::Failure;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;
use tokio_postgres::Client;

/// The pause between two rounds.
const INTERVAL: Duration = Duration::from_secs(2);
/// The most records in one call to Salesforce.
const BATCH: usize = 200;

/// An object, its table, and its fields with their columns.
type Mapping = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const OBJECTS: [Mapping; 2] =
    [("Account", "accounts", ACCOUNT_FIELDS), ("Contact", "contacts", CONTACT_FIELDS)];

/// What the script adds to the app's tables: the Salesforce Id, and the time of the row's last change by
/// anybody but the script. The table `cursors` holds the script's cursors.
pub(crate) const SQL: &str = "
ALTER TABLE accounts ADD salesforce_id text UNIQUE, ADD updated_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE contacts ADD salesforce_id text UNIQUE, ADD updated_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE TABLE cursors (object text PRIMARY KEY, salesforce text NOT NULL, postgres timestamptz NOT NULL);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
  IF current_setting('application_name') <> 'syncline' THEN NEW.updated_at := clock_timestamp(); END IF;
  RETURN NEW;
END$$;
CREATE TRIGGER touch BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER touch BEFORE UPDATE ON contacts FOR EACH ROW EXECUTE FUNCTION touch();
";

/// The script, with its connections to both sides.
pub(crate) struct Script {
    pub(crate) salesforce: String,
    pub(crate) database: Client,
    pub(crate) http: reqwest::Client,
}

impl Script {
    /// Runs until the task is aborted. What fails in a round is tried again in the next round.
    pub(crate) async fn run(self) {
        loop {
            if let Ok(token) = self.sign_in().await {
                for mapping in OBJECTS {
                    let _ = self.round(&token, mapping).await;
                }
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn sign_in(&self) -> Result<String, Failure> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "syncline"),
            ("client_secret", "syncline-secret"),
        ];
        let url = format!("{}/services/oauth2/token", self.salesforce);
        let answer: Value = self.http.post(url).form(&form).send().await?.json().await?;
        Ok(answer["access_token"].as_str().unwrap_or_default().to_owned())
    }

    async fn call(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let url = format!("{}/services/data/v62.0/{path}", self.salesforce);
        let mut request = self.http.request(method, url).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    async fn round(&self, token: &str, mapping: Mapping) -> Result<(), Failure> {
        let (object, table, _) = mapping;
        let sql = "INSERT INTO cursors VALUES ($1, '2000-01-01T00:00:00Z', '2000-01-01')
                   ON CONFLICT (object) DO UPDATE SET object = $1 RETURNING salesforce, postgres::text";
        let row = self.database.query_one(sql, &[&object]).await?;
        let (stamp, since): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let now = self.database.query_one("SELECT clock_timestamp()::text", &[]).await?;
        let now: String = now.try_get(0)?;
        let (stamp, changed) = self.to_postgres(token, mapping, &stamp).await?;
        self.to_salesforce(token, mapping, &since, &changed).await?;
        let sql = "UPDATE cursors SET salesforce = $2, postgres = $3::text::timestamptz WHERE object = $1";
        self.database.execute(sql, &[&object, &stamp, &now]).await?;
        tracing::trace!(table, "round");
        Ok(())
    }

    /// Writes what changed in Salesforce to the table, except to rows that were changed later. Answers the
    /// last stamp, which is the next cursor, and the stamps of the changed records by Id.
    async fn to_postgres(
        &self,
        token: &str,
        (object, table, fields): Mapping,
        since: &str,
    ) -> Result<(String, HashMap<String, String>), Failure> {
        let names: Vec<&str> = fields.iter().map(|(field, _)| *field).collect();
        let query = format!(
            "queryAll?q=SELECT+Id,IsDeleted,SystemModstamp,LastModifiedById,{}+FROM+{object}+WHERE+SystemModstamp+>=+{since}+ORDER+BY+SystemModstamp",
            names.join(",")
        );
        let mut answer = self.call(token, Method::GET, &query, None).await?;
        let mut records = answer["records"].as_array().cloned().unwrap_or_default();
        while let Some(next) = answer["nextRecordsUrl"].as_str().and_then(|next| next.split("v62.0/").nth(1))
        {
            answer = self.call(token, Method::GET, next, None).await?;
            records.extend(answer["records"].as_array().cloned().unwrap_or_default());
        }
        let columns: Vec<&str> = fields.iter().map(|(_, column)| *column).collect();
        let places: Vec<String> = (0..fields.len()).map(|at| format!("${}", at + 3)).collect();
        let sets: Vec<String> =
            columns.iter().zip(&places).map(|(column, place)| format!("{column} = {place}")).collect();
        let upsert = format!(
            "INSERT INTO {table} AS t (salesforce_id, updated_at, {}) VALUES ($1, $2::text::timestamptz, {})
             ON CONFLICT (salesforce_id) DO UPDATE SET updated_at = excluded.updated_at, {}
             WHERE t.updated_at < excluded.updated_at",
            columns.join(", "),
            places.join(", "),
            sets.join(", ")
        );
        let (mut last, mut stamps) = (since.to_owned(), HashMap::new());
        for record in &records {
            let id = record["Id"].as_str().unwrap_or_default();
            last = record["SystemModstamp"].as_str().unwrap_or_default().replace(".000+0000", "Z");
            stamps.insert(id.to_owned(), last.clone());
            if record["IsDeleted"] == json!(true) {
                let _ = self
                    .database
                    .execute(&format!("DELETE FROM {table} WHERE salesforce_id = $1"), &[&id])
                    .await;
                continue;
            }
            // The script's own writes come back as changes and are skipped.
            if record["LastModifiedById"] == json!("0055e000001SYNCAA4") {
                continue;
            }
            let values: Vec<Option<&str>> = names.iter().map(|name| record[*name].as_str()).collect();
            let mut parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![&id, &last];
            parameters.extend(values.iter().map(|value| value as &(dyn tokio_postgres::types::ToSql + Sync)));
            let _ = self.database.execute(&upsert, &parameters).await;
        }
        Ok((last, stamps))
    }

    /// Writes changed rows to Salesforce, except to records that were changed later.
    async fn to_salesforce(
        &self,
        token: &str,
        (object, table, fields): Mapping,
        since: &str,
        stamps: &HashMap<String, String>,
    ) -> Result<(), Failure> {
        let columns: Vec<String> = fields.iter().map(|(_, column)| format!("t.{column}")).collect();
        let sql = format!(
            "SELECT t.id, t.salesforce_id, to_char(t.updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), {}
             FROM {table} t WHERE t.updated_at > $1::text::timestamptz",
            columns.join(", ")
        );
        let rows = self.database.query(&sql, &[&since]).await?;
        for method in [Method::POST, Method::PATCH] {
            let (mut bodies, mut keys): (Vec<Value>, Vec<i64>) = (Vec::new(), Vec::new());
            for row in &rows {
                let id: Option<String> = row.try_get(1)?;
                let at: String = row.try_get(2)?;
                let later = id.as_ref().and_then(|id| stamps.get(id)).is_some_and(|stamp| *stamp > at);
                if id.is_some() != (method == Method::PATCH) || later {
                    continue;
                }
                let mut body = json!({"attributes": {"type": object}});
                if let Some(id) = id {
                    body["id"] = json!(id);
                }
                for (place, (field, _)) in fields.iter().enumerate() {
                    body[*field] = json!(row.try_get::<_, Option<String>>(place + 3)?);
                }
                bodies.push(body);
                keys.push(row.try_get(0)?);
            }
            for (bodies, keys) in bodies.chunks(BATCH).zip(keys.chunks(BATCH)) {
                let body = json!({"allOrNone": false, "records": bodies});
                let answer = self.call(token, method.clone(), "composite/sobjects", Some(&body)).await?;
                for (key, result) in keys.iter().zip(answer.as_array().into_iter().flatten()) {
                    if let Some(id) = result["id"].as_str().filter(|_| method == Method::POST) {
                        let sql = format!("UPDATE {table} SET salesforce_id = $2 WHERE id = $1");
                        self.database.execute(&sql, &[key, &id]).await?;
                    }
                }
            }
        }
        Ok(())
    }
}
